"""``certbot-garr-tcs status``: files in, a table, JSON, metrics or one line out."""

from __future__ import annotations

import ast
import gzip
import json
import os
import random
import re
import stat
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from configobj import ConfigObj, ConfigObjError
from support.folders import open_folder
from support.needs import need
from support.pki import NOW_SECONDS, authorities, material, new_key, pem_of

from certbot_garr_tcs import command, config, lineages
from certbot_garr_tcs.certbot_log import read_renewal_runs
from certbot_garr_tcs.deploy.records import DEPLOYED, FAILED, HELD, DeploymentRecord, DeploymentRecords, identity_of
from certbot_garr_tcs.deploy.settings import Target
from certbot_garr_tcs.renewal_schedule import installed_version, next_renewal, parse_interval
from certbot_garr_tcs.status import assessment, collect
from certbot_garr_tcs.storage import StateFolder

HARICA = "https://acme-v02.harica.gr/acme/11111111-1111-1111-1111-111111111111/directory"
SECRET = "Zm9vYmFyLXNlY3JldC1mb28tYmFyLXNlY3JldC1mb28"
ACCOUNT = f"[account]\ndirectory-url = {HARICA}\neab-kid = kid-1\neab-hmac-key = {SECRET}\nemail = a@example.it\n"
NOW = datetime.fromtimestamp(NOW_SECONDS, timezone.utc)
PAGE = (Path(__file__).parents[2] / "docs" / "command.md").read_text(encoding="utf-8")


class Host:
    """A host's Certbot folders."""

    def __init__(self, folder):
        self.config, self.work, self.logs = (folder / name for name in ("config", "work", "logs"))
        self.renewal = self.config / "renewal"
        self.renewal.mkdir(parents=True)
        self.logs.mkdir()
        self.records = DeploymentRecords(StateFolder(self.work))

    def lineage(self, name, *names, ends_days=60.0, begins_days=-30.0, more="", certificate=None, **params):
        """Add a lineage; return the fingerprint of its certificate."""
        live = self.config / "live" / name
        live.mkdir(parents=True)
        if certificate is None:
            made = material(name, names or (name,), ends_days=ends_days, begins_days=begins_days)
            certificate = made.cert_pem
        (live / "cert.pem").write_bytes(certificate)
        params = {"authenticator": OURS, "installer": OURS, "server": HARICA, **params}
        lines = [
            more,
            f"cert = {live / 'cert.pem'}",
            "[renewalparams]",
            *(f"{key} = {value}" for key, value in params.items()),
        ]
        (self.renewal / f"{name}.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return lineages.read_lineage(self.renewal / f"{name}.conf").fingerprint()

    def ini(self, text, path=None):
        """Write a garr-tcs.ini; return its path."""
        path = path or self.config / "garr-tcs.ini"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path

    def record(self, name, lineage, path, **said):
        """Note a deployment."""
        target = Target(name, lineage, (), path)
        self.records.write(identity_of(target), DeploymentRecord(name, str(path), lineage, **said))

    def log(self, text, name="letsencrypt.log", at=NOW):
        """Write a log of Certbot's; ``{}`` is a time."""
        path = self.logs / name
        path.write_text(text.replace("{}", f"{at.astimezone():%Y-%m-%d %H:%M:%S},123"), encoding="utf-8")
        os.utime(path, (at.timestamp(), at.timestamp()))

    @property
    def options(self):
        """Return the options that name the folders."""
        return ["--config-dir", str(self.config), "--work-dir", str(self.work), "--logs-dir", str(self.logs)]

    def status(self, *arguments):
        """Run ``status`` in this process; return the exit status."""
        return command.main(["status", *arguments, *self.options])


OURS = "garr-tcs"


@pytest.fixture
def host(tmp_path):
    """Make a host without certificates."""
    return Host(tmp_path)


@pytest.fixture
def as_json(host, capsys):
    """Run ``status --json``; return the document."""

    def run(expected=0):
        assert host.status("--json") == expected
        return json.loads(capsys.readouterr().out)

    return run


# When Certbot renews


BEGINS = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("certbot", "days", "interval", "autorenew", "after_days", "rule"),
    [
        ((2, 1), 90, None, None, 60, "certbot-default"),
        ((3, 3), 200, None, None, 170, "certbot-default"),
        ((2, 1), 90, "10 days", None, 80, "renew_before_expiry"),
        ((4, 0), 90, None, None, 60, "certbot-default"),
        ((4, 0), 48, None, "True", 32, "certbot-default"),
        ((4, 0), 6, None, None, 3, "certbot-default"),
        ((4, 0), 90, "10 days", None, 60, "certbot-default"),
        ((4, 0), 90, "45 days", None, 45, "renew_before_expiry"),
        ((4, 1), 90, "10 days", None, 80, "renew_before_expiry"),
        ((5, 8), 10, "2 weeks", None, -4, "renew_before_expiry"),
        ((5, 8), 90, "36", None, 54, "renew_before_expiry"),
        ((5, 8), 90, "2 months", None, None, "unknown"),
        ((5, 8), 90, None, "False", None, "autorenew-off"),
    ],
)
def test_certbots_own_rule(certbot, days, interval, autorenew, after_days, rule):  # noqa: PLR0913, PLR0917
    """Version by version, as its source has it."""
    ends = BEGINS + timedelta(days=days)
    found = next_renewal(BEGINS, ends, interval=interval, autorenew=autorenew, certbot=certbot)
    expected = None if after_days is None else BEGINS + timedelta(days=after_days)
    assert (found.at, found.rule) == (expected, rule)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("30 days", 720),
        ("3 weeks 2 days", 552),
        ("1 day, 12 hours", 36),
        (" 7 ", 168),
        ("90 Minutes", 1.5),
        ("6 months", None),
        ("soon", None),
        ("", None),
        ("99999 weeks", None),
    ],
)
def test_intervals(text, hours):
    """What is not sure is left to Certbot."""
    assert parse_interval(text) == (None if hours is None else timedelta(hours=hours))


def test_the_rule_is_that_of_the_installed_certbot():
    """The oldest that is supported is 2.1."""
    assert installed_version() >= (2, 1)


# The renewal files


PIECES = (
    "key = value",
    "a.b-c = /a b/(c) $d;e=f",
    "key = ",
    'key = "quoted"',
    "key = it's",
    "list = a, b",
    "list = a,",
    "key = a # comment",
    "# comment",
    "  # comment",
    "key=value",
    "key  = value",
    "key = value  ",
    "[renewalparams]",
    "[[webroot_map]]",
    "[acme_renewal_info]",
    "[[[deeper]]]",
    "www.example.it = /var/www",
    "key = %(other)s",
    "other = 100%",
    "key = \u00e8",
    "key = '''",
    "",
    "key = \x0b",
    "[a b]",
    "k\\ey = a\\b",
    "server = https://ca.example/?x=[1]",
)


def by_configobj(text):
    """Return what ConfigObj reads, ``None`` where it refuses."""
    try:
        return ConfigObj(text.split("\n")).dict()
    except (ConfigObjError, ValueError, KeyError):
        return None


def test_a_plain_renewal_file_is_read_as_configobj_reads_it():
    """The fast way gives the same, or leaves it to ConfigObj."""
    rng, plain = random.Random(1), 0  # noqa: S311 - the same at every run
    for _ in range(20_000):
        text = "\n".join(rng.choices(PIECES, k=rng.randrange(1, 6)))
        found = lineages._parse_plain(text)
        plain += found is not None
        assert found is None or found == by_configobj(text), text
    assert plain > 1000


def test_a_renewal_file_of_certbots_is_plain():
    """Also one with a map of webroots."""
    text = (
        "# renew_before_expiry = 30 days\nversion = 5.8.0\ncert = /x/cert.pem\n\n# Options\n[renewalparams]\n"
        "server = https://ca.example/d\n[[webroot_map]]\nwww.example.it = /var/www\n"
        "[acme_renewal_info]\nari_retry_after = 2026-11-25T23:00:00\n"
    )
    assert lineages._parse_plain(text) == by_configobj(text) != {}


# The report


def test_a_lineage_as_json(host, as_json):
    """Everything that its files say, and null for what nobody knows."""
    host.ini(ACCOUNT)
    host.lineage("www.example.it", "www.example.it", "Example.IT")
    host.lineage(
        "a.example.org", server="https://acme.example.org:14000/dir", authenticator="standalone", installer="None"
    )
    document = as_json()
    assert (document["schema"], document["version"]) == ("certbot-garr-tcs status", 1)
    other, ours = document["lineages"]
    assert (other["ca"], other["authenticator"], other["installer"]) == ("acme.example.org", "standalone", None)
    assert ours == {
        **ours,
        "name": "www.example.it",
        "names": ["example.it", "www.example.it"],
        "ca": "HARICA",
        "server": HARICA,
        "authenticator": "garr-tcs",
        "installer": "garr-tcs",
        "config_file": None,
        "next_renewal_rule": "certbot-default",
        "validated_until": None,
        "deployments": [],
        "last_failure": None,
    }
    assert 59 < ours["days_left"] <= 60
    assert ours["valid_from"] < document["created"] < ours["next_renewal"] < ours["valid_until"]
    assert document["findings"] == []


def test_the_file_of_a_lineage_overrides_certbots_rule(host, as_json):
    """``renew_before_expiry`` stands above the sections."""
    host.lineage("one", more="renew_before_expiry = 50 days")
    host.lineage("two", autorenew="False")
    one, two = as_json()["lineages"]
    assert one["next_renewal_rule"] == "renew_before_expiry"
    ends, renewal = (datetime.fromisoformat(one[key].rstrip("Z")) for key in ("valid_until", "next_renewal"))
    assert ends - renewal == timedelta(days=50)
    assert (two["next_renewal"], two["next_renewal_rule"]) == (None, "autorenew-off")


def codes(document):
    """Return what was found, where."""
    return [(each["level"], each["code"], each["where"]) for each in document["findings"]]


def section(name, lineage):
    """Return a target."""
    return f"[deploy {name}]\nlineage = {lineage}\nreload = true\n"


def test_deployments(host, as_json):
    """Deployed, behind, failed, held, not yet; what left the file is not shown."""
    default = host.ini(
        ACCOUNT
        + "".join(section(name, "www") for name in ("good", "old", "red", "held", "new"))
        + section("x", "nothing")
    )
    current = host.lineage("www")
    then = (NOW - timedelta(days=2)).timestamp()
    done = {"outcome": DEPLOYED, "deployed_at_seconds": then, "tried_at_seconds": then}
    host.record("good", "www", default, fingerprint=current, **done)
    host.record("old", "www", default, fingerprint="0" * 64, **done)
    host.record(
        "red", "www", default, **{**done, "outcome": FAILED, "error": "[deploy red]: nginx -t: 1", "failures": 3}
    )
    host.record("held", "www", default, **{**done, "outcome": HELD})
    host.record("gone", "www", default, **done)
    document = as_json(expected=1)
    (lineage,) = document["lineages"]
    found = {each["target"]: (each["outcome"], each["current"], each["failures"]) for each in lineage["deployments"]}
    assert found == {
        "good": ("deployed", True, 0),
        "old": ("deployed", False, 0),
        "red": ("failed", None, 3),
        "held": ("held", None, 0),
        "new": ("pending", None, 0),
    }
    assert lineage["last_failure"]["error"] == "[deploy red]: nginx -t: 1"
    assert lineage["last_failure"]["step"] == "deployment"
    assert codes(document) == [
        ("warning", "deployment-behind", f"[deploy old] of {default}"),
        ("problem", "deployment-failed", f"[deploy red] of {default}"),
        ("note", "deployment-held", f"[deploy held] of {default}"),
        ("warning", "never-deployed", f"[deploy new] of {default}"),
        ("warning", "lineage-missing", f"[deploy x] of {default}"),
    ]


def test_lineages_of_several_files(host, as_json, tmp_path):
    """Each file's targets count, that of ``--garr-tcs-config`` too; a broken file hides no record."""
    own, broken = tmp_path / "own.ini", tmp_path / "broken.ini"
    host.ini(ACCOUNT + section("a", "one"))
    host.ini(section("b", "two"), own)
    host.ini(f"[account]\neab-hmac-key {SECRET}\n", broken)
    current = host.lineage("one")
    host.lineage("two", garr_tcs_config=str(own))
    host.lineage("three", garr_tcs_config=str(broken))
    host.record(
        "a", "one", host.config / "garr-tcs.ini", outcome=DEPLOYED, fingerprint=current, deployed_at_seconds=1.0
    )
    host.record("c", "three", broken, outcome=DEPLOYED, deployed_at_seconds=1.0, reload_pending=True)
    document = as_json(expected=1)
    found = {each["name"]: [one["target"] for one in each["deployments"]] for each in document["lineages"]}
    assert found == {"one": ["a"], "two": ["b"], "three": ["c"]}
    assert codes(document) == [
        ("problem", "configuration-unusable", str(broken)),
        ("warning", "reload-pending", f"[deploy c] of {broken}"),
        ("warning", "never-deployed", f"[deploy b] of {own}"),
    ]
    assert SECRET not in json.dumps(document)


def test_one_broken_file_among_good_ones(host, as_json):
    """The good ones are shown, the broken ones named with what to do."""
    host.lineage("good")
    (host.renewal / "bad.conf").write_text("[renewalparams\n", encoding="utf-8")
    (host.renewal / "gone.conf").symlink_to("nowhere")
    host.lineage("empty", certificate=b"nothing")
    host.lineage("no-names", certificate=pem_of(authorities()[1].sign(authorities()[1].name, new_key().public_key())))
    host.work.joinpath("garr-tcs").mkdir(parents=True)
    (host.work / "garr-tcs" / "deployed-1234.json").write_text("{", encoding="utf-8")
    document = as_json(expected=1)
    assert [each["name"] for each in document["lineages"]] == ["empty", "good", "no-names"]
    assert codes(document) == [
        ("problem", "renewal-file-broken", str(host.renewal / "bad.conf")),
        ("problem", "renewal-file-unreadable", str(host.renewal / "gone.conf")),
        ("problem", "record-unreadable", str(host.work / "garr-tcs")),
        ("problem", "certificate-unreadable", "empty"),
    ]
    assert all(each["next_step"] for each in document["findings"])
    assert document["lineages"][0]["days_left"] is None


def test_expired_and_overdue(host, as_json):
    """The first is a problem; the CA may have asked for a later renewal than Certbot's."""
    host.lineage("late", begins_days=-80.0, ends_days=10.0)
    host.lineage("over", ends_days=-0.5)
    assert codes(as_json(expected=1)) == [("warning", "renewal-overdue", "late"), ("problem", "expired", "over")]


# Certbot's logs

START = "{}:DEBUG:certbot._internal.main:Arguments: ['-q', '--no-random-sleep-on-renew']\n"
FINE = "{}:DEBUG:certbot._internal.renewal:no renewal failures\n"
RED = "{}:ERROR:certbot._internal.renewal:Failed to renew certificate www with error: \x1b[31mthe CA says no\n"
END = "{}:ERROR:certbot._internal.log:1 renew failure(s), 0 parse failure(s)\n"
TRACE = "Traceback (most recent call last):\n  File\n"


def test_a_failed_renewal_in_certbots_log(host, as_json):
    """It counts until there is a newer certificate, or a run without any failure."""
    host.lineage("www")
    os.utime(host.config / "live" / "www" / "cert.pem", (1, 1))
    host.log(START + FINE, "letsencrypt.log.2", NOW - timedelta(days=2))
    host.log(START + RED + TRACE + END, "letsencrypt.log.1", NOW - timedelta(days=1))
    host.log("{}:DEBUG:certbot._internal.main:Arguments: []\n")
    document = as_json(expected=1)
    assert document["lineages"][0]["last_failure"]["error"] == "the CA says no"
    assert codes(document) == [("problem", "renewal-failed", "www")]
    runs = document["certbot"]
    assert runs["last_renew_success"] < runs["last_renew_run"] < document["created"]
    (host.config / "live" / "www" / "cert.pem").touch()
    assert as_json()["lineages"][0]["last_failure"] is None


@pytest.mark.parametrize(
    ("log", "failures"),
    [
        (START + RED, ["www"]),
        (START + RED + START + FINE, []),
        (START + RED + START.replace("'-q'", "'--cert-name', 'other'") + FINE, ["www"]),
        (START + RED + START.replace("'-q'", "'--dry-run'") + FINE, ["www"]),
        ("something else\n" + TRACE, []),
    ],
)
def test_a_later_run_makes_good(host, log, failures):
    """Only a run for all certificates says something of all."""
    host.log(log)
    assert list(read_renewal_runs(host.logs).failures) == failures


def test_rotated_logs(host):
    """They may be packed (logrotate); one that is cut off, or no log at all, is passed over."""
    packed = gzip.compress((START + FINE).replace("{}", "2026-01-02 03:04:05,678").encode())
    (host.logs / "letsencrypt.log.3.gz").write_bytes(packed)
    (host.logs / "letsencrypt.log.2.gz").write_bytes(packed[:20])
    (host.logs / "letsencrypt.log.1").mkdir()
    (host.logs / "other.log").write_text("x", encoding="utf-8")
    runs = read_renewal_runs(host.logs)
    assert runs.last_run == runs.last_success == datetime(2026, 1, 2, 3, 4, 5).astimezone()


def test_a_timer_that_stands_still(host, as_json):
    """The log says when it last ran."""
    host.log(START + FINE, at=NOW - timedelta(days=4))
    assert codes(as_json()) == [("warning", "renew-not-running", "certbot renew")]


def test_a_failed_deployment_is_not_two_failures(host, as_json):
    """Certbot logs it as a renewal; once it is repaired, its record says so before Certbot runs again."""
    path = host.ini(ACCOUNT + section("www", "www"))
    current = host.lineage("www")
    os.utime(host.config / "live" / "www" / "cert.pem", (1, 1))
    host.log(START + RED.replace("the CA", "deploy: [deploy www]: nginx"), at=NOW - timedelta(hours=1))
    assert as_json(expected=1)["lineages"][0]["last_failure"]["step"] == "renewal"  # as far as is known
    later = NOW.timestamp()
    host.record(
        "www", "www", path, outcome=DEPLOYED, fingerprint=current, deployed_at_seconds=later, tried_at_seconds=later
    )
    assert as_json()["lineages"][0]["last_failure"] is None


# The table


def test_the_table(host, capsys):
    """One line for each lineage, in columns; findings below, with what to do."""
    path = host.ini(ACCOUNT + section("web", "www.example.it") + section("mail", "www.example.it"))
    current = host.lineage("www.example.it", "www.example.it", "example.it")
    host.lineage("b", ends_days=-1, installer="nginx", server="https://acme-v02.api.letsencrypt.org/directory")
    host.record("web", "www.example.it", path, outcome=DEPLOYED, fingerprint=current, deployed_at_seconds=1.7e9)
    host.log(START + FINE)
    assert host.status() == 1
    lines = capsys.readouterr().out.splitlines()
    heading, other, ours = (line.split("  ") for line in lines[:3])
    assert [cell.strip() for cell in heading if cell.strip()] == [
        "LINEAGE", "CA", "DAYS LEFT", "NEXT RENEWAL", "VALIDATED UNTIL", "DEPLOYED", "LAST FAILURE", "NAMES",
    ]  # fmt: skip
    assert [cell.strip() for cell in other if cell.strip()] == [
        "b", "acme-v02.api.letsencrypt.org", "expired", "due", "not known", "by nginx", "-", "b",
    ]  # fmt: skip
    cells = [cell.strip() for cell in ours if cell.strip()]
    assert cells[:3] == ["www.example.it", "HARICA", "59"]
    assert cells[4:] == ["not known", "web since 2023-11-14, mail not yet", "-", "example.it, www.example.it"]
    assert lines[4].startswith("Last run of certbot renew for all certificates: 20")
    assert "PROBLEM: b" in lines
    assert "  Run: certbot renew --cert-name b" in lines


@pytest.mark.parametrize(
    ("width", "shown"), [(400, "n0, n1, n2, n3, n4"), (40, "n0, n1, n2, n3, n4"), (1, "n0, n1, n2, n3, n4")]
)
def test_short_names_fit(host, capsys, monkeypatch, width, shown):
    """A narrow terminal still shows a few."""
    host.lineage("l", *(f"n{number}" for number in range(5)))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    host.status()
    assert capsys.readouterr().out.splitlines()[1].endswith(shown)


def test_many_names_are_cut_at_a_terminal_alone(host, capsys, monkeypatch):
    """As many as fit, and how many more there are; without a terminal, all of them."""
    host.lineage("l", *(f"host{number}.example.it" for number in range(9)))
    host.status()
    assert "host8.example.it" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "140")
    host.status()
    line = capsys.readouterr().out.splitlines()[1]
    assert line.endswith("host0.example.it, host1.example.it +7")
    assert len(line) <= 140


def test_other_words_of_the_table(host, capsys, monkeypatch):
    """A lineage that is not renewed; a name that is too long; one that would move the cursor; another installer."""
    host.ini(ACCOUNT + section("web", "a"))
    host.lineage("a", "a\x1b[2Jb.example.it", autorenew="False", installer="nginx")
    host.lineage("b", f"{'x' * 60}.example.it")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    host.status()
    out = capsys.readouterr().out
    assert re.search(r"(?m)^a +HARICA +59  off +not known +web not yet +- +ab.example.it$", out)
    assert re.search(r"(?m)^b .* xxxxxxxxxxxxxxxxx\.\.\.$", out)
    assert "run once: certbot install --garr-tcs --cert-name a\n" in out


def test_no_certificates(host, capsys):
    """That is said, and is no error: this may be the first day."""
    assert host.status() == 0
    assert capsys.readouterr().out == f"No certificates: there is no renewal file in {host.renewal}.\n"


# Prometheus


def families(text):
    """Parse metrics as Prometheus's own client does."""
    try:
        from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415
    except ImportError:
        need(present=False, what="prometheus_client (extra: test)")
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_metrics(host, tmp_path):
    """Prometheus's parser reads them; the file can be read by node_exporter, whatever the umask."""
    path = host.ini(ACCOUNT + section("web", "www") + section("new", "www"))
    current = host.lineage("www")
    host.lineage('odd"\\name', certificate=b"")
    host.record(
        "web", "www", path, outcome=DEPLOYED, fingerprint=current, deployed_at_seconds=5.0, tried_at_seconds=6.0
    )
    host.log(START + FINE)
    output = tmp_path / "garr-tcs.prom"
    output.write_text("old", encoding="utf-8")
    before = os.umask(0o077)
    try:
        assert host.status("--prometheus", str(output)) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(output.stat().st_mode) == 0o644
    found = families(output.read_text(encoding="utf-8"))
    assert all(family.documentation and family.type == "gauge" for family in found.values())
    values = {
        (
            family.name.removeprefix("garr_tcs_"),
            sample.labels.get("target") or sample.labels.get("lineage") or sample.labels.get("level"),
        ): sample.value
        for family in found.values()
        for sample in family.samples
    }
    assert values["certificate_readable", 'odd"\\name'] == 0
    assert values["certificate_readable", "www"] == 1
    assert abs(values["certificate_expiry_timestamp_seconds", "www"] - (NOW + timedelta(days=60)).timestamp()) < 5
    assert values["deployment_timestamp_seconds", "web"] == 5
    assert values["deployment_attempt_timestamp_seconds", "web"] == 6
    assert values["deployment_failed", "web"] == values["deployment_failed", "new"] == 0
    assert values["deployment_current", "web"] == 1
    assert values["findings", "problem"] == 1
    assert abs(values["renew_success_timestamp_seconds", None] - NOW.timestamp()) < 2
    assert values["status_timestamp_seconds", None] >= NOW.timestamp() - 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["config", "garr-tcs.prom", "logs", "work"]


def test_metrics_without_a_place(host, tmp_path, capsys):
    """Nothing was written: that is an error, and what was there stays."""
    assert host.status("--prometheus", str(tmp_path / "missing" / "x.prom")) == 1
    assert "missing/x.prom: No such file or directory" in capsys.readouterr().err


# Nagios


@pytest.mark.parametrize(
    ("lineage", "arguments", "expected", "text"),
    [
        ({}, [], 0, "CERTIFICATES OK - 1 certificates, www ends first, in 60 days | days_left="),
        ({"ends_days": 13.5, "begins_days": -60}, [], 1, "CERTIFICATES WARNING - www ends in 13.5 days | "),
        ({"ends_days": 6.5, "begins_days": -60}, [], 2, "CERTIFICATES CRITICAL - www ends in 6.5 days | "),
        ({"ends_days": -1}, [], 2, "CERTIFICATES CRITICAL - www has expired | "),
        ({"ends_days": 59.5}, ["--warning", "60"], 1, "CERTIFICATES WARNING - www ends in 59.5 days | "),
        ({"ends_days": 59.5}, ["--critical", "60"], 2, "CERTIFICATES CRITICAL - www ends in 59.5 days | "),
        ({"ends_days": 5, "begins_days": -1}, [], 0, "CERTIFICATES OK - "),
        ({"ends_days": 1, "begins_days": -5}, [], 1, "CERTIFICATES WARNING - www ends in 1.0 days | "),
        ({"certificate": b""}, [], 3, "CERTIFICATES UNKNOWN - www: Its certificate cannot be read. | certificates=1"),
        (None, [], 3, "CERTIFICATES UNKNOWN - there is no renewal file in "),
    ],
)
def test_nagios(host, capsys, lineage, arguments, expected, text):  # noqa: PLR0913, PLR0917
    """One line, and the exit status that Nagios expects."""
    if lineage is not None:
        host.lineage("www", **lineage)
    assert host.status("--nagios", *arguments) == expected
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(text)
    assert line.endswith("failed_renewals=0 failed_deployments=0")


def test_nagios_with_several_reasons(host, capsys):
    """The worst comes first; a pipe sign and a line break of somebody else's cannot break the line."""
    path = host.ini(ACCOUNT + section("web", "ok"))
    host.lineage("ok")
    host.record("web", "ok", path, outcome=FAILED, error="a | b\nc")
    (host.renewal / "bad.conf").write_text("[", encoding="utf-8")
    for number in range(3):
        host.lineage(f"old{number}", ends_days=-2 - number)
    assert host.status("--nagios") == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(
        "CERTIFICATES CRITICAL - old2 has expired; old1 has expired; old0 has expired; and 2 more | "
    )
    assert line.endswith("certificates=4 failed_renewals=0 failed_deployments=1")
    for number in range(3):
        (host.renewal / f"old{number}.conf").unlink()
    assert host.status("--nagios") == 1
    assert re.search(r"a / b c \| days_left=(59|60)\.\d\d;14:;7: certificates=1", capsys.readouterr().out)


@pytest.mark.parametrize("days", ["-1", "x", "nan", "inf"])
def test_days_are_numbers(host, days, capsys):
    """Argparse says so."""
    with pytest.raises(SystemExit):
        host.status("--nagios", "--warning", days)
    assert "is no number of days" in capsys.readouterr().err


# Bad days


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_sees_what_can_be_seen(capsys):
    """Names of lineages and their CA; what could not be read is said."""
    with open_folder() as folder:
        host = Host(folder)
        host.ini(ACCOUNT)
        host.lineage("www")
        for hidden in (host.config / "live", host.logs, host.work / "garr-tcs"):
            hidden.mkdir(parents=True, exist_ok=True)
            hidden.chmod(0o700)
        host.status()  # which imports all that is needed: another user may not be able to read this Python
        capsys.readouterr()
        config._load_once.cache_clear()
        os.seteuid(65534)
        try:
            assert host.status("--json") == 1
            document = json.loads(capsys.readouterr().out)
        finally:
            os.seteuid(0)
        host.renewal.chmod(0o700)
        os.seteuid(65534)
        try:
            assert host.status("--nagios") == 3
        finally:
            os.seteuid(0)
    assert "renewal: It cannot be read: Permission denied." in capsys.readouterr().out
    assert [(each["name"], each["ca"], each["valid_until"]) for each in document["lineages"]] == [
        ("www", "HARICA", None)
    ]
    assert [each["code"] for each in document["findings"]] == [
        "state-unreadable",
        "configuration-unusable",
        "logs-unreadable",
        "certificate-unreadable",
    ]
    assert "usually root" in document["findings"][-1]["next_step"]


def test_ascii_terminals(host):
    """LANG=C, and a reader that knows nothing but ASCII."""
    host.lineage("w\u00e8b", "www.example.it")
    environment = {**os.environ, "LANG": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    program = [sys.executable, "-m", "certbot_garr_tcs.command", "status", *host.options]
    result = subprocess.run(program, capture_output=True, text=True, check=False, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert "w\\xe8b" in result.stdout


# The documentation


def finding_codes():
    """Return the code and the level of every finding that the report can have."""
    found = {}
    text = "".join(Path(module.__file__).read_text(encoding="utf-8") for module in (assessment, collect))
    for node in ast.walk(ast.parse(text.replace("from __future__ import annotations", ""))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name == "Finding" and isinstance(node.args[1], ast.Constant):
            found[node.args[1].value] = node.args[0].attr.lower()
        elif name in {"_unseen", "of_error"}:
            found[node.args[0].value] = "problem"
    return found


def test_the_page_has_every_code():
    """In the row of its level; and no code that does not exist."""
    rows = re.findall(r"(?m)^\| (problem|warning|note) \| (.*) \|$", PAGE)
    documented = {code: level for level, row in rows for code in re.findall(r"`([a-z-]+)`", row)}
    assert documented == finding_codes()
    assert len(documented) > 15


def test_the_page_has_every_key_and_every_metric(host, as_json, tmp_path):
    """Of a document and of metrics where everything is there."""
    path = host.ini(ACCOUNT + section("web", "www"))
    current = host.lineage("www")
    host.record("web", "www", path, outcome=FAILED, fingerprint=current, deployed_at_seconds=5.0, tried_at_seconds=6.0)
    host.log(START + FINE)
    document = as_json(expected=1)
    lineage = document["lineages"][0]
    keys = {*document, *lineage, *lineage["deployments"][0], *lineage["last_failure"], *document["findings"][0]}
    shown = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]+)`", re.sub(r"(?s)```.*?```", "", PAGE)))))
    assert keys | set(document["certbot"]) <= shown
    host.status("--prometheus", str(tmp_path / "x.prom"))
    names = re.findall(r"(?m)^# TYPE garr_tcs_(\w+) gauge$", (tmp_path / "x.prom").read_text(encoding="utf-8"))
    assert len(names) == 12
    assert set(names) <= shown
