"""Readers of a crash test whose accounts are removed and made again, or whose host comes and goes, with their books.

A *life* of an account begins when it is made and ends when it is removed. The server may forget what was sent to a life
that has ended; it must not give it to the next one. Times are this process's own: what was acknowledged before a command
was begun was so in any case, and what was sent after its answer came later.
"""

import asyncio
import random
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass

from ledger import Ledger, Message
from people import MESSAGE, Reader
from support.namespaces import qname
from support.rawclient import Client, Failure

ROSTER = "jabber:iq:roster"
# The answers to a login with a wrong password, or under a name that nobody has.
REFUSED = "not-authorized"


@dataclass
class Life:
    """From one making of an account to its removal; None: not begun, or not known to have happened."""

    password: str
    begun: float = 0.0
    made: float | None = None
    ending: float | None = None
    ended: float | None = None
    # The contact that was put into its roster, from the request on, and from the answer on.
    contact: str = ""
    has_contact: bool = False


class Books(Ledger):
    """A ledger that knows when a message was sent and acknowledged, and the lives of its readers."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.lives: dict[str, list[Life]] = {}
        self._sent: dict[str, float] = {}
        self._promised: dict[str, float] = {}

    def sent(self, message: Message, size: int) -> None:
        super().sent(message, size)
        self._sent[message.id] = time.monotonic()

    def promise(self, id: str) -> None:
        super().promise(id)
        self._promised.setdefault(id, time.monotonic())

    def life(self, user: str) -> Life | None:
        lives = self.lives.get(user)
        return lives[-1] if lives else None

    def is_owed(self, message: Message) -> bool:
        """Also: sent when the account that is there now was there already."""
        if not super().is_owed(message):
            return False
        life = self.life(message.reader)
        return life is None or life.made is not None and life.made < self._sent[message.id]

    def look(self, id: str, life: Life, trial: int, moment: str) -> None:
        """A message has come to this life: it must not be one that was acknowledged before that began."""
        promised = self._promised.get(id)
        if promised is not None and promised < life.begun:
            detail = f"acknowledged {life.begun - promised:.3f} s before its account was made anew"
            self.complain("haunted", id, trial, moment, detail)

    def between(self) -> tuple[int, int]:
        """Messages of this trial that were sent and acknowledged while their account was removed: how many got an error,
        and how many no answer at all."""
        answered = silent = 0
        for message in self.messages.values():
            promised = self._promised.get(message.id)
            lives = self.lives.get(message.reader, [])
            for life, following in zip(lives, [*lives[1:], None], strict=False):
                end = following.begun if following else float("inf")
                if promised and life.ended and life.ended < self._sent[message.id] and promised < end:
                    answered += message.refused
                    silent += not message.refused
        return answered, silent

    def settle(self, trial: int, moment: str, unclear: set[str]) -> None:
        super().settle(trial, moment, unclear)
        known = set().union(*self.earlier)
        for times in (self._sent, self._promised):
            for id in times.keys() - known:
                del times[id]


class Resident(Reader):
    """A reader at one of the hosts, who is away until it collects or, `at_home`, takes what comes all the time."""

    def __init__(self, server, books: Books, role: "Role", trial: int, moment: str) -> None:
        super().__init__(server, books, role.user, trial, moment)
        self.books, self.role, self.kind, self.domain = books, role, role.kind, role.domain
        # The life that its connection is of.
        self.own: Life | None = None

    @property
    def bare(self) -> str:
        return f"{self.user}@{self.domain}"

    def make(self, resource: str) -> Client:
        self.own = self.books.life(self.user)
        self.client = self.log_in_as(self.own, resource)
        return self.client

    def log_in_as(self, life: Life | None, resource: str) -> Client:
        password = life.password if life else None
        return Client(self.server, self.user, resource, password=password, domain=self.domain, transport="plain")

    def take(self, event) -> bool:
        is_message = isinstance(event, ET.Element) and event.tag == MESSAGE and event.get("type") != "error"
        if is_message and self.own and (id := event.get("id")):
            self.books.look(id, self.own, self.trial, self.moment)
        return super().take(event)

    async def act(self, chance: random.Random) -> None:
        """At home, again and again: the session ends with the account and with the host."""
        while self.role.at_home and not self.ledger.is_ending:
            try:
                await self.online()
                await self.answer()
            except (OSError, Failure):
                pass
            self.arrivals.clear()
            await asyncio.sleep(0.05)

    async def answer(self, every: float = 0.02) -> None:
        """Acknowledges as it reads; the ledger hears of it when the server has answered what came behind."""
        while not self.client.stream.over:
            if count := len(self.arrivals):
                self.client.acknowledge()
                await self.client.ping()
                for receipt in self.arrivals[:count]:
                    receipt.acknowledged = True
                del self.arrivals[:count]
            await asyncio.sleep(every)

    async def collect(self, timeout: float) -> None:
        # As somebody who has never been there.
        self.client = None
        await super().collect(timeout)

    # -- what a life begins with

    async def is_refused(self, life: Life) -> bool | None:
        """Whether this life's password is; None if that was not to be found out."""
        client = self.log_in_as(life, "try")
        try:
            await client.connect()
            await client.authenticate()
            return False
        except Failure as failure:
            return True if REFUSED in str(failure) else None
        except OSError:
            return None
        finally:
            client.cut()

    async def look_at_roster(self, life: Life, mark: str = "") -> None:
        """The roster has in it what this life has put there, and nothing else. `mark` names what to put there now."""
        client = await self.log_in_as(life, "look").login()
        answer = await client.iq("get", f"<query xmlns='{ROSTER}'/>")
        found = {item.get("jid") for item in answer.iter(qname(ROSTER, "item"))}
        self.books.counts["rosters looked at"] += 1
        must = {life.contact} if life.has_contact else set()
        if answer.get("type") == "result" and not must <= found <= {life.contact} - {""}:
            detail = f"the roster has {sorted(found)}, and should have {life.contact or 'nothing'}"
            self.books.complain("roster", self.bare, self.trial, self.moment, detail)
        if mark:
            life.contact = mark
            answer = await client.iq("set", f"<query xmlns='{ROSTER}'><item jid='{mark}'/></query>")
            life.has_contact = answer.get("type") == "result"
        client.cut()


@dataclass
class Role:
    """One account of the test, for all its trials."""

    user: str
    domain: str
    kind: str
    at_home: bool = False
    is_passing: bool = False
