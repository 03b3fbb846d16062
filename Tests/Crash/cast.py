"""The people of a crash test: senders that note what is acknowledged, and a reader of every kind."""

import asyncio
import random
import time
import xml.etree.ElementTree as ET

from ledger import Ledger, Message, Receipt
from support.namespaces import CLIENT, SM, local, qname
from support.rawclient import Client, Ended, Failure

MESSAGE = qname(CLIENT, "message")


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

    @property
    def bare(self) -> str:
        return f"{self.user}@{self.server.domain}"

    def make(self, resource: str) -> Client:
        self.client = Client(self.server, self.user, resource, transport="plain")
        return self.client

    def listen(self) -> None:
        """Takes over what arrives on the client's connection from here on, and what is queued already."""
        client, stream = self.client, self.client.stream
        self.stream = self.ledger.new_stream()
        queued = list(stream.events)
        stream.events.clear()

        def hook(event) -> bool:
            if client.sm.counting and client._managed(stream, event):
                return True
            return self.take(event)

        stream.hook = hook
        for event in queued:
            if not self.take(event):
                stream.events.append(event)

    def take(self, event) -> bool:
        """Notes a message; true if it was one."""
        if isinstance(event, Ended):
            self.ended = event.reason
        if not isinstance(event, ET.Element) or event.tag != MESSAGE:
            return False
        # What nobody keeps has no id.
        if event.get("type") != "error" and event.get("id"):
            receipt = self.ledger.receive(event.get("id", ""), self.stream, self.trial, self.moment)
            if receipt is not None:
                self.arrivals.append(receipt)
            self.last_arrival = asyncio.get_running_loop().time()
        return True

    def acknowledge(self) -> None:
        """Tells the server and the ledger that all so far has arrived."""
        self.client.acknowledge()
        self.note_acknowledged()

    def note_acknowledged(self) -> None:
        for receipt in self.arrivals:
            receipt.acknowledged = True
        self.arrivals.clear()

    async def read_to_the_end(self, timeout: float = 10.0) -> None:
        """After the kill: reads what the kernel still has."""
        stream = self.client and self.client.stream
        if stream is None or stream.transport is None:
            return
        if not stream.over and not stream.transport.is_closing():
            stream.transport.resume_reading() if not stream.transport.is_reading() else None
        deadline = asyncio.get_running_loop().time() + timeout
        while not stream.over and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.005)


# What nobody is owed the keeping of; `to` is a full address.
ASIDES = (
    "<iq type='result' id='x' to='{to}'/>",
    "<iq type='get' id='x' to='{to}'><q xmlns='urn:example'/></iq>",
    "<message type='chat' to='{to}'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
    "<message type='headline' to='{to}'><body>news</body></message>",
    "<message type='chat' to='{to}'><body>x</body><no-store xmlns='urn:xmpp:hints'/></message>",
    "<presence to='{to}'/>",
)
RECEIPT = "<received xmlns='urn:xmpp:receipts' id='z'/>"
# Longer than the spill time and what the disk takes: then a sender knows, whatever its readers do.
PATIENCE = 2.0


class Sender(Person):
    """Sends bursts to the readers and notes what the server acknowledges."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.numbers: dict[str, int] = {}
        # What the server counts, oldest first, with the time; None: a stanza that is no message of the ledger.
        self.counted: list[tuple[Message | None, float]] = []
        self.marked = 0
        self.is_stuck = False

    async def connect(self) -> None:
        await self.make("desk").login(sm=True)
        self.counted = [(None, time.monotonic())] * self.client.sm.sent
        self.watch()

    def watch(self) -> None:
        client, stream = self.client, self.client.stream

        def hook(event) -> bool:
            if isinstance(event, ET.Element) and event.tag == MESSAGE and event.get("type") == "error":
                self.ledger.refuse(event.get("id", ""))
            managed = client._managed(stream, event)
            self.mark()
            return managed or not isinstance(event, Ended)

        queued = list(stream.events)
        stream.events.clear()
        stream.hook = hook
        for event in queued:
            if not isinstance(event, ET.Element) or not event.tag.startswith(f"{{{SM}}}"):
                hook(event)
        self.mark()

    def mark(self) -> None:
        while self.marked < self.client.sm.acknowledged:
            message, _ = self.counted[self.marked]
            if message is not None:
                self.ledger.promise(message.id)
            self.marked += 1

    async def come_back(self) -> None:
        """Loses the connection, resumes, and sends again all that `<resumed/>` did not cover, as it was."""
        self.client.cut()
        answer = await self.client.resume()
        if local(answer.tag) != "resumed":
            raise Failure("a sender's session is gone")
        self.watch()
        self.client.resend()

    def look(self) -> None:
        """Whether the oldest stanza has waited for longer than it may."""
        if self.marked >= len(self.counted) or self.is_stuck:
            return
        message, since = self.counted[self.marked]
        waited = time.monotonic() - since
        if waited > PATIENCE / 2:
            self.client.stream.write(f"<r xmlns='{SM}'/>")
        if waited > PATIENCE and message is not None:
            self.is_stuck = True
            self.ledger.stuck(message, self.trial, self.moment, waited)

    async def work(self, readers: list["Reader"], chance: random.Random) -> None:
        """Bursts with pauses, until cancelled or cut off; now and then over another connection."""
        while not self.client.stream.over:
            if chance.random() < 0.03:
                await self.come_back()
            stream = self.client.stream
            lines = self.burst(chance.choice(readers), chance)
            self.client.sm.sent += len(lines)
            self.client.sm.waiting.extend(lines)
            stream.write("".join(lines) + (f"<r xmlns='{SM}'/>" if chance.random() < 0.6 else ""))
            try:
                await stream.drain(2)
            except asyncio.TimeoutError:
                continue
            self.look()
            await asyncio.sleep(chance.choice((0.001, 0.005, 0.02)))

    def burst(self, reader: "Reader", chance: random.Random) -> list[str]:
        lines = []
        for _ in range(chance.choice((1, 1, 2, 5, 12))):
            if chance.random() < 0.3:
                self.counted.append((None, time.monotonic()))
                lines.append(chance.choice(ASIDES).format(to=f"{reader.bare}/home"))
            address = reader.bare if chance.random() < 0.7 else f"{reader.bare}/home"
            number = self.numbers.get(address, 0)
            self.numbers[address] = number + 1
            id = f"{self.trial}.{self.user}.{address}.{number}"
            message = Message(id, self.trial, self.user, reader.user, reader.kind, number, address)
            self.ledger.sent(message)
            self.counted.append((message, time.monotonic()))
            size = chance.choice((20, 200, 2000) if not reader.is_stuck else (2000, 20_000))
            content = RECEIPT if chance.random() < 0.1 else f"<body>{'x' * size}</body>"
            lines.append(f"<message to='{address}' type='chat' id='{id}'>{content}</message>")
        return lines


class Reader(Person):
    """One of the kinds below. `begin` is before the load, `act` during it, `collect` after the restart.

    What is sent to a quiet one is acknowledged to the sender only when it has been spilled.
    """

    kind = ""
    is_stuck = False
    is_quiet = False
    has_sm = True

    async def begin(self) -> None:
        pass

    async def act(self, chance: random.Random) -> None:
        pass

    async def online(self, *, sm: bool = True, priority: int | None = None, resource: str = "home",
                     small: bool = False) -> None:
        client = self.make(resource)
        await client.connect(receive_buffer=4096 if small else 0)
        await client.authenticate()
        await client.bind()
        if sm:
            await client.enable()
        self.listen()
        client.send("<presence/>" if priority is None else f"<presence><priority>{priority}</priority></presence>")
        if sm:
            client.sm.answering = False

    async def answer(self, every: float = 0.02) -> None:
        """Acknowledges as it reads, and the ledger knows."""
        told = -1
        while not self.client.stream.over:
            if self.client.sm.received != told:
                told = self.client.sm.received
                self.acknowledge()
            await asyncio.sleep(every)

    async def resume(self) -> bool:
        """A new connection for the old session; false when the server has it no more (then nothing is bound)."""
        client = self.client
        client.cut()
        h = client.sm.received
        await client.connect()
        await client.authenticate()
        previous = client.sm.id
        stream = client.stream
        self.stream = self.ledger.new_stream()
        result: asyncio.Future = asyncio.get_running_loop().create_future()

        def hook(event) -> bool:
            if isinstance(event, Ended) and not result.done():
                result.set_result(False)
            if isinstance(event, ET.Element) and local(event.tag) in ("resumed", "failed") and not result.done():
                client._managed(stream, event)
                result.set_result(local(event.tag) == "resumed")
                return True
            if client.sm.counting and client._managed(stream, event):
                return True
            return self.take(event)

        stream.hook = hook
        stream.write(f"<resume xmlns='{SM}' previd='{previous}' h='{h}'/>")
        resumed = await asyncio.wait_for(result, 15)
        if resumed:
            before = [receipt for receipt in self.arrivals if receipt.stream != self.stream]
            for receipt in before:
                receipt.acknowledged = True
        return resumed

    async def collect(self, timeout: float) -> None:
        """Comes online after the restart and takes what waits, until nothing more comes."""
        self.arrivals.clear()
        if self.client is not None and self.client.sm.id and self.has_sm:
            if await self.resume():
                raise Failure("resumed a session of the dead process")
            await self.client.bind("home")
            await self.client.enable()
            self.listen()
            self.client.sm.answering = False
            self.client.send("<presence/>")
        else:
            await self.online(resource="home")
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


class Online(Reader):
    kind = "online, acknowledges"

    async def begin(self) -> None:
        await self.online()

    async def act(self, chance) -> None:
        await self.answer()


class Silent(Reader):
    kind = "online, never acknowledges"
    is_quiet = True

    async def begin(self) -> None:
        await self.online()


class Detached(Reader):
    kind = "detached"

    async def begin(self) -> None:
        await self.online()

    async def act(self, chance) -> None:
        answering = asyncio.ensure_future(self.answer())
        try:
            await asyncio.sleep(chance.uniform(0.02, 0.4))
        finally:
            answering.cancel()
        self.client.cut()


class Resuming(Reader):
    kind = "resuming"

    async def begin(self) -> None:
        await self.online()

    async def act(self, chance) -> None:
        while True:
            answering = asyncio.ensure_future(self.answer())
            try:
                await asyncio.sleep(chance.uniform(0.02, 0.25))
            finally:
                answering.cancel()
            self.client.cut()
            await asyncio.sleep(chance.choice((0, 0.01, 0.1)))
            if not await self.resume():
                return


class Returning(Resuming):
    """Away until more than a mebibyte waits for it."""

    kind = "resuming, much waits"
    is_stuck = True

    async def act(self, chance) -> None:
        self.client.cut()
        await asyncio.sleep(chance.uniform(0.5, 1.5))
        if await self.resume():
            await self.answer()


class Stuck(Reader):
    kind = "never reads"
    is_stuck = is_quiet = True

    async def begin(self) -> None:
        await self.online(small=True)
        self.client.stream.transport.pause_reading()


class Plain(Reader):
    kind = "no stream management"
    has_sm = False

    async def begin(self) -> None:
        await self.online(sm=False)


class PlainStuck(Reader):
    kind = "no stream management, never reads"
    is_stuck = True
    has_sm = False

    async def begin(self) -> None:
        await self.online(sm=False, small=True)
        self.client.stream.transport.pause_reading()


class Offline(Reader):
    kind = "offline"


class Negative(Reader):
    kind = "negative priority"

    async def begin(self) -> None:
        await self.online(priority=-1)

    async def act(self, chance) -> None:
        await self.answer()


class Draining(Reader):
    kind = "draining"

    async def act(self, chance) -> None:
        """Offline at first, then fetches what has gathered."""
        await asyncio.sleep(chance.uniform(0.1, 0.6))
        await self.online()
        await self.answer()


class DrainingPlain(Reader):
    kind = "draining, no stream management"
    has_sm = False

    async def act(self, chance) -> None:
        await asyncio.sleep(chance.uniform(0.1, 0.6))
        await self.online(sm=False)


KINDS = [
    Online, Silent, Detached, Resuming, Returning, Stuck, Plain, PlainStuck, Offline, Negative, Draining, DrainingPlain,
]
