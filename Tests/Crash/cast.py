"""The readers of a crash test, one of every kind."""

import asyncio
import time

from people import Reader

LARGE = 2000, 20_000
MEBIBYTE = 1_200_000


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
            if not await self.returns():
                return


class Heavy(Reader):
    kind = "resuming, over 1 MiB waits"
    bodies = 20_000,
    share = 3

    async def begin(self) -> None:
        await self.online()

    async def act(self, chance) -> None:
        """Goes until more waits than a connection may have unread, and then reads all of it."""
        self.client.cut()
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline and self.ledger.bytes_to.get(self.user, 0) < MEBIBYTE:
            await asyncio.sleep(0.01)
        await asyncio.sleep(chance.choice((0, 0.1, 0.5)))
        if await self.returns():
            try:
                await self.answer()
            finally:
                self.ledger.largest = max(self.ledger.largest, self.client.stream.received_bytes)


class Stuck(Reader):
    kind = "never reads"
    is_quiet = True
    bodies = LARGE

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
    has_sm = False
    bodies = LARGE

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
    Online, Silent, Detached, Resuming, Heavy, Stuck, Plain, PlainStuck, Offline, Negative, Draining, DrainingPlain,
]
