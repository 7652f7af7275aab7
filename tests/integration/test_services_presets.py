"""Servers of Debian's packages serve what their preset deploys, with its owners and modes."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import re
import signal
import ssl
import stat
import subprocess
import time
from pathlib import Path

import pytest
from support.daemons import LINEAGE, Site, foreground, wait_for_port
from support.folders import open_folder
from support.needs import need, need_program, need_root

from certbot_garr_tcs.deploy.folders import open_location
from certbot_garr_tcs.deploy.presets import DEBIAN, PRESETS
from certbot_garr_tcs.deploy.settings import OUTPUTS, read_target
from certbot_garr_tcs.errors import DeployError
from certbot_garr_tcs.sandbox.settings import free_port
from certbot_garr_tcs.section_reader import Section

pytestmark = pytest.mark.integration


class PresetSite(Site):
    """A service whose target is its preset's, in a folder of the test: names, owner and modes are as on Debian."""

    def __init__(self, folder, preset, starttls=None):
        """Take the preset's files; its commands need systemd, and are the test's to replace."""
        super().__init__(folder, free_port())
        self.starttls = starttls
        self.preset = PRESETS[preset].keys_for(DEBIAN, LINEAGE)
        for key, value in self.preset.items():
            if key in OUTPUTS:
                self.keys[key] = str(self.tls / Path(value).name)
            elif key not in ("test", "reload"):
                self.keys[key] = value
        if starttls:
            self.section(probe_starttls=starttls)

    def path(self, kind):
        """Return the path of one of the files."""
        return Path(self.keys[kind])

    def seen(self):
        """Return what openssl sees on the wire: the leaf's fingerprint, and how many certificates come with it."""
        how = ["-starttls", self.starttls] if self.starttls else []
        how += ["-xmpphost", LINEAGE] if self.starttls == "xmpp" else []
        asked = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", LINEAGE, "-showcerts", *how],
            input=b"QUIT\n",
            capture_output=True,
            check=False,
            timeout=20,
        )
        pems = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", asked.stdout.decode(), re.DOTALL)
        leaf = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pems[0])).hexdigest() if pems else ""
        return leaf, len(pems)

    def wait_until_seen(self, bundle):
        """Return when the certificate and its chain are on the wire."""
        deadline = time.monotonic() + 10
        while self.seen() != (bundle.fingerprint, 2):
            assert time.monotonic() < deadline, (self.seen(), bundle.fingerprint)
            time.sleep(0.05)


def owned_folder(path, user):
    """Make a folder that a user of a service can write to."""
    path.mkdir(mode=0o755)
    os.chown(path, pwd.getpwnam(user).pw_uid, -1)
    return path


RESTART = """#!/bin/sh
# what systemctl try-restart does: the service reads its certificate once, at start
if test -f {pid}; then
  kill "$(cat {pid})"
  while grep -qs '^State:.[^ZX]' "/proc/$(cat {pid})/status"; do sleep 0.02; done
fi
test "$1" != stop || exit 0
setsid {command} >>{log} 2>&1 </dev/null &
echo $! >{pid}
"""


@contextlib.contextmanager
def restarted(site, command):
    """Run a service that has to be started again to read its files."""
    script = site.folder / "restart"
    script.write_text(RESTART.format(pid=site.folder / "restart.pid", command=command, log=site.folder / "log"))
    script.chmod(0o755)
    site.section(reload=script).write_first()
    subprocess.run([script], check=True)
    try:
        wait_for_port(site.port)
        yield site
    finally:
        subprocess.run([script, "stop"], check=True)


@contextlib.contextmanager
def preset_site(preset, starttls=None):
    """Give a folder that services under other users can reach, with a site of a preset in it."""
    need_root()
    with open_folder() as folder:
        yield PresetSite(folder, preset, starttls)


STUNNEL = """
foreground = yes
pid =
setuid = stunnel4
setgid = stunnel4
[tls]
accept = 127.0.0.1:{port}
connect = 127.0.0.1:9
cert = {combined}
"""


@contextlib.contextmanager
def stunnel():
    """Run stunnel without root after its start: a reload can only read what its group may."""
    program = need_program("stunnel4")
    with preset_site("stunnel") as site:
        config = site.folder / "stunnel.conf"
        config.write_text(STUNNEL.format(port=site.port, combined=site.path("combined")))
        site.write_first()
        with foreground(program, config, port=site.port, log=site.folder / "log") as process:
            yield site.section(reload=f"kill -HUP {process.pid}")


VSFTPD = """
listen=YES
listen_address=127.0.0.1
listen_port={port}
background=NO
local_enable=YES
anonymous_enable=NO
secure_chroot_dir={folder}/empty
ssl_enable=YES
rsa_cert_file={fullchain}
rsa_private_key_file={key}
"""


@contextlib.contextmanager
def vsftpd():
    program = need_program("vsftpd")
    with preset_site("vsftpd", "ftp") as site:
        (site.folder / "empty").mkdir()
        config = site.folder / "vsftpd.conf"
        files = {kind: site.path(kind) for kind in ("fullchain", "key")}
        config.write_text(VSFTPD.format(port=site.port, folder=site.folder, **files))
        with restarted(site, f"{program} {config}"):
            yield site


PROFTPD = """
ServerType standalone
DefaultAddress 127.0.0.1
Port {port}
UseIPv6 off
User proftpd
Group nogroup
ModulePath {modules}
LoadModule mod_tls.c
PidFile {folder}/proftpd.pid
ScoreboardFile {folder}/scoreboard
DelayTable none
WtmpLog off
TLSEngine on
TLSRSACertificateFile {fullchain}
TLSRSACertificateKeyFile {key}
TLSCertificateChainFile {chain}
"""


@contextlib.contextmanager
def proftpd():
    program = need_program("proftpd")
    with preset_site("proftpd", "ftp") as site:
        config = site.folder / "proftpd.conf"
        files = {kind: site.path(kind) for kind in ("fullchain", "key", "chain")}
        modules = Path(program).parents[1] / "lib/proftpd"
        config.write_text(PROFTPD.format(port=site.port, folder=site.folder, modules=modules, **files))
        site.section(test=f"{program} -t -c {config}").write_first()
        with foreground(program, "-n", "-c", config, port=site.port, log=site.folder / "log") as process:
            yield site.section(reload=f"kill -HUP {process.pid}")


@contextlib.contextmanager
def mariadb():
    """Run MariaDB without tables of rights: Debian's root needs no password at the socket either."""
    program, client = need_program("mariadbd"), need_program("mariadb")
    with preset_site("mariadb", "mysql") as site:
        data = owned_folder(site.folder / "data", "mysql")
        options = {
            "user": "mysql",
            "datadir": data,
            "socket": data / "s",
            "pid-file": data / "pid",
            "bind-address": "127.0.0.1",
            "port": site.port,
            "ssl-cert": site.path("fullchain"),
            "ssl-key": site.path("key"),
            "default-storage-engine": "Aria",
        }
        words = ["--no-defaults", "--skip-grant-tables", "--skip-innodb"]
        words += [f"--{name}={value}" for name, value in options.items()]
        reload = site.preset["reload"].split(" ", 1)
        assert reload[0] == "mariadb"
        site.section(reload=f"{client} --no-defaults -S {data}/s {reload[1]}").write_first()
        with foreground(program, *words, port=site.port, log=site.folder / "log"):
            yield site


MOSQUITTO = """
listener {port} 127.0.0.1
user mosquitto
allow_anonymous true
certfile {fullchain}
keyfile {key}
"""


@contextlib.contextmanager
def mosquitto():
    program = need_program("mosquitto")
    with preset_site("mosquitto") as site:
        config = site.folder / "mosquitto.conf"
        config.write_text(MOSQUITTO.format(port=site.port, fullchain=site.path("fullchain"), key=site.path("key")))
        site.write_first()
        with foreground(program, "-c", config, port=site.port, log=site.folder / "log") as process:
            yield site.section(reload=f"kill -HUP {process.pid}")


EJABBERD = """
hosts: [{lineage}]
certfiles: ["{combined}"]
listen:
  - {{port: {port}, ip: 127.0.0.1, module: ejabberd_c2s, starttls: true}}
"""


@contextlib.contextmanager
def ejabberd():
    control = need_program("ejabberdctl")
    with preset_site("ejabberd", "xmpp") as site:
        config = site.folder / "ejabberd"
        config.mkdir(mode=0o755)
        (config / "ejabberd.yml").write_text(
            EJABBERD.format(lineage=LINEAGE, port=site.port, combined=site.path("combined"))
        )
        # Without epmd, which would stay, and listen on all addresses.
        (config / "ejabberdctl.cfg").write_text(f"ERL_DIST_PORT={free_port()}\nINET_DIST_INTERFACE=127.0.0.1\n")
        (config / "inetrc").write_text('{lookup, ["file", "native"]}.\n')
        places = [owned_folder(site.folder / name, "ejabberd") for name in ("spool", "logs")]
        command = [control, "--config-dir", config, "--spool", places[0], "--logs", places[1]]
        words = " ".join(map(str, command))
        site.section(reload=f"{words} reload_config").write_first()
        pid = places[1] / "pid"
        environment = {"EJABBERD_PID_PATH": str(pid)}
        with foreground(*command, "foreground", port=site.port, log=site.folder / "log", env=environment):
            try:
                yield site
            finally:
                os.kill(int(pid.read_text()), signal.SIGKILL)  # a stop in good order takes seconds


CUPSD = """
SSLListen 127.0.0.1:{port}
ServerName {lineage}
WebInterface No
Browsing No
"""

CUPS_FILES = """
ServerRoot {folder}
ServerKeychain {folder}/tls
RequestRoot {folder}/spool
CacheDir {folder}/cache
StateDir {folder}/state
TempDir {folder}/spool
AccessLog {folder}/access_log
ErrorLog {folder}/error_log
PageLog {folder}/page_log
CreateSelfSignedCerts no
"""


@contextlib.contextmanager
def cups():
    """Run CUPS, which reads the files of its ServerName at each connection."""
    program = need_program("cupsd")
    with preset_site("cups") as site:
        config, files = site.folder / "cupsd.conf", site.folder / "cups-files.conf"
        config.write_text(CUPSD.format(port=site.port, lineage=LINEAGE))
        files.write_text(CUPS_FILES.format(folder=site.folder))
        for name in ("spool", "cache", "state"):
            (site.folder / name).mkdir()
        command = [program, "-c", config, "-s", files]
        site.section(test=f"{' '.join(map(str, command))} -t").write_first()
        with foreground(*command, "-f", port=site.port, log=site.folder / "log"):
            yield site


@contextlib.contextmanager
def cockpit():
    """Run cockpit-tls with a /run of its own: its paths there are built in."""
    programs = Path("/usr/lib/cockpit")
    need((programs / "cockpit-tls").exists(), "the package cockpit-ws")
    with preset_site("cockpit") as site:
        certificates = site.folder / "etc/cockpit/ws-certs.d"
        certificates.mkdir(mode=0o755, parents=True)
        for kind in ("fullchain", "key"):
            site.keys[kind] = str(certificates / site.path(kind).name)
        start = site.folder / "start"
        # What its units do; a client gets no further than the TLS handshake.
        start.write_text(
            "#!/bin/sh -e\nmount -t tmpfs tmpfs /run\nmkdir -p /run/cockpit/wsinstance /run/cockpit/tls\n"
            f"export XDG_CONFIG_DIRS={site.folder}/etc RUNTIME_DIRECTORY=/run/cockpit/tls\n"
            f"chown cockpit-ws /run/cockpit/tls\n{programs}/cockpit-certificate-ensure --for-cockpit-tls\n"
            "exec setpriv --reuid=cockpit-ws --regid=cockpit-ws --clear-groups "
            f"{programs}/cockpit-tls --port {site.port}\n"
        )
        start.chmod(0o755)
        site.section(test=f"env XDG_CONFIG_DIRS={site.folder}/etc {programs}/cockpit-certificate-ensure --check")
        with restarted(site, f"unshare -m {start}"):
            yield site


FREERADIUS = """
prefix = /usr
libdir = /usr/lib/freeradius
raddbdir = {folder}
logdir = {run}
run_dir = {run}
name = freeradius
pidfile = {run}/pid
security {{
  user = freerad
  group = freerad
  allow_vulnerable_openssl = yes
}}
log {{
  destination = files
  file = {run}/log
}}
thread pool {{
  start_servers = 1
  max_servers = 2
  min_spare_servers = 1
  max_spare_servers = 1
}}
client localhost {{
  ipaddr = 127.0.0.1
  proto = *
  secret = radsec
}}
server radsec {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = {port}
    proto = tcp
    tls {{
      certificate_file = {fullchain}
      private_key_file = {key}
      ca_file = {fullchain}
    }}
  }}
  authorize {{
  }}
}}
"""


@contextlib.contextmanager
def freeradius():
    """Run RADIUS over TLS, where the certificate is seen without an EAP client."""
    program = need_program("freeradius")
    with preset_site("freeradius") as site:
        run = owned_folder(site.folder / "run", "freerad")
        files = {kind: site.path(kind) for kind in ("fullchain", "key")}
        (site.folder / "radiusd.conf").write_text(
            FREERADIUS.format(folder=site.folder, run=run, port=site.port, **files)
        )
        here = f"{program} -d {site.folder} -n radiusd"
        site.section(test=site.preset["test"].replace("freeradius", here, 1))
        with restarted(site, f"{here} -f"):
            yield site


SERVICES = (stunnel, vsftpd, proftpd, mariadb, mosquitto, ejabberd, cups, cockpit, freeradius)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.__name__)
def test_the_first_and_the_renewed_certificate_are_served(service):
    """With their chain; files have the preset's owner and modes, and the service reads them so."""
    with service() as site:
        site.wait_until_seen(site.lineage)
        # ProFTPD has another directive for EC keys.
        new = site.renew(kind="rsa" if service is proftpd else "ec")
        site.deploy()
        site.wait_until_seen(new)
        for output in site.target.outputs:
            status = output.path.stat()
            owner = f"{pwd.getpwuid(status.st_uid).pw_name}:{grp.getgrgid(status.st_gid).gr_name}"
            assert owner == site.preset.get("owner", "root:root")
            holds_key = output.kind in ("key", "combined")
            assert stat.S_IMODE(status.st_mode) == int(site.preset.get("key-mode", "0600") if holds_key else "0644", 8)


def test_freeradius_says_what_is_wrong_with_its_configuration():
    """Its log is a file, as on Debian: the test prints to us, and the reason is in the error."""
    with freeradius() as site:
        old = site.served()
        with (site.folder / "radiusd.conf").open("a") as config:
            config.write("server other {\n  listen {\n    type = no-such-type\n  }\n}\n")
        site.renew()
        with pytest.raises(DeployError, match=r"exit status 1: .*no-such-type"):
            site.process().converge(LINEAGE)
        assert site.served() == old


PROGRAMS = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "postfix": "postfix",
    "dovecot": "dovecot",
    "slapd": "slapd",
    "postgresql": "pg_ctlcluster",
    "freeradius": "freeradius",
    "mariadb": "mariadbd-safe",
    "mosquitto": "mosquitto",
    "ejabberd": "ejabberdctl",
    "stunnel": "stunnel4",
    "proftpd": "proftpd",
    "cups": "cupsd",
    "cockpit": "/usr/lib/cockpit/cockpit-tls",
}
"""Presets whose whole package the tests install, with a program of it."""


@pytest.mark.parametrize("preset", PROGRAMS)
def test_a_preset_is_as_its_package_has_it(preset):
    """Folders are there and root's, user and group are there, the unit and the commands too."""
    need_root()
    need_program(PROGRAMS[preset])
    target, problems = read_target(
        Section("deploy", "x", 1, {"preset": preset, "lineage": LINEAGE}), Path("/x"), family=DEBIAN
    )
    assert problems == []
    for output in target.outputs:
        with open_location(output.path, frozenset({0})) as location:
            assert target.mkdir or location.missing == ()
    assert target.owner is None or pwd.getpwnam(target.owner)
    assert target.group is None or grp.getgrnam(target.group)
    for words in (*target.tests, *target.reloads):
        need_program(words[0])
        if words[0] == "systemctl":
            unit, places = words[-1], ("/lib/systemd/system", "/etc/init.d")
            found = [path for place in places for path in (Path(place, f"{unit}.service"), Path(place, unit))]
            text = "".join(path.read_text(encoding="utf-8") for path in found if path.is_file())
            assert text, f"no unit {unit}"
            assert words[1] == "try-restart" or "ExecReload=" in text or "|reload|" in text
