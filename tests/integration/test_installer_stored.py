"""Who chose us has certificates deployed from the first one on; what nobody deploys is said until it is put right."""

from __future__ import annotations

import re

import pytest
from configobj import ConfigObj
from support.certbot_runner import dns_names
from support.folders import open_folder
from support.journeys import NAME, one_line, params
from support.matrix import MATRIX
from support.needs import need_built
from support.practice_ca import set_faults

pytestmark = pytest.mark.integration

OTHER = "other.practice.example"
NEWEST = MATRIX[-1]
CERTBOTS = [
    next(entry for entry in reversed(MATRIX) if entry.certbot == version) for version in ("2.1.0", "4.0.0", "newest")
]
each_certbot = pytest.mark.parametrize("entry", CERTBOTS, ids=lambda entry: entry.certbot)


@pytest.fixture
def tls():
    """Make a folder that keys may be written to."""
    with open_folder() as folder:
        yield folder


def section(tls, lineage=NAME, title="www"):
    return f"\n[deploy {title}]\nlineage = {lineage}\nfullchain = {tls}/{title}.pem\nkey = {tls}/{title}.key\n"


def is_deployed(certbot, tls, lineage=NAME, title="www"):
    file = tls / f"{title}.pem"
    return file.exists() and file.read_bytes() == certbot.live(lineage, "fullchain").read_bytes()


def rewrite(certbot, lineage=NAME, **stored):
    """Change a renewal file to what another run of Certbot's left there; ``None``: without that line."""
    file = ConfigObj(str(certbot.config_dir / "renewal" / f"{lineage}.conf"), encoding="utf-8", interpolation=False)
    for key, value in stored.items():
        file["renewalparams"].pop(key, None)
        if value is not None:
            file["renewalparams"][key] = value
    file.write()


def commands_in(said):
    """Return the arguments of every command that messages tell to run."""
    return [command.split() for command in re.findall(r"Run once: certbot (.*)", said)]


@each_certbot
def test_a_section_that_is_written_later_is_seen_to_by_the_timer(practice_ca, make_certbot, tls, entry):
    """``certonly -a garr-tcs``, then a section, then the timer; adding a name keeps it so.

    And ``run``, without any section: it ends well, and says nothing of deploying. With one, it puts right what is not.
    """
    need_built(entry)
    certbot = make_certbot(entry.executable)
    certbot.use(practice_ca)
    issued = certbot.certonly(NAME)
    ran = certbot.run("run", "-n", "-a", "garr-tcs", "-d", NAME)
    assert "[deploy" not in issued.output + ran.output
    certbot.use(practice_ca, section(tls))
    assert certbot.run("renew", "-q").output.strip() == ""
    assert is_deployed(certbot, tls)
    certbot.run("certonly", "-n", "-a", "garr-tcs", "--expand", "-d", NAME, "-d", OTHER)
    assert dns_names(certbot.certificate(NAME)) == sorted([NAME, OTHER])
    assert params(certbot, NAME)["installer"] == "garr-tcs"
    assert is_deployed(certbot, tls)
    certbot.run("renew", "-q", "--force-renewal")
    assert is_deployed(certbot, tls)
    rewrite(certbot, installer=None)
    ran = certbot.run("run", "-n", "--garr-tcs", "--cert-name", NAME)
    assert "From now on, renewals of lineage" in one_line(ran.output)
    assert params(certbot, NAME)["installer"] == "garr-tcs"


def test_cli_ini_may_choose_the_authenticator(practice_ca, certbot, tmp_path):
    """``authenticator = garr-tcs`` there is as good as ``-a garr-tcs``; an installer that is named stays."""
    certbot.use(practice_ca)
    cli = tmp_path / "cli.ini"
    cli.write_text("authenticator = garr-tcs\n", encoding="utf-8")
    certbot.run("certonly", "-n", "-c", str(cli), "-d", NAME)
    assert params(certbot, NAME)["installer"] == "garr-tcs"
    certbot.run("certonly", "-n", "-c", str(cli), "-i", "null", "-d", OTHER)
    assert params(certbot, OTHER)["installer"] == "null"


STORED_BY_OTHERS = {
    "older-version": {"installer": None},
    "old-certbot": {"installer": "None"},
    "another-installer": {"installer": "null"},
    "another-authenticator": {"installer": None, "authenticator": "standalone"},
}


@each_certbot
def test_what_nobody_deploys_is_said_with_the_command_that_helps(practice_ca, make_certbot, tls, entry):
    """The timer that finds nothing due says it, also when quiet; the command issues nothing, and lasts."""
    need_built(entry)
    certbot = make_certbot(entry.executable)
    certbot.use(practice_ca)
    names = {kind: f"{kind}.practice.example" for kind in STORED_BY_OTHERS}
    for kind, name in names.items():
        certbot.run("certonly", "-n", "-a", "garr-tcs", "-d", name)
        rewrite(certbot, name, **STORED_BY_OTHERS[kind])
    before = {name: params(certbot, name) for name in names.values()}
    certbot.use(practice_ca, "".join(section(tls, name, kind) for kind, name in names.items()))
    said = certbot.run("renew", "-q").output
    assert said.count("do not deploy") == len(commands_in(said)) == len(names)
    assert list(tls.iterdir()) == []
    issued = len(practice_ca.issued())
    helped = [one_line(certbot.run(*command, "-n").output) for command in commands_in(said)]
    assert [text for text in helped if "instead of running installer null" in text] == [helped[2]]
    for kind, name in names.items():
        assert params(certbot, name) == {**before[name], "installer": "garr-tcs"}
        assert is_deployed(certbot, tls, name, kind)
        (tls / f"{kind}.pem").unlink()
    assert certbot.run("renew", "-q").output.strip() == ""
    assert all(is_deployed(certbot, tls, name, kind) for kind, name in names.items())
    assert len(practice_ca.issued()) == issued


@each_certbot
def test_a_renewal_of_ours_without_installer_gets_one(practice_ca, make_certbot, tls, entry):
    """An older version's lineage, or one that ``renew -a garr-tcs`` takes over, is deployed from that renewal on."""
    need_built(entry)
    certbot = make_certbot(entry.executable)
    certbot.use(practice_ca)
    for name, stored in ((NAME, {"installer": None}), (OTHER, {"installer": "null"})):
        certbot.certonly(name)
        rewrite(certbot, name, **stored)
    certbot.use(practice_ca, section(tls))
    renewed = certbot.run("renew", "-q", "--force-renewal")
    assert renewed.output.strip() == ""
    assert params(certbot, NAME)["installer"] == "garr-tcs"
    assert params(certbot, OTHER)["installer"] == "null"
    assert is_deployed(certbot, tls)
    rewrite(certbot, OTHER, installer=None, authenticator="standalone")
    certbot.run("renew", "-q", "--force-renewal", "-a", "garr-tcs", "--cert-name", OTHER)
    assert params(certbot, OTHER)["installer"] == "garr-tcs"


def test_reconfigure_takes_over_what_has_no_installer(practice_ca, make_certbot):
    """As every verb that stores an authenticator; another installer stays. Certbot has it since 2.3."""
    need_built(NEWEST)
    certbot = make_certbot(NEWEST.executable)
    certbot.use(practice_ca)
    certbot.certonly(NAME)
    for stored, expected in ((None, "garr-tcs"), ("null", "null")):
        rewrite(certbot, installer=stored)
        certbot.run("reconfigure", "-n", "-a", "garr-tcs", "--cert-name", NAME, "--garr-tcs-allow-live-dry-run")
        assert params(certbot, NAME)["installer"] == expected


def test_a_section_for_a_lineage_with_a_file_of_its_own_is_said(practice_ca, certbot, tls, tmp_path):
    """Its renewals read that file; the section has to be there, and the command for a named file names it."""
    certbot.use(practice_ca)
    own = certbot.ini.rename(tmp_path / "own.ini")
    certbot.run("certonly", "-n", "-a", "garr-tcs", "--garr-tcs-config", str(own), "-d", NAME)
    certbot.use(practice_ca, section(tls))
    said = one_line(certbot.run("renew", "-q").output)
    assert f"they use {own}. Move the section there." in said
    own.write_text(own.read_text() + section(tls), encoding="utf-8")
    certbot.use(practice_ca)
    rewrite(certbot, installer=None, garr_tcs_config=None, authenticator="standalone")
    said = certbot.run("renew", "-q", "--garr-tcs-config", str(own)).output
    (command,) = commands_in(said)
    certbot.run(*command, "-n")
    assert params(certbot, NAME)["garr_tcs_config"] == str(own)
    (tls / "www.pem").unlink()
    certbot.run("renew", "-q")
    assert is_deployed(certbot, tls)


def test_a_lineage_that_is_not_there_is_said_at_every_run(practice_ca, certbot, tls):
    """Misspelt or deleted: a certificate that nobody deploys is no reason for congratulations."""
    certbot.use(practice_ca, section(tls, "ww.practice.example"))
    expected = 'there is no lineage ww.practice.example; did you mean "www.practice.example"?'
    for command in (
        ("certonly", "-q", "-a", "garr-tcs", "-d", NAME),
        ("certonly", "-q", "-a", "garr-tcs", "-d", NAME),
        ("run", "-q", "--garr-tcs", "-d", NAME),
        ("renew", "-q"),
        ("renew", "-q", "--force-renewal"),
    ):
        assert one_line(certbot.run(*command).output).count(expected) == 1, command
    assert list(tls.iterdir()) == []


def test_nothing_deployed_is_said(practice_ca, certbot, tls):
    """A notice where something else was done as well, an error where nothing else was asked for."""
    certbot.use(practice_ca, section(tls))
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME)
    ran = certbot.run("run", "-n", "--garr-tcs", "-d", OTHER)
    assert f"Nothing was deployed: no [deploy …] section of {certbot.ini} names lineage {OTHER}." in one_line(
        ran.output
    )
    installed = certbot.run("install", "-n", "--garr-tcs", "--cert-name", OTHER, check=False)
    assert installed.returncode == 1
    assert f"deploy: nothing was deployed: no [deploy …] section of {certbot.ini}" in one_line(installed.output)


def test_names_that_the_ca_left_out_are_said(make_faulty_ca, certbot, tls):
    """What was issued is deployed, and the run fails: nobody will ask for the other names again."""
    ca = make_faulty_ca()
    certbot.use(ca, section(tls))
    set_faults(ca, left_out={"names": [OTHER]})
    both = ("-d", NAME, "-d", OTHER)
    ran = certbot.run("run", "-n", "--garr-tcs", *both, check=False)
    assert ran.returncode == 1
    said = one_line(ran.output)
    assert f"the certificate of lineage {NAME} was issued without {OTHER}" in said
    assert f"certbot run --garr-tcs --cert-name {NAME} -d {OTHER},{NAME}" in said
    assert "prior configuration" not in said
    assert is_deployed(certbot, tls)
    assert certbot.run("renew", "-q", "--force-renewal").returncode == 0

    set_faults(ca)
    certbot.run("certonly", "-n", "-a", "garr-tcs", "--expand", *both)
    set_faults(ca, left_out={"names": [OTHER]})
    for command in (
        ("renew", "-q", "--force-renewal"),
        ("certonly", "-n", "-a", "garr-tcs", "--force-renewal", "--cert-name", NAME, *both),
        ("certonly", "-n", "-a", "garr-tcs", "--duplicate", *both),
    ):
        failed = certbot.run(*command, check=False)
        assert failed.returncode == 1, command
        assert f"was issued without {OTHER}" in one_line(failed.output)
        assert is_deployed(certbot, tls)
    allowed = certbot.run("certonly", "-q", "-a", "garr-tcs", "--allow-subset-of-names", "--duplicate", *both)
    assert f"was issued without {OTHER}" in one_line(allowed.output)
