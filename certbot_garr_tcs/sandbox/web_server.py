"""A small web server to deploy to, in place of nginx: it serves TLS with the certificate that ``web.conf`` names.

A program of its own: ``python -m certbot_garr_tcs.sandbox.web_server serve|test|reload FOLDER``. ``serve`` reads the
certificate again on SIGHUP, writes ``FOLDER/port`` and ``FOLDER/pid``, and ends when its standard input is closed.
``WebServer`` runs it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certbot_garr_tcs.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography import x509

_SETTINGS = ("certificate", "key")
_RESPONSE = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nIt works.\n"
_IDLE_SECONDS = 10.0
_START_SECONDS = 30.0


def load(folder: Path) -> ssl.SSLContext:
    """Read ``web.conf`` and the files that it names; raise ValueError where something is wrong."""
    settings = {}
    for number, line in enumerate((folder / "web.conf").read_text(encoding="utf-8").splitlines(), 1):
        name, _, value = (part.strip() for part in line.partition("="))
        if name not in _SETTINGS:
            raise ValueError(f'web.conf, line {number}: unknown setting "{name}"')
        settings[name] = value
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings["certificate"], settings["key"])
    except (OSError, KeyError) as error:
        raise ValueError(f"cannot use the certificate and key that web.conf names: {error}") from error
    return context


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self._folder = folder
        self._tls: ssl.SSLContext | None = None
        self.reload()

    def reload(self, *_: Any) -> None:
        """Read the files again; if they cannot be used, serve as before."""
        try:
            self._tls = load(self._folder)
        except ValueError as error:
            sys.stderr.write(f"{error}\n")

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # the base class's signature
        if self._tls is None:
            return  # no certificate yet
        request.settimeout(_IDLE_SECONDS)
        with self._tls.wrap_socket(request, server_side=True) as secure:
            secure.sendall(_RESPONSE)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: not an error of ours, the client closed the connection after the handshake."""


def serve(folder: Path) -> None:
    """Serve until standard input ends."""
    with _Server(folder) as server:
        signal.signal(signal.SIGHUP, server.reload)
        (folder / "pid").write_text(str(os.getpid()), encoding="utf-8")
        fresh = folder / "port.new"
        fresh.write_text(str(server.server_address[1]), encoding="utf-8")
        fresh.replace(folder / "port")
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        while os.read(0, 512):
            pass
        server.shutdown()


class WebServer:
    """The web server in one folder, its configuration, and the command that tests and reloads it."""

    def __init__(self, folder: Path, trust: Path) -> None:
        self.folder = folder
        self.port = 0
        self._trust = trust
        self._command = [sys.executable, "-m", "certbot_garr_tcs.sandbox.web_server"]
        (folder / "tls").mkdir(mode=0o755, parents=True)
        self.configure()
        script = folder / "webserver"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(self._command)} "$1" {shlex.quote(str(folder))}\n', "utf-8")
        script.chmod(0o755)

    def configure(self) -> None:
        """Write a correct configuration."""
        tls = self.folder / "tls"
        (self.folder / "web.conf").write_text(
            f"certificate = {tls / 'www.pem'}\nkey = {tls / 'www.key'}\n", encoding="utf-8"
        )

    def break_configuration(self) -> None:
        """Add a mistake to the configuration."""
        with (self.folder / "web.conf").open("a", encoding="utf-8") as file:
            file.write("lisen = 443\n")

    def deploy_section(self, lineage: str) -> str:
        """Return the section of garr-tcs.ini that deploys a lineage to this server."""
        tls, script = self.folder / "tls", shlex.quote(str(self.folder / "webserver"))
        return (
            f"[deploy www]\nlineage = {lineage}\nfullchain = {tls / 'www.pem'}\nkey = {tls / 'www.key'}\n"
            f"test = {script} test\nreload = {script} reload\nprobe = 127.0.0.1:{self.port}\n"
        )

    def served(self, name: str) -> x509.Certificate:
        """Return the certificate that is served; verify it as a browser does."""
        from cryptography import x509  # noqa: PLC0415  # the program itself starts faster without

        trust = ssl.create_default_context(cafile=str(self._trust))
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection,
            trust.wrap_socket(connection, server_hostname=name) as secure,
        ):
            return x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")

    @contextlib.contextmanager
    def running(self) -> Iterator[WebServer]:
        """Serve until the block ends."""
        with (self.folder / "log").open("ab") as log:
            # A session of its own: Ctrl-C does not reach it. It ends with the pipe, also if we die.
            process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own program
                [*self._command, "serve", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not (self.folder / "port").exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SandboxError("the web server of the demo did not start", f"Read {self.folder / 'log'}")
                time.sleep(0.02)
            self.port = int((self.folder / "port").read_text(encoding="utf-8"))
            yield self
        finally:
            process.kill()
            process.communicate()


def main(arguments: list[str]) -> None:
    """Do what the first argument says, in the folder that is the second."""
    verb, folder = arguments[0], Path(arguments[1]).resolve()
    if verb == "serve":
        serve(folder)
    elif verb == "reload":
        os.kill(int((folder / "pid").read_text(encoding="utf-8")), signal.SIGHUP)
    else:
        try:
            load(folder)
        except ValueError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
