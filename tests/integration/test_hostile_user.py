"""Attacks of a service's own user on Certbot, which runs as root: none gains anything outside the service's folder.

The attacker is ``nobody``: owns the target's folder and the folder above it, runs programs at any moment, has prepared
what it likes, answers at the probed port and decides what the config test prints. Root types ``certbot run``, ``certbot
renew`` and ``certbot rollback`` only.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import stat
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.certbot_runner import CertbotRunner
from support.folders import open_folder
from support.needs import need, need_root

import certbot_garr_tcs
from certbot_garr_tcs.sandbox.certbot import find_certbot
from certbot_garr_tcs.sandbox.settings import free_port

pytestmark = pytest.mark.integration

NAME = "www.practice.example"
ATTACKER = pwd.getpwnam("nobody")

# Waits until root has put another file in the place of server.crt (or of what it links to), then moves the folder
# away and leaves a link to a folder of root's in its place.
SWAP = """
import os, sys, time
folder, elsewhere, ready = sys.argv[1:]
names = ("server.crt", "server.key", "zz.sh")
def marks():
    found = []
    for name in names:
        try:
            found.append(os.lstat(f"{folder}/{name}").st_ino)
        except OSError:
            found.append(0)
    return found
before = marks()
open(ready, "w").close()
while marks() == before:
    time.sleep(0.0005)
os.rename(folder, folder + ".away")
os.symlink(elsewhere, folder)
"""

# The same as soon as a command of root's runs; its words are the third argument.
SWAP_DURING = """
import glob, os, sys, time
folder, elsewhere, command, ready = sys.argv[1:]
words = command.replace(" ", "\\0").encode() + b"\\0"
def runs():
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                if file.read() == words:
                    return True
        except OSError:
            pass
    return False
open(ready, "w").close()
while not runs():
    time.sleep(0.005)
os.rename(folder, folder + ".away")
os.symlink(elsewhere, folder)
"""

# Answers every connection with what begins like a TLS record, then one byte a second.
DRIP = """
import socket, sys, threading, time
port, ready, greeting = int(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3])
server = socket.create_server(("127.0.0.1", port))
open(ready, "w").close()
def serve(sock):
    try:
        sock.sendall(greeting)
        while True:
            time.sleep(1)
            sock.sendall(b"\\x01")
    except OSError:
        pass
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""

# Holds an exclusive lock on a folder that it can only read, and on every other path that it can open.
LOCK = """
import fcntl, os, sys, time
ready, folder, *paths = sys.argv[1:]
handles = [os.open(folder, os.O_RDONLY)]
for path in paths:
    try:
        handles.append(os.open(path, os.O_RDONLY))
    except PermissionError:
        pass
for handle in handles:
    fcntl.flock(handle, fcntl.LOCK_EX)
open(ready, "w").close()
time.sleep(600)
"""

# Puts a link (second argument: where it leads) in the place of server.crt.
LINK = """
import os, sys
os.chdir(sys.argv[1])
os.unlink("server.crt")
if sys.argv[2] == "zz.sh":
    with open("zz.sh", "w") as file:
        file.write("attacker was here")
os.symlink(sys.argv[2], "server.crt")
"""

# Moves the folder away and leaves a link in its place.
REPLACE = """
import os, sys
os.rename(sys.argv[1], sys.argv[1] + ".away")
os.symlink(sys.argv[2], sys.argv[1])
"""


@dataclass
class Ground:
    """Folders of an attack: ``home`` and ``tls`` are the attacker's, ``protected`` is root's and must not change."""

    folder: Path

    def __post_init__(self):
        self.home, self.protected = self.folder / "home", self.folder / "protected"
        self.tls = self.home / "tls"
        for path in (self.home, self.tls, self.protected):
            path.mkdir(mode=0o755)
        (self.protected / "profile.sh").write_text("# root's own\n")
        (self.protected / "secret").write_text("root's secret\n")
        (self.protected / "secret").chmod(0o600)
        for path in (self.home, self.tls):
            os.chown(path, ATTACKER.pw_uid, ATTACKER.pw_gid)
        self.before = self.look()

    def section(self, **keys):
        """Return a section as an administrator writes it for a service that runs as nobody."""
        every = {
            "lineage": NAME,
            "fullchain": self.tls / "server.crt",
            "key": self.tls / "server.key",
            "owner": "nobody:nogroup",
            **keys,
        }
        return "\n[deploy service]\n" + "".join(
            f"{key.replace('_', '-')} = {value}\n" for key, value in every.items() if value is not None
        )

    def look(self):
        """Return everything in root's folder: names, kinds, owners, modes, bytes."""
        found = {}
        for path in sorted([self.protected, *self.protected.rglob("*")]):
            status = path.lstat()
            data = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[str(path)] = (status.st_mode, status.st_uid, status.st_gid, status.st_nlink, data)
        return found

    def as_attacker(self, program, *arguments):
        """Run a Python program as nobody to its end."""
        command = [attackers_python(), "-c", program, *map(str, arguments)]
        subprocess.run(command, check=True, user="nobody", group="nogroup", extra_groups=[], cwd="/")

    @contextlib.contextmanager
    def attacking(self, program, *arguments):
        """Run a Python program as nobody as long as the block lasts; ``READY`` is a file that it makes first."""
        ready = self.home / f"ready-{time.monotonic_ns()}"
        words = [str(ready) if word is READY else str(word) for word in arguments]
        process = subprocess.Popen(
            [attackers_python(), "-c", program, *words], user="nobody", group="nogroup", extra_groups=[], cwd="/"
        )
        try:
            deadline = time.monotonic() + 20
            while not ready.exists():
                assert process.poll() is None, "the attacker did not start"
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield process
        finally:
            process.kill()
            process.wait()

    def swapping(self):
        """Swap the folder for root's as soon as root has replaced a file in it."""
        return self.attacking(SWAP, self.tls, self.protected, READY)

    def assert_untouched(self):
        """Fail where anything in root's folder is not as it was."""
        assert self.look() == self.before


READY = object()


@functools.lru_cache(maxsize=1)
def attackers_python():
    """Return a Python that nobody can run: the one of these tests may lie below a private folder."""
    for path in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        with contextlib.suppress(OSError):
            if subprocess.run([path, "-c", ""], user="nobody", group="nogroup", cwd="/", check=False).returncode == 0:
                return path
    need(present=False, what="a Python that nobody can run")
    return ""


def ordinary_users_certbot(path):
    """Write a program that runs the Certbot of these tests as nobody, even where it lies below a private folder."""
    ours = Path(certbot_garr_tcs.__file__).parents[1]
    python = "bin/python{}.{}".format(*sys.version_info)
    need(Path(sys.base_prefix, python).exists(), f"{sys.base_prefix}/{python}")
    path.write_text(
        # an open folder leads to what is in it, whatever lies above
        f"#!/bin/sh\ncd /\nexec 7<'{sys.base_prefix}' 8<'{ours}' 9<'{sysconfig.get_path('purelib')}'\n"
        "export PYTHONHOME=/proc/self/fd/7 PYTHONPATH=/proc/self/fd/8:/proc/self/fd/9 PYTHONDONTWRITEBYTECODE=1\n"
        "export LD_LIBRARY_PATH=/proc/self/fd/7/lib  # of a Python that has its libpython there\n"
        f"exec setpriv --reuid=nobody --regid=nogroup --clear-groups /proc/self/fd/7/{python} -c "
        "'import sys; from certbot.main import main; sys.exit(main(sys.argv[1:]))' \"$@\"\n"
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def ground():
    need_root()
    with open_folder() as folder:
        yield Ground(folder)


@pytest.fixture
def deployed(practice_ca, certbot, ground):
    """Deploy a first certificate to the service, which is configured rightly; return a function that changes keys."""

    def write(**keys):
        certbot.write_ini(first + ground.section(**keys))

    certbot.use(practice_ca)
    first = certbot.ini.read_text()
    write()
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME)
    assert owner_and_mode(ground.tls / "server.key") == (ATTACKER.pw_uid, 0o600)
    return write


def owner_and_mode(path):
    status = path.lstat()
    return status.st_uid, stat.S_IMODE(status.st_mode)


def renew(certbot):
    return certbot.run("renew", "--force-renewal", check=False, timeout_seconds=100)


def swapped(ground):
    return ground.tls.is_symlink()


def test_a_rightly_configured_folder_of_the_service_works(deployed, certbot, ground):
    """The honest case: root renews into a folder that the service's user owns, and leaves nothing beside."""
    deployed(test="true", reload="true")
    result = renew(certbot)
    assert result.returncode == 0, result.output
    assert (ground.tls / "server.crt").read_bytes() == certbot.live(NAME, "fullchain").read_bytes()
    assert owner_and_mode(ground.tls / "server.key") == (ATTACKER.pw_uid, 0o600)
    assert sorted(path.name for path in ground.tls.iterdir()) == ["server.crt", "server.key"]


def test_an_ordinary_user_deploys_into_a_folder_of_its_own(practice_ca, ground):
    """The honest case without root: issued, renewed and brought back, all of it as nobody."""
    certbot = CertbotRunner(ordinary_users_certbot(ground.folder / "certbot"), ground.home / "certbot")
    certbot.use(practice_ca, ground.section(owner=None, test="true", reload="true"))
    for path in (certbot.config_dir.parent, *certbot.config_dir.parent.rglob("*")):
        os.chown(path, ATTACKER.pw_uid, ATTACKER.pw_gid)
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME)
    first = (ground.tls / "server.crt").read_bytes()
    certbot.run("renew", "--force-renewal")
    second = (ground.tls / "server.crt").read_bytes()
    assert second == certbot.live(NAME, "fullchain").read_bytes() != first
    assert owner_and_mode(ground.tls / "server.key") == (ATTACKER.pw_uid, 0o600)
    certbot.run("rollback", "-n", "-i", "garr-tcs")
    assert (ground.tls / "server.crt").read_bytes() == first
    assert sorted(path.name for path in ground.tls.iterdir()) == ["server.crt", "server.key"]


def test_roll_back_into_a_swapped_folder(deployed, certbot, ground):
    """The probe fails, and the folder is another one by then: roll-back writes nothing there."""
    deployed(probe=f"127.0.0.1:{free_port()}", probe_timeout=3)
    with ground.swapping():
        result = renew(certbot)
    assert swapped(ground), "the attacker was too slow: the attack has not been made"
    ground.assert_untouched()
    assert result.returncode == 1
    assert str(ground.tls) in result.output


def test_roll_back_of_the_attackers_own_text(deployed, certbot, ground):
    """A link in the folder makes the attacker's text the "old file": it is never written into root's folder."""
    ground.as_attacker(LINK, ground.tls, "zz.sh")
    deployed(probe=f"127.0.0.1:{free_port()}", probe_timeout=3)
    with ground.swapping():
        renew(certbot)
    ground.assert_untouched()


def test_a_swap_while_the_config_test_runs(deployed, certbot, ground):
    """Nothing has to fail: the attacker uses the seconds of the first config test, before anything is written."""
    command = f"sleep 2.{time.monotonic_ns()}"
    deployed(test=command)
    with ground.attacking(SWAP_DURING, ground.tls, ground.protected, command, READY):
        result = renew(certbot)
    assert swapped(ground), "the attacker was too slow: the attack has not been made"
    ground.assert_untouched()
    assert result.returncode == 1
    assert str(ground.tls) in result.output


def test_deletion_elsewhere(deployed, certbot, ground):
    """A link to a name that is missing makes "remove it again" the roll-back: it removes nothing of root's."""
    ground.as_attacker(LINK, ground.tls, "profile.sh")
    deployed(reload="sh -c 'sleep 1; exit 1'")
    with ground.swapping():
        renew(certbot)
    ground.assert_untouched()


def test_certbot_rollback_days_later(deployed, certbot, ground):
    """The folder that the journal names is another one by then."""
    deployed()
    assert renew(certbot).returncode == 0
    ground.as_attacker(REPLACE, ground.tls, ground.protected)
    result = certbot.run("rollback", "-n", "-i", "garr-tcs", check=False)
    ground.assert_untouched()
    assert result.returncode == 1
    assert str(ground.tls) in result.output


def test_recovery_after_a_kill(deployed, certbot, ground):
    """Certbot is killed in the middle; the next run recovers into the folder that it had opened, or not at all."""
    deployed(test="sleep 20")
    process = certbot.start("renew", "--force-renewal", "--no-random-sleep-on-renew")
    before = (ground.tls / "server.crt").lstat().st_ino
    deadline = time.monotonic() + 60
    # the first test runs before anything is written, the second after: 20 s each
    while (ground.tls / "server.crt").lstat().st_ino == before:
        assert time.monotonic() < deadline, "nothing was written"
        time.sleep(0.01)
    process.kill()
    process.communicate()
    deployed(test="true")
    ground.as_attacker(REPLACE, ground.tls, ground.protected)
    result = certbot.run("renew", check=False)
    ground.assert_untouched()
    assert result.returncode == 1
    assert str(ground.tls) in result.output


def test_follow_symlinks_follows_no_link_of_the_attackers(deployed, certbot, ground):
    """``follow-symlinks = yes`` is for links that root made."""
    ground.as_attacker(LINK, ground.tls, ground.protected / "profile.sh")
    deployed(follow_symlinks="yes")
    result = renew(certbot)
    ground.assert_untouched()
    assert result.returncode == 1
    assert "server.crt" in result.output


def test_mkdir_through_a_link_of_the_attackers(deployed, certbot, ground):
    """``mkdir = yes`` makes no folder where a link of the attacker's leads."""
    ground.as_attacker("import os, sys\nos.symlink(sys.argv[1], sys.argv[2])", ground.protected, ground.home / "sub")
    deployed(fullchain=ground.home / "sub" / "more" / "server.crt", mkdir="yes")
    result = renew(certbot)
    ground.assert_untouched()
    assert result.returncode == 1
    assert str(ground.home / "sub") in result.output


@pytest.mark.parametrize("kind", ["link", "hard link"])
def test_a_secret_of_roots_is_never_copied(deployed, certbot, ground, kind):
    """Root's secret by another name becomes no "old file", which a rollback would give to the attacker."""
    if kind == "link":
        ground.as_attacker(LINK, ground.tls, ground.protected / "secret")
    else:  # made by root, as fs.protected_hardlinks forbids it to the attacker where it is switched on
        (ground.tls / "server.crt").unlink()
        os.link(ground.protected / "secret", ground.tls / "server.crt")
    before = ground.look()
    deployed(follow_symlinks="yes")
    result = renew(certbot)
    certbot.run("rollback", "-n", "-i", "garr-tcs", check=False)
    theirs = [path for path in ground.home.rglob("*") if path.lstat().st_uid == ATTACKER.pw_uid and path.is_file()]
    assert [path for path in theirs if not path.is_symlink() and path.read_bytes() == b"root's secret\n"] == []
    assert ground.look() == before
    assert result.returncode == 1
    assert "server.crt" in result.output


def test_who_touches_the_file_first_gets_no_key(practice_ca, certbot, ground):
    """Without ``owner`` the owner that is found on disk is nobody to trust."""
    ground.as_attacker("import sys\nopen(sys.argv[1], 'w').close()", ground.tls / "server.key")
    certbot.use(practice_ca, ground.section(owner=None))
    result = certbot.run("run", "-n", "--garr-tcs", "-d", NAME, check=False)
    assert result.returncode == 1
    assert str(ground.tls) in result.output
    key = certbot.live(NAME, "privkey").read_bytes()
    found = [path for path in ground.home.rglob("*") if path.is_file() and path.read_bytes() == key]
    assert found == []


def test_a_lock_on_whatever_anybody_can_read(practice_ca, ground):
    """flock(2) needs read access only: it stops nobody's deployment."""
    certbot = CertbotRunner(find_certbot(), ground.folder / "certbot")
    place = ground.folder / "certs"
    place.mkdir(mode=0o755)
    certbot.use(practice_ca, ground.section(owner=None, fullchain=place / "server.crt", key=place / "server.key"))
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME)
    locks = [path for path in certbot.work_dir.rglob("*") if path.suffix == ".lock" or path.is_dir()]
    assert [path for path in locks if path.suffix == ".lock"]
    with ground.attacking(LOCK, READY, place, *locks):
        started = time.monotonic()
        result = renew(certbot)
        seconds = time.monotonic() - started
    assert result.returncode == 0, result.output
    assert seconds < 30


@pytest.mark.parametrize(
    ("starttls", "greeting"),
    [("none", "1603030100"), ("smtp", "323230"), ("imap", "2a"), ("ldap", "3084")],
    ids=["tls", "smtp", "imap", "ldap"],
)
def test_a_peer_that_drips(deployed, certbot, ground, starttls, greeting):
    """One byte a second: the whole attempt has one deadline, not each read."""
    port = free_port()
    deployed(probe=f"127.0.0.1:{port}", probe_timeout=3, probe_starttls=starttls)
    with ground.attacking(DRIP, port, READY, greeting):
        started = time.monotonic()
        result = renew(certbot)
        seconds = time.monotonic() - started
    assert result.returncode == 1
    assert f"127.0.0.1:{port}" in result.output
    assert seconds < 25


def test_a_rollback_to_an_expired_certificate_is_refused(make_practice_ca, certbot, ground):
    """A good certificate stays where the old one has expired meanwhile."""
    short, good = (
        make_practice_ca(name="Short", configuration={"Practice": {"lifetime_days": str(8 / 86400)}}),
        make_practice_ca(name="Good"),
    )
    certbot.use(short, ground.section())
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME)
    expires = time.monotonic() + 9
    certbot.use(good, ground.section())
    assert renew(certbot).returncode == 0
    good_bytes = (ground.tls / "server.crt").read_bytes()
    time.sleep(max(0, expires - time.monotonic()))
    result = certbot.run("rollback", "-n", "-i", "garr-tcs", check=False)
    assert result.returncode == 1
    assert "expired" in result.output
    assert (ground.tls / "server.crt").read_bytes() == good_bytes


@pytest.mark.parametrize("kind", ["fifo", "link", "group-writable", "huge"])
def test_the_password_file_of_a_keystore(deployed, certbot, ground, kind):
    """A FIFO holds nobody up, a link leads to no secret of root's, and nobody else chooses the password."""
    password = ground.home / "password"
    if kind == "fifo":
        ground.as_attacker("import os, sys\nos.mkfifo(sys.argv[1], 0o600)", password)
    elif kind == "link":
        ground.as_attacker(
            "import os, sys\nos.symlink(sys.argv[1], sys.argv[2])", ground.protected / "secret", password
        )
    elif kind == "group-writable":
        ground.as_attacker(
            "import os, sys\nopen(sys.argv[1], 'w').write('changeit')\nos.chmod(sys.argv[1], 0o660)", password
        )
    else:
        ground.as_attacker(
            "import os, sys\nopen(sys.argv[1], 'w').write('x' * (1 << 22))\nos.chmod(sys.argv[1], 0o600)", password
        )
    deployed(pkcs12=ground.tls / "server.p12", pkcs12_password_file=password)
    started = time.monotonic()
    result = renew(certbot)
    assert time.monotonic() - started < 30
    assert result.returncode == 1
    assert str(password) in result.output
    assert not (ground.tls / "server.p12").exists()


def test_escapes_in_a_commands_output(deployed, certbot, ground):
    """What the config test prints reaches neither root's terminal nor the log as control characters."""
    script = ground.folder / "configtest"
    script.write_text(
        "#!/bin/sh\nprintf '\\033]0;owned\\007\\033[31mred\\302\\233m\\r\\b\\342\\200\\256text\\n'\nexit 1\n"
    )
    script.chmod(0o755)
    deployed(test=script)
    result = renew(certbot)
    assert result.returncode == 1
    log = (certbot.logs_dir / "letsencrypt.log").read_text(encoding="utf-8", errors="surrogateescape")
    for text in (result.output, log):
        assert "red" in text
        assert not {"\x1b", "\x07", "\x08", "\x9b", "\u202e"} & set(text)
