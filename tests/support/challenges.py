"""Challenges as Certbot hands them out, made from real ACME objects."""

from __future__ import annotations

import argparse
import secrets
import warnings
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import rsa

from certbot_garr_tcs.challenges.interfaces import Challenge

with warnings.catch_warnings():
    # Certbots of distributions import what their companions have deprecated since.
    warnings.simplefilter("ignore", DeprecationWarning)
    import josepy
    from acme import challenges, messages
    from certbot import achallenges, configuration
    from certbot._internal import constants

if TYPE_CHECKING:
    from pathlib import Path

_TYPES = {"dns-01": challenges.DNS01, "http-01": challenges.HTTP01}
ACCOUNT_KEY = josepy.JWKRSA(key=rsa.generate_private_key(public_exponent=65537, key_size=2048))


def challenge(identifier: str, kind: str = "http-01") -> Challenge:
    """Make one challenge with a token of its own; Certbot's object carries the name in either version's way."""
    body = messages.ChallengeBody(
        chall=_TYPES[kind](token=secrets.token_bytes(32)), uri="http://127.0.0.1/challenge", status="pending"
    )
    slots = achallenges.KeyAuthorizationAnnotatedChallenge.__slots__
    named: dict[str, Any] = {"domain": identifier}
    if "identifier" in slots:
        named = {"identifier": messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=identifier)}
    annotated = achallenges.KeyAuthorizationAnnotatedChallenge(challb=body, account_key=ACCOUNT_KEY, **named)
    return Challenge(identifier, kind, annotated.chall.validation(ACCOUNT_KEY), annotated)


def token(given: Challenge) -> str:
    """Return the file name of an http-01 proof."""
    return str(given.annotated.chall.encode("token"))


def certbot_config(folder: Path, **changed: Any) -> configuration.NamespaceConfig:
    """Build Certbot's configuration with its defaults, in folders of its own."""
    values = dict(constants.CLI_DEFAULTS)
    values.update({f"{name}_dir": str(folder / name) for name in ("config", "work", "logs")})
    values.update(noninteractive_mode=True, webroot_path=[], webroot_map={}, domains=[], **changed)
    return configuration.NamespaceConfig(argparse.Namespace(**values))
