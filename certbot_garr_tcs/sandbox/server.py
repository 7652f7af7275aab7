"""The server of a practice CA: acme2certifier over TLS on a free loopback port, with a log of all requests.

A program of its own: ``python -m certbot_garr_tcs.sandbox.server FOLDER``. acme2certifier (GPLv3) is
imported here and in ``handlers``, which acme2certifier loads, and nowhere else. The program ends on SIGTERM, and when
its standard input is closed, so that it never outlives the process that started it.
"""

from __future__ import annotations

import base64
import binascii
import configparser
import errno
import io
import json
import os
import signal
import socketserver
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from certbot_garr_tcs.sandbox.settings import is_below

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_IDLE_SECONDS = 120.0


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A TLS server with a thread for each connection; the handshake is part of it."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, tls: ssl.SSLContext, port: int) -> None:
        self._tls = tls
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # http.server's own asks the resolver for the host's full name, which may take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.socket.getsockname()[1]
        self.setup_environ()

    def finish_request(self, request: Any, client_address: Any) -> None:
        connection: socket.socket = request
        connection.settimeout(_IDLE_SECONDS)
        with self._tls.wrap_socket(connection, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Not an error of ours: the client closed the connection, or does not trust our certificate.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(WSGIRequestHandler):
    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        environ.update({"HTTPS": "on", "wsgi.url_scheme": "https"})
        return environ

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name for it
        """Log nothing here: ``record`` writes the log of requests."""


def _read_body(environ: dict[str, Any]) -> bytes:
    """Return the body of a request, and leave it readable for the next application."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def read_jws_part(body: bytes, part: str) -> dict[str, Any]:
    """Return one part of a JWS body (RFC 8555 §6.2); ``{}`` for POST-as-GET, and for what is no JWS."""
    try:
        encoded = json.loads(body)[part]
        decoded = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)) or b"{}")
    except (ValueError, KeyError, TypeError, binascii.Error):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def record(application: Application, log: Path) -> Application:
    """Wrap an application so that each request becomes a line of JSON in ``log``.

    Keys: ``method``, ``path``, ``status`` (0 where there was no answer), ``payload``.
    """
    lock = threading.Lock()

    def recorded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = _read_body(environ)
        answered = [0]

        def start(status: str, *rest: Any) -> Any:
            answered[0] = int(status.split(" ", 1)[0])
            return start_response(status, *rest)

        try:
            return application(environ, start)
        finally:
            line = {
                "method": environ["REQUEST_METHOD"],
                "path": environ["PATH_INFO"],
                "status": answered[0],
                "payload": read_jws_part(body, "payload"),
            }
            with lock, log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    return recorded


def bind_once(application: Application, used: Path) -> Application:
    """Wrap an application so that each EAB key ID makes one account, as at Sectigo.

    The key IDs that have made an account are stored in the JSON file ``used``.
    """
    lock = threading.Lock()

    def bound(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = _read_body(environ)
        binding = read_jws_part(body, "payload").get("externalAccountBinding")
        if environ["PATH_INFO"] != "/acme/newaccount" or binding is None:
            return application(environ, start_response)
        key_id = read_jws_part(json.dumps(binding).encode(), "protected").get("kid")
        with lock:
            spent = json.loads(used.read_text(encoding="utf-8")) if used.exists() else []
            if key_id in spent:
                return problem(
                    start_response,
                    "400 Bad Request",
                    "malformed",
                    "[External Account Binding] The account is not awaiting external account binding",
                )

            def start(status: str, *rest: Any) -> Any:
                if status.startswith("201"):
                    used.write_text(json.dumps([*spent, key_id]), encoding="utf-8")
                return start_response(status, *rest)

            return application(environ, start)

    return bound


def refuse(application: Application, refused: Iterable[str]) -> Application:
    """Wrap an application so that an order with one of these names, or with one below them, is refused."""
    refused = list(refused)

    def checked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = _read_body(environ)
        ordered = environ["PATH_INFO"] == "/acme/neworders" and read_jws_part(body, "payload").get("identifiers")
        names = [str(one.get("value")) for one in ordered or () if isinstance(one, dict)]
        wrong = [name for name in names if any(is_below(name, one) for one in refused)]
        if not wrong:
            return application(environ, start_response)
        detail = f"This account may not order certificates for {', '.join(wrong)}"
        return problem(start_response, "403 Forbidden", "rejectedIdentifier", detail)

    return checked


def problem(start_response: Callable[..., Any], status: str, kind: str, detail: str) -> list[bytes]:
    """Answer with a problem document (RFC 7807) with an ACME error type (RFC 8555 §6.7)."""
    start_response(status, [("Content-Type", "application/problem+json")])
    return [json.dumps({"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail}).encode()]


def serve(application: Application, folder: Path) -> None:
    """Serve until SIGTERM, or until standard input ends; write the port into ``folder/port``.

    The port is that of ``folder/port.last``, if the CA has run before: lineages are renewed there.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "tls.pem", folder / "tls.key")
    last = folder / "port.last"
    wanted = int(last.read_text(encoding="utf-8")) if last.exists() else 0
    try:
        server = _Server(tls, wanted)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        sys.exit(f"port {wanted}, where it answered before, is taken; does it run already?")
    server.set_app(record(application, folder / "requests.log"))

    def stop(*_: Any) -> None:
        # From a thread of its own: shutdown() waits for the loop that the signal interrupted.
        threading.Thread(target=server.shutdown, daemon=True).start()

    def stop_at_end_of_input() -> None:
        while os.read(0, 512):
            pass
        stop()

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=stop_at_end_of_input, daemon=True).start()
    fresh = folder / "port.new"
    fresh.write_text(str(server.server_port), encoding="utf-8")
    fresh.replace(folder / "port")
    with server:
        server.serve_forever(poll_interval=0.05)


def load_application(folder: Path) -> Application:
    """Import acme2certifier, which reads the folder's configuration, and return its WSGI application."""
    os.environ["ACME_SRV_CONFIGFILE"] = str(folder / "acme_srv.cfg")
    os.environ["TZ"] = "UTC"
    time.tzset()
    # The first import reads the environment.
    from acme2certifier.share.acme2certifier_wsgi import application  # noqa: PLC0415

    from certbot_garr_tcs.sandbox import handlers  # noqa: PLC0415

    parser = configparser.ConfigParser(interpolation=None)
    parser.read(folder / "acme_srv.cfg", encoding="utf-8")
    settings = parser["Practice"]
    handlers.install_validators(settings)
    loaded: Application = refuse(application, json.loads(settings["refused"]))
    return bind_once(loaded, folder / "eab-used.json") if settings.getboolean("eab_once") else loaded


def main(arguments: list[str]) -> None:
    """Run the server of the practice CA in the folder that is the only argument."""
    folder = Path(arguments[0]).resolve()
    serve(load_application(folder), folder)


if __name__ == "__main__":
    main(sys.argv[1:])
