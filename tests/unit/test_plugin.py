"""The plugin as Certbot calls it, in this process, with a configuration that Certbot's own parser has made."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import zope.interface.verify
from certbot import errors, interfaces, util
from certbot._internal.display import obj
from support.certbot_config import make_account, make_lineage, parse
from support.challenges import challenge, token
from support.pki import material

from certbot_garr_tcs.plugin import Configurator
from certbot_garr_tcs.sandbox.settings import account_section
from certbot_garr_tcs.storage import StateFolder, replace_file

URL = "https://127.0.0.1:1/directory"
ACCOUNT = account_section(URL, "kid-1", "k" * 43)
NAME = "www.example.it"


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    """Show messages on standard output, and remove what ``prepare`` adds to the log's handlers."""
    monkeypatch.setattr(obj._SERVICE, "display", obj.NoninteractiveDisplay(sys.stdout))
    monkeypatch.setattr(util, "atexit_register", lambda *_: None)  # what is reported at exit is test_options' matter
    monkeypatch.setattr(logging.getLogger(), "handlers", [*logging.getLogger().handlers])


@pytest.fixture
def host(tmp_path):
    """Return a machine with a garr-tcs.ini, a lineage and a folder of a service."""
    return Machine(tmp_path)


class Machine:
    """Certbot's folders, one lineage, and a target folder."""

    def __init__(self, folder):
        self.folder = folder
        self.tls = folder / "tls"
        self.tls.mkdir()
        self.live = folder / "config" / "live" / NAME

    def write(self, *sections):
        if not (self.folder / "config" / "accounts").exists():
            make_account(self.folder, "127.0.0.1:1/directory", "account-1")
        replace_file(self.folder / "config" / "garr-tcs.ini", "\n".join([ACCOUNT, *sections]).encode())

    def issue(self, **params):
        """Do what Certbot does when a certificate comes; return it."""
        bundle = material()
        if not self.live.exists():
            make_lineage(self.folder, NAME, authenticator="garr-tcs", **params)
        pieces = {"cert": bundle.cert_pem, "chain": bundle.chain_pem, "fullchain": bundle.fullchain_pem}
        for piece, pem in {**pieces, "privkey": bundle.key_pem}.items():
            (self.live / f"{piece}.pem").write_bytes(pem)
        return bundle

    def target(self, *lines):
        return "\n".join(
            [f"[deploy www]\nlineage = {NAME}\nfullchain = {self.tls}/www.pem\nkey = {self.tls}/www.key", *lines]
        )

    def plugin(self, *arguments, prepared=True):
        plugin = Configurator(parse(self.folder, *arguments), "garr-tcs")
        if prepared:
            plugin.prepare()
        return plugin

    @property
    def lineage(self):
        return SimpleNamespace(lineagename=NAME, cert_path=str(self.live / "cert.pem"))

    @property
    def deployed(self):
        path = self.tls / "www.pem"
        return path.read_bytes() if path.exists() else None

    def deploy(self, plugin):
        """Make the calls of ``certbot run`` after issuance, up to the reload."""
        pieces = [str(self.live / f"{piece}.pem") for piece in ("cert", "privkey", "chain", "fullchain")]
        plugin.deploy_cert(NAME, *pieces)
        plugin.save()
        plugin.save("Deployed ACME Certificate")
        return plugin


ISSUE = ("run", "-n", "--garr-tcs", "-d", NAME)


# Authenticator


def test_prepare_looks_for_what_a_killed_run_left(host, caplog, capsys):
    """A run that needs no challenge never comes to perform: what was left behind is looked at before."""
    host.write()
    StateFolder(host.folder / "work").write("presented-dead.json", {"presented": "no list of values"})
    with caplog.at_level(logging.WARNING):
        plugin = host.plugin("certonly", "-n", "-a", "garr-tcs", "-d", NAME)
    assert "presented-dead.json is damaged" in caplog.text
    assert plugin.config.server == URL
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


def test_certbots_menu_learns_that_nobody_chose_us(host):
    """A ``PluginError`` is what Certbot leaves a plugin out of its menu for."""
    with pytest.raises(errors.PluginError, match="--authenticator garr-tcs"):
        host.plugin("certonly", "-d", NAME)


def test_a_wrong_file_is_one_line_of_certbots(host):
    """Certbot shows a ``ConfigurationError`` as it is."""
    host.write("[http-01]\nviia = webroot")
    with pytest.raises(errors.ConfigurationError, match="via") as caught:
        host.plugin(*ISSUE)
    assert "\n" not in str(caught.value)
    assert "k" * 43 not in str(caught.value)


def test_the_methods_are_those_that_certbot_calls():
    """Signatures too, where this Certbot's interfaces are ones that zope can compare."""
    for interface in (
        interfaces.Authenticator,
        interfaces.Installer,
        interfaces.RenewDeployer,
        interfaces.GenericUpdater,
    ):
        assert issubclass(Configurator, interface)
        assert not getattr(Configurator, "__abstractmethods__", ())
        if isinstance(interface, zope.interface.interface.InterfaceClass):
            zope.interface.verify.verifyClass(interface, Configurator)


def test_an_http_01_challenge_is_solved_and_removed(host):
    """From preference to cleanup; a wildcard is offered dns-01 alone."""
    webroot = host.folder / "webroot"
    webroot.mkdir()
    host.write(f"[http-01]\nvia = webroot\nwebroot-path = {webroot}")
    plugin = host.plugin(*ISSUE)
    assert [kind.typ for kind in plugin.get_chall_pref(NAME)] == ["http-01"]
    wanted = challenge(NAME)
    (response,) = plugin.perform([wanted.annotated])
    proof = webroot / ".well-known" / "acme-challenge" / token(wanted)
    assert proof.read_text() == wanted.validation
    assert response.key_authorization == wanted.validation
    plugin.cleanup([wanted.annotated])
    assert not proof.exists()


def test_without_a_section_perform_names_what_is_missing(host):
    """Both types are offered, so that all names are named at once and not the first by Certbot."""
    host.write()
    plugin = host.plugin(*ISSUE)
    assert [kind.typ for kind in plugin.get_chall_pref(NAME)] == ["dns-01", "http-01"]
    with pytest.raises(errors.PluginError, match=NAME):
        plugin.perform([challenge(NAME).annotated])
    plugin.cleanup([])


# Installer


def test_run_deploys_when_certbot_has_named_everything(host):
    """``save`` without a title comes after each name and writes nothing."""
    host.write(host.target())
    bundle = host.issue()
    plugin = host.plugin(*ISSUE)
    assert plugin.get_all_names() == ()
    plugin.deploy_cert(NAME, *[str(host.live / f"{piece}.pem") for piece in ("cert", "privkey", "chain", "fullchain")])
    plugin.save()
    assert host.deployed is None
    plugin.save("Deployed ACME Certificate")
    plugin.restart()
    assert host.deployed == bundle.fullchain_pem
    assert plugin.supported_enhancements() == []
    plugin.config_test()


def test_run_stores_the_installer_with_a_lineage_that_has_none(host):
    """So that the timer deploys."""
    host.write(host.target())
    host.issue(installer="None")
    host.deploy(host.plugin("install", "-n", "--garr-tcs", "--cert-name", NAME)).restart()
    assert "installer = garr-tcs" in (host.folder / "config" / "renewal" / f"{NAME}.conf").read_text()


def test_install_for_a_lineage_that_no_section_names_is_an_error(host):
    """``certbot install`` asks for nothing else."""
    host.write()
    host.issue()
    with pytest.raises(errors.PluginError, match=rf"deploy: nothing was deployed: no \[deploy …\] section .* {NAME}"):
        host.deploy(host.plugin("install", "-n", "--garr-tcs", "--cert-name", NAME))


def test_a_renewal_deploys_and_a_failed_test_undoes_it(host):
    """Certbot gets a ``PluginError`` that begins with "deploy", and the section's title."""
    host.write(host.target())
    before = host.issue()
    host.deploy(host.plugin(*ISSUE)).restart()
    host.write(host.target("test = false"))
    host.issue()
    plugin = host.plugin("renew", "-n", "--cert-name", NAME, "--garr-tcs")
    with pytest.raises(errors.PluginError, match=r"^deploy: \[deploy www\]: false: exit status 1"):
        plugin.renew_deploy(host.lineage)
    assert host.deployed == before.fullchain_pem


def test_drift_is_repaired_by_the_timer(host):
    """``generic_updates`` is all that Certbot calls for a lineage that is not due."""
    host.write(host.target())
    bundle = host.issue(installer="garr-tcs")
    host.plugin("renew", "-n", prepared=False).generic_updates(host.lineage)
    assert host.deployed == bundle.fullchain_pem


def test_what_a_run_has_written_is_undone(host):
    """Certbot calls ``rollback_checkpoints`` where another plugin fails, and ``recovery_routine`` after an error."""
    host.write(host.target())
    host.issue()
    for undo in (Configurator.rollback_checkpoints, Configurator.recovery_routine):
        plugin = host.deploy(host.plugin(*ISSUE))
        assert host.deployed is not None
        undo(plugin)
        assert host.deployed is None


def test_rollback_restores_the_previous_deployment(host):
    """Once: what was before that is not there any more."""
    host.write(host.target())
    before = host.issue()
    host.deploy(host.plugin(*ISSUE)).restart()
    host.issue()
    host.deploy(host.plugin(*ISSUE)).restart()
    plugin = host.plugin("rollback", "-n", "-i", "garr-tcs")
    plugin.rollback_checkpoints(1)
    plugin.restart()
    assert host.deployed == before.fullchain_pem
    again = host.plugin("rollback", "-n", "-i", "garr-tcs")
    with pytest.raises(errors.PluginError, match="deploy: no deployment can be undone"):
        again.rollback_checkpoints(1)


@pytest.mark.parametrize("verb", ["certonly", "renew"])
def test_no_directory_hooks_means_no_deployment(host, verb):
    """``--disable-renew-updates`` is Certbot's own way to ask for that."""
    host.write(host.target())
    host.issue()
    host.plugin(verb, "-n", "-a", "garr-tcs", "-d", NAME, "--disable-renew-updates").restart()
    assert host.deployed is None


def test_fewer_names_than_asked_are_deployed_and_then_an_error(host):
    """Certbot itself does not compare; ``run`` ends with it, ``renew`` too."""
    host.write(host.target())
    bundle = host.issue()
    plugin = host.deploy(host.plugin(*ISSUE, "-d", "ftp.example.it"))
    plugin.restart()
    assert host.deployed == bundle.fullchain_pem
    with pytest.raises(errors.PluginError, match=r"issued without ftp\.example\.it"):
        plugin.supported_enhancements()


def test_an_enhancement_is_refused(host):
    """Certbot asks only for those that are named: none."""
    plugin = host.plugin("run", prepared=False)
    with pytest.raises(errors.PluginError, match="redirect"):
        plugin.enhance(NAME, "redirect")
    assert "garr-tcs.ini" in plugin.more_info()
    assert Path(__file__).name not in plugin.more_info()
