"""What the pages on dns-01 say, run as written."""

import re
import subprocess
from pathlib import Path

import dns.name
import dns.update
import pytest
from support.bind import BindLab, Zone, key_statement, make_key, skip_or_fail
from support.needs import need_program

from certbot_garr_tcs.challenges.dns.client import Client, to_key
from certbot_garr_tcs.challenges.dns.endpoints import Endpoint, Server
from certbot_garr_tcs.challenges.dns.location import UpdateTarget
from certbot_garr_tcs.challenges.dns.updates import UpdateRejectedError, send_update

pytestmark = [pytest.mark.integration, pytest.mark.skipif(bool(skip_or_fail()), reason=skip_or_fail())]

DOCS = Path(__file__).resolve().parents[2] / "docs"
KEY = make_key("acme")


def block(page: str, start: str) -> str:
    """Return the one block of a page that starts so."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (found,) = [each for each in blocks if each.startswith(start)]
    return found


def statement(page: str, zone: str) -> str:
    """Return the zone statement that stands on a page."""
    return block(page, f'zone "{zone}" {{')


def allowed(lab: BindLab, name: str, rdtype: str, data: str) -> bool:
    """Add a record with the key, and delete it again where that was allowed."""
    add = dns.update.UpdateMessage(lab.zones[0].name)
    add.add(dns.name.from_text(name), 60, rdtype, data)
    delete = dns.update.UpdateMessage(lab.zones[0].name)
    delete.delete(dns.name.from_text(name), rdtype, data)
    endpoint = Endpoint(lab.primary.address, lab.port)
    target = UpdateTarget(dns.name.from_text(lab.zones[0].name), (endpoint,), Server(endpoint.address), key=to_key(KEY))
    try:
        send_update(Client(), target, add)
    except UpdateRejectedError:
        return False
    send_update(Client(), target, delete)
    return True


def test_the_policy_for_bind_grants_the_challenge_and_nothing_else(tmp_path):
    """The zone statement of dns-01.md lets the key do what the page says, and no more."""
    zone = Zone("example.it", statement=statement("dns-01.md", "example.it"))
    with BindLab(tmp_path / "lab", [zone], [KEY]) as lab:
        assert allowed(lab, "_acme-challenge.example.it", "TXT", "proof")
        assert allowed(lab, "_acme-challenge.www.example.it", "TXT", "proof")
        assert not allowed(lab, "_acme-challenge.www.example.it", "A", "192.0.2.1")
        assert not allowed(lab, "_acme-challenge.ftp.example.it", "TXT", "proof")
        assert not allowed(lab, "x._acme-challenge.www.example.it", "TXT", "proof")
        assert not allowed(lab, "www.example.it", "TXT", "proof")
        assert not allowed(lab, "example.it", "TXT", "v=spf1 -all")


def test_the_policy_for_a_delegated_zone(tmp_path):
    """The zone statement of delegation.md lets the key publish any proof, and nothing but TXT."""
    zone = Zone("acme.example.net", statement=statement("delegation.md", "acme.example.net"))
    with BindLab(tmp_path / "lab", [zone], [KEY]) as lab:
        assert allowed(lab, "www.acme.example.net", "TXT", "proof")
        assert not allowed(lab, "www.acme.example.net", "A", "192.0.2.1")


def test_the_key_is_tried_by_hand_as_written(tmp_path):
    """The nsupdate commands of dns-01.md are accepted, and leave nothing."""
    need_program("nsupdate")
    zone = Zone("example.it", statement=statement("dns-01.md", "example.it"))
    blocks = re.findall(
        r"^```sh\n(.*?)^```$", (DOCS / "dns-01.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    (written,) = [block for block in blocks if block.startswith("nsupdate")]
    (tmp_path / "acme.key").write_text(key_statement(KEY))
    with BindLab(tmp_path / "lab", [zone], [KEY]) as lab:
        before = lab.primary.serial("example.it")
        command = written.replace("/etc/letsencrypt", str(tmp_path))
        command = command.replace("server ns.example.it", f"server {lab.primary.address} {lab.port}")
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
        assert done.stdout + done.stderr == ""
        assert lab.primary.serial("example.it") == before + 2
        assert lab.primary.all_txt("example.it") == {}


def test_the_zone_file_of_a_delegated_name(tmp_path):
    """BIND loads the zone file of delegation.md for a name with an underscore, and refuses one with relative names."""
    as_written = block("delegation.md", "$TTL")
    assert check_zone(tmp_path, as_written) == 0
    assert check_zone(tmp_path, as_written.replace("ns1.example.net.", "ns1")) != 0


def check_zone(folder: Path, text: str) -> int:
    """Check a zone file as named does when it loads a primary zone."""
    (folder / "zone").write_text(text, encoding="utf-8")
    command = [need_program("named-checkzone"), "-k", "fail", "_acme-challenge.www.example.it", str(folder / "zone")]
    return subprocess.run(command, capture_output=True, check=False).returncode
