"""Say what an answer code to an UPDATE means, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from certbot_garr_tcs.errors import DnsError


class UpdateRefusedError(DnsError):
    """The server answered, and said no.

    ``definite``: nothing of the UPDATE was applied (RFC 2136 §3.7). SERVFAIL leaves that open: a
    secondary that forwards UPDATEs (§6) says it too when the primary's answer is lost. So does a no that
    is not signed though our UPDATE was: it may be forged.
    """

    def __init__(self, message: str, hint: str, answer: str, *, is_signed: bool = True) -> None:
        """Keep the answer code beside message and hint."""
        super().__init__(message, hint)
        self.answer = answer
        self.definite = is_signed and answer != "SERVFAIL"


BY_NAME = frozenset({"REFUSED", "NOTAUTH", "BADKEY"})
"""Answers that may be about one name of several; BADKEY is Knot's for a name that no acl grants."""


@dataclass(frozen=True)
class Hint:
    """Know what a next step has to name: zone, section of garr-tcs.ini, TSIG key, names to be changed."""

    zone: str
    section: str
    key: str | None
    names: str = "_acme-challenge names"

    def on(self, answer: str) -> str:
        """Return one next step for an answer code of RFC 2136 §2.2 or RFC 8945 §5."""
        unsigned = answer in {"REFUSED", "NOTAUTH"} and self.key is None
        return self._filled(_NO_KEY[answer] if unsigned else _HINTS.get(answer, _ANY_OTHER))

    def on_these_names_alone(self) -> str:
        """Return one next step for names that are refused where others of the same UPDATE are not."""
        return self._filled(_GRANT if self.key else _GRANT_UNSIGNED)

    def _filled(self, text: str) -> str:
        filled = text.format(zone=self.zone, section=self.section, key=self.key or "(none)", names=self.names)
        return filled.replace("..", ".")  # an absolute name at the end of a sentence


def apart(seconds: int) -> str:
    """Say how far two clocks are apart, and which one is ahead."""
    ahead = "the server's clock is ahead of ours" if seconds > 0 else "our clock is ahead of the server's"
    return f"{ahead} by {abs(seconds)} s"


SILENT = (
    "Is the server running, and are UDP and TCP to it open from here? If it is another one, name it as"
    " server in {section}."
)
_GIVE_KEY = "Give {section} the key that may update {zone}: tsig-keyfile, or tsig-name and tsig-secret"
_SECONDARY = "If this server is a secondary, name the primary, which may be hidden, as server in {section}."
_GRANT = "Let that server's update-policy (allow-update, acl) for {zone} grant key {key} TXT records at {names}."
_GRANT_UNSIGNED = "Let that server's update-policy (allow-update, acl) for {zone} grant TXT records at {names}."
_NO_KEY = {
    "REFUSED": f"{_GIVE_KEY}. {_SECONDARY}",
    "NOTAUTH": f"{_GIVE_KEY} (or, if this server does not have the zone, another server).",
}
_HINTS = {
    "REFUSED": f"{_GRANT} {_SECONDARY} A frozen zone refuses too (rndc thaw {{zone}}).",
    "NOTAUTH": (
        "This server is not authoritative for {zone} (or does not let key {key} update it): name the zone's"
        " primary as server in {section}, or add a section of its own for the zone."
    ),
    "NOTZONE": "Correct zone in {section}: a name to be changed is not inside that zone.",
    "BADKEY": (
        "The server knows no key {key} with this algorithm: compare tsig-name and tsig-algorithm (or the"
        " tsig-keyfile) with its key statement. Knot says the same where no acl grants the key this name."
    ),
    "BADSIG": "Key {key} has another secret on the server: copy its key file again.",
    "BADTIME": "Set the clocks of both machines, by NTP: TSIG allows 300 s (RFC 8945 §10).",
    "BADTRUNC": "Let the server accept whole HMACs for key {key}: its minimum or digest-bits differ.",
    "SERVFAIL": (
        "Read the server's log: it could not write {zone} (journal or folder not writable, zone not loaded or expired)."
    ),
    "FORMERR": "Read the server's log: it did not understand the UPDATE; a middlebox may have changed it.",
    "NOTIMP": "Name a server that takes dynamic updates as server in {section}.",
    "YXDOMAIN": "Read the server's log: it applied rules of its own to the UPDATE.",
}
_ANY_OTHER = "Read the log of the server: it says why it did not update {zone}"
