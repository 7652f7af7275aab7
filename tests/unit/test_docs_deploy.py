"""docs/deploy.md: each recipe is a file that can be read, and writes what the text below it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from certbot_garr_tcs.config import load
from certbot_garr_tcs.deploy.presets import DEBIAN, PRESETS, this_family
from certbot_garr_tcs.deploy.settings import KEYS, STARTTLS, STARTTLS_PORTS

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"```ini\n(.*?)```\n(.*?)(?=```ini|\n#|\Z)", PAGE, flags=re.DOTALL)


def test_there_is_a_recipe_for_each_preset():
    """No preset without its recipe."""
    shown = re.findall(r"^preset = (.*)$", PAGE, flags=re.MULTILINE)
    assert set(shown) == {*PRESETS, "postfix dovecot"}


def test_every_key_is_explained():
    """The table has every key, and no key that there is not."""
    table = PAGE.partition("## Keys")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert sorted(re.findall(r"`([^`]+)`", "".join(rows))) == sorted(KEYS)


def test_every_starttls_protocol_and_port_is_named():
    """The row of probe-starttls has each word and each port."""
    row = PAGE.partition("| `probe-starttls` |")[2].partition("\n")[0]
    words, _, ports = row.partition("known from ports")
    assert re.findall(r"`([^`]+)`", words) == [*STARTTLS, "none"]
    assert {int(port) for port in re.findall(r"\d+", ports)} == set(STARTTLS_PORTS)


@pytest.mark.parametrize(("recipe", "text"), RECIPES)
def test_recipes_are_read_and_write_what_they_say(recipe, text, tmp_path):
    """Each section is whole, and its first absolute path in the text is one that it writes (on Debian)."""
    path = tmp_path / "garr-tcs.ini"
    path.touch(mode=0o600)
    path.write_text(recipe, encoding="utf-8")
    (target,) = load(path).targets
    if target.outputs and this_family() == DEBIAN:
        written = {str(output.path) for output in target.outputs}
        for said in re.findall(r"`(/etc/[^`]+\.(?:crt|key|pem|p12))`", text):
            assert said in written
