"""Ask a name server, and have it update a zone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update

from certbot_garr_tcs.challenges.dns.answers import SILENT, Hint, UpdateRefusedError, apart
from certbot_garr_tcs.challenges.dns.signing import clocks_apart_seconds, find_signature, verify
from certbot_garr_tcs.challenges.dns.transport import Exchange, NoAnswerError, Silence, exchange
from certbot_garr_tcs.errors import DnsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from certbot_garr_tcs.challenges.dns.endpoints import Endpoint

EDNS_OCTETS = 1232
"""What fits through every path unfragmented (DNS flag day 2020)."""

_UDP_OCTETS = 512
"""The most that a message without EDNS may have over UDP (RFC 1035 §4.2.1)."""

UDP_TIMEOUTS_SECONDS = (1.0, 2.0)
TCP_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Question:
    """Say what is asked, and whether the server may ask others (RD, RFC 1035 §4.1.1)."""

    name: dns.name.Name
    rdtype: dns.rdatatype.RdataType
    recursive: bool = False

    def __str__(self) -> str:
        """Write it for messages."""
        return f"{dns.rdatatype.to_text(self.rdtype)} of {self.name}"


class Client:
    """Exchange DNS messages: UDP first, TCP where that is too small, a few tries, signatures checked.

    ``carry`` takes a message to an address; ``wall_clock`` returns seconds since the epoch, for TSIG.
    """

    def __init__(self, carry: Exchange = exchange, wall_clock: Callable[[], float] = time.time) -> None:
        """Keep how to reach the network; send nothing."""
        self._carry = carry
        self._wall_clock = wall_clock

    def query(
        self,
        endpoint: Endpoint,
        question: Question,
        *,
        key: dns.tsig.Key | None = None,
        timeouts_seconds: Sequence[float] = UDP_TIMEOUTS_SECONDS,
    ) -> dns.message.Message:
        """Return the answer, whatever its code is, or raise ``DnsError`` where there is none to use."""
        message = dns.message.make_query(question.name, question.rdtype, use_edns=0, payload=EDNS_OCTETS)
        if not question.recursive:
            message.flags &= ~dns.flags.RD
        what = f"{question} at {endpoint}"
        answer, complaint = self._ask(what, message, endpoint, key, timeouts_seconds)
        if complaint:
            raise DnsError(f"{what}: {complaint}")
        return answer

    def update(
        self,
        endpoints: Sequence[Endpoint],
        message: dns.update.UpdateMessage,
        key: dns.tsig.Key | None,
        section: str = "[dns-01]",
    ) -> Endpoint:
        """Have a zone updated; return the address that says that it has been.

        ``endpoints`` are the addresses of one server: the next one is tried where one gives no answer.
        A message may so reach the server twice, which does no harm (see ``build_update``). Raises
        ``UpdateRefusedError`` where the server said no, ``NoAnswerError`` where none said anything: it
        may then have been applied, or not. ``section`` is the title for hints.
        """
        zone = message.zone[0].name.to_text()
        silent: NoAnswerError | None = None
        for endpoint in endpoints:
            what = f"UPDATE of {zone} at {endpoint}"
            try:
                answer, complaint = self._ask(what, message, endpoint, key, UDP_TIMEOUTS_SECONDS)
            except NoAnswerError as error:
                silent = error if silent is None or silent.never_arrived else silent
                continue
            if complaint or answer.rcode():
                hint = Hint(zone, section, None if key is None else key.name.to_text())
                refusal = _refusal(what, answer, complaint, hint)
                if silent is None or silent.never_arrived:
                    raise refusal
                # An address before this one may have applied it unheard: this no is not the last word.
                raise DnsError(refusal.message, refusal.hint) from silent
            return endpoint
        if silent is None:
            raise DnsError(f"UPDATE of {zone}: its server has no address", f"Name one that has as server in {section}.")
        raise NoAnswerError(silent.what, silent.silence, SILENT.format(section=section)) from silent

    def _ask(
        self,
        what: str,
        message: dns.message.Message,
        endpoint: Endpoint,
        key: dns.tsig.Key | None,
        timeouts_seconds: Sequence[float],
    ) -> tuple[dns.message.Message, str]:
        """Return the answer, and what is wrong with its signature (empty: nothing)."""
        if key is not None:
            message.use_tsig(key)
        wire = message.to_wire()
        try:
            answer = self._fetch(wire, endpoint, timeouts_seconds, is_query=message.opcode() == 0)
        except NoAnswerError as error:
            raise NoAnswerError(what, error.silence) from error
        try:
            parsed = _parse(answer)
            signed = find_signature(answer)
        except (dns.exception.DNSException, ValueError) as error:
            raise DnsError(f"{what}: an answer that cannot be read") from error
        if not message.is_response(parsed):
            raise DnsError(f"{what}: the answer to another question")
        if key is None:
            return parsed, ""
        if signed is None:
            return parsed, "" if parsed.rcode() else "the answer is not signed"
        complaint = verify(answer, signed, key, message.mac or b"", self._wall_clock())
        seconds = clocks_apart_seconds(signed) if complaint == "BADTIME" else None
        return parsed, complaint if seconds is None else f"{complaint}, {apart(seconds)}"

    def _fetch(self, wire: bytes, endpoint: Endpoint, timeouts_seconds: Sequence[float], *, is_query: bool) -> bytes:
        """Carry ``wire`` over UDP, each timeout once, and over TCP where UDP is too small or too quiet."""
        silent: NoAnswerError | None = None
        if is_query or len(wire) <= _UDP_OCTETS:
            for timeout_seconds in timeouts_seconds:
                try:
                    answer = self._carry(wire, endpoint, timeout_seconds=timeout_seconds, tcp=False)
                except NoAnswerError as error:
                    if error.silence is not Silence.TIMED_OUT:
                        raise
                    silent = error
                    continue
                if not answer[2] & _TC:
                    return answer
                break
            else:
                if is_query and silent is not None:
                    raise silent
        try:
            return self._carry(wire, endpoint, timeout_seconds=TCP_TIMEOUT_SECONDS, tcp=True)
        except NoAnswerError as error:
            if silent is not None and error.never_arrived:
                raise silent from error  # over UDP it may have arrived
            raise


_TC = 0x02


def _parse(wire: bytes) -> dns.message.Message:
    """Read an answer without its signature, which ``verify`` checks by itself."""
    message = dns.message.from_wire(wire, continue_on_error=True)
    for problem in message.errors:
        if not isinstance(problem.exception, dns.message.UnknownTSIGKey):
            raise problem.exception
    return message


def _refusal(what: str, answer: dns.message.Message, complaint: str, hint: Hint) -> DnsError:
    """Make the error of a server's no; a complaint of our own leaves open what the server did."""
    code = dns.rcode.to_text(answer.rcode())
    if complaint.startswith("BAD"):
        named = complaint.split(",", maxsplit=1)[0]
        return UpdateRefusedError(f"{what}: {code} ({complaint})", hint.on(named), named)
    if complaint:
        return DnsError(f"{what}: {code}, but {complaint}", hint.on("BADSIG"))
    return UpdateRefusedError(f"{what}: {code}", hint.on(code), code)
