"""Serve TLS with the certificate that ``web.conf`` names: a small stand-in for nginx, to deploy to.

A program of its own: ``python -m certbot_garr_tcs.sandbox.web serve|test|reload FOLDER``. ``serve`` reads the
certificate again on SIGHUP, writes ``FOLDER/port`` and ``FOLDER/pid``, and ends when its standard input is closed.
"""

from __future__ import annotations

import os
import signal
import socketserver
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

_SETTINGS = ("certificate", "key")
_ANSWER = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nIt works.\n"
_IDLE_SECONDS = 10.0


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
        """Take the files as they are now; where they cannot be used, go on as before."""
        try:
            self._tls = load(self._folder)
        except ValueError as error:
            sys.stderr.write(f"{error}\n")

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # the base class's signature
        if self._tls is None:
            return  # no certificate yet
        request.settimeout(_IDLE_SECONDS)
        with self._tls.wrap_socket(request, server_side=True) as secure:
            secure.sendall(_ANSWER)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away after the handshake is its own affair."""


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
