"""How long the heaviest stanzas that the default limits allow hold an event loop.

    scripts/bench/bench.py --only handlers          # or single cases: roster-get, disco, …

One server, one case after the other. A case is a generator that stops twice for each stanza: when all is prepared, and
when the answer has come. Between the two, and a little longer for what the server does behind its answer, the innocent
clients (innocents.py) ping; the same time of calm goes before. What a ping of the others took more than in the calm is
for how long their loop was held.
"""

import os
import selectors
import statistics
import threading
import time

import culprits
from bareclient import BareClient
from misbehave import Helper
from rows import Budget, Row
from servers import HOST, BenchError
from support.namespaces import ROSTER, SM

GROUP = "handlers"
INNOCENTS, FIRST_INNOCENT, EVERY_MS = 12, 20, 10
OWNER, SENDER, CROWD, WAITING, KEEPER = 2, 3, 4, 5, 6
CHANGERS = [7, 8, 9]
FIRST_CONTACT = 100
CONTACTS = 998
ONLINE = 100
ACCOUNTS = FIRST_CONTACT + CONTACTS
# As many as `limits.authenticated.sessions`, all of which read.
CROWD_SIZE = 50
# A little below `limits.authenticated.element`.
LARGEST = 250 << 10
NAME = 205
ELEMENTS = 8_000
SPOOL, SPOOLED = 200, LARGEST
BUDGET_MS = 5
# A machine that others share stops for tens of milliseconds now and then; so the budget is for all turns but a tenth.
SHARE = 0.9
LOOP_THREADS = "NIO-ELT"


def address(number):
    return f"u{number}@{HOST}"


class Reader(threading.Thread):
    """Reads what comes for many clients and forgets it."""

    def __init__(self, clients):
        super().__init__(daemon=True)
        self.selector = selectors.DefaultSelector()
        self.last = time.monotonic()
        for client in clients:
            self.selector.register(client.socket, selectors.EVENT_READ)
        self.start()

    def run(self):
        buffer = bytearray(1 << 18)
        while True:
            for key, _ in self.selector.select():
                try:
                    if key.fileobj.recv_into(buffer):
                        self.last = time.monotonic()
                        continue
                except OSError:
                    pass
                self.selector.unregister(key.fileobj)

    def settle(self, quiet=0.03):
        """Waits until nothing has come for a while."""
        while time.monotonic() - self.last < quiet:
            time.sleep(quiet / 3)


class Scene:
    """The server's clients, made when a case first needs them."""

    def __init__(self, server):
        self.server = server
        self.made = {}

    def once(self, make, *arguments):
        key = make, arguments
        if key not in self.made:
            self.made[key] = make(*arguments)
        return self.made[key]

    def client(self, number, resource="r", **options):
        return BareClient(self.server.port, number, resource, **options).bind()

    def secure(self, number):
        return BareClient(self.server.tls_port, number, tls=True).bind()

    def sender(self):
        return self.once(self.client, SENDER)

    def waiting(self):
        return self.once(self.client, WAITING)

    def keeper(self):
        return self.once(self.client, KEEPER)

    def owner(self):
        """A client of the account whose roster is full: contacts and bytes, both sides subscribed."""
        return self.once(self.fill)

    def fill(self):
        client = self.client(OWNER)
        for start in range(0, CONTACTS, 100):
            numbers = range(FIRST_CONTACT + start, FIRST_CONTACT + min(CONTACTS, start + 100))
            for number in numbers:
                item = f"<item jid='{address(number)}' name='{'n' * NAME}'/>"
                client.send(f"<iq type='set' id='i{number}'><query xmlns='{ROSTER}'>{item}</query></iq>"
                            f"<presence type='subscribed' to='{address(number)}'/>")
            client.answer(f"i{numbers[-1]}")
        for number in range(FIRST_CONTACT, ACCOUNTS):
            contact = self.client(number)
            contact.send(f"<presence type='subscribed' to='{client.bare}'/>"
                         f"<presence type='subscribe' to='{client.bare}'/>")
            contact.synchronise()
            contact.close()
        for number in range(FIRST_CONTACT, ACCOUNTS):
            client.send(f"<presence type='subscribe' to='{address(number)}'/>")
        deadline = time.monotonic() + 30
        while self.friends(client) < CONTACTS:
            if time.monotonic() > deadline:
                raise BenchError(f"only {self.friends(client)} of {CONTACTS} contacts are subscribed")
        return client

    @staticmethod
    def friends(client):
        client.send(f"<iq type='get' id='friends'><query xmlns='{ROSTER}'/></iq>")
        text = client.until(rb"<iq[^>]*? id=['\"]friends['\"].*?</iq>")[0]
        return text.count(b"subscription='both'") + text.count(b'subscription="both"')

    def online(self):
        """Some of the contacts are there, and what they are told is read."""
        return self.once(self.bring)

    def bring(self):
        self.owner()
        clients = [self.client(FIRST_CONTACT + number * CONTACTS // ONLINE) for number in range(ONLINE)]
        for client in clients:
            client.send("<presence/>")
            client.synchronise()
        return Reader(clients)

    def crowd(self):
        """As many sessions of one account as there may be."""
        return self.once(self.gather)

    def gather(self):
        clients = [self.client(CROWD, f"s{number}") for number in range(CROWD_SIZE)]
        for client in clients:
            client.send("<presence/>")
            client.synchronise()
        return Reader(clients)

    def fill_spool(self):
        sender = self.sender()
        for number in range(SPOOL):
            sender.send(f"<message to='{address(WAITING)}' type='chat'><body>{'x' * SPOOLED}</body></message>")
            sender.synchronise()


def asking(who, type, payload, to=None):
    """A case that sends one IQ; in the payload, $ is the number of the turn."""
    target = f" to='{to}'" if to else ""

    def case(scene):
        client = getattr(scene, who)()
        for turn in range(1 << 30):
            stanza = f"<iq type='{type}' id='h{turn}'{target}>{payload.replace('$', str(turn))}</iq>".encode()
            yield
            client.send(stanza)
            client.answer(f"h{turn}")
            yield
            client.synchronise()
    return case


def many(name, count=ELEMENTS):
    return "".join(f"<{name}{number}/>" for number in range(count))


def vcard():
    return "<vCard xmlns='vcard-temp'>" + f"<N><GIVEN>${'y' * 36}</GIVEN></N>" * (ELEMENTS // 2) + "</vCard>"


def private(children):
    return f"<query xmlns='jabber:iq:private'>{children}</query>"


def large_item():
    groups = "".join(f"<group>{number:02}{'g' * 1021}</group>" for number in range(20))
    return f"<query xmlns='{ROSTER}'><item jid='large@{HOST}' name='$'>{groups}</item></query>"


def disco(kind, node=""):
    return f"<query xmlns='http://jabber.org/protocol/disco#{kind}'{node and f' node={node!r}'}/>"


def kept_first(who, kept, type, payload):
    """An IQ that asks for what another one has kept before."""
    def case(scene):
        client = getattr(scene, who)()
        client.send(f"<iq type='set' id='kept'>{kept.replace('$', '0')}</iq>")
        client.answer("kept")
        yield from asking(who, type, payload)(scene)
    return case


def subscribe(scene):
    """To somebody new; then the item is taken out again."""
    client = scene.owner()
    for turn in range(1 << 30):
        yield
        client.send(f"<presence type='subscribe' to='nobody{turn}@{HOST}'/>")
        client.synchronise()
        yield
        item = f"<item jid='nobody{turn}@{HOST}' subscription='remove'/>"
        client.send(f"<iq type='set' id='out{turn}'><query xmlns='{ROSTER}'>{item}</query></iq>")
        client.answer(f"out{turn}")


def appear(scene, with_contacts=True):
    """The first presence of a session: probes to all contacts, presence to all subscribers."""
    scene.owner()
    if with_contacts:
        scene.online()
    for turn in range(1 << 30):
        client = scene.client(OWNER, "appears")
        yield
        client.send(f"<presence id='a{turn}'/>")
        client.skip(rb"<presence[^>]*id=['\"]a%d['\"]" % turn)
        yield
        client.send("<presence type='unavailable'/>")
        client.synchronise()
        client.close()


def change_presence(scene):
    scene.online()
    client = scene.client(OWNER, "changes")
    client.send("<presence/>")
    client.synchronise()
    status = "z" * 8_000
    for turn in range(1 << 30):
        yield
        client.send(f"<presence id='a{turn}'><status>{status}</status></presence>")
        client.skip(rb"<presence[^>]*id=['\"]a%d['\"]" % turn)
        yield
    client.close()


def direct(client):
    client.send("".join(f"<presence to='{address(number)}'/>" for number in range(FIRST_CONTACT, ACCOUNTS)))
    client.synchronise()


def directed(scene):
    """One that was not told before, with as many as may be told: a thousand stanzas in one write."""
    scene.online()
    for turn in range(1 << 30):
        client = scene.client(SENDER, f"directs{turn}")
        yield
        direct(client)
        yield
        client.close()


def directed_end(scene):
    scene.online()
    for turn in range(1 << 30):
        client = scene.client(SENDER, f"leaves{turn}")
        client.send("<presence/>")
        direct(client)
        time.sleep(0.1)
        yield
        client.send(f"<presence type='unavailable' id='a{turn}'/>")
        client.synchronise()
        yield
        client.close()


def message(body, to, type="chat"):
    """A message; the sender's next ping is its answer."""
    def case(scene):
        scene.crowd()
        client = scene.sender()
        stanza = f"<message to='{to}' type='{type}'>{body}</message>".encode()
        while True:
            yield
            client.send(stanza)
            client.synchronise()
            yield
            scene.crowd().settle()
    return case


def full_iq(scene):
    scene.crowd()
    client = scene.sender()
    body = f"<query xmlns='urn:x'>{'x' * LARGEST}</query>"
    for turn in range(1 << 30):
        yield
        client.send(f"<iq type='get' id='q{turn}' to='{address(CROWD)}/s1'>{body}</iq>")
        client.synchronise()
        yield
        scene.crowd().settle()


def retrieve(payload, type="get", to=None):
    def case(scene):
        scene.once(scene.fill_spool)
        yield from asking("waiting", type, payload, to)(scene)
    return case


def change_password(scene):
    """Over TLS; there are ten changes an hour for each account, so the client changes too."""
    for turn in range(1 << 30):
        number = CHANGERS[turn % len(CHANGERS)]
        client = scene.once(scene.secure, number)
        fields = f"<username>u{number}</username><password>martlet-load{turn}</password>"
        yield
        client.send(f"<iq type='set' id='h{turn}' to='{HOST}'><query xmlns='jabber:iq:register'>{fields}</query></iq>")
        client.answer(f"h{turn}")
        yield


def resume(scene):
    """Again and again, and nothing is acknowledged."""
    client = scene.client(culprits.CULPRIT)
    id = client.enable()
    client.send("<presence/>")
    client.synchronise()
    client.close()
    culprits.fill_queue(scene.server.port, client)
    while True:
        client = BareClient(scene.server.port, culprits.CULPRIT)
        yield
        client.send(f"<resume xmlns='{SM}' previd='{id}' h='0'/>")
        if b"failed" in client.skip(rb"<(resumed|failed)"):
            raise BenchError("the session was not resumed")
        yield
        Reader([client]).settle(0.1)
        client.close()


def end_session(scene):
    """It reads, acknowledges nothing and closes its stream; what waits is kept or goes back."""
    for turn in range(1 << 30):
        client = scene.client(culprits.CULPRIT, f"e{turn}")
        client.enable()
        client.send("<presence/>")
        client.synchronise()
        reader = Reader([client])
        culprits.fill_queue(scene.server.port, client)
        reader.settle(0.1)
        yield
        client.send("</stream:stream>")
        while reader.selector.get_map():
            time.sleep(0.0005)
        yield
        # The next one gets what was kept, and that is gone.
        heir = scene.client(culprits.CULPRIT, "heir")
        heir.send("<presence/>")
        Reader([heir]).settle(0.3)
        heir.close()


NODE = "http://jabber.org/protocol/offline"
REGISTER = "<query xmlns='jabber:iq:register'/>"
ELEMENT = f"<x xmlns='urn:mine'>{'<a>bcd</a>' * 6_000}</x>"
ATTRIBUTES = "<a b='1' c='2' d='3' e='4'/>" * ELEMENTS
# As many namespaces as one stanza may have; each of the rest of the elements is in the last one.
MOST_NAMESPACES = 256
NAMESPACES = "".join(f"<a xmlns='u:{min(number, MOST_NAMESPACES - 1)}'/>" for number in range(ELEMENTS))
OTHER = f"{address(CROWD)}/s1"

# By name: what is sent, the case, how often, and for how many seconds the server may be busy behind its answer.
CASES = {
    "roster-get": ("roster get, 998 contacts, 235 KB", asking("owner", "get", f"<query xmlns='{ROSTER}'/>"), 30, 0.05),
    "roster-set": ("roster set of 20 KB in it", asking("owner", "set", large_item()), 30, 0.03),
    "subscribe": ("subscribe to a new contact, full roster", subscribe, 30, 0.05),
    "private-set": ("private set, 60 KB, 6,000 elements", asking("keeper", "set", private(ELEMENT)), 30, 0.03),
    "private-get": ("private get of it", kept_first("keeper", private(ELEMENT), "get",
                                                    private("<x xmlns='urn:mine'/>")), 30, 0.03),
    "private-names": ("private get of 8,000 names", asking(
        "keeper", "get", private("".join(f"<n{number} xmlns='u:m'/>" for number in range(ELEMENTS)))), 10, 0.05),
    "vcard-set": ("vcard set, 250 KB, 8,000 elements", asking("keeper", "set", vcard()), 30, 0.03),
    "vcard-get": ("vcard get of it", kept_first("keeper", vcard(), "get", "<vCard xmlns='vcard-temp'/>"), 30, 0.05),
    "info-host": ("disco#info, host", asking("sender", "get", disco("info"), HOST), 30, 0.02),
    "items-host": ("disco#items, host", asking("sender", "get", disco("items"), HOST), 30, 0.02),
    "info-account": ("disco#info, own account", asking("owner", "get", disco("info"), address(OWNER)), 30, 0.02),
    "items-account": ("disco#items, own account", asking("owner", "get", disco("items"), address(OWNER)), 30, 0.02),
    "last-own": ("last, own", asking("owner", "get", "<query xmlns='jabber:iq:last'/>", address(OWNER)), 30, 0.02),
    "last-contact": ("last, contact", asking(
        "owner", "get", "<query xmlns='jabber:iq:last'/>", address(FIRST_CONTACT + 1)), 30, 0.02),
    "version": ("version", asking("sender", "get", "<query xmlns='jabber:iq:version'/>", HOST), 30, 0.02),
    "time": ("time", asking("sender", "get", "<time xmlns='urn:xmpp:time'/>", HOST), 30, 0.02),
    "register-form": ("register form", asking("sender", "get", REGISTER, HOST), 30, 0.02),
    "password": ("password change", change_password, 30, 0.05),
    "probes": ("initial presence, 998 contacts, none online", lambda scene: appear(scene, False), 30, 0.2),
    "appear": ("initial presence, 998 contacts, 100 online", appear, 30, 0.2),
    "presence": ("presence of 8 KB to 998, 100 online", change_presence, 30, 0.1),
    "directed": ("998 directed presences", directed, 15, 0.1),
    "directed-end": ("unavailable that ends them", directed_end, 15, 0.1),
    "chat-bare": ("chat of 250 KB, bare address, 50 sessions",
                  message(f"<body>{'x' * LARGEST}</body>", address(CROWD)), 30, 0.05),
    "iq-full": ("IQ of 250 KB, full address", full_iq, 30, 0.05),
    "elements": ("8,000 elements with 4 attributes each", message(ATTRIBUTES, OTHER), 30, 0.05),
    "namespaces": ("8,000 elements in as many namespaces as may be", message(NAMESPACES, OTHER), 30, 0.05),
    "crowd-namespaces": ("same, bare address, 50 sessions", message(f"<body/>{NAMESPACES}", address(CROWD)), 10, 0.1),
    "headers": ("offline headers, 200 waiting", retrieve(
        disco("items", NODE), to=address(WAITING)), 30, 0.05),
    "fetch": ("offline fetch of all, 200 of 250 KB", retrieve(
        f"<offline xmlns='{NODE}'><fetch/></offline>"), 5, 0.05),
    "resume-1000": ("resume, 950 stanzas of 4 KB waiting", resume, 30, 0.1),
    "end-1000": ("end of a session, 950 waiting", end_session, 10, 0.3),
}


def rows(key):
    return [
        Row(f"{key}-time", f"{CASES[key][0]}: until the answer", "time_ms", "ms"),
        Row(f"{key}-held", "… loop held: slowest ping of others above calm, 9 turns of 10", "held_ms", "ms",
            Budget(BUDGET_MS)),
        Row(f"{key}-typical", "… same, median turn", "typical_ms", "ms"),
        Row(f"{key}-slowest", "… same, all turns", "slowest_ms", "ms"),
        Row(f"{key}-busy", "… processor time of the busier loop, median turn", "busy_ms", "ms"),
    ]


def processor_time(pid):
    """Milliseconds of processor time of each event loop."""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm") as name, open(f"/proc/{pid}/task/{task}/schedstat") as stat:
            if name.read().startswith(LOOP_THREADS):
                found[task] = int(stat.read().split()[0]) / 1e6
    return found


def busiest(before, after):
    return max(after[task] - before.get(task, 0) for task in after)


def above_calm(slowest, figure):
    return max(0, figure(sorted(slowest["case"])) - figure(sorted(slowest["calm"])))


def measure(scene, key):
    """One case: what the rows show."""
    _, case, times, linger = CASES[key]
    innocents = None
    try:
        steps = case(scene)
        next(steps)
        innocents = Helper("innocents.py", scene.server.port, FIRST_INNOCENT, INNOCENTS, EVERY_MS)
        took, busy, window = [], [], linger
        for turn in range(times):
            if turn > 0:
                next(steps)
            innocents.tell(f"calm {turn}")
            first = processor_time(scene.server.pid)
            time.sleep(window)
            innocents.tell(f"case {turn}")
            second = processor_time(scene.server.pid)
            # So that what is sent before the stanza is not slow because of it.
            time.sleep(0.005)
            began = time.monotonic()
            next(steps)
            took.append((time.monotonic() - began) * 1000)
            time.sleep(linger)
            window = time.monotonic() - began
            busy.append(busiest(second, processor_time(scene.server.pid)) - busiest(first, second))
            innocents.tell("between")
        innocents.tell("end")
        phases = innocents.result(30)
        slowest = {kind: [phase["max_ms"] for name, phase in phases.items() if name.startswith(kind)]
                   for kind in ("calm", "case")}
        return {
            "kind": key, "time_ms": statistics.median(took), "took": took, "busy": busy,
            "busy_ms": max(0, statistics.median(busy[1:])), "slowest": slowest,
            "held_ms": above_calm(slowest, lambda times: times[int((len(times) - 1) * SHARE)]),
            "typical_ms": above_calm(slowest, statistics.median), "slowest_ms": above_calm(slowest, max),
            "load": os.getloadavg()[0],
        }
    except OSError as error:
        raise BenchError(f"{key}: {error}") from None
    finally:
        if innocents:
            innocents.end()
