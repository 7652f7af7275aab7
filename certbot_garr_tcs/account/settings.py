"""The [account] section of garr-tcs.ini: its values, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable
from urllib.parse import urlsplit

from certbot_garr_tcs.account import presets
from certbot_garr_tcs.account.eab import EabCredentials, check_eab, is_placeholder
from certbot_garr_tcs.section_reader import SectionReader, as_ip_address, could_be_secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from certbot_garr_tcs.section_reader import Section

HEADING = "[account]"
_KEY_TYPES = ("rsa", "ecdsa")
_EAB_KEYS = ("eab-kid", "eab-kid-file", "eab-hmac-key", "eab-hmac-key-file")
KEYS = (
    "ca",
    "directory-url",
    *_EAB_KEYS,
    "email",
    "agree-tos",
    "staging-directory-url",
    *(f"staging-{key}" for key in _EAB_KEYS),
    "key-type",
    "rsa-key-size",
)
"""Every key that the section may have."""


@dataclass(frozen=True)
class AccountSettings:
    """The CA account of a garr-tcs.ini; ``None`` where the file does not give a value.

    ``rsa_key_size`` in bits. ``notices``: what may be wrong, to be shown before an account is registered.
    """

    source: Path
    ca: str | None = None
    directory_url: str | None = None
    eab: EabCredentials | None = None
    email: str | None = None
    agree_tos: bool | None = None
    staging_directory_url: str | None = None
    staging_eab: EabCredentials | None = None
    key_type: str | None = None
    rsa_key_size: int | None = None
    notices: tuple[str, ...] = ()

    @property
    def names_ca(self) -> bool:
        """Whether the file names its CA, by URL or by preset."""
        return self.directory_url is not None or self.ca is not None


def read_account(
    section: Section, source: Path, read_secret: Callable[[str], str]
) -> tuple[AccountSettings | None, list[str]]:
    """Return the account of a section, or every problem of it, in words.

    ``read_secret`` reads the file that a ``*-file`` key names and raises ``ConfigError``.
    """
    keys = SectionReader(HEADING, section.values, KEYS, section.lines)
    eab, staging_eab = (_eab(keys, prefix, read_secret) for prefix in ("", "staging-"))
    directory_url, staging_directory_url = _url(keys, "directory-url"), _url(keys, "staging-directory-url")
    settings = AccountSettings(
        source=source,
        ca=keys.one_of("ca", presets.PRESETS),
        directory_url=directory_url,
        eab=eab,
        email=_email(keys),
        agree_tos=keys.flag("agree-tos"),
        staging_directory_url=staging_directory_url,
        staging_eab=staging_eab,
        key_type=keys.one_of("key-type", _KEY_TYPES),
        rsa_key_size=keys.number("rsa-key-size", 2048, 8192),
        notices=(
            *_url_notices({"directory-url": directory_url, "staging-directory-url": staging_directory_url}),
            *_eab_notices({"eab-": eab, "staging-eab-": staging_eab}),
        ),
    )
    _check_combinations(keys, settings)
    return (None, keys.problems) if keys.problems else (settings, [])


def _url(keys: SectionReader, key: str) -> str | None:
    url = keys.value(key)
    problem = _url_problem(url) if url else None
    if problem:
        keys.add_problem(key, problem)
        return None
    return presets.canonical(url) if url else None


def _url_problem(url: str) -> str | None:
    """Return what is wrong with a directory URL, or ``None``.

    Plain HTTP is accepted for a CA on this machine only (RFC 8555 §6.1 asks for HTTPS). Of a known CA, only URLs
    that are known to be wrong are refused; an unusual one gets a notice, see ``AccountSettings.notices``.
    """
    if is_placeholder(url):
        return "still has a placeholder in it; copy the whole Server URL from the CA's portal"
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port is None or parts.port else None
    except ValueError:
        host = None
    if not host or parts.scheme not in {"https", "http"} or any(c.isspace() for c in url):
        return "is no URL of the form https://host/path"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "has more in it than a directory URL has: only https://, host and path belong there"
    if parts.scheme == "http" and not _is_loopback(host):
        return "is plain http://, which would let others read and change what is said; write https://"
    preset = presets.by_url(url)
    if preset and preset.refuses_url(url):
        return f"is not {preset.title}'s whole Server URL, {preset.url_example}; copy it from {preset.portal}"
    return None


def _is_loopback(host: str) -> bool:
    address = as_ip_address(host)
    return address.is_loopback if address else host.lower() == "localhost"


def _url_notices(urls: Mapping[str, str | None]) -> list[str]:
    notices = []
    for key, url in urls.items():
        preset = presets.by_url(url) if url else None
        if url and preset and not preset.expects_url(url):
            notices.append(
                f"{key} is unlike those that {preset.title} is known to give, {preset.url_example}. If the CA does not "
                f"know it, copy the Server URL from {preset.portal}."
            )
    return notices


def _eab_notices(found: Mapping[str, EabCredentials | None]) -> list[str]:
    return [
        f"{prefix}kid is longer than {prefix}hmac-key. If the CA refuses them, they may have been swapped."
        for prefix, eab in found.items()
        if eab and could_be_secret(eab.key_id) and len(eab.key_id) > len(eab.hmac_key)
    ]


def _email(keys: SectionReader) -> str | None:
    email = keys.value("email")
    if email is None:
        return None
    for address in email.split(","):
        local, _, domain = address.strip().rpartition("@")
        if not local or "." not in domain or is_placeholder(address) or " " in address.strip():
            keys.add_problem("email", "is no e-mail address")
            return None
    return email


def _eab(keys: SectionReader, prefix: str, read_secret: Callable[[str], str]) -> EabCredentials | None:
    kid_key, hmac_key = f"{prefix}eab-kid", f"{prefix}eab-hmac-key"
    key_id, secret = _secret(keys, kid_key, read_secret), _secret(keys, hmac_key, read_secret)
    has_kid, has_secret = keys.has(kid_key, f"{kid_key}-file"), keys.has(hmac_key, f"{hmac_key}-file")
    if has_kid != has_secret:
        here, missing = (kid_key, hmac_key) if has_kid else (hmac_key, kid_key)
        keys.add_problem(here, f"stands alone; add {missing} (or {missing}-file): the portal shows both together")
    eab, problems = check_eab(key_id, secret, (kid_key, hmac_key))
    for key, problem in problems:
        keys.add_problem(key, problem)
    return eab


def _secret(keys: SectionReader, key: str, read_secret: Callable[[str], str]) -> str | None:
    """Return the value of ``key``, or the content of the file that ``key-file`` names, without its line breaks."""
    file_key = f"{key}-file"
    if keys.has(key) and keys.has(file_key):
        keys.add_problem(key, f"and {file_key} are both there; keep one")
        return None
    if not keys.has(file_key):
        return keys.value(key)
    text = keys.file(file_key, read_secret)
    if text is None:
        return None
    joined = "".join(line.strip() for line in text.splitlines())
    quotes = 2
    if len(joined) >= quotes and joined[0] == joined[-1] and joined[0] in "\"'":
        joined = joined[1:-1]
    return joined


def _check_combinations(keys: SectionReader, settings: AccountSettings) -> None:
    """Add the problems of keys that are right one by one and do not go together."""
    known = presets.by_url(settings.directory_url) if settings.directory_url else None
    if settings.ca and known and known.name != settings.ca:
        keys.add_problem(
            "ca", f"= {settings.ca} does not fit directory-url, which is of {known.name}; remove the ca line"
        )
    if settings.ca and not keys.has("directory-url"):
        preset = presets.PRESETS[settings.ca]
        if preset.directory_url is None:
            keys.add_problem(
                "ca", f"= {settings.ca} needs directory-url too: {preset.url_example}, from {preset.portal}"
            )
    live = settings.directory_url or (presets.PRESETS[settings.ca].directory_url if settings.ca else None)
    if settings.staging_directory_url and presets.same_directory(
        settings.staging_directory_url, live or str(presets.WITHOUT_URL.directory_url)
    ):
        keys.add_problem(
            "staging-directory-url",
            "is the real directory: a dry run there would take away the validations that your organisation made "
            "beforehand; remove the line",
        )
    if settings.rsa_key_size and settings.key_type == "ecdsa":
        keys.add_problem("rsa-key-size", "goes with key-type = rsa")
    if keys.has(*(f"staging-{key}" for key in _EAB_KEYS)) and not keys.has("staging-directory-url"):
        keys.add_problem("staging-eab-kid", "goes with staging-directory-url, which is missing")
