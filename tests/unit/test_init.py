"""``certbot-garr-tcs init``: from the portal's strings to a garr-tcs.ini, and nothing shown on the way."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from certbot_garr_tcs import command, config
from certbot_garr_tcs.account.settings import KEYS as ACCOUNT_KEYS
from certbot_garr_tcs.challenges.settings import KEYS as SOLVER_KEYS
from certbot_garr_tcs.deploy.settings import KEYS as TARGET_KEYS
from certbot_garr_tcs.errors import ConfigError
from certbot_garr_tcs.init import files
from certbot_garr_tcs.init.answers import Answers, answer_problem, read_answers
from certbot_garr_tcs.init.template import TEMPLATE

HARICA = "https://acme-v02.harica.gr/acme/11111111-1111-1111-1111-111111111111/directory"
KEY_ID = "kid-0123456789abcdef"
HMAC_KEY = "Zm9vYmFyLXNlY3JldC1mb28tYmFyLXNlY3JldC1mb28"
DIRECTORY = {"newNonce": "/n", "newAccount": "/a", "newOrder": "/o"}
EAB = {**DIRECTORY, "meta": {"externalAccountRequired": True, "termsOfService": "https://ca.example/terms"}}
TCS_GARR = f"""\
Getting info for ACME account: 42

\x1b[32mweb servers\x1b[0m (University of Example) - admin@example.it
  ID: 42
  Status: \x1b[32mENABLED\x1b[0m
  Type: SSL OV
  Created: 2026-01-01 10:00:00
  Last time used: N/A
  ACME URL: {HARICA}
  Key ID: {KEY_ID}
  HMAC Key: {HMAC_KEY}
"""


@pytest.fixture
def directory():
    """Serve what a test wants to be the CA's directory; plain HTTP is for this machine alone."""
    answer = {"status": 200, "body": json.dumps(EAB)}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answer["status"])
            self.end_headers()
            self.wfile.write(answer["body"].encode())
            answer.setdefault("paths", []).append(self.path)

        def log_message(self, *_):
            """Stay quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        answer["url"] = f"http://127.0.0.1:{server.server_port}/directory"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield answer
        server.shutdown()
        thread.join()


@pytest.fixture
def init(tmp_path, monkeypatch, capsys):
    """Run ``init`` with a text on standard input; return exit status, output and errors."""

    def run(*arguments, stdin=None):
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin or ""))
        source = [] if stdin is None else ["--from", "-"]
        status = command.main(["init", *source, *arguments, "--config-dir", str(tmp_path / "le")])
        captured = capsys.readouterr()
        assert HMAC_KEY not in captured.out + captured.err
        return status, captured.out, captured.err

    run.ini = tmp_path / "le" / "garr-tcs.ini"
    return run


def answers_for(url):
    """Return a portal's strings."""
    return f"Server URL: {url}\nKey ID: {KEY_ID}\nHMAC Key: {HMAC_KEY}\n"


# What portals show


@pytest.mark.parametrize(
    "text",
    [
        TCS_GARR,
        answers_for(HARICA),
        f"Server URL\n{HARICA}\nKey ID\n{KEY_ID}\n\nHMAC Key\n\n{HMAC_KEY}\n",
        json.dumps({"acmeServerUrl": HARICA, "keyId": KEY_ID, "hmacKey": HMAC_KEY}, indent=2),
        f"[account]\ndirectory-url = {HARICA}\neab_kid = '{KEY_ID}'\neab-hmac-key = {HMAC_KEY}\nagree-tos = yes\n",
        f"- server url = {HARICA}\r\n- EAB Key ID = {KEY_ID}\r\n- EAB HMAC Key = {HMAC_KEY}\r\n",
        f"{TCS_GARR}\n{TCS_GARR}",
    ],
)
def test_texts_that_are_understood(text):
    """Labels, in whatever form; the same strings may stand there twice."""
    assert read_answers(text, "x") == Answers(HARICA, KEY_ID, HMAC_KEY)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TCS_GARR + TCS_GARR.replace(KEY_ID, "kid-2"), "x has more than one Key ID"),
        (TCS_GARR.replace("ENABLED", "DISABLED"), "x: the account is disabled in the CA's portal"),
    ],
)
def test_texts_that_are_refused(text, problem):
    """Two accounts, or one that issues nothing."""
    with pytest.raises(ConfigError, match=problem) as caught:
        read_answers(text, "x")
    assert HMAC_KEY not in str(caught.value)


def test_what_is_not_there_is_missing():
    """As in the list of accounts, which shows no secrets."""
    text = TCS_GARR.replace(HMAC_KEY, "N/A").replace(f"Key ID: {KEY_ID}\n", "")
    assert read_answers(text, "x").missing() == ["eab_kid", "eab_hmac_key", "email"]
    assert HMAC_KEY not in repr(read_answers(TCS_GARR, "x"))


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("directory_url", HARICA, None),
        ("directory_url", "https://acme-v02.harica.gr/acme/<uuid>/directory", "still has a placeholder"),
        ("directory_url", "https://cm.harica.gr", "is not HARICA's whole Server URL"),
        ("eab_kid", KEY_ID, None),
        ("eab_kid", "a b", "has a blank inside"),
        ("eab_kid", "kid#1", None),
        ("eab_hmac_key", HMAC_KEY, None),
        ("eab_hmac_key", "Zm9v", "is cut off"),
        ("eab_hmac_key", "not base64!", "is no base64url"),
        ("email", "ced@example.it", None),
        ("email", "ced", "is no e-mail address"),
        ("email", "ced@example.it\nagree-tos = yes", "has a line break"),
    ],
)
def test_answers_have_the_checks_of_the_file(name, value, problem):
    """One by one, so that a person can be asked again."""
    found = answer_problem(Answers(), name, value)
    assert found is None if problem is None else problem in found


# Writing


def test_the_file(init, directory):
    """0600 from the first byte on, what was given and no more, and the one command to type."""
    before = os.umask(0)
    try:
        status, out, err = init("--email", "ced@example.it", "--agree-tos", stdin=answers_for(directory["url"]))
    finally:
        os.umask(before)
    assert (status, err) == (0, "")
    assert stat.S_IMODE(init.ini.stat().st_mode) == 0o600
    assert stat.S_IMODE(init.ini.parent.stat().st_mode) == 0o755
    assert init.ini.read_text(encoding="utf-8") == (
        f"[account]\ndirectory-url = {directory['url']}\neab-kid = {KEY_ID}\neab-hmac-key = {HMAC_KEY}\n"
        "email = ced@example.it\nagree-tos = yes\n"
    )
    account = config.load(init.ini).account
    assert (account.eab.key_id, account.eab.hmac_key, account.agree_tos) == (KEY_ID, HMAC_KEY, True)
    assert directory["paths"] == ["/directory"]  # nothing was registered
    assert "asks for external account binding" in out
    assert out.endswith(f"\n    certbot run --garr-tcs -d www.example.it --config-dir {init.ini.parent}\n\n")
    assert list(init.ini.parent.iterdir()) == [init.ini]


def test_another_file_and_other_folders_are_in_the_next_command(init, directory, tmp_path):
    """What is not Certbot's default has to be typed."""
    other = tmp_path / "o w n.ini"
    status, out, _ = init(
        *("--email", "a@b.it", "--garr-tcs-config", str(other), "--work-dir", "/w"), stdin=answers_for(directory["url"])
    )
    assert status == 0
    assert f"--garr-tcs-config '{other}' --config-dir {init.ini.parent} --work-dir /w\n" in out
    assert "The terms of service are not agreed to" in out
    assert config.load(other).account.agree_tos is None


def test_a_file_that_is_there_stays(init, directory):
    """Unless the user says otherwise: then what is not about the account stays, and the old file is kept."""
    init.ini.parent.mkdir()
    old = (
        f"# mine\n[account]\neab-kid = old\neab-hmac-key = {'B' * 43}\n"
        "# the web\n[deploy www]\nlineage = w\nreload = x\n"
    )
    init.ini.write_text(old, encoding="utf-8")
    init.ini.chmod(0o600)
    arguments = ["--email", "a@b.it"]
    status, _, err = init(*arguments, stdin=answers_for(directory["url"]))
    assert (status, "is there already, and stays as it is. To replace" in err) == (1, True)
    assert "paths" not in directory
    assert init.ini.read_text(encoding="utf-8") == old
    status, out, _ = init(*arguments, "--force", stdin=answers_for(directory["url"]))
    (kept,) = init.ini.parent.glob("*.old")
    assert status == 0
    assert f"The old file is kept as {kept}" in out
    assert (kept.read_text(encoding="utf-8"), stat.S_IMODE(kept.stat().st_mode)) == (old, 0o600)
    text = init.ini.read_text(encoding="utf-8")
    assert text.startswith(f"# mine\n[account]\ndirectory-url = {directory['url']}\n")
    assert text.endswith("email = a@b.it\n\n# the web\n[deploy www]\nlineage = w\nreload = x\n")
    assert stat.S_IMODE(init.ini.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", "NEW"),
        ("# only a comment\n", "NEW# only a comment\n"),
        ("[dns-01]\nserver = s\n", "NEW[dns-01]\nserver = s\n"),
        ("[account]\nca = harica\n", "NEW"),
        ("[dns-01]\na = b\n\n[ Account ]\nca = x\n\n# c\n[deploy x]\n", "[dns-01]\na = b\n\nNEW\n# c\n[deploy x]\n"),
    ],
)
def test_only_the_account_is_replaced(tmp_path, old, new):
    """Comments right above the next heading belong to it."""
    path = tmp_path / "x.ini"
    path.write_text(old, encoding="utf-8")
    path.chmod(0o600)
    assert files.merged(path, "NEW").replace("NEW\n", "NEW") == new


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    """Two administrators at once: the second one hears of it, and nothing is left behind."""
    path = tmp_path / "x.ini"
    now = datetime.now(timezone.utc)
    assert files.write(path, "first", now) is None
    backup = files.write(path, "second", now)
    assert backup.read_text(encoding="utf-8") == "first"
    with pytest.raises(ConfigError, match="has appeared meanwhile"):
        files.write(path, "third", now)
    assert path.read_text(encoding="utf-8") == "second"
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(["x.ini", backup.name])


def test_the_place_is_looked_at_before_anything_is_asked(init, tmp_path):
    """A file where the folder should be; a folder of somebody else."""
    (tmp_path / "le").write_text("", encoding="utf-8")
    status, _, err = init(stdin="")
    assert (status, "cannot be written by this user" in err) == (1, True)
    with pytest.raises(ConfigError, match=r"cannot write /proc/x/y.ini: .*Nothing has changed"):
        files.write(Path("/proc/x/y.ini"), "x", datetime.now(timezone.utc))


# What is missing or wrong


@pytest.mark.parametrize(
    ("arguments", "stdin", "problem"),
    [
        ((), None, "missing: Server URL, Key ID, HMAC Key, e-mail address. Run the command at a terminal"),
        (("-n",), "Key ID: kid", "missing: Server URL, HMAC Key, e-mail address."),
        (("--from", "/nowhere/x"), None, "cannot read /nowhere/x: No such file or directory"),
        (("--email", "x"), TCS_GARR, "the e-mail address cannot be used: [account] email is no e-mail address"),
        (
            ("--email", "a@b.it"),
            TCS_GARR.replace(KEY_ID, "a b"),
            "the Key ID cannot be used: [account] eab-kid has a blank",
        ),
        (
            ("--email", "a@b.it"),
            answers_for(HARICA).replace(KEY_ID, "x").replace(HMAC_KEY, KEY_ID).replace(": x", f": {'Ab1' * 15}"),
            "eab-kid and eab-hmac-key are swapped",
        ),
    ],
)
def test_nothing_is_written(init, arguments, stdin, problem):
    """All that is missing is named at once; what is wrong is said without being shown."""
    status, _, err = init(*arguments, stdin=stdin)
    assert status == 1
    assert problem in err
    assert not init.ini.exists()


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (404, "", "has no such directory (HTTP 404). Copy the whole Server URL again from the CA's portal."),
        (503, "", "does not give its directory: HTTP 503 Service Unavailable"),
        (200, "<html>", "answers at this URL, but not with an ACME directory"),
        (200, '["newNonce", "newAccount", "newOrder"]', "but not with an ACME directory"),
        (200, '{"newNonce": "/n"}', "but not with an ACME directory"),
    ],
)
def test_a_directory_that_is_none(init, directory, status, body, problem):
    """Before anything is written, unless the user wants no check."""
    directory.update(status=status, body=body)
    arguments = ["--email", "a@b.it", "--directory-url", directory["url"]]
    code, _, err = init(*arguments, stdin=f"Key ID: {KEY_ID}\nHMAC Key: {HMAC_KEY}\n")
    assert (code, problem in err, "--no-check writes the file" in err) == (1, True, True)
    assert not init.ini.exists()
    code, out, _ = init(*arguments, "--no-check", stdin=f"Key ID: {KEY_ID}\nHMAC Key: {HMAC_KEY}\n")
    assert (code, "ACME directory" in out) == (0, False)
    assert init.ini.exists()


def test_nobody_answers(init):
    """The words are those of a renewal that meets the same."""
    status, _, err = init("--email", "a@b.it", stdin=answers_for("http://127.0.0.1:1/directory"))
    assert (status, "There is no connection with 127.0.0.1:1 (Connection refused)" in err) == (1, True)


def test_a_ca_that_needs_no_eab(init, directory):
    """That may be the wrong directory; there are no terms to agree to."""
    directory["body"] = json.dumps(DIRECTORY)
    status, out, _ = init("--email", "a@b.it", stdin=answers_for(directory["url"]))
    assert status == 0
    assert "It does not ask for external account binding (EAB)." in out
    assert "terms of service" not in out


def test_a_url_of_an_unusual_form_gets_the_notice_of_a_registration(init):
    """The same words as Certbot's run has."""
    url = "https://acme-v03.harica.gr/acme/11111111-1111-1111-1111-111111111111/directory"
    _, out, _ = init("--email", "a@b.it", "--no-check", stdin=answers_for(url))
    assert "directory-url is unlike those that HARICA is known to give" in out


# At a terminal


class Terminal:
    """``init`` at a terminal of its own."""

    def __init__(self, folder, *arguments):
        self._own, theirs = os.openpty()
        program = [sys.executable, "-m", "certbot_garr_tcs.command", "init", *arguments, "--config-dir", str(folder)]
        self.process = subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        self.seen = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self._own)

    def wait_for(self, text):
        """Read until a text comes."""
        while text not in self.seen:
            assert select.select([self._own], [], [], 60)[0], self.seen
            try:
                self.seen += os.read(self._own, 4096).decode()
            except OSError:  # the other end is closed
                break
        assert text in self.seen, self.seen

    def answer(self, prompt, text):
        """Wait for a prompt, and type a line."""
        self.wait_for(prompt)
        self.seen = self.seen.partition(prompt)[2]
        os.write(self._own, f"{text}\n".encode())

    def end(self):
        """Return the exit status, and read the rest."""
        with contextlib.suppress(AssertionError):
            self.wait_for("\0")
        return self.process.wait(60)


def test_questions(tmp_path, directory):
    """A wrong answer is asked for again; the HMAC key never shows; the terms need a clear yes."""
    with Terminal(tmp_path) as terminal:
        terminal.answer("Server URL: ", "ftp://x")
        terminal.wait_for("directory-url is no URL of the form https://host/path")
        terminal.answer("Server URL: ", directory["url"])
        terminal.answer("Key ID: ", "")
        terminal.wait_for("The Key ID is needed.")
        terminal.answer("Key ID: ", KEY_ID)
        terminal.answer("(it does not show while you type or paste): ", "Zm9v")
        terminal.wait_for("eab-hmac-key is cut off")
        assert "Zm9v" not in terminal.seen
        terminal.answer("(it does not show while you type or paste): ", HMAC_KEY)
        terminal.answer("E-mail address for messages of the CA: ", "ced@example.it")
        terminal.answer("https://ca.example/terms ? [y/N] ", "y")
        assert terminal.end() == 0
        assert "certbot run --garr-tcs -d www.example.it" in terminal.seen
        assert HMAC_KEY not in terminal.seen
    account = config.load(tmp_path / "garr-tcs.ini").account
    assert (account.eab.hmac_key, account.email, account.agree_tos) == (HMAC_KEY, "ced@example.it", True)


def test_only_what_is_missing_is_asked(tmp_path, directory):
    """And no is an answer about the terms."""
    source = tmp_path / "portal.txt"
    source.write_text(answers_for(directory["url"]), encoding="utf-8")
    with Terminal(tmp_path, "--from", str(source)) as terminal:
        terminal.answer("E-mail address for messages of the CA: ", "a@b.it")
        terminal.answer("[y/N] ", "")
        assert terminal.end() == 0
        assert "The terms of service are not agreed to" in terminal.seen
    assert config.load(tmp_path / "garr-tcs.ini").account.agree_tos is None


@pytest.mark.parametrize(("how", "status"), [("interrupt", 130), ("end of input", 1)])
def test_ending_in_the_middle(tmp_path, how, status):
    """Nothing was written, and no traceback is shown."""
    with Terminal(tmp_path) as terminal:
        terminal.answer("Server URL: ", HARICA)
        terminal.wait_for("Key ID: ")
        if how == "interrupt":
            # Once may come between the prompt and the reading, where Python notices it at the next key only.
            while terminal.process.poll() is None:
                terminal.process.send_signal(signal.SIGINT)
                time.sleep(0.2)
        else:
            os.write(terminal._own, b"\x04")
        assert terminal.end() == status
        assert "Traceback" not in terminal.seen
    assert list(tmp_path.iterdir()) == []


# The template


def uncommented(text, alternatives=()):
    """Take the # away, and put the alternatives in the place of the key that they stand for."""
    for name in alternatives:
        replaced = name.removesuffix("-file")
        text = re.sub(rf"(?m)^#{re.escape(replaced)} = .*\n", "", text, count=1)
        text = re.sub(rf"(?m)^#or ({re.escape(name)} = )", r"#\1", text)
    lines = [line[1:] if re.match(r"#(\[|[a-z0-9-]+ = )", line) else line for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def filled(text, folder):
    """Put strings where the template has placeholders, and files of this folder where it names some."""
    for name in ("eab-kid", "staging-eab-kid"):
        (folder / name).write_text(KEY_ID, encoding="utf-8")
    for name in ("eab-hmac-key", "staging-eab-hmac-key"):
        (folder / name).write_text(HMAC_KEY, encoding="utf-8")
    (folder / "tsig-secret").write_text("c2VjcmV0", encoding="utf-8")
    (folder / "acme.key").write_text('key "acme" { algorithm hmac-sha256; secret "c2VjcmV0"; };', encoding="utf-8")
    for file in folder.iterdir():
        file.chmod(0o600)
    placeholders = {
        "<uuid>": "11111111-1111-1111-1111-111111111111",
        "<Key ID>": KEY_ID,
        "<HMAC Key>": HMAC_KEY,
        "<TSIG secret>": "c2VjcmV0",
        "/etc/letsencrypt/": f"{folder}/",
    }
    for placeholder, value in placeholders.items():
        text = text.replace(placeholder, value)
    return text


ALTERNATIVES = (
    "eab-kid-file",
    "eab-hmac-key-file",
    "staging-eab-kid-file",
    "staging-eab-hmac-key-file",
    "tsig-secret-file",
)


@pytest.mark.parametrize("alternatives", [(), ALTERNATIVES])
def test_the_template_is_a_good_file(tmp_path, alternatives):
    """Once the # is taken away and the portal's strings are in."""
    found = config.parse(filled(uncommented(TEMPLATE, alternatives), tmp_path), tmp_path / "garr-tcs.ini")
    assert found.account.eab.key_id == found.account.staging_eab.key_id == KEY_ID
    assert [each.title for each in found.solvers] == [
        "[dns-01 example.it]",
        "[dns-01 example.com]",
        "[http-01 www.example.org]",
    ]
    assert found.solvers[1].method.tsig.secret == "c2VjcmV0"
    assert [each.name for each in found.targets] == ["mail", "www"]


def test_the_template_as_it_is_says_nothing(tmp_path):
    """Every line is a comment: somebody who saves it has not configured anything."""
    assert config.parse(TEMPLATE, tmp_path / "x") == config.Configuration(tmp_path / "x")


@pytest.mark.parametrize(
    ("kind", "keys"),
    [("account", ACCOUNT_KEYS), ("dns-01", SOLVER_KEYS), ("http-01", ("via",)), ("deploy", TARGET_KEYS)],
)
def test_the_template_has_every_key(kind, keys):
    """In a section where it may stand."""
    sections = re.split(r"(?m)^#(?=\[)", TEMPLATE)
    mine = "\n".join(each for each in sections if re.match(rf"\[{kind}[ \]]", each))
    found = set(re.findall(r"(?m)^#(?:or )?([a-z0-9-]+) = ", mine))
    assert set(keys) - {"via"} <= found | ({"via"} if kind == "dns-01" else set())
    assert found - set(keys) <= {"webroot-path"}


def test_the_template_is_printed(capsys):
    """Whatever is there already."""
    assert command.main(["init", "--template", "--config-dir", "/nowhere"]) == 0
    assert capsys.readouterr().out == f"{TEMPLATE}\n"
