"""The people of a crash test: senders that note what is acknowledged, and a reader of every kind."""

import asyncio
import random
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
        if event.get("type") != "error":
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


class Sender(Person):
    """Sends bursts to the readers and notes what the server acknowledges."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.numbers: dict[str, int] = {}
        self.unacknowledged: list[str] = []
        self.marked = 0

    async def connect(self) -> None:
        await self.make("desk").login(sm=True)
        client, stream = self.client, self.client.stream
        self.marked = client.sm.acknowledged

        def hook(event) -> bool:
            if isinstance(event, ET.Element) and event.tag == MESSAGE and event.get("type") == "error":
                self.ledger.refuse(event.get("id", ""))
            managed = client._managed(stream, event)
            while self.marked < client.sm.acknowledged:
                self.ledger.promise(self.unacknowledged[self.marked])
                self.marked += 1
            return managed or not isinstance(event, Ended)

        stream.hook = hook

    async def work(self, readers: list["Reader"], chance: random.Random) -> None:
        """Bursts with pauses, until cancelled or cut off."""
        stream = self.client.stream
        while not stream.over:
            reader = chance.choice(readers)
            lines = []
            for _ in range(chance.choice((1, 1, 2, 5, 12))):
                number = self.numbers.get(reader.user, 0)
                self.numbers[reader.user] = number + 1
                id = f"{self.trial}.{self.user}.{reader.user}.{number}"
                self.ledger.sent(Message(id, self.trial, self.user, reader.user, reader.kind, number))
                self.unacknowledged.append(id)
                body = "x" * chance.choice((20, 200, 2000) if not reader.is_stuck else (2000, 20_000))
                lines.append(f"<message to='{reader.bare}' type='chat' id='{id}'><body>{body}</body></message>")
            self.client.sm.sent += len(lines)
            self.client.sm.waiting.extend(lines)
            stream.write("".join(lines) + (f"<r xmlns='{SM}'/>" if chance.random() < 0.6 else ""))
            try:
                await stream.drain(2)
            except asyncio.TimeoutError:
                continue
            await asyncio.sleep(chance.choice((0.001, 0.005, 0.02)))


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
    Online, Silent, Detached, Resuming, Stuck, Plain, PlainStuck, Offline, Negative, Draining, DrainingPlain,
]
