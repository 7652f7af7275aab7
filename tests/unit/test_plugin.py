"""The plugin between Certbot and our rooms, with a configuration of Certbot's own making."""

import logging
import sys
from types import SimpleNamespace

from certbot._internal.display import obj
from support.certbot_config import parse

from certbot_garr_tcs.plugin import Configurator
from certbot_garr_tcs.sandbox.settings import account_section
from certbot_garr_tcs.state import StateFolder, replace_file

URL = "https://127.0.0.1:1/directory"


def test_prepare_looks_for_what_a_killed_run_left(tmp_path, caplog, capsys, monkeypatch):
    """A run that needs no challenge never comes to perform: what was left behind is looked at before."""
    monkeypatch.setattr(obj._SERVICE, "display", obj.NoninteractiveDisplay(sys.stdout))
    monkeypatch.setattr(logging.getLogger(), "handlers", [*logging.getLogger().handlers])  # prepare adds one
    config = parse(tmp_path, "certonly", "-n", "-a", "garr-tcs", "-d", "www.example.it")
    (tmp_path / "config").mkdir()
    replace_file(tmp_path / "config" / "garr-tcs.ini", account_section(URL, "kid-1", "k" * 43).encode())
    StateFolder(tmp_path / "work").write("presented-dead.json", {"presented": "no list of values"})
    with caplog.at_level(logging.WARNING):
        Configurator(config, "garr-tcs").prepare()
    assert "presented-dead.json is damaged" in caplog.text
    assert config.server == URL
    assert "k" * 43 not in caplog.text + capsys.readouterr().out


def test_a_lineage_that_is_not_due_is_enough_to_look_for_what_a_killed_run_left(tmp_path, caplog):
    """A timer's run with nothing due prepares no authenticator; the installer of each lineage is asked, once in all."""
    config = parse(tmp_path, "renew")
    StateFolder(tmp_path / "work").write("presented-dead.json", {"presented": "no list of values"})
    for name in ("one.example.it", "two.example.it"):
        lineage = SimpleNamespace(lineagename=name, cert_path=str(tmp_path / name / "cert.pem"))
        with caplog.at_level(logging.WARNING):
            Configurator(config, "garr-tcs").generic_updates(lineage)
    assert caplog.text.count("presented-dead.json is damaged") == 1
