"""One connection of the raw client: TCP, TLS and the parser, with what happens as events in order."""

import asyncio
import collections
import os
import socket
import struct
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from . import tls

# How long one thing may take; longer on a machine that is busy with other work.
TIMEOUT = float(os.environ.get("TEST_TIMEOUT", "8"))


class Failure(AssertionError):
    """The server did something else than was expected."""


@dataclass
class Opened:
    """The server's stream header."""

    tag: str
    attributes: dict[str, str]


@dataclass
class Closed:
    """The server's closing tag of the stream."""


@dataclass
class Ended:
    """The connection is over; why, as far as the socket tells."""

    reason: str


Event = ET.Element | Opened | Closed | Ended


def show(event) -> str:
    """An event as one line for messages."""
    if isinstance(event, ET.Element):
        return ET.tostring(event, encoding="unicode")
    return str(event)


def linger_zero(sock: socket.socket) -> None:
    """Makes the socket's close a reset: what was not delivered is dropped."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Stream(asyncio.Protocol):
    """One connection. Events queue up in order; `hook` may take one away before it queues."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.events: collections.deque[Event] = collections.deque()
        self.hook = None
        self.tls: tls.TLSPipe | None = None
        self.raw: bytearray | None = None
        self.received_bytes = 0
        self.trace: collections.deque[str] = collections.deque(maxlen=40)
        self.over = False
        self._waiter: asyncio.Future | None = None
        self._drained: asyncio.Future | None = None
        self._parser: ET.XMLPullParser | None = None
        self._held = b""
        self._depth = 0
        self._root: ET.Element | None = None

    # -- connecting

    @classmethod
    async def connect(cls, address: str, port: int, *, source: str | None = None, receive_buffer: int = 0,
                      timeout: float = TIMEOUT) -> "Stream":
        """Opens a connection; `source` is the address to come from."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        try:
            if source:
                sock.bind((source, 0))
            await asyncio.wait_for(loop.sock_connect(sock, (address, port)), timeout)
            made = cls()
            await loop.create_connection(lambda: made, sock=sock)
        except BaseException:
            sock.close()
            raise
        return made

    async def start_tls(self, context, name: str, alpn: list[bytes] | None = None, timeout: float = TIMEOUT, *,
                        sni: str | None = "") -> None:
        """Does the handshake; clear bytes after this are TLS records. `sni`: another name than `name`, None: none."""
        self.tls = tls.TLSPipe(context, name, alpn, name if sni == "" else sni)
        self.tls.handshake()
        self.transport.write(self.tls.outgoing())
        deadline = time.monotonic() + timeout
        while not self.tls.ready:
            if self.over:
                raise Failure(f"the connection ended within the TLS handshake: {list(map(show, self.events))}")
            await self._wait(deadline, "the TLS handshake")

    # -- asyncio's calls

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self.tls is not None:
            try:
                was_ready = self.tls.ready
                data = self.tls.incoming(data)
            except tls.TLSFailure as error:
                self._end(str(error))
                self.transport.abort()
                return
            if not was_ready or self.tls.closed:
                self.transport.write(self.tls.outgoing())
                self._wake()
        if data:
            self._feed(data)

    def eof_received(self) -> bool:
        self._end("end of file")
        return False

    def connection_lost(self, error) -> None:
        self._end("reset" if error else "closed")
        if self._drained and not self._drained.done():
            self._drained.set_result(None)

    def pause_writing(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._drained and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # -- parsing

    def restart(self) -> None:
        """The next bytes begin a new stream."""
        self._parser = ET.XMLPullParser(("start", "end"))
        self._depth, self._root, self._held = 0, None, b""

    def _feed(self, data: bytes) -> None:
        self.trace.append(f"<- {data[:2000].decode(errors='replace')}")
        if self.raw is not None:
            self.raw += data
            self._wake()
            return
        if self._parser is None:
            self.restart()
        # Newer expat defers a token that came in pieces, so only whole tags are fed.
        data = self._held + data
        cut = data.rfind(b">") + 1
        self._held = data[cut:]
        try:
            self._parser.feed(data[:cut])
            parsed = list(self._parser.read_events())
        except ET.ParseError as error:
            self._end(f"the server sent broken XML: {error}: {data[:200]!r}")
            self.transport.abort()
            return
        for kind, element in parsed:
            if kind == "start":
                self._depth += 1
                if self._depth == 1:
                    self._root = element
                    self._push(Opened(element.tag, dict(element.attrib)))
            else:
                self._depth -= 1
                if self._depth == 1:
                    self._root.remove(element)
                    element.tail = None
                    self._push(element)
                elif self._depth == 0:
                    self._push(Closed())

    def _push(self, event: Event) -> None:
        if self.hook is not None and self.hook(event):
            return
        self.events.append(event)
        self._wake()

    def _end(self, reason: str) -> None:
        if not self.over:
            self.over = True
            self._push(Ended(reason))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- reading and writing

    async def _wait(self, deadline: float, what: str) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(self._waiter, max(0.001, deadline - time.monotonic()))
        except asyncio.TimeoutError:
            raise Failure(f"timed out waiting for {what}") from None
        finally:
            self._waiter = None

    async def next(self, what: str = "the next event", timeout: float = TIMEOUT) -> Event:
        """The next event; Failure when none comes in time."""
        deadline = time.monotonic() + timeout
        while not self.events:
            if self.over:
                raise Failure(f"the connection is over; expected {what}")
            await self._wait(deadline, what)
        return self.events.popleft()

    async def until(self, condition, what: str, timeout: float = TIMEOUT) -> None:
        """Waits until the condition holds; it is looked at whenever something arrives."""
        deadline = time.monotonic() + timeout
        while not condition():
            if self.over:
                raise Failure(f"the connection ended before {what}: {list(map(show, self.events))[:5]}")
            await self._wait(deadline, what)

    def write(self, data: str | bytes) -> None:
        """Sends bytes as they are, through TLS if it is on."""
        data = data.encode() if isinstance(data, str) else data
        self.trace.append(f"-> {data[:2000].decode(errors='replace')}")
        if self.tls is not None and self.tls.ready:
            data = self.tls.send(data)
        if not self.transport.is_closing():
            self.transport.write(data)

    async def drain(self, timeout: float = TIMEOUT) -> None:
        """Waits while the socket takes no more bytes."""
        if self._drained is not None:
            await asyncio.wait_for(asyncio.shield(self._drained), timeout)

    def cut(self) -> None:
        """Drops the connection with a reset, as a failing network does in the end."""
        self.hook = lambda event: True
        if self.transport is not None and not self.transport.is_closing():
            linger_zero(self.transport.get_extra_info("socket"))
            self.transport.abort()
        self.over = True

    def freeze(self) -> None:
        """Neither reads nor writes from now on: a network that swallows everything."""
        self.hook = lambda event: True
        self.transport.pause_reading()

    async def ends(self, timeout: float = TIMEOUT) -> list[Event]:
        """Reads to the end of the connection and returns what came before it."""
        seen = []
        while True:
            event = await self.next("the end of the connection", timeout)
            if isinstance(event, Ended):
                return seen
            seen.append(event)
