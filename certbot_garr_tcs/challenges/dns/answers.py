"""Say what an answer code to an UPDATE means, and what to do about it."""

from __future__ import annotations

from certbot_garr_tcs.errors import DnsError


class UpdateRefusedError(DnsError):
    """The server answered, and said no: nothing of the UPDATE was applied (RFC 2136 §3.7)."""

    def __init__(self, message: str, hint: str, answer: str) -> None:
        """Keep the answer code beside message and hint."""
        super().__init__(message, hint)
        self.answer = answer


def hint_for(answer: str, zone: str, key: str | None) -> str:
    """Return one next step for an answer code of RFC 2136 §2.2 or RFC 8945 §5.

    ``key``: the TSIG key's name, ``None`` where there is none.
    """
    if answer == "REFUSED" and key is None:
        return (
            f"Give the [dns-01] section the key that may update {zone}: tsig-keyfile, or tsig-name and"
            " tsig-secret."
        )
    return _HINTS.get(answer, _ANY_OTHER).format(zone=zone, key=key or "(none)")


def apart(seconds: int) -> str:
    """Say how far two clocks are apart, and which one is ahead."""
    ahead = "the server's clock is ahead of ours" if seconds > 0 else "our clock is ahead of the server's"
    return f"{ahead} by {abs(seconds)} s"


_HINTS = {
    "REFUSED": (
        "Let the update-policy (or allow-update) of {zone} grant key {key} TXT records at _acme-challenge"
        " names; if this server is a secondary, name the primary as server in the [dns-01] section."
    ),
    "NOTAUTH": (
        "This server is not authoritative for {zone}, or does not let key {key} update it: name the zone's"
        " primary as server in the [dns-01] section, or add a section for {zone}."
    ),
    "NOTZONE": "Correct zone in the [dns-01] section: a name to be changed is not inside {zone}.",
    "BADKEY": (
        "The server knows no key {key} with this algorithm: compare tsig-name and tsig-algorithm (or the"
        " tsig-keyfile) with its key statement."
    ),
    "BADSIG": "Key {key} has another secret on the server: copy its key file again.",
    "BADTIME": "Set the clocks of both machines, by NTP: TSIG allows 300 s (RFC 8945 §10).",
    "BADTRUNC": "Let the server accept whole HMACs for key {key}: its minimum or digest-bits differ.",
    "SERVFAIL": (
        "Read the server's log: it could not write {zone} (journal or folder not writable, zone not loaded"
        " or expired)."
    ),
    "FORMERR": "Read the server's log: it did not understand the UPDATE; a middlebox may have changed it.",
    "NOTIMP": "Name a server that takes dynamic updates as server in the [dns-01] section.",
    "YXDOMAIN": "Read the server's log: it applied rules of its own to the UPDATE.",
}
_ANY_OTHER = "Read the log of the server: it says why it did not update {zone}."
