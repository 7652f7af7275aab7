"""Look for the proof of a challenge where the practice CA's options say: on this machine, or at one name server.

Only the server's own process imports this. acme2certifier's validators always use ports 80 and 53.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.resolver
from acme2certifier.acme_srv import challenge
from acme2certifier.acme_srv.challenge_validators import ChallengeValidator, ValidationResult
from acme2certifier.dbhandlers import wsgi_handler

from certbot_garr_tcs.challenges.dns.endpoints import DNS_PORT, parse_server

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDER = "/.well-known/acme-challenge/"
_LOOK_SECONDS = 5.0
_LONGEST_PROOF = 4096


def install(settings: Mapping[str, str]) -> None:
    """Let acme2certifier validate by these settings (the section [Practice])."""
    original = challenge.create_challenge_validator_registry

    def registry(logger: Any, config: Any) -> Any:
        made = original(logger, config)
        made.register_validator(Http01(logger, int(settings["http_port"])))
        made.register_validator(Dns01(logger, settings["dns_server"]))
        return made

    challenge.create_challenge_validator_registry = registry
    _keep_reasons()


def _keep_reasons() -> None:
    """Let the database keep why a challenge failed: acme2certifier's handler for SQLite forgets it."""
    original = wsgi_handler.DBstore.challenge_update

    def challenge_update(store: Any, data: dict[str, Any]) -> None:
        original(store, data)
        if "validation_error" in data:
            store._db_open()  # noqa: SLF001  # the handler offers no other way
            store.cursor.execute("UPDATE challenge SET validation_error = :validation_error WHERE name = :name", data)
            store._db_close()  # noqa: SLF001  # the same

    wsgi_handler.DBstore.challenge_update = challenge_update


class Http01(ChallengeValidator):  # type: ignore[misc]  # acme2certifier carries no types
    """http-01 (RFC 8555 §8.3), always asked of this machine."""

    def __init__(self, logger: Any, port: int) -> None:
        """Look at this port."""
        super().__init__(logger)
        self._port = port

    def get_challenge_type(self) -> str:
        """Return the type (RFC 8555 §9.7.8)."""
        return "http-01"

    def perform_validation(self, context: Any) -> Any:
        """Fetch the proof, and compare it."""
        place = f"http://{context.authorization_value}{_FOLDER} at 127.0.0.1 port {self._port}"
        asked = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_LOOK_SECONDS)
        try:
            asked.request("GET", f"{_FOLDER}{context.token}", headers=_host(context))
            answer = asked.getresponse()
            found = answer.read(_LONGEST_PROOF).decode(errors="replace").strip()
        except (OSError, http.client.HTTPException) as error:
            return _failed("connection", f"{place}: {error}")
        finally:
            asked.close()
        if answer.status != http.HTTPStatus.OK:
            return _failed("unauthorized", f"{place}: status {answer.status}")
        if found != f"{context.token}.{context.jwk_thumbprint}":
            return _failed("unauthorized", f"{place}: something else than the proof is there")
        return ValidationResult(success=True, invalid=False)


class Dns01(ChallengeValidator):  # type: ignore[misc]  # acme2certifier carries no types
    """dns-01 (RFC 8555 §8.4), asked of one name server."""

    def __init__(self, logger: Any, server: str) -> None:
        """Ask this server; without any, every proof is missing, and the answer says why."""
        super().__init__(logger)
        self._server = server

    def get_challenge_type(self) -> str:
        """Return the type (RFC 8555 §9.7.8)."""
        return "dns-01"

    def perform_validation(self, context: Any) -> Any:
        """Ask for the TXT records, and look for the proof among them."""
        name = f"_acme-challenge.{context.authorization_value.removeprefix('*.')}"
        if not self._server:
            how = "start the sandbox with --dns-server HOST:PORT, the name server that it is to ask"
            return _failed("dns", f"this practice CA looks up no {name}: {how}")
        try:
            found = self._txt(name)
        except (dns.exception.DNSException, OSError) as error:
            return _failed("dns", f"TXT {name} at {self._server}: {error}")
        digest = hashlib.sha256(f"{context.token}.{context.jwk_thumbprint}".encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=") not in found:
            return _failed("unauthorized", f"TXT {name} at {self._server}: {len(found)} records, none is the proof")
        return ValidationResult(success=True, invalid=False)

    def _txt(self, name: str) -> set[bytes]:
        server = parse_server(self._server)
        port = server.port or DNS_PORT
        if not server.is_address:
            addresses = [str(one) for one in dns.resolver.resolve(server.host, "A")]
        else:
            addresses = [server.host]
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port, resolver.lifetime = addresses, port, _LOOK_SECONDS
        return {b"".join(record.strings) for record in resolver.resolve(name, "TXT", search=False)}


def _host(context: Any) -> dict[str, str]:
    return {"Host": context.authorization_value, "User-Agent": "practice CA", "Connection": "close"}


def _failed(kind: str, detail: str) -> Any:
    problem = {"status": 403, "type": f"urn:ietf:params:acme:error:{kind}", "detail": detail}
    return ValidationResult(success=False, invalid=True, error_message=json.dumps(problem))
