"""Other plugins as solvers: how a section sets their options, and how their errors are shown."""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
from pathlib import Path

import pytest
from acme import challenges as acme_challenges
from certbot import errors, interfaces
from certbot.plugins import common
from support.challenges import certbot_config, challenge, token
from support.solver_contract import Bench, SolverContract
from support.spoilt_files import said

from certbot_garr_tcs.challenges import delegated
from certbot_garr_tcs.challenges.delegated import DelegatedSolver, installed
from certbot_garr_tcs.challenges.plugin_options import apply_options
from certbot_garr_tcs.challenges.settings import (
    DNS_01,
    HTTP_01,
    DelegateSettings,
    Rfc2136Settings,
    SolverSection,
)
from certbot_garr_tcs.errors import ChallengeError, ConfigError

INI = Path("/etc/letsencrypt/garr-tcs.ini")


def section(via, kind=HTTP_01, suffix="example.it", **options):
    """Make a section with ``via`` and options, underscores for dashes."""
    given = tuple((key.replace("_", "-"), str(value)) for key, value in options.items())
    return SolverSection(kind, suffix, DelegateSettings(via, given), INI)


@pytest.fixture
def config(tmp_path):
    """Certbot's configuration in a temporary folder."""
    return certbot_config(tmp_path)


@pytest.fixture
def root(tmp_path):
    """Return a web root with somebody else's proof in it."""
    place = tmp_path / "www" / ".well-known" / "acme-challenge"
    place.mkdir(parents=True)
    (place / "stranger").write_text("stranger")
    return tmp_path / "www"


def proofs(root):
    """Return the proofs that a web server would serve from ``root``."""
    return {path.read_text() for path in (root / ".well-known" / "acme-challenge").glob("*")}


class TestWebroot(SolverContract):
    """Certbot's webroot, as a solver."""

    @pytest.fixture
    def bench(self, config, root):
        """Put webroot where a stranger's proof is already."""
        solver = DelegatedSolver(section("webroot", webroot_path=root), config)
        asked = [challenge(name) for name in ("a.example.it", "a.example.it", "b.example.it")]
        return Bench(solver, asked, lambda: proofs(root), {"stranger"})


class FakeDns(common.Plugin, interfaces.Authenticator):
    """A third party's DNS plugin whose zone the test can read, and which fails where the test wants."""

    description = "for tests"
    fails: dict = {}  # noqa: RUF012 - set by each test
    zone: set = set()  # noqa: RUF012 - what is published
    cleaned: list = []  # noqa: RUF012 - every call of cleanup

    @classmethod
    def add_parser_arguments(cls, add):
        """Declare one option of every kind."""
        add("propagation-seconds", type=int, default=10)
        add("credentials")
        add("algorithm", choices=["HMAC-SHA256", "HMAC-SHA512"], default="HMAC-SHA256")
        add("views", action="append", default=[])
        add("tcp", action="store_true")

    def more_info(self):
        """Say nothing."""
        return ""

    def prepare(self):
        """Fail where the test says so."""
        self._fail("prepare")

    def get_chall_pref(self, domain):
        """Do dns-01 only."""
        return [acme_challenges.DNS01]

    def perform(self, achalls):
        """Publish one by one."""
        for achall in achalls:
            self._fail("perform", achall)
            self.zone.add(achall.chall.validation(achall.account_key))

    def cleanup(self, achalls):
        """Remove one by one."""
        self.cleaned.append(len(achalls))
        self._fail("cleanup_begin")
        for achall in achalls:
            self._fail("cleanup", achall)
            self.zone.discard(achall.chall.validation(achall.account_key))

    def _fail(self, where, achall=None):
        error, guilty = self.fails.get(where, (None, None))
        if error is not None and (guilty is None or achall is guilty.annotated):
            raise error


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Install a package with a plugin "dns-fake", an installer "fakeserver" and one that cannot be imported."""
    monkeypatch.setattr(FakeDns, "fails", {})
    monkeypatch.setattr(FakeDns, "zone", set())
    monkeypatch.setattr(FakeDns, "cleaned", [])
    place = tmp_path / "site" / "certbot_dns_fake-1.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: certbot-dns-fake\nVersion: 1\n")
    (place / "entry_points.txt").write_text(
        "[certbot.plugins]\n"
        f"dns-fake = {__name__}:FakeDns\n"
        "no-authenticator = certbot.plugins.common:Plugin\n"
        "broken = no_such_module:Authenticator\n"
        "garr-tcs = certbot_garr_tcs.plugin:Configurator\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return FakeDns


class TestFakeDns(SolverContract):
    """A third party's DNS plugin, as a solver."""

    @pytest.fixture
    def bench(self, config, fake):
        """Put the plugin before an empty zone."""
        solver = DelegatedSolver(section("dns-fake", DNS_01), config)
        asked = [challenge(name, DNS_01) for name in ("a.example.it", "a.example.it", "b.example.it")]
        return Bench(solver, asked, fake.zone.copy)


def test_finds_certbots_own_plugins():
    """The plugins that Certbot brings along are found by their names."""
    assert {"webroot", "standalone", "manual"} <= installed().keys()


def test_the_first_on_the_path_wins(fake, tmp_path, monkeypatch):
    """A name that two packages claim counts as Python would import it: the first on sys.path."""
    place = tmp_path / "front" / "certbot_dns_fake_two-2.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: certbot-dns-fake-two\nVersion: 2\n")
    (place / "entry_points.txt").write_text("[certbot.plugins]\ndns-fake = front:Plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path / "front"))
    assert installed()["dns-fake"].value == "front:Plugin"
    assert fake.zone == set()


@pytest.mark.parametrize(
    ("built", "message", "hint"),
    [
        (section("garr-tcs"), "cannot delegate to itself", "Name another authenticator"),
        (section("webrot"), 'no Certbot plugin of this name is installed; did you mean "webroot"?', "Install it"),
        (
            section("dns-acmedns", DNS_01),
            "[dns-01 example.it] in /etc/letsencrypt/garr-tcs.ini: via = dns-acmedns: no Certbot plugin",
            "python3-certbot-dns-acmedns",
        ),
        (section("broken"), "the plugin cannot be loaded: No module named", "reinstall"),
        (section("no-authenticator"), "this plugin is no authenticator", "certbot plugins"),
        (section("webroot", DNS_01), "webroot-path is missing", "certbot --help webroot"),
        (section("standalone", DNS_01), "standalone does not do dns-01", "It does http-01"),
        (section("dns-fake", HTTP_01), "dns-fake does not do http-01", "It does dns-01: write [dns-01 …]"),
        (section("standalone", http_01_port="80a"), "http-01-port is not a port", "certbot --help standalone"),
        (section("standalone", http_01_port="0"), "http-01-port is not a port", ""),
        (section("standalone", http_01_port="65536"), "http-01-port is not a port", ""),
        (section("webroot", webroot_path="/no/such/folder"), "/no/such/folder does not exist", ""),
        (section("webroot", webroot_path=__file__), "is not a directory", ""),
        (section("webroot", webroot_map="{"), "webroot-map: ", ""),
        (section("webroot", path="/"), "path is written in full as webroot-path", ""),
        (section("dns-fake", DNS_01, dns_fake_credential="x"), 'did you mean "dns-fake-credentials"?', ""),
        (section("dns-fake", DNS_01, server="192.0.2.1"), "server is no option of dns-fake", ""),
        (section("dns-fake", DNS_01, zzz="192.0.2.1"), "option 1 is no option of dns-fake", ""),
        (section("dns-fake", DNS_01, dns_fake_propagation_seconds="a"), "is not a whole number", ""),
        (section("dns-fake", DNS_01, dns_fake_algorithm="MD5"), "is not one of HMAC-SHA256, HMAC-SHA512", ""),
        (section("dns-fake", DNS_01, dns_fake_tcp="perhaps"), "dns-fake-tcp is yes or no", ""),
        (section("manual", DNS_01), "manual-auth-hook is missing, and nobody can be asked", ""),
        (section("manual", DNS_01, manual_auth_hook="true"), "manual-cleanup-hook is missing", ""),
        (
            section("manual", DNS_01, manual_auth_hook="/no/such/hook", manual_cleanup_hook="true"),
            "manual cannot be used: Unable to find",
            "",
        ),
    ],
)
@pytest.mark.usefixtures("fake")
def test_refuses_what_cannot_work(config, built, message, hint):
    """A section that cannot work is refused when the solver is built, by its heading, with a next step."""
    with pytest.raises(ConfigError) as caught:
        DelegatedSolver(built, config)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.message.startswith(f"{built.title} in {INI}")
    assert caught.value.hint


@pytest.mark.usefixtures("fake")
def test_names_all_problems_of_a_section_at_once(config):
    """Two wrong keys of one section are reported in one error."""
    with pytest.raises(ConfigError, match="server is no option of dns-fake; dns-fake-propagation-seconds is not"):
        DelegatedSolver(section("dns-fake", DNS_01, server="x", dns_fake_propagation_seconds="many"), config)


def test_never_quotes_a_value(config, fake):
    """A value that a plugin does not accept may be a secret: the message does not show it."""
    with pytest.raises(ConfigError) as caught:
        DelegatedSolver(section("dns-fake", DNS_01, dns_fake_algorithm="hunter2"), config)
    assert "hunter2" not in str(caught.value)
    assert fake.zone == set()


SECRET = "Zm9vYmFyLXNlY3JldC1mb28tYmFyLXNlY3JldA=="


def test_a_plugin_that_quotes_a_secret_is_not_passed_on(config, fake, caplog):
    """A token in the place of a file's name: plugins name the missing file, and the log has what they raise."""
    caplog.set_level("DEBUG")
    with pytest.raises(ConfigError, match="webroot-path: … does not exist") as refused:
        DelegatedSolver(section("webroot", webroot_path=SECRET), config)
    built = section("dns-fake", DNS_01, dns_fake_credentials=SECRET)
    solver, asked = DelegatedSolver(built, config), [challenge("a.example.it")]
    fake.fails["perform"] = (errors.PluginError(f"File not found: {SECRET}"), None)
    with pytest.raises(ChallengeError, match=r"could not publish .*: File not found: …") as failed:
        solver.present(asked)
    fake.fails["cleanup"] = (errors.PluginError(f"File not found: {SECRET}"), None)
    with pytest.raises(ChallengeError, match=r"could not remove .*: File not found: …") as left:
        solver.clean_up(asked)
    fake.fails["prepare"] = (errors.PluginError(f"File not found: {SECRET}"), None)
    with pytest.raises(ConfigError, match="cannot be used: File not found: …") as unusable:
        DelegatedSolver(built, config)
    for caught in (refused, failed, left, unusable):
        assert SECRET not in said(caught.value)
    assert SECRET not in caplog.text


def test_a_section_without_via_is_not_for_other_plugins(config):
    """A section of RFC 2136 here is a fault of ours, not of the user."""
    with pytest.raises(TypeError, match=r"\[dns-01\] has no via"):
        DelegatedSolver(SolverSection(DNS_01, "", Rfc2136Settings(), INI), config)


def test_a_plugin_that_cannot_be_prepared_says_why(config, fake):
    """What a plugin raises in prepare is shown, before anything is published."""
    fake.fails["prepare"] = (errors.MisconfigurationError("no API token"), None)
    with pytest.raises(ConfigError, match="dns-fake cannot be used: no API token"):
        DelegatedSolver(section("dns-fake", DNS_01), config)


def test_a_plugin_that_does_nothing_is_refused(config, fake, monkeypatch):
    """A plugin that offers no challenge at all is refused with a complete sentence."""
    monkeypatch.setattr(fake, "get_chall_pref", lambda self, domain: [])
    with pytest.raises(ConfigError, match=r"does not do dns-01\. Name another plugin\."):
        DelegatedSolver(section("dns-fake", DNS_01), config)


def test_nothing_is_set_on_certbots_own_configuration(config, fake, root):
    """Options of delegates live on a copy: what Certbot stores with the lineage is as before."""
    before = copy.deepcopy(vars(config.namespace))
    DelegatedSolver(section("webroot", webroot_path=root), config).present([challenge("a.example.it")])
    DelegatedSolver(section("dns-fake", DNS_01, dns_fake_credentials="/x", dns_fake_tcp="yes"), config)
    DelegatedSolver(section("standalone", http_01_port=8080), config)
    assert vars(config.namespace) == before
    assert fake.zone == set()


def test_options_get_the_types_that_the_plugin_declares(config, fake):
    """Numbers, lists, choices and flags arrive as the plugin's own command line would bring them."""
    config.namespace.dns_fake_views = ["from cli.ini"]
    config.namespace.dns_fake_algorithm = "HMAC-SHA512"
    namespace = copy.deepcopy(config.namespace)
    options = {
        "dns_fake_propagation_seconds": "30",
        "dns-fake-views": "internal",
        "dns-fake-tcp": "Yes",
        "http-01-address": "127.0.0.1",
        "http-01-port": "8080",
    }
    assert apply_options("dns-fake", fake, options, namespace) == []
    assert namespace.dns_fake_propagation_seconds == 30
    assert namespace.dns_fake_views == ["internal"], "the section's list takes the place of Certbot's"
    assert namespace.dns_fake_tcp is True
    assert namespace.dns_fake_credentials is None, "what nobody set has the declared default"
    assert namespace.dns_fake_algorithm == "HMAC-SHA512", "what the section does not name stays"
    assert (namespace.http01_address, namespace.http01_port) == ("127.0.0.1", 8080)
    assert apply_options("dns-fake", fake, {"dns-fake-tcp": "no"}, namespace) == []
    assert namespace.dns_fake_tcp is False


def test_a_value_may_begin_with_a_dash(fake):
    """A value that looks like an option is still a value."""
    namespace = argparse.Namespace()
    assert apply_options("dns-fake", fake, {"dns-fake-credentials": "--tcp"}, namespace) == []
    assert namespace.dns_fake_credentials == "--tcp"


def test_required_options_of_a_plugin_are_asked_for():
    """An option that the plugin declares as required must stand in the section."""

    class Strict:
        @staticmethod
        def inject_parser_options(parser, name):
            parser.add_argument(f"--{name}-token-file", required=True)
            parser.add_argument(f"--{name}-depth", type=float)

    assert apply_options("strict", Strict, {"strict-depth": "x"}, argparse.Namespace()) == [
        "strict-depth is not a float",
        "strict-token-file is missing",
    ]
    namespace = argparse.Namespace()
    assert apply_options("strict", Strict, {"strict-token-file": "/x"}, namespace) == []
    assert namespace.strict_token_file == "/x"


def test_defaults_that_a_plugin_shares_stay_as_they_are():
    """Two sections that add to one plugin's list do not see each other's values."""
    shared: list[str] = []

    class Collect(argparse.Action):
        def __call__(self, parser, namespace, values, option_string=None):
            getattr(namespace, self.dest).append(values)

    class Plugin:
        @staticmethod
        def inject_parser_options(parser, name):
            parser.add_argument(f"--{name}-zone", action=Collect, default=shared)

    first, second = argparse.Namespace(), argparse.Namespace()
    assert apply_options("fake", Plugin, {"fake-zone": "one"}, first) == []
    assert apply_options("fake", Plugin, {"fake-zone": "two"}, second) == []
    assert (first.fake_zone, second.fake_zone, shared) == (["one"], ["two"], [])


def test_certbots_own_webroot_options_do_not_count(config, root, tmp_path):
    """The section's values replace those of Certbot's own -w and --webroot-map."""
    config.namespace.webroot_path = [str(tmp_path / "old")]
    config.namespace.webroot_map = {"a.example.it": str(tmp_path / "old")}
    asked = [challenge("a.example.it")]
    DelegatedSolver(section("webroot", webroot_path=root), config).present(asked)
    assert proofs(root) == {"stranger", asked[0].validation}
    assert not (tmp_path / "old").exists()


def test_webroot_map_sends_names_to_their_folders(config, root, tmp_path):
    """webroot-map and webroot-path work together, as on the command line."""
    other = tmp_path / "other"
    other.mkdir()
    one, two = challenge("a.example.it"), challenge("b.example.it")
    built = section("webroot", webroot_path=root, webroot_map=f'{{"b.example.it": "{other}"}}')
    solver = DelegatedSolver(built, config)
    solver.present([one, two])
    assert proofs(root) == {"stranger", one.validation}
    assert proofs(other) == {two.validation}
    solver.clean_up([one, two])
    assert list(other.iterdir()) == [], "folders that webroot made are gone too"


def test_webroot_of_certbots_own_options_serves_a_section_without(config, root):
    """Where the section names no folder, -w of the command line or cli.ini does."""
    config.namespace.webroot_path = [str(root)]
    asked = [challenge("a.example.it")]
    DelegatedSolver(section("webroot"), config).present(asked)
    assert proofs(root) == {"stranger", asked[0].validation}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_a_web_root_that_fails_half_way_is_left_as_it_was(config, tmp_path, order):
    """When the second of three proofs cannot be written, clean_up removes the others and made folders."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    (bad / ".well-known" / "acme-challenge").mkdir(parents=True)
    asked = [challenge("a.example.it"), challenge("b.example.it"), challenge("c.example.it")]
    # A folder in the place of the file: not even root can write there.
    (bad / ".well-known" / "acme-challenge" / token(asked[1])).mkdir()
    built = section("webroot", webroot_path=good, webroot_map=f'{{"b.example.it": "{bad}"}}')
    solver = DelegatedSolver(built, config)
    with pytest.raises(ChallengeError, match=r"\[http-01 example.it\] via webroot could not publish the proof for a"):
        solver.present(asked)
    (bad / ".well-known" / "acme-challenge" / token(asked[1])).rmdir()
    solver.clean_up([asked[index] for index in order])
    assert list(good.iterdir()) == []


def test_a_web_root_that_cannot_be_written_is_left_as_it_was(config, tmp_path):
    """A file in the place of .well-known: the error names the section, and clean_up has nothing to report."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / ".well-known").write_text("a file")
    solver = DelegatedSolver(section("webroot", webroot_path=tmp_path / "www"), config)
    asked = [challenge("a.example.it")]
    with pytest.raises(ChallengeError, match=r"Couldn't create root for a.example.it http-01 challenge responses"):
        solver.present(asked)
    solver.clean_up(asked)
    assert (tmp_path / "www" / ".well-known").read_text() == "a file"


def test_a_proof_that_somebody_removed_is_reported_once_present_had_worked(config, root):
    """After a present that worked, a missing file is worth a message: somebody else cleans in there."""
    asked = [challenge("a.example.it"), challenge("b.example.it")]
    solver = DelegatedSolver(section("webroot", webroot_path=root), config)
    solver.present(asked)
    (root / ".well-known" / "acme-challenge" / token(asked[0])).unlink()
    with pytest.raises(ChallengeError, match=r"could not remove the proof for a.example.it: .*No such file"):
        solver.clean_up(asked)
    assert proofs(root) == {"stranger"}


def test_an_error_in_perform_keeps_the_plugins_text(config, fake):
    """What the plugin raises becomes a ChallengeError of one line; what it had published is removed."""
    asked = [challenge("a.example.it", DNS_01), challenge("b.example.it", DNS_01)]
    fake.fails["perform"] = (errors.PluginError("API says 403\nForbidden"), asked[1])
    solver = DelegatedSolver(section("dns-fake", DNS_01), config)
    with pytest.raises(ChallengeError) as caught:
        solver.present(asked)
    assert caught.value.message == (
        "[dns-01 example.it] via dns-fake could not publish the proof for a.example.it, b.example.it: "
        "API says 403 Forbidden"
    )
    assert f"[dns-01 example.it] of {INI}" in caught.value.hint
    assert fake.zone == {asked[0].validation}
    solver.clean_up(asked)
    assert fake.zone == set()


def test_an_error_in_cleanup_does_not_keep_the_others(config, fake):
    """What fails to be removed is reported, tried again next time, and the other proofs are removed."""
    asked = [challenge(f"{letter}.example.it", DNS_01) for letter in "abc"]
    solver = DelegatedSolver(section("dns-fake", DNS_01), config)
    solver.present(asked)
    fake.fails["cleanup"] = (RuntimeError("API is gone"), asked[0])
    with pytest.raises(ChallengeError, match=r"via dns-fake could not remove the proof for a.example.it: API is gone"):
        solver.clean_up(asked)
    assert fake.zone == {asked[0].validation}
    fake.fails.clear()
    fake.cleaned.clear()
    solver.clean_up(asked)
    assert fake.zone == set()
    assert fake.cleaned == [1], "only what was left is asked for again"


def test_a_missing_record_of_a_dns_plugin_is_no_excuse(config, fake):
    """Only webroot and manual may stumble over what was never there; elsewhere a proof might stay."""
    asked = [challenge("a.example.it", DNS_01)]
    fake.fails["perform"] = (errors.PluginError("timed out"), None)
    fake.fails["cleanup"] = (FileNotFoundError("credentials"), asked[0])
    solver = DelegatedSolver(section("dns-fake", DNS_01), config)
    with pytest.raises(ChallengeError, match="timed out"):
        solver.present(asked)
    with pytest.raises(ChallengeError, match="credentials"):
        solver.clean_up(asked)


def test_a_plugin_that_cannot_even_clean_nothing_changes_no_message(config, fake):
    """The extra call that removes what belongs to no single challenge may fail: the first error counts."""
    asked = [challenge("a.example.it", DNS_01)]
    solver = DelegatedSolver(section("dns-fake", DNS_01), config)
    solver.present(asked)
    fake.fails["cleanup_begin"] = (RuntimeError("API is gone"), None)
    with pytest.raises(ChallengeError, match=r"a\.example\.it: API is gone"):
        solver.clean_up(asked)
    assert fake.cleaned == [1, 0]


def test_an_error_without_text_shows_its_class(config, fake):
    """Some plugins raise with no text at all: then the class is better than nothing."""
    fake.fails["perform"] = (TimeoutError(), None)
    with pytest.raises(ChallengeError, match=r"for a\.example\.it: TimeoutError\."):
        DelegatedSolver(section("dns-fake", DNS_01), config).present([challenge("a.example.it", DNS_01)])


def test_a_plugin_that_would_ask_says_which_key_is_missing(config, fake):
    """In a run without a keyboard, a plugin's question becomes the advice to write the answer into the file."""
    fake.fails["perform"] = (errors.MissingCommandlineFlag("Input the path to your credentials"), None)
    with pytest.raises(ChallengeError, match=r"Input the path.*Write what is missing into \[dns-01 example.it\] of"):
        DelegatedSolver(section("dns-fake", DNS_01), config).present([challenge("a.example.it", DNS_01)])


def test_passes_on_the_plugins_own_advice(config, fake, monkeypatch):
    """After the CA refused a record, the plugin's own hint is shown on one line; without it there is none."""
    asked = [challenge("a.example.it", DNS_01)]
    solver = DelegatedSolver(section("dns-fake", DNS_01), config)
    monkeypatch.setattr(fake, "auth_hint", lambda self, achalls: f"wait\nlonger for {len(achalls)}")
    assert solver.diagnose(asked) == "wait longer for 1"
    monkeypatch.setattr(fake, "auth_hint", None)
    assert solver.diagnose(asked) == ""


def test_says_where_http_names_lead(config, root):
    """After the CA refused a web server's proof, the hint is about the name's addresses."""
    solver = DelegatedSolver(section("webroot", webroot_path=root), config, resolve=lambda name, kind: [])
    assert solver.diagnose([challenge("a.example.it")]).startswith("a.example.it has no address at this moment.")


@pytest.mark.parametrize(
    ("options", "key"),
    [({"webroot_path": "{root}"}, "webroot-path"), ({"webroot_map": '{{"a.example.it": "{root}"}}'}, "webroot-map")],
)
def test_says_where_webroot_put_a_proof(config, root, options, key):
    """The web server may serve another folder: the hint names the key of the section that has the folder."""
    given = {name: value.format(root=root) for name, value in options.items()}
    (value,) = given.values()
    solver = DelegatedSolver(
        section("webroot", suffix="a.example.it", **given), config, lambda name, kind: ["192.0.2.1"]
    )
    assert solver.diagnose([challenge("a.example.it")]).endswith(
        f"The proof is where {key} of [http-01 a.example.it] in /etc/letsencrypt/garr-tcs.ini says ({value}): "
        "correct that if the web server serves /.well-known/acme-challenge/ of this name from another folder."
    )


def test_a_signal_ends_certbot_and_not_the_plugin(config, fake):
    """When Certbot is asked to end, that is no error of the plugin; what it had published is removed."""
    asked = [challenge("a.example.it", DNS_01), challenge("b.example.it", DNS_01)]
    fake.fails["perform"] = (errors.SignalExit(), asked[1])
    solver = DelegatedSolver(section("dns-fake", DNS_01), config)
    with pytest.raises(errors.SignalExit):
        solver.present(asked)
    assert fake.zone == {asked[0].validation}
    solver.clean_up(asked)
    assert fake.zone == set()


def test_manual_with_both_hooks_runs_unattended(config, tmp_path):
    """Hooks do the work of manual: the proof appears and goes, in a run where nobody can be asked."""
    place = tmp_path / "proof"
    solver = DelegatedSolver(
        section(
            "manual",
            DNS_01,
            manual_auth_hook=f'printf %s "$CERTBOT_VALIDATION" >{place}',
            manual_cleanup_hook=f"rm {place}",
        ),
        config,
    )
    asked = [challenge("a.example.it", DNS_01)]
    solver.present(asked)
    assert place.read_text() == asked[0].validation
    solver.clean_up(asked)
    assert not place.exists()


def test_manual_in_an_interactive_run_may_ask(config):
    """Where somebody sits at the keyboard, manual needs no hooks."""
    config.namespace.noninteractive_mode = False
    assert DelegatedSolver(section("manual", DNS_01), config).challenge_type == DNS_01


def test_entry_points_of_python_3_9_are_read_too(monkeypatch):
    """Before Python 3.10 entry points come as one mapping of groups."""
    point = importlib.metadata.EntryPoint(
        "webroot", "certbot._internal.plugins.webroot:Authenticator", "certbot.plugins"
    )
    monkeypatch.setattr(delegated.sys, "version_info", (3, 9))
    monkeypatch.setattr(delegated.importlib.metadata, "entry_points", lambda: {"certbot.plugins": [point]})
    assert installed() == {"webroot": point}
