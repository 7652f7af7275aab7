"""Run real BIND name servers, seen on one free port of loopback addresses of their own.

named listens only on addresses that an interface has, so each one runs on a port of 127.0.0.1, and a
relay shows it at an address of its own. The relays also delay, swallow and count messages.
"""

from __future__ import annotations

import base64
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - dataclasses name it in their fields

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdatatype

from certbot_garr_tcs.challenges.sections import TsigKey
from support.dns_relay import Relay, Relays

LOOPBACK = "127.0.0.1"
_SBIN = "/usr/sbin:/usr/local/sbin"
_RNDC = shutil.which("rndc") or shutil.which("rndc", path=_SBIN) or "rndc"
NAMED = shutil.which("named") or shutil.which("named", path=_SBIN)


def make_key(name: str, algorithm: str = "hmac-sha256") -> TsigKey:
    """Return a new TSIG key."""
    return TsigKey(name, base64.b64encode(secrets.token_bytes(32)).decode(), algorithm)


def key_statement(key: TsigKey) -> str:
    """Write a key as tsig-keygen prints it."""
    return f'key "{key.name}" {{\n\talgorithm {key.algorithm};\n\tsecret "{key.secret}";\n}};\n'


@dataclass(frozen=True)
class Zone:
    """A zone of the primary.

    ``policy`` is the inside of ``update-policy { … }``; empty takes no updates. ``records`` are further
    lines of the zone file; ``extra`` goes into the zone statement; ``statement`` is all of it, as
    written, and its file has to be ``NAME.zone``. ``name_servers`` are further NS records, with address,
    beside those of the lab. ``missing_seconds``: how long a resolver remembers what is missing.
    """

    name: str
    policy: str = ""
    records: str = ""
    extra: str = ""
    statement: str = ""
    name_servers: tuple[tuple[str, str], ...] = ()
    missing_seconds: int = 5


@dataclass
class Named:
    """A running named, its folder, and the address where clients see it."""

    folder: Path
    relay: Relay
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """Return the address where it is seen."""
        return self.relay.address

    @property
    def own_port(self) -> int:
        """Return its own port on 127.0.0.1."""
        return self.relay.upstream[1]

    def start(self, configuration: str) -> None:
        """Start it in the foreground, and wait until it answers."""
        assert NAMED is not None
        (self.folder / "named.conf").write_text(configuration, encoding="utf-8")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [NAMED, "-g", "-n", "1", "-c", str(self.folder / "named.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_until_up()

    def stop(self) -> None:
        """Stop it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """Stop it from doing anything, with its sockets open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue after ``freeze``."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def rndc(self, *command: str) -> None:
        """Control it (only in a lab with ``control``)."""
        subprocess.run(
            [_RNDC, "-c", str(self.folder / "rndc.conf"), *command], check=True, capture_output=True, timeout=10
        )

    def ask(self, name: str, rdtype: str = "TXT") -> dns.message.Message:
        """Ask it over TCP, as an authoritative server."""
        query = dns.message.make_query(name, rdtype, flags=0)
        return dns.query.tcp(query, LOOPBACK, timeout=5, port=self.own_port)

    def txt(self, name: str) -> set[str]:
        """Return the TXT values that it shows at ``name``."""
        answer = self.ask(name)
        return {
            b"".join(rdata.strings).decode()
            for rrset in answer.answer
            if rrset.rdtype == dns.rdatatype.TXT
            for rdata in rrset
        }

    def all_txt(self, zone: str) -> dict[str, set[str]]:
        """Return every TXT value of the zone, by name, as a zone transfer shows them."""
        found: dict[str, set[str]] = {}
        origin = dns.name.from_text(zone)
        transfer = dns.query.xfr(LOOPBACK, zone, port=self.own_port, timeout=5, lifetime=5, relativize=False)
        for message in transfer:
            for rrset in message.answer:
                if rrset.rdtype == dns.rdatatype.TXT:
                    name = rrset.name.derelativize(origin).to_text()
                    found.setdefault(name, set()).update(b"".join(one.strings).decode() for one in rrset)
        return found

    def serial(self, zone: str) -> int:
        """Return the serial of the zone's SOA."""
        return self.ask(zone, "SOA").answer[0][0].serial

    def notify(self, zone: str) -> None:
        """Tell it, as its primary would, that the zone has changed (RFC 1996)."""
        message = dns.message.make_query(zone, "SOA", flags=dns.flags.AA)
        message.set_opcode(dns.opcode.NOTIFY)
        dns.query.udp(message, LOOPBACK, timeout=5, port=self.own_port)

    def log(self) -> str:
        """Return what it has logged."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"named ended with {self.process.returncode}: {self.log()[-2000:]}")
            if re.search(r" running$", self.log(), re.MULTILINE):
                return
            time.sleep(0.05)
        self.stop()
        raise AssertionError(f"named did not start: {self.log()[-2000:]}")


class BindLab:
    """A primary and, if wanted, secondaries that learn of changes only from the lab's NOTIFY.

    Secondaries get no NOTIFY from the primary. ``lag_seconds`` after a change on the primary they are
    told by the lab; ``None``: only by ``catch_up``. ``resolves``: those who ask for it get CNAMEs followed from
    one zone of the lab into another; other zones do not exist, so that nobody outside is asked for them. ``control``:
    the primary obeys ``rndc``.
    """

    def __init__(  # noqa: PLR0913 - what a lab is made of
        self,
        folder: Path,
        zones: list[Zone],
        keys: list[TsigKey],
        *,
        secondaries: int = 0,
        lag_seconds: float | None = None,
        delay_seconds: float = 0.0,
        port: int = 0,
        resolves: bool = False,
        control: bool = False,
    ) -> None:
        self.zones = zones
        self.keys = keys
        net = f"127.{random.randint(20, 250)}.{random.randint(1, 250)}"  # noqa: S311 - no secret
        self.addresses = [f"{net}.{host}" for host in range(1, secondaries + 2)]
        self.port = port or free_port(self.addresses)
        self.servers = [
            Named(
                _made(folder / f"named{number}"),
                Relay(address, self.port, (LOOPBACK, free_port([LOOPBACK])), delay_seconds),
            )
            for number, address in enumerate(self.addresses)
        ]
        self._relays = Relays([server.relay for server in self.servers])
        self._lag_seconds = lag_seconds
        self._resolves = resolves
        self._control = control
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def primary(self) -> Named:
        """Return the server that takes updates."""
        return self.servers[0]

    @property
    def secondaries(self) -> list[Named]:
        """Return the others."""
        return self.servers[1:]

    @property
    def server(self) -> str:
        """Write the primary as ``server`` of a [dns-01] section."""
        return f"{self.primary.address}:{self.port}"

    def __enter__(self) -> BindLab:
        try:
            self._relays.__enter__()
            self.primary.start(self._options(self.primary) + self._primary_zones())
            for secondary in self.secondaries:
                secondary.start(self._options(secondary) + self._secondary_zones())
            for secondary in self.secondaries:
                self._wait_until_loaded(secondary)
        except BaseException:
            self.__exit__()
            raise
        if self._lag_seconds is not None and self.secondaries:
            self._thread = threading.Thread(target=self._tell_later, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        for server in self.servers:
            server.stop()
        self._relays.__exit__()

    def surroundings(self, folder: Path) -> dict[str, str]:
        """Return environment variables for a process that is to find this lab instead of the machine's DNS.

        Resolvers and the port of name servers are what a machine has around it; a ``sitecustomize`` module
        replaces what reads them, before the program starts.
        """
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(
            "import certbot_garr_tcs.challenges.dns.lookup as lookup\n"
            "from certbot_garr_tcs.challenges.dns.endpoints import Endpoint\n"
            f"around = lookup.Surroundings((Endpoint({self.primary.address!r}, {self.port}),), port={self.port})\n"
            "lookup.system_surroundings = lambda: around\n",
            encoding="utf-8",
        )
        return {"PYTHONPATH": str(folder)}

    def catch_up(self) -> None:
        """Send NOTIFY for every zone to every secondary."""
        for secondary in self.secondaries:
            for zone in self.zones:
                secondary.notify(zone.name)

    def _options(self, server: Named) -> str:
        return (
            f'options {{ directory "{server.folder}"; listen-on port {server.own_port} {{ {LOOPBACK}; }};'
            f" listen-on-v6 {{ none; }}; pid-file none; recursion {'yes' if self._resolves else 'no'};"
            " dnssec-validation no;"
            f' session-keyfile "{server.folder}/session.key"; allow-transfer {{ any; }}; notify no;'
            " allow-notify { any; }; serial-query-rate 1000; minimal-responses no;"
            " max-journal-size default; };\n"
            + (self._controlled(server) if self._control and server is self.primary else "controls { };\n")
            + "".join(map(key_statement, self.keys))
            + self._root(server)
        )

    def _controlled(self, server: Named) -> str:
        """Write what rndc needs, and return what named needs."""
        key, port = make_key("rndc"), free_port([LOOPBACK])
        (server.folder / "rndc.conf").write_text(
            key_statement(key) + f"options {{ default-key rndc; default-server {LOOPBACK}; default-port {port}; }};\n",
            encoding="utf-8",
        )
        return key_statement(key) + f"controls {{ inet {LOOPBACK} port {port} allow {{ any; }} keys {{ rndc; }}; }};\n"

    def _root(self, server: Named) -> str:
        """Return the statement of a root zone without any delegation, where the lab is all that there is."""
        if not self._resolves:
            return ""
        (server.folder / "root.zone").write_text("$TTL 60\n@ SOA . . 1 60 60 60 5\n@ NS localhost.\n", encoding="utf-8")
        return 'zone "." { type primary; file "root.zone"; };\n'

    def _primary_zones(self) -> str:
        parts = []
        for zone in self.zones:
            lines = [
                f"$ORIGIN {zone.name}.",
                "$TTL 60",
                f"@ SOA ns1.{zone.name}. hostmaster.{zone.name}. 1 3600 600 86400 {zone.missing_seconds}",
            ]
            for number, address in enumerate(self.addresses, start=1):
                lines += [f"@ NS ns{number}.{zone.name}.", f"ns{number}.{zone.name}. A {address}"]
            for host, address in zone.name_servers:
                lines += [f"@ NS {host}.{zone.name}."]
                lines += [f"{host}.{zone.name}. {'AAAA' if ':' in address else 'A'} {address}"]
            text = "\n".join([*lines, zone.records, ""])
            (self.primary.folder / f"{zone.name}.zone").write_text(text, encoding="utf-8")
            policy = f"update-policy {{ {zone.policy} }};" if zone.policy else ""
            parts.append(
                zone.statement
                or f'zone "{zone.name}" {{ type primary; file "{zone.name}.zone"; {policy} {zone.extra} }};\n'
            )
        return "".join(parts)

    def _secondary_zones(self) -> str:
        return "".join(
            f'zone "{zone.name}" {{ type secondary; file "{zone.name}.copy";'
            f" primaries {{ {LOOPBACK} port {self.primary.own_port}; }}; }};\n"
            for zone in self.zones
        )

    def _wait_until_loaded(self, secondary: Named) -> None:
        deadline = time.monotonic() + 15
        for zone in self.zones:
            while not secondary.ask(zone.name, "SOA").answer:
                if time.monotonic() > deadline:
                    raise AssertionError(f"no transfer of {zone.name}: {secondary.log()[-2000:]}")
                time.sleep(0.05)

    def _tell_later(self) -> None:
        """Pass each change on, so many seconds after it was made."""
        known = {zone.name: self.primary.serial(zone.name) for zone in self.zones}
        due: list[tuple[float, str]] = []
        assert self._lag_seconds is not None
        while not self._ending.wait(0.02):
            for zone, before in list(known.items()):
                serial = self._serial_now(zone, before)
                if serial != before:
                    known[zone] = serial
                    due.append((time.monotonic() + self._lag_seconds, zone))
            while due and due[0][0] <= time.monotonic():
                _, zone = due.pop(0)
                for secondary in self.secondaries:
                    secondary.notify(zone)

    def _serial_now(self, zone: str, otherwise: int) -> int:
        """Return the primary's serial, or ``otherwise`` where a test has stopped the primary."""
        try:
            return self.primary.serial(zone)
        except (dns.exception.DNSException, OSError):
            return otherwise


def free_port(addresses: list[str]) -> int:
    """Return a port that is free for UDP and TCP on all of these addresses."""
    for _ in range(50):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((addresses[0], 0))
            port = int(probe.getsockname()[1])
        if all(_is_free(address, port) for address in addresses):
            return port
    raise AssertionError("no port is free on all addresses")


def _is_free(address: str, port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def skip_or_fail() -> str:
    """Return why the tests with BIND cannot run here; empty where they can. In CI that is an error."""
    if NAMED is None:
        if os.environ.get("CI"):
            raise AssertionError("named is not installed (Debian: bind9)")
        return "named is not installed (Debian: bind9)"
    return ""
