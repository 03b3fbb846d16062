"""Conversations as plays: scenes of one step a line, with XML indented beneath the steps that send or receive.

`Tests/Conversations/README.md` describes the language; STEPS below holds every step it knows.
"""

import asyncio
import copy
import re
import textwrap
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from . import match
from .namespaces import PING, ROSTER, SM, local, qname
from .rawclient import Client, Closed, Ended, Failure, condition, show

TRANSPORTS = ("starttls", "direct", "plain")
ACTOR = r"(?P<who>[a-z]+(?:/[\w.]+)?(?:#\d)?)"
MENTIONED = r"(?:\band (?=[a-z]+ are contacts)|\bfor (?=[a-z]+:)|\bto (?=[a-z]+$))([a-z]+)"
ARCHIVE_ID = qname("urn:xmpp:sid:0", "stanza-id")
STRANGERS = {"stranger", "nobody"}
SCENE_LIMIT = 60.0


@dataclass
class Step:
    line: int
    text: str
    xml: str = ""


@dataclass
class Scene:
    path: Path
    line: int
    title: str
    over: list[str] = field(default_factory=lambda: ["starttls", "plain"])
    config: dict = field(default_factory=dict)
    differs: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    @property
    def actors(self) -> set[str]:
        """The accounts on the stage."""
        found = set()
        for step in self.steps:
            matched = re.match(ACTOR, step.text)
            if matched and matched["who"] != "the":
                found.add(matched["who"].partition("/")[0])
            found |= {name.partition("/")[0] for name in re.findall(r"\{([a-z]+(?:/[\w.]+)?)\}", step.xml)}
            found |= set(re.findall(MENTIONED, step.text))
        remembered = {name for step in self.steps for name in re.findall(r"\{as (\w+)\}", step.xml)}
        return found - {"any", "more", "host"} - remembered


class ScriptError(Exception):
    """A script that cannot be read."""


def read(path: Path) -> list[Scene]:
    """The scenes of a file."""
    scenes: list[Scene] = []
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        where = f"{path.name}:{number}"
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("Scene:"):
            scenes.append(Scene(path, number, line.removeprefix("Scene:").strip()))
            continue
        if not scenes:
            raise ScriptError(f"{where}: a step before the first scene")
        scene = scenes[-1]
        if line[0] in " \t":
            if not scene.steps or not scene.steps[-1].text.endswith(":"):
                raise ScriptError(f"{where}: XML beneath a step that takes none")
            scene.steps[-1].xml += line + "\n"
        elif line.startswith("Over:"):
            scene.over = [each.strip() for each in line.removeprefix("Over:").split(",")]
            if unknown := set(scene.over) - set(TRANSPORTS):
                raise ScriptError(f"{where}: unknown transport {unknown}")
        elif line.startswith("Config:"):
            scene.config = yaml.safe_load(line.removeprefix("Config:"))
        elif found := re.fullmatch(r"Differs on (\w+): (.+)", line):
            scene.differs[found[1]] = found[2]
        else:
            scene.steps.append(Step(number, line.rstrip()))
            if not any(pattern.fullmatch(line.rstrip()) for pattern, _ in STEPS):
                raise ScriptError(f"{where}: no such step: {line}")
    for scene in scenes:
        for step in scene.steps:
            step.xml = textwrap.dedent(step.xml).strip()
    return scenes


STEPS: list[tuple[re.Pattern, object]] = []


def step(pattern: str):
    """Registers a method of Play for the lines that the pattern matches; ACTOR is filled in for A."""

    def register(method):
        STEPS.append((re.compile(re.sub(r"\bA\b", lambda _: ACTOR, pattern, count=1)), method))
        return method

    return register


class Play:
    """One performance of a scene over one transport."""

    def __init__(self, scene: Scene, server, transport: str, suffix: str) -> None:
        self.scene = scene
        self.server = server
        self.transport = transport
        self.suffix = suffix
        self.clients: dict[str, Client] = {}
        self.ignored: dict[str, set[str]] = {}
        self.captured: dict[str, str] = {}
        self.silent: list = []
        self.now: Step | None = None

    def user(self, actor: str) -> str:
        """The account's name: each performance has its own."""
        return f"{actor.partition('/')[0]}{self.suffix}"

    @property
    def known(self) -> dict[str, str]:
        """What {names} mean now."""
        domain = self.server.domain
        shouted = f"{self.user('juliet')}@{domain}".upper()
        names = {"host": domain, "Juliet in capitals": shouted} | self.captured
        for actor in self.scene.actors:
            names[actor] = f"{self.user(actor)}@{domain}"
            names[f"{actor}'s name"] = self.user(actor)
        for actor in set(re.findall(r"\{([a-z]+/[\w.]+)\}", "".join(step.xml for step in self.scene.steps))):
            client = self.clients.get(actor)
            names[actor] = (client and client.jid) or f"{self.user(actor)}@{domain}/{actor.partition('/')[2]}"
        return names

    async def perform(self) -> None:
        """Runs all steps; raises Failure with the step's place."""
        try:
            for self.now in self.scene.steps:
                for pattern, method in STEPS:
                    if found := pattern.fullmatch(self.now.text):
                        await method(self, **{k: v for k, v in found.groupdict().items()})
                        break
            self.now = Step(0, "the end of the scene")
            for actor, client in self.clients.items():
                self.expect_quiet(actor, client)
        except (Failure, match.PatternError, OSError, asyncio.TimeoutError) as error:
            trace = "".join(
                f"\n  {actor}:\n" + "\n".join(f"    {line[:400]}" for line in list(client.stream.trace)[-6:])
                for actor, client in self.clients.items() if client.stream is not None
            )
            raise Failure(f"{self.scene.path.name}:{self.now.line}: {self.now.text}\n  {error}{trace}") from error
        finally:
            self.leave()

    def leave(self) -> None:
        """Ends what is still connected, so that nothing detached is left behind on purpose."""
        for stream in self.silent:
            stream.cut()
        for client in self.clients.values():
            if client.stream is not None and not client.stream.over:
                client.stream.write("</stream:stream>")
                client.stream.transport.close()

    # -- helpers of the steps

    def client(self, who: str) -> Client:
        if who not in self.clients:
            raise match.PatternError(f"{who} is not connected")
        return self.clients[who]

    def new(self, who: str) -> Client:
        """The actor's client, with its old counts if it had any."""
        made = self.clients.get(who)
        if made is None:
            resource = who.partition("#")[0].partition("/")[2]
            made = Client(self.server, self.user(who), resource, transport=self.transport)
            self.clients[who] = made
        return made

    def wanted(self, who: str, event) -> bool:
        """False for what the actor ignores, and for <presence from="contact" type="unavailable"/>.

        A server may answer a probe so when nobody is there (RFC 6121, section 4.3.2); it says nothing.
        """
        if not isinstance(event, ET.Element):
            return True
        nobody_there = event.get("type") == "unavailable" and "/" not in event.get("from", "/")
        return not nobody_there and local(event.tag) not in self.ignored.get(who, ())

    async def next(self, who: str, what: str):
        while True:
            event = await self.client(who).next(what)
            if self.wanted(who, event):
                return event

    def difference(self, who: str, pattern: ET.Element, event: ET.Element) -> str | None:
        """Why a stanza is not what was expected. The id that the actor's own archive gave it is passed over, unless the
        pattern speaks of such ids."""
        if not any(each.tag == ARCHIVE_ID for each in pattern.iter()):
            event = copy.deepcopy(event)
            for id in event.findall(ARCHIVE_ID):
                if id.get("by") == self.client(who).bare:
                    event.remove(id)
        return match.difference(pattern, event, self.captured)

    def expect_quiet(self, who: str, client: Client) -> None:
        if client.stream is None:
            return
        left = [event for event in client.stream.events if self.wanted(who, event)]
        if left and not isinstance(left[0], (Closed, Ended)):
            raise Failure(f"{who} received this too: {show(left[0])}")

    def patterns(self) -> list[ET.Element]:
        return match.parse(match.fill(self.now.xml, self.known))

    async def settle(self) -> None:
        """Waits until what was sent before this has gone its way.

        Each session answers a ping after what it sent earlier; then a little time for what crosses sessions.
        Sessions with stream management are not pinged, since that would change their counts.
        """
        for client in self.clients.values():
            live = client.stream is not None and not client.stream.over and client.jid
            if live and not client.sm.counting and client.stream.hook is None:
                await client.ping()
        await asyncio.sleep(0.15)

    # -- logging in

    @step(r"A opens a stream")
    async def opens(self, who):
        await self.new(who).connect()

    @step(r"A opens a stream to (?P<host>\S+) and is refused: (?P<error>[\w-]+(?: or [\w-]+)*)")
    async def opens_refused(self, who, host, error):
        client = self.new(who)
        try:
            await client.connect(to=host)
        except Failure:
            pass
        await self.disconnected(who, error)

    @step(r"A authenticates(?: by (?P<mechanism>[\w-]+))?(?: bound to (?P<binding>[\w-]+))?")
    async def authenticates(self, who, mechanism, binding):
        await self.client(who).authenticate(mechanism or "SCRAM-SHA-256", binding)

    @step(r"A fails to authenticate by (?P<mechanism>[\w-]+)(?: with password \"(?P<password>[^\"]*)\")?"
          r"(?: for (?P<other>\w+))?: (?P<error>[\w-]+(?: or [\w-]+)*)")
    async def fails_to_authenticate(self, who, mechanism, password, other, error):
        client = self.client(who)
        if password is not None:
            client.password = password
        authzid = self.known[other] if other else ""
        try:
            await client.authenticate(mechanism, authzid=authzid)
        except Failure as failure:
            if not any(str(failure).endswith(f": {each}") for each in error.split(" or ")):
                raise
        else:
            raise Failure("it was let in")
        finally:
            client.password = self.server.password(client.user)

    @step(r"A is offered(?P<no> no)? (?P<mechanism>[A-Z][\w-]+)")
    async def offered(self, who, no, mechanism):
        mechanisms = self.client(who).mechanisms
        if (mechanism in mechanisms) == bool(no):
            raise Failure(f"offered are {mechanisms}")

    @step(r"A is (?P<no>not )?offered stream management")
    async def offered_sm(self, who, no):
        offered = self.client(who).features.find(qname(SM, "sm")) is not None
        if offered == bool(no):
            raise Failure(f"the features are {show(self.client(who).features)}")

    @step(r"A is (?P<no>not )?offered:")
    async def offered_feature(self, who, no):
        """Each of the elements is among the stream's features, or none is."""
        features = self.client(who).features
        for pattern in self.patterns():
            found = any(match.difference(pattern, each, self.captured) is None for each in features)
            if found == bool(no):
                raise Failure(f"the features are {show(features)}")

    @step(r"A binds")
    async def binds(self, who):
        await self.client(who).bind()

    @step(r"A connects(?: by (?P<mechanism>[\w-]+))?(?P<sm> with stream management)?(?P<lame> but no resumption)?")
    async def connects(self, who, mechanism, sm, lame):
        client = self.new(who)
        client.sm = type(client.sm)()
        await client.login(mechanism or "SCRAM-SHA-256", sm=bool(sm), resume=not lame)

    @step(r"A comes online(?: with priority (?P<priority>-?\d+))?(?P<sm> with stream management)?")
    async def comes_online(self, who, priority, sm):
        await self.connects(who, None, sm, None)
        await self.client(who).available(None if priority is None else int(priority))

    @step(r"A is available(?: with priority (?P<priority>-?\d+))?")
    async def is_available(self, who, priority):
        await self.client(who).available(None if priority is None else int(priority))

    # -- talking

    @step(r"A sends:")
    async def sends(self, who):
        self.client(who).send(match.fill(self.now.xml, self.known))

    @step(r"A sends a hundred messages to (?P<other>[a-z]+)")
    async def sends_a_hundred(self, who, other):
        self.client(who).send("".join(
            f"<message to='{self.known[other]}' type='chat' id='n{number}'><body>{number}</body></message>"
            for number in range(100)
        ))

    @step(r"A receives them in order")
    async def receives_a_hundred(self, who):
        for number in range(100):
            event = await self.next(who, f"message {number}")
            if event.get("id") != f"n{number}":
                raise Failure(f"expected message {number}, got {show(event)}")

    @step(r"A receives:")
    async def receives(self, who):
        for number in range(len(self.patterns())):
            pattern = self.patterns()[number]
            event = await self.next(who, show(pattern))
            if not isinstance(event, ET.Element):
                raise Failure(f"expected {show(pattern)}, got {show(event)}")
            if reason := self.difference(who, pattern, event):
                raise Failure(f"{reason}\n  expected {show(pattern)}\n  got      {show(event)}")

    @step(r"A receives in any order:")
    async def receives_in_any_order(self, who):
        patterns = self.patterns()
        while patterns:
            event = await self.next(who, f"any of {[show(each) for each in patterns]}")
            for pattern in patterns:
                if isinstance(event, ET.Element) and self.difference(who, pattern, event) is None:
                    patterns.remove(pattern)
                    break
            else:
                raise Failure(f"got {show(event)}\n  expected one of {[show(each) for each in patterns]}")

    @step(r"A may receive:")
    async def may_receive(self, who):
        """What the protocol allows but does not demand: one stanza of these, or none."""
        await self.settle()
        events = self.client(who).stream.events
        for event in [each for each in events if self.wanted(who, each) and isinstance(each, ET.Element)]:
            if any(self.difference(who, pattern, event) is None for pattern in self.patterns()):
                events.remove(event)
                return

    @step(r"A receives nothing")
    async def receives_nothing(self, who):
        await self.settle()
        self.expect_quiet(who, self.client(who))

    @step(r"A asks for the roster")
    async def asks_for_the_roster(self, who):
        """Makes the resource an interested one: it gets pushes and the answers to requests from now on."""
        await self.client(who).iq("get", f"<query xmlns='{ROSTER}'/>")

    @step(r"A ignores (?P<kind>presence|message|iq)")
    async def ignores(self, who, kind):
        self.ignored.setdefault(who, set()).add(kind)

    @step(r"A is served")
    async def is_served(self, who):
        """A sign of life: the server still answers this session."""
        await self.client(who).iq("get", f"<ping xmlns='{PING}'/>", to=self.server.domain)

    # -- going

    @step(r"A closes the stream")
    async def closes(self, who):
        left = [event for event in await self.client(who).close() if self.wanted(who, event)]
        if left:
            raise Failure(f"before the stream was closed there came {show(left[0])}")

    @step(r"A cuts the connection")
    async def cuts(self, who):
        self.client(who).cut()

    @step(r"A falls silent")
    async def falls_silent(self, who):
        client = self.client(who)
        client.stream.freeze()
        self.silent.append(client.stream)
        client.sm.active = False

    @step(r"A is disconnected(?:: (?P<error>[\w-]+(?: or [\w-]+)*))?")
    async def disconnected(self, who, error=None):
        how = await self.client(who).ended_by()
        if how not in (error or "no error").split(" or "):
            raise Failure(f"the stream ended by: {how}")

    # -- stream management

    @step(r"A (?P<way>stops acknowledging|acknowledges again|acknowledges)")
    async def acknowledges(self, who, way):
        client = self.client(who)
        client.sm.answering = way != "stops acknowledging"
        if way == "acknowledges":
            client.acknowledge()

    @step(r"A acknowledges (?P<extra>\d+) too many")
    async def acknowledges_too_much(self, who, extra):
        client = self.client(who)
        client.acknowledge(client.sm.received + int(extra))

    @step(r"A is acknowledged(?: up to (?P<count>\d+))?")
    async def is_acknowledged(self, who, count):
        client = self.client(who)
        await client.acknowledged()
        if count is not None and client.sm.acknowledged != int(count):
            raise Failure(f"the server counts {client.sm.acknowledged}")

    @step(r"A is asked for an acknowledgement")
    async def is_asked(self, who):
        client = self.client(who)
        await client.stream.until(lambda: client.sm.asked > 0, "<r/>")

    @step(r"A resumes(?P<back> having seen (?P<less>\d+) less)?")
    async def resumes(self, who, back, less):
        client = self.client(who)
        h = client.sm.received - int(less or 0)
        answer = await client.resume(h=h)
        if answer.tag != qname(SM, "resumed"):
            raise Failure(f"not resumed: {show(answer)}")
        if answer.get("previd") != client.sm.id:
            raise Failure(f"the resumed id is another: {show(answer)}")

    @step(r"A fails to resume(?: (?P<whose>[a-z]+(?:/\w+)?)'s session)?(?: by the id \"(?P<id>[^\"]*)\")?"
          r": (?P<error>[\w-]+(?: or [\w-]+)*)(?: after (?P<h>\d+) of its stanzas)?")
    async def fails_to_resume(self, who, whose, id, error, h):
        client = self.new(who)
        chosen = self.client(whose).sm.id if whose else id
        if client.stream is None or client.stream.over:
            await client.connect()
            await client.authenticate()
        answer = await client.ask_to_resume(id=chosen)
        if answer.tag != qname(SM, "failed") or condition(answer) not in error.split(" or "):
            raise Failure(f"got {show(answer)}")
        if h is not None and answer.get("h") != h:
            raise Failure(f"the server's count is {answer.get('h')}")
        client.sm = type(client.sm)()

    @step(r"A resends what was not acknowledged")
    async def resends(self, who):
        self.client(who).resend()

    # -- the world

    @step(r"the server restarts")
    async def restarts(self):
        await asyncio.get_running_loop().run_in_executor(None, self.server.restart)

    @step(r"the server is killed and comes back")
    async def crashes(self):
        await asyncio.get_running_loop().run_in_executor(None, self.server.crash)

    @step(r"(?P<time>[\d.]+) seconds? pass(?:es)?")
    async def passes(self, time):
        await asyncio.sleep(float(time))

    @step(r"A and (?P<other>[a-z]+) are contacts")
    async def are_contacts(self, who, other):
        """Both subscribe to each other, in the way of RFC 6121, by sessions of their own."""
        pair = []
        for actor in (who, other):
            client = Client(self.server, self.user(actor), "introduction", transport=self.transport)
            await client.login()
            await client.iq("get", f"<query xmlns='{ROSTER}'/>")
            await client.available()
            pair.append(client)
        for first, second in (pair, pair[::-1]):
            first.send(f"<presence type='subscribe' to='{second.bare}'/>")
            await second.take(lambda e: e.get("type") == "subscribe", "the request")
            second.send(f"<presence type='subscribed' to='{first.bare}'/>")
            await first.take(lambda e: e.get("type") == "subscribed", "the approval")
        for client, other in (pair, pair[::-1]):
            deadline = asyncio.get_running_loop().time() + 5
            while True:
                roster = await client.iq("get", f"<query xmlns='{ROSTER}'/>")
                item = roster.find(f"*/{qname(ROSTER, 'item')}[@jid='{other.bare}']")
                if item is not None and item.get("subscription") == "both":
                    break
                if asyncio.get_running_loop().time() > deadline:
                    raise Failure(f"{client.bare} has no contact: {show(roster)}")
        for client in pair:
            await client.close()
