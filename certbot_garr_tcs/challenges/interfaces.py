"""The interface of solvers, and the challenges that they solve."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zope.interface import Attribute, Interface


@dataclass(frozen=True)
class Challenge:
    """One proof of control that the CA asks for (RFC 8555 §8).

    ``identifier``: a DNS name without ``*.``, or an IP address, as in the authorization.
    ``challenge_type``: ``dns-01`` or ``http-01``. ``validation``: the value of the TXT record
    (dns-01, RFC 8555 §8.4) or the key authorization (http-01, §8.3). ``annotated``: Certbot's own
    object, for solvers that pass it on to another plugin.
    """

    identifier: str
    challenge_type: str
    validation: str
    annotated: Any = field(default=None, compare=False, repr=False)


class ISolver(Interface):  # type: ignore[misc]
    """Proves control of names, in one way.

    Errors are ``ChallengeError``. Whoever calls ``present`` calls ``clean_up`` afterwards with the
    same challenges, whatever happened in between.

    A solver may also have a method ``diagnose(challenges)``, which returns what can be seen of proofs that the CA
    refused, and a next step, as one line; empty where there is nothing to add.
    """

    challenge_type = Attribute("dns-01 or http-01: the one type of challenge that it solves.")

    def present(challenges):  # type: ignore[no-untyped-def]  # noqa: ANN201, N805
        """Publish the proof of every challenge.

        MUST return quickly (it does not wait until the proof is visible), and MUST allow several
        values under one name.
        """

    def wait(challenges):  # type: ignore[no-untyped-def]  # noqa: ANN201, N805
        """Return when the CA will see every proof, or raise when time is up.

        MAY be slow. MUST NOT change anything.
        """

    def clean_up(challenges):  # type: ignore[no-untyped-def]  # noqa: ANN201, N805
        """Remove what ``present`` published.

        MUST work after a failed or missing ``present``, MUST be repeatable, and MUST remove only
        what this solver added.
        """
