"""Sign what was ordered, with the dates, and as slowly, as the practice CA's options ask for.

Only acme2certifier imports this, in the server's own process (``[CAhandler] handler_module``).
"""

from __future__ import annotations

import time
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

from acme2certifier.acme_srv.helper import load_config
from acme2certifier.cahandlers import openssl_ca_handler
from cryptography import x509


class CAhandler(openssl_ca_handler.CAhandler):  # type: ignore[misc]  # acme2certifier carries no types
    """Sign as acme2certifier's own handler does, but let a certificate start in the past.

    A certificate that is 80 of its 90 days old is due at once, for every version of Certbot: those
    before 4.0 renew 30 days before the end, those since then at the last third.
    """

    def enroll(self, csr: str) -> Any:
        """Take the time that a slow issuer takes."""
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
