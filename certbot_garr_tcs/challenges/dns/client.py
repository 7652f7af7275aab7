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
LONGEST_UPDATE_SECONDS = 60.0
"""A server that has taken an UPDATE and says nothing for so long will hardly say anything any more."""

_LOOK_SECONDS = (2.0,)
_NO_EDNS = frozenset({dns.rcode.FORMERR, dns.rcode.NOTIMP})
_USABLE = frozenset({dns.rcode.NOERROR, dns.rcode.NXDOMAIN})
_UNSIGNED = "the answer is not signed"


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
        self._without_edns: set[Endpoint] = set()

    def query(
        self,
        endpoint: Endpoint,
        question: Question,
        *,
        key: dns.tsig.Key | None = None,
        timeouts_seconds: Sequence[float] = UDP_TIMEOUTS_SECONDS,
    ) -> dns.message.Message:
        """Return the answer, whatever its code is, or raise ``DnsError`` where there is none to use.

        A server that does not understand EDNS is asked again without (RFC 6891 §7), and from then on.
        """
        what = f"{question} at {endpoint}"
        uses_edns = endpoint not in self._without_edns
        answer, complaint = self._ask(what, _query(question, edns=uses_edns), endpoint, key, timeouts_seconds)
        if uses_edns and answer.rcode() in _NO_EDNS:
            answer, complaint = self._ask(what, _query(question, edns=False), endpoint, key, timeouts_seconds)
            if answer.rcode() not in _NO_EDNS:
                self._without_edns.add(endpoint)
        if complaint:
            raise DnsError(f"{what}: {complaint}")
        return answer

    def update(
        self,
        endpoints: Sequence[Endpoint],
        message: dns.update.UpdateMessage,
        key: dns.tsig.Key | None,
        section: str = "[dns-01]",
        *,
        timeout_seconds: float = TCP_TIMEOUT_SECONDS,
    ) -> Endpoint:
        """Have a zone updated; return the address that says, or shows, that it has been.

        ``endpoints`` are the addresses of one server: the next one is tried where one gives no answer.
        A message may so reach the server twice, which does no harm (see ``build_update``). Raises
        ``UpdateRefusedError`` where the server said no, ``NoAnswerError`` where none said anything: it
        may then have been applied, or not. ``section`` is the title for hints. ``timeout_seconds``: how long
        an address that has taken the message may be silent.
        """
        zone = message.zone[0].name.to_text()
        patience = max(TCP_TIMEOUT_SECONDS, min(timeout_seconds, LONGEST_UPDATE_SECONDS))
        silent: NoAnswerError | None = None
        for endpoint in endpoints:
            what = f"UPDATE of {zone} at {endpoint}"
            try:
                answer, complaint = self._ask(what, message, endpoint, key, UDP_TIMEOUTS_SECONDS, tcp_seconds=patience)
            except NoAnswerError as error:
                if error.silence.may_have_arrived and self._shows(endpoint, message, key):
                    return endpoint
                if silent is None or error.silence.may_have_arrived > silent.silence.may_have_arrived:
                    silent = error
                continue
            if complaint or answer.rcode():
                hint = Hint(zone, section, None if key is None else key.name.to_text())
                refusal = _refusal(what, answer, complaint, hint)
                if silent is None or not silent.silence.may_have_arrived:
                    raise refusal
                # An address before this one may have applied it unheard: this no is not the last word.
                raise DnsError(refusal.message, refusal.hint) from silent
            return endpoint
        if silent is None:
            raise DnsError(f"UPDATE of {zone}: its server has no address", f"Name one that has as server in {section}.")
        raise NoAnswerError(silent.what, silent.silence, SILENT.format(section=section)) from silent

    def _shows(self, endpoint: Endpoint, message: dns.update.UpdateMessage, key: dns.tsig.Key | None) -> bool:
        """Tell whether a server shows all that an UPDATE asked for, though its answer never came."""
        try:
            return all(self._shows_change(endpoint, change, key) for change in message.update)
        except DnsError:
            return False

    def _shows_change(self, endpoint: Endpoint, change: dns.rrset.RRset, key: dns.tsig.Key | None) -> bool:
        question = Question(change.name, change.rdtype)
        answer = self.query(endpoint, question, key=key, timeouts_seconds=_LOOK_SECONDS)
        if not answer.flags & dns.flags.AA or answer.rcode() not in _USABLE:
            return False
        shown = {
            rdata.to_text()
            for rrset in answer.answer
            if (rrset.name, rrset.rdtype) == (change.name, change.rdtype)
            for rdata in rrset
        }
        changed = {rdata.to_text() for rdata in change}
        return changed.isdisjoint(shown) if change.deleting else changed <= shown

    def _ask(  # noqa: PLR0913 - one message, one address, one key, and how long to wait
        self,
        what: str,
        message: dns.message.Message,
        endpoint: Endpoint,
        key: dns.tsig.Key | None,
        udp_seconds: Sequence[float],
        *,
        tcp_seconds: float = TCP_TIMEOUT_SECONDS,
    ) -> tuple[dns.message.Message, str]:
        """Return the answer, and what is wrong with its signature (empty: nothing)."""
        if key is not None:
            message.use_tsig(key)
        wire = message.to_wire()
        try:
            answer = self._fetch(wire, endpoint, udp_seconds, tcp_seconds, is_query=message.opcode() == 0)
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
            return parsed, _UNSIGNED
        complaint = verify(answer, signed, key, message.mac or b"", self._wall_clock())
        seconds = clocks_apart_seconds(signed) if complaint == "BADTIME" else None
        return parsed, complaint if seconds is None else f"{complaint}, {apart(seconds)}"

    def _fetch(
        self, wire: bytes, endpoint: Endpoint, udp_seconds: Sequence[float], tcp_seconds: float, *, is_query: bool
    ) -> bytes:
        """Carry ``wire`` over UDP, each timeout once, and over TCP where UDP is too small or too quiet.

        After silence over UDP, that TCP is closed does not say that nothing arrived.
        """
        sent: NoAnswerError | None = None
        if is_query or len(wire) <= _UDP_OCTETS:
            for timeout_seconds in udp_seconds:
                try:
                    answer = self._carry(wire, endpoint, timeout_seconds=timeout_seconds, tcp=False)
                except NoAnswerError as error:
                    if error.silence is not Silence.TIMED_OUT:
                        raise sent or error from error
                    sent = error
                    continue
                if not answer[2] & _TC:
                    return answer
                break
            else:
                if is_query and sent is not None:
                    raise sent
        try:
            return self._carry(wire, endpoint, timeout_seconds=tcp_seconds, tcp=True)
        except NoAnswerError as error:
            if sent is None or error.silence.may_have_arrived:
                raise
            raise sent from error


def _query(question: Question, *, edns: bool) -> dns.message.Message:
    message = dns.message.make_query(question.name, question.rdtype)
    if edns:
        message.use_edns(0, payload=EDNS_OCTETS)
    if not question.recursive:
        message.flags &= ~dns.flags.RD
    return message


_TC = 0x02


def _parse(wire: bytes) -> dns.message.Message:
    """Read an answer without its signature, which ``verify`` checks by itself."""
    message = dns.message.from_wire(wire, continue_on_error=True)
    for problem in message.errors:
        if not isinstance(problem.exception, dns.message.UnknownTSIGKey):
            raise problem.exception
    return message


def _refusal(what: str, answer: dns.message.Message, complaint: str, hint: Hint) -> DnsError:
    """Make the error of a server's no.

    Definite is a no without a complaint: signed like our UPDATE, or unsigned like it. Anybody can send the others
    (RFC 8945 §5.4), those included that TSIG has unsigned, such as BADKEY (§5.3.2). A complaint of our own about a
    signature that is there says nothing about what the server did.
    """
    code = dns.rcode.to_text(answer.rcode())
    if complaint.startswith("BAD"):
        named = complaint.split(",", maxsplit=1)[0]
        return UpdateRefusedError(f"{what}: {code} ({complaint})", hint.on(named), named, is_signed=False)
    if complaint == _UNSIGNED and answer.rcode():
        return UpdateRefusedError(f"{what}: {code}, which is not signed", hint.on(code), code, is_signed=False)
    if complaint:
        return DnsError(f"{what}: {code}, but {complaint}", hint.on("BADSIG"))
    return UpdateRefusedError(f"{what}: {code}", hint.on(code), code)
