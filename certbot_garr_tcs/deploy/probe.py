"""Wait until a port serves the deployed certificate; describe the one that it serves instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from certbot_garr_tcs.deploy.certificate import fingerprint_of, read_served
from certbot_garr_tcs.errors import DeployError, printable
from certbot_garr_tcs.section_reader import as_ip_address

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from certbot_garr_tcs.deploy.settings import Probe

_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_ATTEMPT_SECONDS = 10.0
_TIMES_IN_A_ROW = 3  # while a service reloads, old and new workers accept side by side for a moment
_MOST_NAMES = 3
_CHOOSE = "probe-name chooses a virtual host."


class CertificateFetcher(Protocol):
    """Return the certificate that is served, as DER; raise DeployError where none is."""

    def __call__(self, probe: Probe, server_name: str | None, timeout_seconds: float) -> bytes:
        """Make one connection, and take at most ``timeout_seconds`` for it."""


def name_for_sni(probe: Probe, names: Sequence[str]) -> str | None:
    """Choose the name to ask for (RFC 6066 §3: a DNS name, never an address).

    The section's ``probe-name``; else the probe's host, if the certificate is for it; else the first of the
    certificate's names that is no wildcard; else the host, unless it is an address.
    """
    if probe.server_name is not None:
        return probe.server_name.strip(".") or None
    plain = [name for name in names if not name.startswith("*.") and not as_ip_address(name)]
    wild = f"*.{probe.host.lower().partition('.')[2]}"
    if not plain or probe.host.lower() in plain or wild in names:
        return None if as_ip_address(probe.host) else probe.host
    return plain[0]


def wait_until_served(  # noqa: PLR0913 - what to wait for, and what of the environment is needed for it
    probe: Probe,
    fingerprint: str,
    names: Sequence[str],
    *,
    fetch_certificate: CertificateFetcher,
    lineage_of: Callable[[bytes], tuple[str, bool] | None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Return when the certificate with this SHA-256 fingerprint is served, several times in a row.

    Raises DeployError when time is up, with the certificate that was served instead. ``lineage_of``: returns the
    lineage of a certificate (DER), and whether it is its current one; ``None`` where there is none. ``clock``: steady,
    in seconds.
    """
    server_name = name_for_sni(probe, names)
    deadline = clock() + probe.timeout_seconds
    pause_seconds = _PAUSE_SECONDS
    in_a_row = 0
    while True:
        served, error = b"", None
        try:
            served = fetch_certificate(probe, server_name, min(_ATTEMPT_SECONDS, max(deadline - clock(), 1.0)))
        except DeployError as caught:
            error = caught
        if error is None and fingerprint_of(served) == fingerprint:
            in_a_row += 1
            if in_a_row == _TIMES_IN_A_ROW:
                return
            sleep(_PAUSE_SECONDS)
            continue
        in_a_row = 0
        if clock() + pause_seconds > deadline:
            error = error or _wrong_certificate(probe, server_name, names, served, lineage_of(served))
            raise DeployError(f"{error.message} (after {probe.timeout_seconds:g} s)", error.hint)
        sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, _LONGEST_PAUSE_SECONDS)


def _wrong_certificate(
    probe: Probe, server_name: str | None, names: Sequence[str], served: bytes, found: tuple[str, bool] | None
) -> DeployError:
    """Describe the wrong certificate; ``found``: its lineage, and whether it is the current one there."""
    certificate = read_served(served)
    hint = "See that the service reads the files of this section, and that reload makes it read them again."
    if found:
        lineage, is_current = found
        what = f"{'the' if is_current else 'an older'} certificate of lineage {lineage}"
        if is_current:
            hint = f"{hint} {_CHOOSE}"
    elif certificate is None:
        what = "a certificate that cannot be read"
    elif certificate.names == set(names):
        what = "another certificate for the same names"
        hint = f"{_share_hint(probe, server_name)}{hint}"
    else:
        what = f"a certificate for {_listed(certificate.names)}"
        hint = f"{_CHOOSE} {_share_hint(probe, server_name)}{hint}"
    asked = f" asked for {server_name}" if server_name else ""
    details = f" ({certificate.details})" if certificate else ""
    return DeployError(f"{probe.where}{asked} serves {what}{details}, and not the one that is deployed", hint)


def _share_hint(probe: Probe, server_name: str | None) -> str:
    if probe.host == "localhost" or as_ip_address(probe.host):
        return ""
    return (
        f"Does another server share this name? Then write probe = localhost:{probe.port} and probe-name = "
        f"{server_name or probe.host} into the section. "
    )


def _listed(names: Collection[str]) -> str:
    shown = [printable(name, 80) for name in sorted(names)[:_MOST_NAMES]]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return (", ".join(shown) or "no name") + more
