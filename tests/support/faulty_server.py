"""The server of a practice CA that fails on purpose.

``faults.json`` in the CA's folder is read at each request. It maps where to what:

- where: ``directory``, ``newNonce``, ``newAccount``, ``newOrder``, ``authz``, ``order``, ``finalize``, ``revokeCert``,
  ``everything``;
- what: ``{"kind": KIND}``, with KIND ``503`` (a page of HTML, as a load balancer's), ``bare-string`` (status 400, a
  JSON string, as HARICA does), ``json`` (any ``body`` with any ``status``, 200 where none is given), ``close`` (no
  answer at all);
- ``times``: how often; without it, always.

``processing`` is another one: ``{"seconds": N}`` makes the issuer slow, so that finalize answers
``processing`` with Retry-After. It needs an ``enrollment_timeout`` below N in acme2certifier's configuration.
``left_out``: ``{"names": [NAME, …]}`` are missing in the certificates, whatever was ordered.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from certbot_garr_tcs.sandbox.server import load_application, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from certbot_garr_tcs.sandbox.server import Application

PLACES = {
    "directory": r"^/directory$",
    "newNonce": r"^/acme/newnonce$",
    "newAccount": r"^/acme/newaccount$",
    "newOrder": r"^/acme/neworders$",
    "authz": r"^/acme/authz/",
    "order": r"^/acme/order/[^/]+$",
    "finalize": r"^/acme/order/[^/]+/finalize$",
    "revokeCert": r"^/acme/revokecert$",
    "everything": r"",
}


class Faults:
    """The faults of ``faults.json``, and how often each was served."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "faults.json"
        self._lock = threading.Lock()
        self._served: dict[str, int] = {}

    def read(self) -> dict[str, dict[str, Any]]:
        try:
            faults: dict[str, dict[str, Any]] = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return faults

    def for_path(self, path: str) -> dict[str, Any] | None:
        for place, fault in self.read().items():
            if place in PLACES and re.search(PLACES[place], path):
                key = f"{place} {json.dumps(fault, sort_keys=True)}"
                with self._lock:
                    served = self._served.get(key, 0)
                    if served >= fault.get("times", served + 1):
                        continue
                    self._served[key] = served + 1
                return fault
        return None


def answer(fault: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer as the fault says."""
    kind = fault["kind"]
    if kind == "503":
        start_response("503 Service Unavailable", [("Content-Type", "text/html")])
        return [b"<html><body><h1>503 Service Unavailable</h1></body></html>"]
    if kind == "bare-string":
        start_response("400 Bad Request", [("Content-Type", "application/json")])
        return [b'"The order could not be created."']
    if kind == "json":
        nonce = ("Replay-Nonce", secrets.token_urlsafe(16))  # this CA will not know it; clients ask for another one
        start_response(f"{fault.get('status', 200)} On Purpose", [("Content-Type", "application/json"), nonce])
        return [json.dumps(fault["body"]).encode()]
    raise ConnectionResetError  # "close": wsgiref closes the connection without an answer


def faulty(application: Application, faults: Faults) -> Application:
    """Wrap an application so that the faults come first."""

    def wrapped(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        fault = faults.for_path(environ["PATH_INFO"])
        return application(environ, start_response) if fault is None else answer(fault, start_response)

    return wrapped


def slow_down_issuing(faults: Faults) -> None:
    """Let the CA handler take its time over each certificate, as ``processing`` says."""
    from certbot_garr_tcs.sandbox.handlers import CAhandler  # noqa: PLC0415  # only after it is configured

    prompt = CAhandler.enroll

    def slow(self: Any, csr: str) -> Any:
        time.sleep(faults.read().get("processing", {}).get("seconds", 0))
        return prompt(self, csr)

    CAhandler.enroll = slow


def leave_names_out(faults: Faults) -> None:
    """Let the CA handler read a CSR as if some names were not there, as ``left_out`` says."""
    from cryptography import x509  # noqa: PLC0415

    from certbot_garr_tcs.sandbox.handlers import CAhandler  # noqa: PLC0415

    faithful = CAhandler._cert_extension_apply

    def forgetful(self: Any, builder: Any, ca_cert: Any, request: Any) -> Any:
        unwanted = faults.read().get("left_out", {}).get("names", [])
        extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = [name for name in extension.value if name.value not in unwanted]
        left = x509.Extension(extension.oid, extension.critical, x509.SubjectAlternativeName(names))
        return faithful(self, builder, ca_cert, SimpleNamespace(extensions=[left], public_key=request.public_key))

    CAhandler._cert_extension_apply = forgetful


def main() -> None:
    """Serve the folder that is the only argument."""
    folder = Path(sys.argv[1]).resolve()
    faults = Faults(folder)
    application = load_application(folder)
    slow_down_issuing(faults)
    leave_names_out(faults)
    serve(faulty(application, faults), folder)


if __name__ == "__main__":
    main()
