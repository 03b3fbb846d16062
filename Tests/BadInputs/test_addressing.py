"""Lines 16, 17 and 20: resources, forged senders, and IQs that break the rules."""

import asyncio
import xml.etree.ElementTree as ET

import pytest
from support.attack import TOO_MUCH, at, how_it_ends, outcome
from support.namespaces import BIND, CLIENT, qname
from support.rawclient import Client, Failure, condition, escape, show

SOME_ERROR = {"bad-request", "jid-malformed", "not-acceptable", "not-allowed"}


async def bound(server, user: str, resource: str = "lair") -> Client:
    client = Client(server, user, resource, transport="plain")
    await client.login()
    await client.available()
    await client.ping()
    client.stream.events.clear()
    return client


# -- line 16


async def binding(server, resource_xml: str) -> tuple[Client, str]:
    """The full address that came of it, or the condition."""
    client = await at(server, "authenticated")
    client.stream.write(f"<iq type='set' id='b'><bind xmlns='{BIND}'>{resource_xml}</bind></iq>")
    answer = await client.next()
    if not isinstance(answer, ET.Element) or answer.get("id") != "b":
        client.stream.events.appendleft(answer)
        return client, await how_it_ends(client)
    if answer.get("type") == "result":
        return client, answer.find(f"{qname(BIND, 'bind')}/{qname(BIND, 'jid')}").text
    return client, condition(answer.find(qname(CLIENT, "error")))


def test_line_16_a_resource_of_a_megabyte(server):
    async def scene():
        client = await at(server, "authenticated")
        data = f"<iq type='set' id='b'><bind xmlns='{BIND}'><resource>{'x' * 1_000_000}</resource></bind></iq>"
        assert await outcome(client, data, pieces=16384) in TOO_MUCH

    asyncio.run(scene())


@pytest.mark.parametrize("length, fits", [(1023, True), (1024, False), (4096, False)])
@pytest.mark.differs("prosody", "it shortens")
def test_line_16_a_resource_has_1023_bytes(server, length, fits):
    async def scene():
        _, got = await binding(server, f"<resource>{'x' * length}</resource>")
        assert (got == f"mallory@{server.domain}/" + "x" * length) if fits else (got in SOME_ERROR), got[:100]

    asyncio.run(scene())


@pytest.mark.parametrize("resource", [
    "\u0080", "a\u0085b", "a\u00adb", "\u200b", "a\u2028b", "\u0378", "\ue000", "\ufdd0", "a\u202eb", "\ufeff",
    "\u115f",
])
@pytest.mark.differs("prosody", "stringprep (RFC 6122) allows others")
def test_line_16_a_resource_that_precis_forbids(server, resource):
    """RFC 7622, section 3.4: OpaqueString. A client that asked for it must not get it."""

    async def scene():
        client, got = await binding(server, f"<resource>{resource}</resource>")
        assert got in SOME_ERROR, got
        assert (await client.bind("lair")).endswith("/lair"), "the stream is of use no more"

    asyncio.run(scene())


@pytest.mark.parametrize("resource, canonical", [
    ("home/away@work", "home/away@work"), ("ｆｕｌｌ", "ｆｕｌｌ"), ("a\u0301", "\u00e1"), ("a\u3000b", "a b"),
    ("UPPER", "UPPER"), ("🌹", "🌹"), ("' \" & < ; %", "' \" & < ; %"), ("ß", "ß"),
])
@pytest.mark.differs("prosody", "stringprep (RFC 6122) maps otherwise")
def test_line_16_a_resource_has_one_form(server, resource, canonical):
    async def scene():
        client, got = await binding(server, f"<resource>{escape(resource)}</resource>")
        assert got == f"mallory@{server.domain}/{canonical}"
        client.jid = got
        alice = await bound(server, "alice")
        address = escape(got).replace("'", "&apos;").replace('"', "&quot;")
        alice.send(f"<message to='{address}' id='odd' type='chat'><body>x</body></message>")
        arrived = await client.message()
        assert arrived.get("id") == "odd" and arrived.get("to") == got

    asyncio.run(scene())


@pytest.mark.parametrize("xml", ["", "<resource/>", "<resource></resource>"])
def test_line_16_without_a_resource_the_server_names_one(server, xml):
    async def scene():
        got = {(await binding(server, xml))[1] for _ in range(3)}
        assert len(got) == 3 and all(each.startswith(f"mallory@{server.domain}/") and len(each) < 200 for each in got)

    asyncio.run(scene())


@pytest.mark.parametrize("xml", ["<resource>a</resource><resource>b</resource>", "<resource><x/></resource>",
                                 "<other/>", "text"])
def test_line_16_odd_requests_to_bind_do_no_harm(server, xml):
    async def scene():
        _, got = await binding(server, xml)
        assert got in SOME_ERROR or got.startswith(f"mallory@{server.domain}/"), got

    asyncio.run(scene())


@pytest.mark.differs("prosody", "it binds again")
def test_line_16_binding_twice_is_refused(server):
    async def scene():
        client = await at(server, "bound")
        answer = await client.iq("set", f"<bind xmlns='{BIND}'><resource>second</resource></bind>")
        assert answer.get("type") == "error"
        assert client.jid.endswith("/lair")
        await client.ping()

    asyncio.run(scene())


def test_line_16_one_of_many_who_race_for_a_resource_has_it(server):
    async def scene():
        clients = [Client(server, "mallory", "race", transport="plain") for _ in range(12)]
        for client in clients:
            await client.connect()
            await client.authenticate()

        async def bind(client):
            try:
                return await client.bind()
            except Failure:
                return None

        await asyncio.gather(*map(bind, clients))
        await asyncio.sleep(0.5)
        alice = await bound(server, "alice")
        alice.send(f"<message to='mallory@{server.domain}/race' id='race' type='chat'><body>x</body></message>")
        await asyncio.sleep(0.5)
        reached = [c for c in clients if any(getattr(e, "attrib", {}).get("id") == "race" for e in c.stream.events)]
        assert len(reached) == 1
        assert sum(not client.stream.over for client in clients) == 1

    asyncio.run(scene())


@pytest.mark.differs("prosody", "no limit")
def test_line_16_sessions_of_one_user_are_limited(server):
    """The default is 50 an account: 60 logins, and the rest are refused or replace the oldest."""

    async def scene():
        clients = []
        for number in range(60):
            client = Client(server, "mallory", f"r{number}", transport="plain")
            await client.connect()
            await client.authenticate()
            try:
                await client.bind()
            except Failure:
                client.cut()
            clients.append(client)
        await asyncio.sleep(0.3)
        alive = sum(not client.stream.over for client in clients)
        for client in clients:
            if not client.stream.over:
                client.cut()
        assert 1 <= alive <= 50, f"{alive} sessions live"

    asyncio.run(scene())


def test_line_16_resources_that_look_alike_are_two(server):
    """Nobody's session ends, and nobody gets another one's stanzas, because of a name that looks the same."""

    async def scene():
        latin, cyrillic = await bound(server, "mallory", "lair"), await bound(server, "mallory", "l\u0430ir")
        assert latin.jid != cyrillic.jid
        alice = await bound(server, "alice")
        alice.send(f"<message to='{cyrillic.jid}' id='alike' type='chat'><body>x</body></message>")
        assert (await cyrillic.message()).get("id") == "alike"
        await latin.ping()
        assert not any(getattr(event, "attrib", {}).get("id") == "alike" for event in latin.stream.events)
        for client in latin, cyrillic, alice:
            await client.close()

    asyncio.run(scene())


async def bind_in_turn(client: Client, resource: str) -> None:
    """Binds when the sessions of tests before have ended, whose connections may be closed a little later."""
    for _ in range(100):
        try:
            await client.bind(resource)
            return
        except Failure:
            await asyncio.sleep(0.1)
    raise Failure(f"{resource} was not bound")


@pytest.mark.differs("prosody", "no limit")
def test_line_16_ten_thousand_resources_of_one_user(server):
    """All sessions are taken, and one connection goes on asking: it is refused each time, and cut in the end."""

    async def scene():
        clients = [await at(server, "authenticated") for _ in range(50)]
        for number, client in enumerate(clients):
            await bind_in_turn(client, f"taken-{number}")
        greedy = await at(server, "authenticated")
        for number in range(10_000):
            if greedy.stream.over:
                break
            greedy.stream.write(f"<iq type='set' id='b'><bind xmlns='{BIND}'><resource>r{number}</resource></bind></iq>")
            await greedy.stream.drain()
        seen = await greedy.stream.ends()
        answers = [event for event in seen if getattr(event, "tag", "") == qname(CLIENT, "iq")]
        assert answers and all(answer.get("type") == "error" for answer in answers)
        assert {condition(answer.find(qname(CLIENT, "error"))) for answer in answers} == {"resource-constraint"}
        for client in clients:
            await client.close()

    asyncio.run(scene())


# -- line 17

FORGED = {
    "another user": "alice@martlet.example/home",
    "another user's bare address": "alice@martlet.example",
    "the host": "martlet.example",
    "another host": "other.example",
    "a foreign address": "juliet@capulet.example/balcony",
    "another resource": "mallory@martlet.example/other",
    "another resource's case": "mallory@martlet.example/LAIR",
    "another host's same name": "mallory@other.example/lair",
    "a name that looks alike": "mаllory@martlet.example/lair",
    "empty": "",
    "no address": "@@@",
    "a trailing slash": "mallory@martlet.example/",
}

HONEST = {
    "full": "mallory@martlet.example/lair",
    "bare": "mallory@martlet.example",
    "other case": "MALLORY@Martlet.Example/lair",
    "full-width": "ｍallory@martlet.example/lair",
}


@pytest.mark.parametrize("stanza", ["message", "presence", "iq"])
@pytest.mark.parametrize("kind", FORGED)
def test_line_17_a_forged_sender_is_replaced_or_refused(server, kind, stanza):
    async def scene():
        bob = await bound(server, "bob", "desk")
        mallory = await bound(server, "mallory")
        inner = {"message": "<body>x</body>", "presence": "", "iq": "<query xmlns='jabber:iq:version'/>"}[stanza]
        attributes = {"message": "type='chat'", "presence": "", "iq": "type='get'"}[stanza]
        mallory.stream.write(f"<{stanza} from='{FORGED[kind]}' to='{bob.jid}' id='f' {attributes}>{inner}</{stanza}>")
        try:
            got = await bob.take(lambda e: e.get("id") == "f", "the stanza", timeout=1)
        except Failure:
            if mallory.stream.over:
                assert await how_it_ends(mallory) in {"invalid-from", "bad-format", "improper-addressing"}
            return
        assert got.get("from") == mallory.jid

    asyncio.run(scene())


@pytest.mark.parametrize("kind", HONEST)
@pytest.mark.differs("prosody", "stringprep (RFC 6122)")
def test_line_17_the_own_address_is_taken_in_every_form(server, kind):
    async def scene():
        bob = await bound(server, "bob", "desk")
        mallory = await bound(server, "mallory")
        mallory.stream.write(f"<message from='{HONEST[kind]}' to='{bob.jid}' id='h'><body>x</body></message>")
        got = await bob.take(lambda e: e.get("id") == "h", "the message")
        assert got.get("from") == mallory.jid

    asyncio.run(scene())


def test_line_17_subscriptions_come_from_the_bare_address(server):
    """A subscription request from a resource would be answered to the resource."""

    async def scene():
        bob = await bound(server, "bob", "desk")
        mallory = await bound(server, "mallory")
        mallory.stream.write(f"<presence from='{mallory.jid}' to='{bob.jid}' type='subscribe' id='s'/>")
        got = await bob.take(lambda e: e.get("type") == "subscribe", "the request")
        assert got.get("from") == mallory.bare
        bob.send(f"<presence to='{mallory.bare}' type='unsubscribed'/>")
        await bob.ping()

    asyncio.run(scene())


# -- line 20


async def refused(server, xml: str, wanted: str) -> None:
    client = await bound(server, "mallory")
    client.stream.write(xml)
    got = await client.take(lambda e: e.tag == qname(CLIENT, "iq") and e.get("type") == "error", "the error")
    assert condition(got.find(qname(CLIENT, "error"))) == wanted, show(got)
    await client.ping()


BROKEN = {
    "no payload in a get": "<iq type='get' id='1' to='{to}'/>",
    "no payload in a set": "<iq type='set' id='1' to='{to}'/>",
    "two payloads": "<iq type='get' id='1' to='{to}'><ping xmlns='urn:xmpp:ping'/><ping xmlns='urn:xmpp:ping'/></iq>",
    "unknown type": "<iq type='please' id='1' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>",
    "empty type": "<iq type='' id='1' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>",
    "type in capitals": "<iq type='GET' id='1' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>",
    "no type": "<iq id='1' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>",
    "no id": "<iq type='get' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>",
}


@pytest.mark.parametrize("to", ["martlet.example", "bob@martlet.example", "bob@martlet.example/desk"])
@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.differs("prosody", "it passes or answers some of them")
def test_line_20_a_broken_request_is_a_bad_request(server, kind, to):
    asyncio.run(refused(server, BROKEN[kind].format(to=to), "bad-request"))


@pytest.mark.parametrize("to", ["a@b@c", "@martlet.example", "bob@", "bob@martlet.example/", "/x", "bob@mart let", ""])
@pytest.mark.differs("prosody", "it takes some of them for others")
def test_line_20_a_broken_address_is_malformed(server, to):
    asyncio.run(refused(
        server, f"<iq type='get' id='1' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>", "jid-malformed"))


@pytest.mark.parametrize("xml", [
    "<iq type='result' id='1' to='{to}'/>",
    "<iq type='result' id='1' to='{to}'><query xmlns='jabber:iq:roster'><item jid='bob@martlet.example'/></query></iq>",
    "<iq type='error' id='1' to='{to}'><error type='cancel'/></iq>",
    "<iq type='error' id='1' to='{to}'/>",
])
@pytest.mark.parametrize("to", [
    "martlet.example", "mallory@martlet.example", "bob@martlet.example", "bob@martlet.example/gone",
    "nobody@martlet.example",
])
def test_line_20_an_answer_to_no_question_gets_no_answer(server, xml, to):
    async def scene():
        client = await bound(server, "mallory")
        client.stream.write(xml.format(to=to))
        await client.ping()
        assert not client.stream.events, show(client.stream.events[0])

    asyncio.run(scene())


def test_line_20_an_answer_from_somebody_else_shows_who_it_is(server):
    """Mallory knows the id of Alice's question to Bob; the answer must bear Mallory's own address."""

    async def scene():
        alice, bob = await bound(server, "alice"), await bound(server, "bob", "desk")
        mallory = await bound(server, "mallory")
        alice.send(f"<iq type='get' id='secret' to='{bob.jid}'><query xmlns='jabber:iq:version'/></iq>")
        await bob.take(lambda e: e.get("id") == "secret", "the question")
        mallory.stream.write(f"<iq type='result' id='secret' to='{alice.jid}' from='{mallory.jid}'/>")
        got = await alice.take(lambda e: e.get("id") == "secret", "an answer")
        assert got.get("from") == mallory.jid
        bob.send(f"<iq type='result' id='secret' to='{alice.jid}'/>")
        got = await alice.take(lambda e: e.get("id") == "secret", "the answer")
        assert got.get("from") == bob.jid

    asyncio.run(scene())


def test_line_20_a_push_acknowledged_by_somebody_else_changes_nothing(server):
    async def scene():
        alice, mallory = await bound(server, "alice"), await bound(server, "mallory")
        await alice.iq("get", "<query xmlns='jabber:iq:roster'/>")
        mallory.stream.write(
            f"<iq type='set' id='push' to='{alice.jid}'><query xmlns='jabber:iq:roster'>"
            f"<item jid='evil@{server.domain}' subscription='both'/></query></iq>"
        )
        await mallory.ping()
        await alice.ping()
        for event in alice.stream.events:
            assert event.get("from") == mallory.jid, f"a stranger's push looks like the server's: {show(event)}"
        roster = await alice.iq("get", "<query xmlns='jabber:iq:roster'/>")
        assert "evil" not in show(roster)

    asyncio.run(scene())


def test_line_20_an_id_of_a_megabyte(server):
    async def scene():
        client = await bound(server, "mallory")
        data = f"<iq type='get' id='{'x' * 1_000_000}'><ping xmlns='urn:xmpp:ping'/></iq>"
        assert await outcome(client, data, pieces=65536) in TOO_MUCH

    asyncio.run(scene())


@pytest.mark.differs("prosody", "its expat holds back the end of what came in pieces")
def test_line_20_a_long_id_comes_back_as_it_was(server):
    async def scene():
        client = await bound(server, "mallory")
        long = "é'<&>" * 2000
        xml = escape(long).replace("'", "&apos;")
        client.stream.write(f"<iq type='get' id='{xml}' to='{server.domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
        got = await client.take(lambda e: e.get("type") == "result", "the pong")
        assert got.get("id") == long

    asyncio.run(scene())


def test_line_20_a_flood_of_requests_to_an_unknown_namespace(server):
    """5,000 requests in one go, read slowly: all are answered in order, and memory stays flat."""

    async def scene():
        client = await bound(server, "mallory")
        for start in range(0, 5000, 100):
            client.stream.write("".join(
                f"<iq type='get' id='{n}' to='{server.domain}'><q xmlns='urn:x:{n}'/></iq>"
                for n in range(start, start + 100)
            ))
            await client.stream.drain(20)
        for number in range(5000):
            got = await client.next(f"answer {number}", 20)
            assert got.get("id") == str(number) and got.get("type") == "error"

    asyncio.run(scene())


@pytest.mark.parametrize("to", [
    "martlet.example", "nobody@martlet.example", "bob@martlet.example", "bob@martlet.example/gone",
    "mallory@martlet.example", "mallory@martlet.example/lair",
])
@pytest.mark.parametrize("kind", ["message", "presence", "iq"])
def test_line_20_errors_are_never_answered_by_errors(server, kind, to):
    async def scene():
        client = await bound(server, "mallory")
        client.stream.write(
            f"<{kind} type='error' id='e' to='{to}'><x xmlns='urn:x'/><error type='cancel'>"
            f"<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></{kind}>"
        )
        await asyncio.sleep(0.05)
        await client.ping()
        answers = [e for e in client.stream.events if not (to.startswith("mallory@") and e.get("from") == client.jid)]
        assert not answers, show(answers[0])

    asyncio.run(scene())


def test_line_20_two_who_answer_each_other_with_errors_do_not_loop(server):
    """Errors between two clients pass once each; nobody in between multiplies them."""

    async def scene():
        one, two = await bound(server, "alice"), await bound(server, "bob", "desk")
        for client, other in ((one, two), (two, one)):
            client.send(f"<message type='error' id='x' to='{other.jid}'><error type='cancel'/></message>")
        for client in (one, two):
            await client.take(lambda e: e.get("id") == "x", "the error")
        await asyncio.sleep(0.1)
        for client in (one, two):
            await client.ping()
            assert not client.stream.events

    asyncio.run(scene())


def test_line_20_addresses_of_the_longest_kind_are_served(server):
    async def scene():
        client = await bound(server, "mallory")
        for local, allowed in (("l" * 1023, {"service-unavailable"}), ("l" * 1024, {"jid-malformed"})):
            got = await client.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to=f"{local}@{server.domain}/{'r' * 1023}")
            assert condition(got.find(qname(CLIENT, "error"))) in allowed

    asyncio.run(scene())
