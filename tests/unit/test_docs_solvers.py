"""docs/solvers.md: the examples are files that can be read, and do what the tables below them say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from certbot_garr_tcs.challenges.routing import best_section, preferences
from certbot_garr_tcs.config import load

PAGE = (Path(__file__).parents[2] / "docs" / "solvers.md").read_text(encoding="utf-8")
KEYFILE = 'key "acme" { algorithm hmac-sha256; secret "dGhpcyBpcyBub3QgYSBzZWNyZXQgYXQgYWxsISE="; };\n'

EXAMPLES = re.findall(r"```ini\n(.*?)```(.*?)(?=```ini|\n#|\Z)", PAGE, flags=re.DOTALL)
ROWS = re.compile(r"^\| `([^`]+)` \| `(\[[^`]+\])` \|", flags=re.MULTILINE)


def test_there_are_examples_with_tables():
    """The page is read as it is meant: examples, most of them with a table."""
    assert len(EXAMPLES) >= 5
    assert sum(len(ROWS.findall(text)) for _, text in EXAMPLES) >= 12


@pytest.mark.parametrize(("example", "text"), EXAMPLES)
def test_examples_do_what_their_tables_say(example, text, tmp_path):
    """Each example is a garr-tcs.ini, and each name of its table goes to the section that stands there."""
    path = tmp_path / "garr-tcs.ini"
    path.touch(mode=0o600)
    path.write_text(example, encoding="utf-8")
    keyfile = tmp_path / "acme.key"
    keyfile.touch(mode=0o600)
    keyfile.write_text(KEYFILE, encoding="utf-8")
    solvers = load(path).solvers
    assert solvers
    for name, title in ROWS.findall(text):
        best = best_section(name, solvers, preferences(name, solvers)[0])
        assert best is not None
        assert best.title == title, name
