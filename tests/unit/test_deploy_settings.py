"""Keys of a [deploy …] section become a Target, or words."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_garr_tcs.deploy.presets import DEBIAN, PRESETS, RHEL, family_of, this_family
from certbot_garr_tcs.deploy.settings import KEYS, Output, Probe, Target, path_conflicts, read_target
from certbot_garr_tcs.section_reader import Section

SOURCE = Path("/etc/letsencrypt/garr-tcs.ini")
LEAST = {"lineage": "www.example.it", "fullchain": "/tls/www.pem"}


def read(keys, family=DEBIAN):
    return read_target(Section("deploy", "www", 1, keys), SOURCE, family=family)


def test_the_section_of_the_manual_is_read_whole():
    """Every key ends in its attribute."""
    target, problems = read(
        {
            "lineage": "www.example.it",
            "fullchain": "/etc/nginx/tls/www.pem",
            "key": "/etc/nginx/tls/www.key",
            "owner": "root:ssl-cert",
            "key-mode": "0640",
            "test": "nginx -t",
            "reload": "sh -c 'systemctl reload nginx'",
            "probe": "www.example.it:443",
        }
    )
    assert problems == []
    assert target == Target(
        name="www",
        lineage="www.example.it",
        outputs=(
            Output("fullchain", Path("/etc/nginx/tls/www.pem"), 0o644),
            Output("key", Path("/etc/nginx/tls/www.key"), 0o640),
        ),
        source=SOURCE,
        owner="root",
        group="ssl-cert",
        tests=(("nginx", "-t"),),
        reloads=(("sh", "-c", "systemctl reload nginx"),),
        probes=(Probe("www.example.it", 443, has_default_timeout=True),),
    )
    assert target.title == "[deploy www]"


def test_the_other_keys_are_read_too():
    """Formats, switches and times reach the Target."""
    target, problems = read(
        {
            "lineage": "x",
            "combined": "/tls/x.pem",
            "combined-order": "key, cert chain",
            "pkcs12": "/tls/x.p12",
            "pkcs12-password-file": "/tls/pass",
            "pkcs12-alias": "jetty",
            "pkcs12-legacy": "Yes",
            "key-format": "traditional",
            "owner": "jetty",
            "mode": "444",
            "mkdir": "on",
            "follow-symlinks": "1",
            "command-timeout": "2.5",
            "probe": "[2001:db8::1]:8443",
            "probe-name": "x.example.it",
            "probe-timeout": "7",
        }
    )
    assert problems == []
    assert target.combined_order == ("key", "cert", "chain")
    assert target.pkcs12_password_file == Path("/tls/pass")
    assert (target.pkcs12_alias, target.pkcs12_legacy, target.key_format) == ("jetty", True, "traditional")
    assert (target.owner, target.group, target.mkdir, target.follow_symlinks) == ("jetty", None, True, True)
    assert target.command_timeout_seconds == 2.5
    assert target.probes == (Probe("2001:db8::1", 8443, None, "x.example.it", 7.0),)
    assert target.probes[0].where == "[2001:db8::1]:8443"
    assert {output.mode for output in target.outputs} == {0o600}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"fulchain": "/x"}, 'fulchain is no key of this section; did you mean "fullchain"?'),
        ({"zzzz": "/x"}, "entry 3 is no key of this section"),
        ({"fullchain": "tls/www.pem"}, "fullchain is no absolute path"),
        ({"fullchain": "/tls/../www.pem"}, "fullchain is no absolute path"),
        ({"fullchain": "/"}, "fullchain is no absolute path"),
        ({"fullchain": ""}, "fullchain is empty; give it a value"),
        ({"key": "/tls/www.pem"}, "key has the path of fullchain too"),
        ({"mode": "0999"}, "mode is no octal mode; write for example 0644"),
        ({"mode": "0666"}, "mode is not a mode for files that only the owner may write"),
        ({"key-mode": "0644"}, "key-mode is not a mode for a private key; write for example 0600"),
        ({"key-mode": "0040"}, "key-mode is not a mode for a private key"),
        ({"owner": "root:"}, "owner is not user or user:group"),
        ({"owner": "a:b:c"}, "owner is not user or user:group"),
        ({"combined-order": "fullchain"}, "combined-order is no order"),
        ({"combined-order": "fullchain chain key"}, "combined-order is no order"),
        ({"combined-order": "cert key key"}, "combined-order is no order"),
        ({"combined-order": "fullchain keys"}, "combined-order is no order"),
        ({"combined-order": ","}, "combined-order is no order"),
        ({"pkcs12": "/tls/x.p12"}, "pkcs12-password-file is missing"),
        ({"key-format": "pkcs1"}, 'key-format must be one of pkcs8, traditional; did you mean "pkcs8"?'),
        ({"mkdir": "maybe"}, "mkdir must be yes or no"),
        ({"test": "nginx -t 'x"}, "test quotes do not match"),
        ({"reload": "nginx -t && reload"}, "reload && needs a shell, and none is used"),
        ({"reload": "nginx -t $CONF"}, "reload $ needs a shell, and none is used; quote it, or write sh -c"),
        ({"reload": 'nginx -c "$CONF"'}, "reload $ needs a shell"),
        ({"reload": 'nginx -c "a`b`"'}, "reload ` needs a shell"),
        ({"reload": 'nginx -c "\\$CONF"'}, "reload $ needs a shell"),
        ({"test": "nginx -t >/dev/null"}, "test > needs a shell"),
        ({"test": "nginx -t 2>&1"}, "test >& needs a shell"),
        ({"test": "cat /etc/nginx/*.conf"}, "test * needs a shell"),
        ({"test": "nginx -T|grep ssl"}, "test | needs a shell"),
        ({"test": "nginx -t; true"}, "test ; needs a shell"),
        ({"test": "nginx -t &"}, "test & needs a shell"),
        ({"test": "true `hostname`"}, "test ` needs a shell"),
        ({"test": "~/bin/check"}, "test ~ needs a shell"),
        ({"test": "LC_ALL=C nginx -t"}, "test NAME=value needs a shell"),
        ({"reload": "''"}, "reload names no command"),
        ({"probe": "www.example.it"}, "probe is not host:port"),
        ({"probe": "2001:db8::1:443"}, "probe is not host:port"),
        ({"probe": "www:70000"}, "probe is not host:port"),
        ({"probe": "www:443", "probe-starttls": "telnet"}, "probe-starttls must be one of smtp, lmtp, imap"),
        ({"probe": "www:443", "probe-timeout": "0"}, "probe-timeout is no number of seconds above zero"),
        ({"probe-name": "www"}, "probe-name says how to probe, but not where"),
        ({"preset": "ngnix"}, "preset is none of nginx, apache, haproxy"),
        ({"preset": ""}, "preset is empty"),
        ({"preset": "nginx slapd"}, "preset has several services that differ in key; give each service a section"),
        ({"preset": "postgresql, slapd", "fullchain": "/c", "key": "/k"}, "preset has several services that differ in"),
        ({"probe": "www:443 www"}, "probe is not host:port"),
        ({"lineage": "../x"}, "lineage is no name of a lineage"),
        ({"lineage": ""}, "lineage is empty"),
    ],
)
def test_each_mistake_is_said_in_words(keys, expected):
    """One wrong key gives one problem, with its name and what would be right."""
    target, problems = read({**LEAST, **keys})
    assert target is None
    assert len(problems) == 1
    assert problems[0].startswith(f"[deploy www] {expected}")


def test_all_problems_are_reported_together():
    """Nobody has to run the command once per mistake."""
    _, problems = read({"mode": "x", "owner": "a b", "probe": "x"})
    assert [problem.split()[2] for problem in problems] == ["lineage", "mode", "owner", "probe"]


def test_a_target_must_do_something():
    """A section without files and without reload is a mistake; reload alone is a target."""
    assert read({"lineage": "x"})[1] == [
        "[deploy www] fullchain is missing, and so is every other file and reload; name at least one of them"
    ]
    target, problems = read({"lineage": "x", "reload": "systemctl reload nginx"})
    assert problems == []
    assert target.outputs == ()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sh -c 'nginx -t && echo $HOME > /tmp/x'", ("sh", "-c", "nginx -t && echo $HOME > /tmp/x")),
        ('echo "a; b | c > *"', ("echo", "a; b | c > *")),
        ("echo \\$HOME \\*", ("echo", "$HOME", "*")),
        ("run --name=a~b x=1 http://localhost/?a", ("run", "--name=a~b", "x=1", "http://localhost/?a")),
    ],
)
def test_what_is_quoted_for_a_shell_is_fine(command, words):
    """A shell would pass on the same words."""
    target, problems = read({**LEAST, "test": command})
    assert problems == []
    assert target.tests == (words,)


@pytest.mark.parametrize(
    ("port", "key", "expected"),
    [(25, {}, "smtp"), (993, {}, None), (3306, {}, "mysql"), (25, {"probe-starttls": "none"}, None)],
)
def test_starttls_follows_the_port(port, key, expected):
    """Where TLS never begins at once, STARTTLS is the default, and can be switched off."""
    target, _ = read({**LEAST, "probe": f"mx:{port}", **key})
    assert target.probes[0].starttls == expected


@pytest.mark.parametrize("family", [DEBIAN, RHEL])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_whole_target(preset, family):
    """A preset with a lineage (and a password, for keystores) needs nothing else, and has a source."""
    keys = {"lineage": "www.example.it", "preset": preset}
    if "pkcs12" in PRESETS[preset].keys_for(family, "x"):
        keys["pkcs12-password-file"] = "/etc/pass"
    target, problems = read(keys, family)
    assert problems == []
    assert set(PRESETS[preset].keys_for(family, "x")) <= set(KEYS)
    assert any(output.has_private_key for output in target.outputs)
    assert PRESETS[preset].source
    assert "{" not in "".join(str(output.path) for output in target.outputs)


def test_on_rhel_every_file_of_a_preset_lies_in_a_folder_of_roots():
    """None in a folder that its package gives to the service's user or group: what is written there is its own."""
    targets = [read({"lineage": "x", "preset": name, "pkcs12-password-file": "/p"}, RHEL)[0] for name in PRESETS]
    # As the packages have them: /etc/raddb/certs is its group's, /var/lib/pgsql/data and /etc/ejabberd the service's.
    pki = {"/etc/pki/tls/certs", "/etc/pki/tls/private"}
    own = {"/etc/haproxy/certs", "/etc/openldap/certs", "/etc/stunnel", "/etc/cups/ssl", "/etc/cockpit/ws-certs.d"}
    keystores = {"/etc/jetty", "/etc/tomcat"}
    grid = {"/etc/grid-security", "/etc/grid-security/xrd", "/etc/grid-security/storm-webdav"}
    assert {str(output.path.parent) for target in targets for output in target.outputs} == pki | own | keystores | grid


@pytest.mark.parametrize("family", [DEBIAN, RHEL])
@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_starts_a_service_that_was_stopped(preset, family):
    """Units are asked with systemctl's try- commands, which leave a stopped unit alone."""
    keys = PRESETS[preset].keys_for(family, "x")
    words = keys.get("reload", "").split()
    assert words[:1] != ["systemctl"] or words[1] in ("try-reload-or-restart", "try-restart")


def test_a_preset_yields_to_the_section():
    """Own keys win over the preset's; an empty value drops it."""
    target, problems = read({"preset": "nginx", "lineage": "x", "key": "/tls/x.key", "test": "", "mode": "0444"})
    assert problems == []
    assert [str(output.path) for output in target.outputs] == ["/etc/ssl/certs/x.crt", "/tls/x.key"]
    assert target.tests == ()
    assert target.outputs[0].mode == 0o444


def test_a_preset_knows_the_distribution():
    """The same preset gives the paths of the family that is asked for, and by default of this machine."""
    on_rhel, _ = read({"preset": "apache", "lineage": "x"}, RHEL)
    assert on_rhel.tests == (("httpd", "-t"),)
    here, _ = read_target(Section("deploy", "www", 1, {"preset": "apache", "lineage": "x"}), SOURCE)
    assert here == read({"preset": "apache", "lineage": "x"}, this_family())[0]


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("ID=debian\n", DEBIAN),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', RHEL),
        ("ID=fedora\n", RHEL),
        ("ID=ubuntu\nID_LIKE=debian\n", DEBIAN),
        ("NAME=rhel\n", DEBIAN),
        ("", DEBIAN),
    ],
)
def test_the_family_is_read_from_os_release(text, family):
    """ID and ID_LIKE decide; anything unknown counts as Debian."""
    assert family_of(text) == family


def test_one_section_serves_several_services_that_share_their_files():
    """Each preset's test and reload, none twice; what they have in common, once; a probe for each."""
    keys = {"preset": "postfix dovecot", "lineage": "x", "probe": "mail:25 mail:993"}
    target, problems = read(keys)
    assert problems == []
    assert [str(output.path) for output in target.outputs] == ["/etc/ssl/certs/x.crt", "/etc/ssl/private/x.key"]
    assert target.tests == (("postfix", "check"), ("doveconf", "-n"))
    reload = "systemctl", "try-reload-or-restart"
    assert target.reloads == ((*reload, "postfix"), (*reload, "dovecot"))
    assert [(probe.port, probe.starttls) for probe in target.probes] == [(25, "smtp"), (993, None)]
    one, _ = read({**keys, "test": "true", "preset": "postfix, dovecot postfix"})
    assert one.tests == (("true",),)
    assert one.reloads == target.reloads


def test_what_one_of_several_services_wants_counts_for_all():
    """PostgreSQL's group may read the key, although nginx asks for nothing; what differs must be written."""
    target, problems = read({"preset": "nginx postgresql haproxy", "lineage": "x"})
    assert problems == []
    assert (target.group, target.mkdir, target.outputs[-1].kind) == ("ssl-cert", True, "combined")
    assert {output.mode for output in target.outputs if output.has_private_key} == {0o640}


def test_two_targets_must_not_share_a_path():
    """The same paths in two targets are one sentence that names both sections, and no path."""
    one, _ = read_target(Section("deploy", "one", 1, {**LEAST, "key": "/tls/www.key"}), SOURCE)
    two, _ = read_target(Section("deploy", "two", 1, {**LEAST, "key": "/tls/www.key"}), SOURCE)
    (said,) = path_conflicts([one, two])
    assert said.startswith("[deploy two] fullchain, key: the same path as in [deploy one]; give each section paths")
    assert "preset = postfix dovecot" in said
    assert path_conflicts([one]) == []


@pytest.mark.parametrize(
    "build",
    [
        lambda: Output("keys", Path("/x"), 0o600),
        lambda: Output("key", Path("x"), 0o600),
        lambda: Output("key", Path("/x"), 0o644),
        lambda: Output("cert", Path("/x"), 0o666),
        lambda: Probe("", 443),
        lambda: Probe("x", 0),
        lambda: Probe("x", 443, "telnet"),
        lambda: Probe("x", 443, timeout_seconds=0),
    ],
)
def test_a_value_that_makes_no_sense_cannot_be_built(build):
    """Outputs and probes check themselves."""
    with pytest.raises(ValueError, match=r"no output|too wide|no probe|no STARTTLS"):
        build()
