"""How long ``certbot-garr-tcs status`` takes where there are many lineages.

``python benchmarks/status.py [--lineages 1000] [--runs 5]``. Every lineage has a certificate of its own path, a target
and a record of its deployment; Certbot's log has a run for all of them. No network, no root, no practice CA.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certbot_garr_tcs.deploy.records import DEPLOYED, DeploymentRecord, DeploymentRecords, identity_of
from certbot_garr_tcs.deploy.settings import Target
from certbot_garr_tcs.storage import StateFolder

SERVER = "https://acme-v02.harica.gr/acme/11111111-1111-1111-1111-111111111111/directory"
NOW = dt.datetime.now(dt.timezone.utc)


def certificate() -> bytes:
    """Make a certificate of three names."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "www.example.it")])
    names = [x509.DNSName(f"{host}.example.it") for host in ("www", "mail", "ldap")]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - dt.timedelta(days=30))
        .not_valid_after(NOW + dt.timedelta(days=60))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def make_host(folder: Path, count: int) -> list[str]:
    """Write Certbot's folders; return the options that name them."""
    config, work, logs = (folder / name for name in ("config", "work", "logs"))
    (config / "renewal").mkdir(parents=True)
    logs.mkdir()
    pem, ini = certificate(), config / "garr-tcs.ini"
    fingerprint = x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()
    records = DeploymentRecords(StateFolder(work))
    sections = [f"[account]\ndirectory-url = {SERVER}\n"]
    log = [f"{NOW:%Y-%m-%d %H:%M:%S},000:DEBUG:certbot._internal.main:Arguments: ['-q']"]
    for number in range(count):
        name = f"host{number}.example.it"
        archive, live = config / "archive" / name, config / "live" / name
        archive.mkdir(parents=True)
        live.mkdir(parents=True)
        (archive / "cert1.pem").write_bytes(pem)
        (live / "cert.pem").symlink_to(f"../../archive/{name}/cert1.pem")
        (config / "renewal" / f"{name}.conf").write_text(
            f"# renew_before_expiry = 30 days\nversion = 5.8.0\narchive_dir = {archive}\ncert = {live}/cert.pem\n"
            f"privkey = {live}/privkey.pem\nchain = {live}/chain.pem\nfullchain = {live}/fullchain.pem\n\n"
            "# Options used in the renewal process\n[renewalparams]\naccount = 0123456789abcdef0123456789abcdef\n"
            f"authenticator = garr-tcs\ninstaller = garr-tcs\nserver = {SERVER}\nkey_type = ecdsa\n",
            encoding="utf-8",
        )
        sections.append(f"[deploy h{number}]\nlineage = {name}\nfullchain = /srv/{number}.pem\nreload = true\n")
        target = Target(f"h{number}", name, (), ini)
        record = DeploymentRecord(target.name, str(ini), name, DEPLOYED, fingerprint, NOW.timestamp(), NOW.timestamp())
        records.write(identity_of(target), record)
        log.append(f"{NOW:%Y-%m-%d %H:%M:%S},000:DEBUG:certbot._internal.display.obj:Notifying user: {name} not due")
    ini.write_text("".join(sections), encoding="utf-8")
    ini.chmod(0o600)
    (logs / "letsencrypt.log").write_text("\n".join(log) + "\n", encoding="utf-8")
    return ["--config-dir", str(config), "--work-dir", str(work), "--logs-dir", str(logs)]


def timed(options: list[str], *arguments: str) -> tuple[float, float, bytes]:
    """Run ``status``; return seconds by the clock and of CPU, and what it wrote."""
    before, started = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "certbot_garr_tcs.command", "status", *arguments, *options]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, cpu, output


def main() -> None:
    """Measure, and print a table of Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lineages", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prometheus = str(folder / "garr-tcs.prom")
        hosts = {
            "no lineage": make_host(folder / "empty", 0),
            f"{arguments.lineages} lineages, a target for each": make_host(folder / "full", arguments.lineages),
        }
        found = json.loads(timed(hosts[f"{arguments.lineages} lineages, a target for each"], "--json")[2])
        if len(found["lineages"]) != arguments.lineages or not all(each["deployments"] for each in found["lineages"]):
            sys.exit("not every lineage was seen")
        rows = []
        for title, options in hosts.items():
            for form in ((), ("--json",), ("--nagios",), ("--prometheus", prometheus)):
                runs = [timed(options, *form)[:2] for _ in range(arguments.runs)]
                clock, cpu = (statistics.median(values) for values in zip(*runs))
                rows.append(f"| {title} | `{' '.join(['status', *form[:1]])}` | {clock:.2f} | {cpu:.2f} |")
    print(f"Python {'.'.join(map(str, sys.version_info[:3]))}, {arguments.runs} runs each, medians")
    print()
    print("| host | command | seconds | of CPU |")
    print("|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
