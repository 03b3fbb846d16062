"""Senders of a crash test: they send what clients send, and note what the server acknowledges and when."""

import asyncio
import random
import time
import xml.etree.ElementTree as ET

from ledger import Message
from people import MESSAGE, Person, Reader
from support.namespaces import PING, SM

RESOURCE = "desk"
# What an acknowledgement may take beyond the spill; <resumed/> waits up to 5 s for what is open.
PATIENCE, RESUMPTION = 2.0, 5.0
# For a machine that does other work too.
SLACK = 1.0


class Sender(Person):
    """Sends bursts to readers. One that drops loses its connection now and then and comes back."""

    drops = False
    stopping = False

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.numbers: dict[str, int] = {}
        self.requests = 0
        self._begin()

    def _begin(self) -> None:
        # What was sent in this session, by the server's count: the message's id, None for what is owed nothing.
        self.ids: list[str | None] = []
        self.times: list[float] = []
        self.marked = 0
        self.since = time.monotonic()

    async def connect(self) -> None:
        await self.make(RESOURCE).login(sm=True)
        self._begin()
        self.listen()

    def take(self, event) -> bool:
        if isinstance(event, ET.Element) and event.tag == MESSAGE and event.get("type") == "error":
            self.ledger.refuse(event.get("id", ""))
        return super().take(event)

    def counted(self) -> None:
        now = time.monotonic()
        while self.marked < min(self.client.sm.acknowledged, len(self.ids)):
            if id := self.ids[self.marked]:
                self.ledger.promise(id)
            self.ledger.slowest_promise = max(self.ledger.slowest_promise, now - self.times[self.marked])
            self.marked += 1
            self.since = now

    def behind(self) -> float:
        """For how long nothing was acknowledged though something waits and the connection is there."""
        client = self.client
        if not client.sm.active or client.stream.over or self.marked == len(self.ids):
            return 0
        return time.monotonic() - max(self.since, self.times[self.marked])

    def put(self, line: str, id: str | None = None) -> str:
        """Counts a stanza that is about to be written."""
        self.ids.append(id)
        self.times.append(time.monotonic())
        self.client.sm.sent += 1
        self.client.sm.waiting.append(line)
        return line

    async def work(self, readers: list[Reader], everybody: list[Reader], chance: random.Random) -> None:
        """Bursts with pauses, until cancelled or cut off. Messages go to `readers`, what nobody keeps to all."""
        shares = [reader.share for reader in readers]
        until_drop = time.monotonic() + chance.uniform(0.1, 0.6)
        while not self.stopping:
            if self.drops and time.monotonic() > until_drop:
                await self.come_back(chance)
                until_drop = time.monotonic() + chance.uniform(0.2, 0.8)
            stream = self.client.stream
            if stream.over:
                return
            reader = chance.choices(readers, shares)[0]
            lines = []
            for _ in range(chance.choice((1, 1, 2, 5, 12))):
                if chance.random() < 0.4:
                    lines.append(self.put(self.unkept(chance.choice(everybody), chance)))
                lines.append(self.message(reader, chance))
            stream.write("".join(lines) + (f"<r xmlns='{SM}'/>" if chance.random() < 0.6 else ""))
            try:
                await stream.drain(2)
            except asyncio.TimeoutError:
                continue
            await asyncio.sleep(chance.choice((0.001, 0.005, 0.02)))
        self.client.stream.write(f"<r xmlns='{SM}'/>")

    def message(self, reader: Reader, chance: random.Random) -> str:
        """A message that has to be kept: a chat, or the receipt of one."""
        address = chance.choice((reader.bare, reader.bare, reader.full))
        number = self.numbers.get(address, 0)
        self.numbers[address] = number + 1
        id = f"{self.trial}.{self.user}.{address}.{number}"
        if chance.random() < 0.2:
            payload = f"<received xmlns='urn:xmpp:receipts' id='{number}'/>"
        else:
            payload = f"<body>{'x' * chance.choice(reader.bodies)}</body>"
        line = f"<message to='{address}' type='chat' id='{id}'>{payload}</message>"
        self.ledger.sent(Message(id, self.trial, self.user, address, reader.user, reader.kind, number), len(line))
        return self.put(line, id)

    def unkept(self, reader: Reader, chance: random.Random) -> str:
        """Something that nobody is owed the keeping of."""
        self.requests += 1
        kind = chance.randrange(7)
        if kind == 0:
            return f"<iq type='result' to='{reader.full}' id='r{self.requests}'/>"
        if kind == 1:
            return f"<iq type='get' to='{reader.full}' id='g{self.requests}'><ping xmlns='{PING}'/></iq>"
        if kind == 2:
            return f"<presence to='{reader.full}'" + chance.choice(("/>", " type='unavailable'/>"))
        if kind == 3:
            return f"<message to='{reader.full}' type='headline'><body>news</body></message>"
        if kind == 4:
            return f"<message to='{reader.full}' type='chat'><body>x</body><no-store xmlns='urn:xmpp:hints'/></message>"
        state = chance.choice(("composing", "paused"))
        to = chance.choice((reader.bare, reader.full))
        return f"<message to='{to}' type='chat'><{state} xmlns='http://jabber.org/protocol/chatstates'/></message>"

    async def come_back(self, chance: random.Random) -> None:
        """Loses the connection, resumes, and sends again what the server's count does not cover.

        Now and then the session's id is lost too. Then there is a new session, in which all that was not acknowledged
        is sent again and may arrive twice.
        """
        client = self.client
        client.cut()
        await asyncio.sleep(chance.choice((0, 0.02, 0.2)))
        if chance.random() < 0.1:
            client.sm.id = "lost"
        if await self.resume():
            self.ledger.resumptions += 1
            self.ledger.repeated += self.again
            self.since = time.monotonic()
            client.stream.write(f"<r xmlns='{SM}'/>")
            return
        if client.stream.over:
            return
        again = list(zip(client.sm.waiting, self.ids[self.marked:], strict=True))
        await client.bind(RESOURCE)
        await client.enable()
        self._begin()
        self.listen()
        for line, id in again:
            if id:
                self.ledger.may_repeat(id)
            client.stream.write(self.put(line, id))


class Watch:
    """Looks after people while the server is up: an acknowledgement depends on the disk or a bounded time, and
    <resume/> is answered."""

    def __init__(self, readers: list[Reader], senders: list[Sender], spill: float) -> None:
        self.readers, self.senders, self.spill = readers, senders, spill
        self.stuck: set[Person] = set()
        self.lag = 0.0

    async def run(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.05)
            now = time.monotonic()
            # What this process itself was late by is nobody's fault.
            self.lag = max(0.9 * self.lag, now - before - 0.05)
            for sender in self.senders:
                sm, behind = sender.client.sm, sender.behind()
                if behind > self.spill + PATIENCE + SLACK + self.lag:
                    oldest = sender.ids[sender.marked] or "a stanza that nobody keeps"
                    self._complain(sender, f"nothing of {sm.sent - sm.acknowledged} is acknowledged for {behind:.1f} s; "
                                           f"the oldest is {oldest}")
            for person in [*self.readers, *self.senders]:
                waited = now - person.asked if person.asked else 0
                bound = RESUMPTION if person in self.senders else PATIENCE
                if waited > bound + SLACK + self.lag:
                    self._complain(person, f"<resume/> is not answered for {waited:.1f} s")

    def _complain(self, person: Person, detail: str) -> None:
        if person not in self.stuck:
            self.stuck.add(person)
            person.ledger.complain("stuck", person.user, person.trial, person.moment, detail)

    async def all_acknowledged(self, limit: float) -> None:
        """Waits until nothing is open any more."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if all(sender.marked == len(sender.ids) for sender in self.senders):
                return
            await asyncio.sleep(0.01)
        for sender in self.senders:
            if sender.marked < len(sender.ids):
                self._complain(sender, f"has open messages {limit:.0f} s after the last")
