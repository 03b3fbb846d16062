"""The people of a crash test: an account with its client, whose messages go to the ledger; a reader as such."""

import asyncio
import random
import socket
import time
import xml.etree.ElementTree as ET

from ledger import Ledger, Receipt
from support.archive import archive_id
from support.namespaces import CLIENT, SM, local, qname
from support.rawclient import Client, Ended, Failure

MESSAGE, IQ = qname(CLIENT, "message"), qname(CLIENT, "iq")

# All readers have this resource, so that messages can go to full addresses before they come.
RESOURCE = "home"
# The default of stream_management.queue_bytes.
QUEUE_BYTES = 4 << 20


class Person:
    """An account with its client; messages go to the ledger as they arrive."""

    def __init__(self, server, ledger: Ledger, user: str, trial: int, moment: str) -> None:
        self.server, self.ledger, self.user = server, ledger, user
        self.trial, self.moment = trial, moment
        self.client: Client | None = None
        self.stream = 0
        self.arrivals: list[Receipt] = []
        self.last_arrival = 0.0
        self.ended = ""
        self.followed = None
        # When <resume/> was sent, until it is answered.
        self.asked: float | None = None
        # What the last resumption sent again.
        self.again = 0

    @property
    def bare(self) -> str:
        return f"{self.user}@{self.server.domain}"

    def make(self, resource: str) -> Client:
        self.client = Client(self.server, self.user, resource, transport="plain")
        return self.client

    def listen(self) -> None:
        """Takes over what arrives on the client's connection from here on, and what is queued already."""
        stream = self.client.stream
        queued = list(stream.events)
        stream.events.clear()
        self.follow(stream)
        for event in queued:
            if not self.take(event):
                stream.events.append(event)

    def follow(self, stream, first=lambda event: False) -> None:
        """Looks at all that arrives on a connection; `first` may take an event away before."""
        client = self.client
        self.stream, self.followed = self.ledger.new_stream(), stream

        def hook(event) -> bool:
            if first(event):
                return True
            managed = client.sm.counting and client._managed(stream, event)
            self.counted()
            return managed or self.take(event)

        stream.hook = hook

    def counted(self) -> None:
        """Called when the counts of stream management may have changed."""

    def take(self, event) -> bool:
        """Notes a message; true if it was one."""
        if isinstance(event, Ended):
            self.ended = event.reason
        if not isinstance(event, ET.Element) or event.tag != MESSAGE:
            return False
        # Notices that somebody is typing have no id.
        if event.get("type") != "error" and (id := event.get("id")):
            receipt = self.ledger.receive(id, self.stream, self.trial, self.moment)
            if receipt is not None:
                self.arrivals.append(receipt)
            if mark := archive_id(event, self.bare):
                self.ledger.mark(self.bare, mark, id, self.trial, self.moment)
            self.last_arrival = asyncio.get_running_loop().time()
        return True

    async def resume(self) -> bool:
        """A new connection for the old session; false when the server has it no more (then nothing is bound).

        What was sent and is not covered by the server's count is sent again.
        """
        client = self.client
        client.cut()
        h = client.sm.received
        await client.connect()
        await client.authenticate()
        stream = client.stream
        result: asyncio.Future = asyncio.get_running_loop().create_future()

        def outcome(event) -> bool:
            if isinstance(event, Ended) and not result.done():
                result.set_result(False)
            if not isinstance(event, ET.Element) or result.done() or local(event.tag) not in ("resumed", "failed"):
                return False
            resumed = local(event.tag) == "resumed"
            client._managed(stream, event)
            self.counted()
            if resumed:
                # At once: before anything new is sent on this connection.
                self.again = client.resend()
            result.set_result(resumed)
            return True

        self.follow(stream, outcome)
        stream.write(f"<resume xmlns='{SM}' previd='{client.sm.id}' h='{h}'/>")
        self.asked = time.monotonic()
        resumed = await asyncio.wait_for(result, 15)
        self.asked = None
        if resumed:
            for receipt in self.arrivals:
                receipt.acknowledged = receipt.acknowledged or receipt.stream != self.stream
        return resumed

    def acknowledge(self) -> None:
        """Tells the server and the ledger that all so far has arrived."""
        self.client.acknowledge()
        self.note_acknowledged()

    def note_acknowledged(self) -> None:
        for receipt in self.arrivals:
            receipt.acknowledged = True
        self.arrivals.clear()

    async def read_to_the_end(self, timeout: float = 30.0) -> None:
        """After the kill: reads what the kernel still has."""
        stream = self.client and self.client.stream
        if stream is None or stream.transport is None:
            return
        if not stream.over and not stream.transport.is_closing() and not stream.transport.is_reading():
            # With a small buffer the kernel passes on a few kilobytes in each fifth of a second.
            sock = stream.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            stream.transport.resume_reading()
        deadline = time.monotonic() + timeout
        while not stream.over and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        if not stream.over:
            self.ledger.complain("failed", self.user, self.trial, self.moment, "the end of the connection did not come")
        # It came before the client had stream management.
        if stream is not self.followed:
            self.listen()


class Reader(Person):
    """One of the kinds below. `begin` is before the load, `act` during it, `collect` after the restart.

    What is sent to a quiet one is acknowledged to the sender only when it has been spilled.
    """

    kind = ""
    is_quiet = False
    has_sm = True
    # What senders write to it: the sizes of bodies, and how much more often than to others.
    bodies = 20, 200, 2000
    share = 1

    @property
    def full(self) -> str:
        return f"{self.bare}/{RESOURCE}"

    def take(self, event) -> bool:
        """Answers requests as a client does; a client without stream management sends nothing (see ledger.py)."""
        if isinstance(event, ET.Element) and event.tag == IQ and event.get("type") == "get":
            if self.has_sm and not self.is_quiet:
                self.client.send(f"<iq type='result' to='{event.get('from')}' id='{event.get('id')}'/>")
            return True
        return super().take(event)

    async def begin(self) -> None:
        pass

    async def act(self, chance: random.Random) -> None:
        pass

    async def online(self, *, sm: bool = True, priority: int | None = None, small: bool = False) -> None:
        client = self.make(RESOURCE)
        await client.connect(receive_buffer=4096 if small else 0)
        await client.authenticate()
        await client.bind()
        if sm:
            await client.enable()
        self.listen()
        client.send("<presence/>" if priority is None else f"<presence><priority>{priority}</priority></presence>")
        if sm:
            client.sm.answering = False

    async def returns(self) -> bool:
        """Resumes while the server is up. A session with less waiting than the default limits must be there."""
        resumed = await self.resume()
        waiting = self.ledger.bytes_to.get(self.user, 0)
        if not resumed and not self.client.stream.over and not self.ledger.is_ending:
            self.ledger.refusals += 1
            if waiting < QUEUE_BYTES:
                detail = f"the session was gone, with {waiting} bytes waiting at most"
                self.ledger.complain("failed", self.user, self.trial, self.moment, detail)
        return resumed

    async def answer(self, every: float = 0.02) -> None:
        """Acknowledges as it reads, and the ledger knows."""
        told = -1
        while not self.client.stream.over:
            if self.client.sm.received != told:
                told = self.client.sm.received
                self.acknowledge()
            await asyncio.sleep(every)

    async def collect(self, timeout: float) -> None:
        """Comes online after the restart and takes what waits, until nothing more comes."""
        self.arrivals.clear()
        if self.client is not None and self.client.sm.id and self.has_sm:
            if await self.resume():
                raise Failure("resumed a session of the dead process")
            await self.client.bind(RESOURCE)
            await self.client.enable()
            self.listen()
            self.client.sm.answering = False
            self.client.send("<presence/>")
        else:
            await self.online()
        loop = asyncio.get_running_loop()
        self.last_arrival = loop.time()
        deadline = loop.time() + timeout
        told = -1
        while loop.time() < deadline and not self.client.stream.over:
            if self.client.sm.received != told:
                told = self.client.sm.received
                self.acknowledge()
            quiet = loop.time() - self.last_arrival
            if quiet > 0.3 and not self.ledger.owed(self.user) or quiet > 3:
                break
            await asyncio.sleep(0.02)
        self.acknowledge()
        self.client.stream.write("</stream:stream>")
        while not self.client.stream.over and loop.time() < deadline + 2:
            await asyncio.sleep(0.005)
