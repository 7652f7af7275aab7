"""Secrets in broken files: the real certbot shows them nowhere, and no mistake that can be thought of does."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.certbot_runner import CertbotRunner
from support.matrix import MATRIX
from support.needs import need_built
from support.spoilt_files import FILES, shown

pytestmark = pytest.mark.integration

SECRET = "Zm9vYmFyLXNlY3JldC1mb28tYmFyLXNlY3JldC1mb28="
ENTRIES = [entry for entry in MATRIX if entry.name in {"certbot-2.1.0-python3.11", "certbot-newest-python3.13"}]
CHOSEN = [
    "[account]\neab-kid = kid-1\neab-hmac-key: SECRET\n",
    "[account]\neab-kid = kid-1\neab-hmac-key =\nSECRET\n",
    "[account]\neab-kid = kid-1\neab-hmac-key-file = SECRET\n",
    "[account]\neab-kid = SECRET\neab-hmac-key = kid-1\n",
    "[account]\n[[eab-hmac-key = SECRET]]\n",
    "[dns-01]\nserver = SECRET\n",
]


def test_the_chosen_files_are_among_the_broken_ones():
    """What certbot is run with is what the unit tests read."""
    assert set(CHOSEN) <= set(FILES)


def run(entry, text, folder):
    """Ask for a certificate, very verbosely, and for the account; return what is wrong with what is said."""
    certbot = CertbotRunner(entry.executable, folder)
    certbot.write_ini(text.replace("SECRET", SECRET))
    wrong = []
    for arguments in (
        ("certonly", "-n", "-vv", "-a", "garr-tcs", "-d", "www.example.it"),
        ("show_account", "--garr-tcs"),
    ):
        result = certbot.run(*arguments, check=False)
        log = "".join(path.read_text(encoding="utf-8") for path in sorted(certbot.logs_dir.glob("*")))
        piece = shown(SECRET, result.output) or shown(SECRET, log)
        if result.returncode != 1 or str(certbot.ini) not in result.output or piece:
            wrong.append((text, result.returncode, piece, result.output))
    return wrong


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_certbot_shows_no_secret_of_a_broken_file(entry, tmp_path):
    """Neither on the terminal nor in its log, with tracebacks and its own record of options."""
    need_built(entry)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run, entry, text, tmp_path / str(number)) for number, text in enumerate(CHOSEN)]
        assert [wrong for each in runs for wrong in each.result()] == []


def test_a_hundred_thousand_files_with_mistakes():
    """No output has a piece of a secret, and none is long."""
    # In processes of their own, whose lines nobody counts: that would take three times as long.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    programs = [f"from support.spoilt_files import check_files; check_files({seed}, 50_000)" for seed in (7, 8)]
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(subprocess.run, [sys.executable, "-c", program], cwd=Path(__file__).parents[1], env=env)
            for program in programs
        ]
        assert [each.result().returncode for each in runs] == [0, 0]
