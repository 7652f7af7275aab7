"""What acme2certifier calls: the CA handler that signs, and the validators of http-01 and dns-01.

Only the server's own process imports this: the first import reads acme2certifier's configuration.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import time
import uuid
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.resolver
from acme2certifier.acme_srv import challenge
from acme2certifier.acme_srv.challenge_validators import ChallengeValidator, ValidationResult
from acme2certifier.acme_srv.helper import load_config
from acme2certifier.cahandlers import openssl_ca_handler
from acme2certifier.dbhandlers import wsgi_handler
from cryptography import x509

from certbot_garr_tcs.challenges.dns.endpoints import DNS_PORT, parse_server

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDER = "/.well-known/acme-challenge/"
_VALIDATION_SECONDS = 5.0
_LONGEST_KEY_AUTHORIZATION = 4096


class CAhandler(openssl_ca_handler.CAhandler):  # type: ignore[misc]  # acme2certifier carries no types
    """acme2certifier's own handler, except for the certificates' dates and for how long issuing takes.

    A certificate that is 80 of its 90 days old is due at once, for every version of Certbot: those
    before 4.0 renew 30 days before the end, those since then at the last third.
    """

    def enroll(self, csr: str) -> Any:
        """Issue after the time that a slow issuer takes."""
        time.sleep(float(load_config(self.logger)["Practice"]["issuing_seconds"]))
        return super().enroll(csr)

    def _cert_signing_prep(self, ca_cert: Any, req: Any, subject: Any) -> Any:
        settings = load_config(self.logger)["Practice"]
        start = datetime.now(timezone.utc) - timedelta(days=float(settings["age_days"]))
        lifetime = timedelta(days=float(settings["lifetime_days"]))
        return (
            x509.CertificateBuilder()
            .not_valid_before(start)
            .not_valid_after(start + lifetime)
            .issuer_name(ca_cert.subject)
            .subject_name(subject)
            .serial_number(uuid.uuid4().int)
            .public_key(req.public_key())
        )


def install_validators(settings: Mapping[str, str]) -> None:
    """Replace acme2certifier's validators, which always use ports 80 and 53; ``settings``: the section [Practice]."""
    original = challenge.create_challenge_validator_registry

    def registry(logger: Any, config: Any) -> Any:
        made = original(logger, config)
        made.register_validator(Http01(logger, int(settings["http_port"])))
        made.register_validator(Dns01(logger, settings["dns_server"]))
        return made

    challenge.create_challenge_validator_registry = registry
    _store_validation_errors()


def _store_validation_errors() -> None:
    """Store why a challenge failed: acme2certifier's handler for SQLite leaves it out."""
    original = wsgi_handler.DBstore.challenge_update

    def challenge_update(store: Any, data: dict[str, Any]) -> None:
        original(store, data)
        if "validation_error" in data:
            store._db_open()  # noqa: SLF001  # the handler offers no other way
            store.cursor.execute("UPDATE challenge SET validation_error = :validation_error WHERE name = :name", data)
            store._db_close()  # noqa: SLF001  # the same

    wsgi_handler.DBstore.challenge_update = challenge_update


class Http01(ChallengeValidator):  # type: ignore[misc]  # acme2certifier carries no types
    """http-01 (RFC 8555 §8.3), always at a port of this machine."""

    def __init__(self, logger: Any, port: int) -> None:
        super().__init__(logger)
        self._port = port

    def get_challenge_type(self) -> str:
        """Return the type (RFC 8555 §9.7.8)."""
        return "http-01"

    def perform_validation(self, context: Any) -> Any:
        """Fetch the key authorization, and compare it."""
        place = f"http://{context.authorization_value}{_FOLDER} at 127.0.0.1 port {self._port}"
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_VALIDATION_SECONDS)
        try:
            connection.request("GET", f"{_FOLDER}{context.token}", headers=_host(context))
            answer = connection.getresponse()
            found = answer.read(_LONGEST_KEY_AUTHORIZATION).decode(errors="replace").strip()
        except (OSError, http.client.HTTPException) as error:
            return _failed("connection", f"{place}: {error}")
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            return _failed("unauthorized", f"{place}: status {answer.status}")
        if found != f"{context.token}.{context.jwk_thumbprint}":
            return _failed("unauthorized", f"{place}: something else than the proof is there")
        return ValidationResult(success=True, invalid=False)


class Dns01(ChallengeValidator):  # type: ignore[misc]  # acme2certifier carries no types
    """dns-01 (RFC 8555 §8.4) at one name server; without a server every validation fails, and the answer says why."""

    def __init__(self, logger: Any, server: str) -> None:
        super().__init__(logger)
        self._server = server

    def get_challenge_type(self) -> str:
        """Return the type (RFC 8555 §9.7.8)."""
        return "dns-01"

    def perform_validation(self, context: Any) -> Any:
        """Query the TXT records, and compare each with the digest of the key authorization."""
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
        resolver.nameservers, resolver.port, resolver.lifetime = addresses, port, _VALIDATION_SECONDS
        return {b"".join(record.strings) for record in resolver.resolve(name, "TXT", search=False)}


def _host(context: Any) -> dict[str, str]:
    return {"Host": context.authorization_value, "User-Agent": "practice CA", "Connection": "close"}


def _failed(kind: str, detail: str) -> Any:
    problem = {"status": 403, "type": f"urn:ietf:params:acme:error:{kind}", "detail": detail}
    return ValidationResult(success=False, invalid=True, error_message=json.dumps(problem))
