"""Habits of strict clients: what they ask after a login, and that they accept every answer."""

import asyncio
import xml.etree.ElementTree as ET
from contextlib import asynccontextmanager

import aioxmpp
import pytest
import strict  # noqa: F401
from clients import WAIT, Aioxmpp, Slixmpp
from slixmpp.exceptions import IqError
from support.namespaces import BIND, SASL, SM, TLS, local, qname
from support.rawclient import Client

LIMIT = 60
INFO = "http://jabber.org/protocol/disco#info"
ITEMS = "http://jabber.org/protocol/disco#items"

# What clients ask, by the feature that says whether it is served: to whom and with what.
HOST, SELF, NOBODY = "host", "self", "nobody"
SERVICES = [
    ("urn:xmpp:ping", HOST, "get", "<ping xmlns='urn:xmpp:ping'/>"),
    ("jabber:iq:version", HOST, "get", "<query xmlns='jabber:iq:version'/>"),
    ("urn:xmpp:time", HOST, "get", "<time xmlns='urn:xmpp:time'/>"),
    ("jabber:iq:last", HOST, "get", "<query xmlns='jabber:iq:last'/>"),
    ("vcard-temp", SELF, "get", "<vCard xmlns='vcard-temp'/>"),
    ("vcard-temp", NOBODY, "get", "<vCard xmlns='vcard-temp'/>"),
    ("vcard-temp", NOBODY, "set", "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>"),
    ("jabber:iq:private", NOBODY, "get",
     "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"),
    ("jabber:iq:private", NOBODY, "set",
     "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"),
    ("urn:xmpp:blocking", NOBODY, "get", "<blocklist xmlns='urn:xmpp:blocking'/>"),
    ("urn:xmpp:carbons:2", NOBODY, "set", "<enable xmlns='urn:xmpp:carbons:2'/>"),
]


def play(scene) -> None:
    asyncio.run(asyncio.wait_for(scene, LIMIT))


class Strict(Slixmpp):
    """slixmpp that keeps a ledger of everything and is settled at its end."""

    async def connect(self) -> None:
        await super().connect(plugins=["strict"])
        self.ledger = self.client.plugin["strict"].ledger

    async def ask(self, kind: str, payload: str, to: str | None = None) -> ET.Element:
        """The answer to a request, also when it is an error."""
        iq = self.client.make_iq(ito=to, itype=kind)
        iq.append(ET.fromstring(payload))
        try:
            return (await iq.send(timeout=WAIT)).xml
        except IqError as error:
            return error.iq.xml

    async def features(self, of: str) -> set[str]:
        answer = await self.ask("get", f"<query xmlns='{INFO}'/>", of)
        assert answer.get("type") == "result"
        return {each.get("var") for each in answer.iter(qname(INFO, "feature"))}


@asynccontextmanager
async def on_stage(*clients):
    """The clients, connected; ledgers are settled at the end if nothing else went wrong."""
    connected = []
    try:
        for client in clients:
            await client.connect()
            connected.append(client)
        yield
        for client in clients:
            if isinstance(client, Strict):
                client.ledger.settle()
    finally:
        for client in reversed(connected):
            await client.close()


def test_every_request_gets_one_answer_from_whom_it_was_sent_to(server, pair):
    async def scene():
        romeo = Strict(server, pair[0], "starttls")
        juliet = Slixmpp(server, pair[1], "direct")
        async with on_stage(romeo, juliet):
            ours = [str(romeo.client.boundjid), str(juliet.client.boundjid)]
            addresses = [
                None, romeo.jid, server.domain, f"{server.domain}/gone", juliet.jid, f"{juliet.jid}/gone",
                f"nobody@{server.domain}", f"nobody@{server.domain}/gone", *ours,
            ]
            payloads = [
                f"<query xmlns='{INFO}'/>", f"<query xmlns='{INFO}' node='urn:example:no'/>", f"<query xmlns='{ITEMS}'/>",
                "<ping xmlns='urn:xmpp:ping'/>", "<query xmlns='urn:example:unknown'/>",
                "<query xmlns='jabber:iq:roster'/>",
            ]
            # All at once: answers come in any order, and each must find its question. To the clients themselves goes
            # only what slixmpp answers.
            await asyncio.gather(*(
                romeo.ask(kind, payload, to) for to in addresses for payload in payloads for kind in ("get", "set")
                if to not in ours or (kind, payload) == ("get", payloads[0])
            ))
            assert len(romeo.ledger.answers) >= 100

    play(scene())


def test_discovery_tells_the_truth(server, pair):
    """What is advertised is answered with a result (or an empty vCard), and the rest with service-unavailable."""

    async def scene():
        romeo = Strict(server, pair[0], "starttls")
        async with on_stage(romeo):
            of_host = await romeo.features(server.domain)
            of_either = of_host | await romeo.features(romeo.jid)
            wrong = []
            for feature, whom, kind, payload in SERVICES:
                to = {HOST: server.domain, SELF: romeo.jid, NOBODY: None}[whom]
                features = of_host if whom == HOST else of_either
                answer = await romeo.ask(kind, payload, to)
                condition = [local(each.tag) for error in answer.findall("{*}error") for each in error][:1]
                fine = answer.get("type") == "result" or condition == ["item-not-found"] and "vCard" in payload
                if fine != (feature in features) or not fine and condition != ["service-unavailable"]:
                    wrong.append(f"{feature} {kind} to {whom}: {answer.get('type')} {condition}, advertised: "
                                 f"{feature in features}")
            assert not wrong, "\n".join(wrong)

    play(scene())


def test_a_stream_offers_what_its_stage_allows(server, pair):
    """RFC 6120, sections 4.3.2, 5.3.1, 6.3.3 and 7: libraries of the field take a feature at the wrong time for a
    reason to leave."""

    async def scene():
        romeo = Client(server, pair[0], "desk", transport="starttls")
        seen = []
        romeo.open = kept(romeo.open, romeo, seen)
        await romeo.connect()
        await romeo.authenticate()
        before, secured, authenticated = seen
        # XEP-0478 tells at every stage, and asks for nothing.
        told = qname("urn:xmpp:stream-limits:0", "limits")
        assert [each.tag for each in before if each.tag != told] == [qname(TLS, "starttls")]
        assert before[0].find(qname(TLS, "required")) is not None
        assert secured[0].tag == qname(SASL, "mechanisms")
        assert not [each for each in secured if each.tag in (qname(TLS, "starttls"), qname(BIND, "bind"))]
        tags = [each.tag for each in authenticated]
        assert tags[0] == qname(BIND, "bind") and qname(SM, "sm") in tags
        assert not {qname(TLS, "starttls"), qname(SASL, "mechanisms")} & set(tags)
        await romeo.bind()
        await romeo.close()

    def kept(original, client, seen):
        """Opening a stream, with its features kept."""
        async def open(to=None):
            await original(to)
            seen.append(list(client.features))
        return open

    play(scene())


def test_pushes_are_acknowledged_and_come_from_the_own_account(server, pair):
    """Two resources change the roster; both have the same one at the end."""

    async def scene():
        romeo = Strict(server, pair[0], "starttls")
        other = await Client(server, pair[0], "phone").login()
        async with on_stage(romeo):
            await other.iq("get", "<query xmlns='jabber:iq:roster'/>")
            updates = asyncio.Queue()
            romeo.client.add_event_handler("roster_update", updates.put_nowait)
            for number in range(3):
                await other.iq("set", f"<query xmlns='jabber:iq:roster'><item jid='c{number}@{server.domain}' "
                                      f"name='N {number}'><group>G</group></item></query>")
                await asyncio.wait_for(updates.get(), WAIT)
            await romeo.client.update_roster(f"c1@{server.domain}", name="changed", groups=["H"])
            await asyncio.wait_for(updates.get(), WAIT)
            await romeo.client.del_roster_item(f"c2@{server.domain}")
            await asyncio.wait_for(updates.get(), WAIT)
            answer = await romeo.ask("get", "<query xmlns='jabber:iq:roster'/>")
            items = {each.get("jid").partition("@")[0]: (each.get("name"), each.findtext("{*}group"))
                     for each in answer.iter("{jabber:iq:roster}item")}
            assert items == {"c0": ("N 0", "G"), "c1": ("changed", "H")}
            assert romeo.client.client_roster[f"c1@{server.domain}"]["name"] == "changed"
        await other.close()

    play(scene())


def test_a_roster_that_is_kept_is_brought_up_to_date(server, pair):
    """slixmpp comes back with the version it has; what changed meanwhile, a removal too, is told to it.

    It takes pushes, but keeps what a whole roster lacks; with more contacts than changes there is no reason for one.
    """

    async def scene():
        romeo = Strict(server, pair[0], "starttls")
        other = await Client(server, pair[0], "phone").login()

        async def change(item: str) -> None:
            await other.iq("set", f"<query xmlns='jabber:iq:roster'>{item}</query>")

        for number in range(20):
            await change(f"<item jid='c{number}@{server.domain}' name='N {number}'/>")
        async with on_stage(romeo):
            roster = romeo.client.client_roster
            before = roster.version
            assert {f"c{number}@{server.domain}" for number in range(20)} <= set(roster.keys()) and before
            romeo.closing = True
            await asyncio.wait_for(romeo.client.disconnect(), WAIT)
            await change(f"<item jid='c0@{server.domain}' subscription='remove'/>")
            await change(f"<item jid='c1@{server.domain}' name='changed'/>")
            await change(f"<item jid='new@{server.domain}'/>")
            romeo.closing, romeo.ready = False, asyncio.get_running_loop().create_future()
            romeo.client.connect(romeo.address, romeo.port)
            await asyncio.wait_for(romeo.ready, WAIT)
            await until(lambda: f"new@{server.domain}" in roster.keys())
            assert roster.version != before
            assert f"c0@{server.domain}" not in roster.keys()
            assert roster[f"c1@{server.domain}"]["name"] == "changed"
            assert roster[f"c2@{server.domain}"]["name"] == "N 2"
        await other.close()

    play(scene())


@pytest.mark.parametrize("first, second", [(Strict, Aioxmpp), (Aioxmpp, Strict)], ids=["from-slixmpp", "from-aioxmpp"])
def test_they_subscribe_to_each_other_and_see_each_other(server, pair, first, second):
    """The whole way: ask, approve, ask back, approve; presence both ways; cancel; nothing is seen any more."""

    async def scene():
        romeo, juliet = first(server, pair[0], "starttls"), second(server, pair[1], "starttls")
        async with on_stage(romeo, juliet):
            seen = [watch(romeo, juliet.jid), watch(juliet, romeo.jid)]
            for one, other in ((romeo, juliet), (juliet, romeo)):
                await subscribe(one, other.jid)
            for events in seen:
                assert await asyncio.wait_for(events.get(), WAIT) == "available"
            await until(lambda: subscription(romeo, juliet.jid) == subscription(juliet, romeo.jid) == "both")
            cancel(juliet, romeo.jid)
            assert await asyncio.wait_for(seen[0].get(), WAIT) == "unavailable"
            await until(lambda: subscription(romeo, juliet.jid) == "from" and subscription(juliet, romeo.jid) == "to")

    play(scene())


async def until(true) -> None:
    """Rosters change with pushes; the libraries have no common event for it."""
    async with asyncio.timeout(WAIT):
        while not true():
            await asyncio.sleep(0.05)


def watch(client, whom: str) -> asyncio.Queue:
    """A queue of "available" and "unavailable" of a contact; requests are approved."""
    events: asyncio.Queue[str] = asyncio.Queue()
    if isinstance(client, Aioxmpp):
        roster = client.client.summon(aioxmpp.RosterClient)
        presence = client.client.summon(aioxmpp.PresenceClient)
        roster.on_subscribe.connect(lambda stanza: roster.approve(stanza.from_.bare()))

        def available(full, _):
            if str(full.bare()) == whom:
                events.put_nowait("available")

        def unavailable(full, _):
            if str(full.bare()) == whom:
                events.put_nowait("unavailable")

        presence.on_available.connect(available)
        presence.on_unavailable.connect(unavailable)
    else:
        client.client.roster.auto_authorize = client.client.roster.auto_subscribe = None
        client.client.add_event_handler(
            "presence_subscribe",
            lambda stanza: client.client.send_presence(pto=stanza["from"].bare, ptype="subscribed"),
        )
        for kind in ("available", "unavailable"):
            client.client.add_event_handler(
                f"presence_{kind}",
                lambda stanza, kind=kind: stanza["from"].bare == whom and events.put_nowait(kind),
            )
    return events


async def subscribe(client, whom: str) -> None:
    if isinstance(client, Aioxmpp):
        roster = client.client.summon(aioxmpp.RosterClient)
        roster.subscribe(aioxmpp.JID.fromstr(whom))
    else:
        client.client.send_presence_subscription(pto=whom)
    await until(lambda: subscription(client, whom) in ("to", "both"))


def cancel(client, whom: str) -> None:
    if isinstance(client, Aioxmpp):
        presence = aioxmpp.Presence(type_=aioxmpp.PresenceType.UNSUBSCRIBED, to=aioxmpp.JID.fromstr(whom))
        client.client.enqueue(presence)
    else:
        client.client.send_presence(pto=whom, ptype="unsubscribed")


def subscription(client, whom: str) -> str | None:
    """What the client's roster says of a contact."""
    if isinstance(client, Aioxmpp):
        item = client.client.summon(aioxmpp.RosterClient).items.get(aioxmpp.JID.fromstr(whom))
        return item and item.subscription
    return client.client.client_roster[whom]["subscription"] if whom in client.client.client_roster else None
