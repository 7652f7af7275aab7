"""The command certbot-garr-tcs: arguments in, exit status out."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from certbot_garr_tcs import command
from certbot_garr_tcs.errors import SandboxError


def verb(outcome):
    """Make a verb that ends like this."""

    def run(_):
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return SimpleNamespace(HELP="do something", add_arguments=lambda parser: parser.add_argument("--x"), run=run)


@pytest.mark.parametrize(
    ("outcome", "status", "said"),
    [
        (0, 0, ""),
        (1, 1, ""),
        (SandboxError("it failed", "Correct it."), 1, "certbot-garr-tcs: it failed. Correct it.\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_statuses(monkeypatch, capsys, outcome, status, said):
    """An error is one line on standard error; Ctrl-C is no error of ours."""
    monkeypatch.setitem(sys.modules, "a_verb_of_this_test", verb(outcome))
    monkeypatch.setitem(command._VERBS, "something", "a_verb_of_this_test")
    assert command.main(["something", "--x", "y"]) == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["sandbox", "--nothing"]])
def test_called_wrongly(arguments, capsys):
    """Argparse says what is wrong, and ends with 2."""
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == command.CALLED_WRONGLY
    assert "usage: certbot-garr-tcs" in capsys.readouterr().err


def test_help_keeps_abbreviations(capsys):
    """A verb's help begins with a capital letter, and "CA" stays "CA"."""
    with pytest.raises(SystemExit):
        command.main(["sandbox", "--help"])
    assert "Practise on a CA of your own" in capsys.readouterr().out


def test_it_runs_as_a_module():
    """The same command, for who has not its folder on PATH."""
    result = subprocess.run(
        [sys.executable, "-m", "certbot_garr_tcs.command", "--help"], capture_output=True, text=True, check=True
    )
    assert "sandbox" in result.stdout


def test_every_verb_is_listed(capsys):
    """Also those whose modules one verb does not need."""
    with pytest.raises(SystemExit):
        command.main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"\n    {name} " in shown for name in command._VERBS)


def test_a_closed_pipe_is_no_error():
    """As in ``certbot-garr-tcs init --template | head -1``; what is not read is not complained about."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "certbot_garr_tcs.command", "init", "--template"],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (command.PIPE_CLOSED, b"")
