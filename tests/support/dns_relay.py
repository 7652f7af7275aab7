"""Pass DNS messages on to another address: with a delay, counted, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import dns.opcode


@dataclass
class Relay:
    """Listen on one address, answer from another.

    ``delay_seconds`` is added to each round trip. ``deaf``: messages are swallowed.
    ``swallow_update_answers``: UPDATEs are passed on, and their answers swallowed. ``counted``: messages
    by protocol and by opcode.
    """

    address: str
    port: int
    upstream: tuple[str, int]
    delay_seconds: float = 0.0
    deaf: bool = False
    swallow_update_answers: bool = False
    counted: Counter[str] = field(default_factory=Counter)

    def swallows_answer_to(self, wire: bytes) -> bool:
        """Tell whether whoever sent this message is to hear nothing."""
        opcode = dns.opcode.from_flags(struct.unpack("!H", wire[2:4])[0])
        return self.swallow_update_answers and opcode == dns.opcode.UPDATE

    def count(self, wire: bytes, protocol: str) -> None:
        """Note one message."""
        opcode = dns.opcode.from_flags(struct.unpack("!H", wire[2:4])[0])
        self.counted[dns.opcode.to_text(opcode)] += 1
        self.counted[protocol] += 1


class Relays:
    """Run relays in one thread."""

    def __init__(self, relays: list[Relay]) -> None:
        self.relays = relays
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: list[asyncio.BaseTransport | asyncio.AbstractServer] = []

    def __enter__(self) -> Relays:
        self._thread.start()
        for relay in self.relays:
            asyncio.run_coroutine_threadsafe(self._serve(relay), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self, relay: Relay) -> None:
        transport, _ = await self._loop.create_datagram_endpoint(
            lambda: _Front(relay), local_addr=(relay.address, relay.port)
        )
        self._open.append(transport)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                await _pass_stream(relay, reader, writer)
            writer.close()

        self._open.append(await asyncio.start_server(connected, relay.address, relay.port))

    async def _close(self) -> None:
        for one in self._open:
            one.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)


class _Front(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._relay.count(data, "UDP")
        if not self._relay.deaf:
            task = asyncio.get_running_loop().create_task(self._pass(data, addr))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, data: bytes, addr: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._relay.delay_seconds)
        answer: asyncio.Future[bytes] = loop.create_future()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Back(answer), remote_addr=self._relay.upstream)
        try:
            transport.sendto(data)
            got = await asyncio.wait_for(answer, 10)
            if not self._relay.swallows_answer_to(data):
                self._transport.sendto(got, addr)
        except (OSError, asyncio.TimeoutError):
            pass  # as a network would: whoever asked hears nothing
        finally:
            transport.close()


class _Back(asyncio.DatagramProtocol):
    def __init__(self, answer: asyncio.Future[bytes]) -> None:
        self._answer = answer

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        del addr
        if not self._answer.done():
            self._answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc)


async def _pass_stream(relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    back_reader, back_writer = await asyncio.open_connection(*relay.upstream)
    try:
        while True:
            message = await _read(reader)
            relay.count(message, "TCP")
            if relay.deaf:
                await asyncio.sleep(3600)
            await asyncio.sleep(relay.delay_seconds)
            back_writer.write(struct.pack("!H", len(message)) + message)
            answer = await _read(back_reader)
            if not relay.swallows_answer_to(message):
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
    finally:
        back_writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack("!H", await reader.readexactly(2))
    return await reader.readexactly(length)
