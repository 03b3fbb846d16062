"""Lines 19, 20, 22, 34 and 36, as far as the modules of accounts and of stored data meet them."""

import asyncio
import xml.etree.ElementTree as ET
from xml.sax.saxutils import quoteattr

import pytest
from support.namespaces import CLIENT, qname
from support.rawclient import Client, condition, escape, show

REGISTER = "jabber:iq:register"
PRIVATE = "jabber:iq:private"
VCARD = "vcard-temp"
OFFLINE = "http://jabber.org/protocol/offline"
ITEMS = "http://jabber.org/protocol/disco#items"
INFO = "http://jabber.org/protocol/disco#info"

pytestmark = [pytest.mark.differs("prosody", "its modules are not loaded")]
registering = pytest.mark.config({"modules": {"register": {"per_address": 40, "total": 60}}})

ODD = ["a'b", 'a"b', "a;b", "a%b", "a_b", "a\\b", "a--b", "100%", "a\u0301", "\u00e1", "\U0001f339", "\U00010348x", "a b"]


async def here(server, user: str, resource: str = "lair", domain: str | None = None) -> Client:
    client = Client(server, user, resource, transport="starttls", domain=domain)
    await client.login()
    return client


async def refusal(client: Client, kind: str, payload: str, to: str | None = None) -> str | None:
    """The condition of the error, None for a result."""
    answer = await client.iq(kind, payload, to=to) if to else await client.iq(kind, payload)
    if answer.get("type") == "result":
        return None
    return condition(answer.find(qname(CLIENT, "error")))


async def outside(server, source: str | None = None) -> Client:
    """An encrypted stream on which nobody has authenticated."""
    return await Client(server, "stranger", transport="starttls", source=source).connect()


async def register(client: Client, name: str, password: str = "long enough") -> str | None:
    client._ids += 1
    client.stream.write(
        f"<iq type='set' id='r{client._ids}'><query xmlns='{REGISTER}'><username>{escape(name)}</username>"
        f"<password>{escape(password)}</password></query></iq>"
    )
    answer = await client.next()
    assert isinstance(answer, ET.Element) and answer.get("id") == f"r{client._ids}", show(answer)
    return None if answer.get("type") == "result" else condition(answer.find(qname(CLIENT, "error")))


# -- line 34


@registering
def test_line_34_a_flood_of_registrations_is_bounded(server):
    """Each address has its share, whatever number of streams it opens, and all of them together have theirs."""

    async def scene():
        made: dict[str, int] = {}
        for number in range(90):
            source = f"127.0.34.{1 + number % 2}"
            client = await outside(server, source)
            outcome = await register(client, f"flood-{number}")
            assert outcome in (None, "resource-constraint"), outcome
            made[source] = made.get(source, 0) + (outcome is None)
            client.cut()
        assert max(made.values()) <= 40 and sum(made.values()) <= 60, made
        client = await outside(server, "127.0.34.9")
        assert await register(client, "flood-late") == "resource-constraint"

    asyncio.run(scene())


@pytest.mark.config({"modules": {"register": {"per_address": 1000}}})
@pytest.mark.parametrize("fields", [
    [("username", "twice"), ("username", "twice"), ("password", "long enough")],
    [("username", "twice"), ("password", "long enough"), ("password", "even longer")],
    [("username", "twice"), ("password", "twiceTWICE"), ("username", "twicetwice")],
    [("username", "Twicetwice"), ("password", "twiceTWICE")],
    [("username", "twice"), ("password", "TWICE@{domain}")],
])
def test_line_34_a_registration_that_says_something_twice_or_its_name_as_the_password_is_refused(server, fields):
    fields = [(name, value.format(domain=server.domain)) for name, value in fields]

    async def scene():
        elements = "".join(f"<{name}>{value}</{name}>" for name, value in fields)
        form = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in fields)
        client = await outside(server)
        for content in (elements, f"<x xmlns='jabber:x:data' type='submit'>{form}</x>"):
            assert await refusal(client, "set", f"<query xmlns='{REGISTER}'>{content}</query>") == "not-acceptable"
        assert await register(client, f"once-{len(elements)}") is None
        client.cut()
        # An account that exists does not get such a password either.
        alice = await here(server, "alice")
        for password in ("ALICE", alice.bare, "Alice@" + alice.domain.upper()):
            content = f"<username>alice</username><password>{password}</password>"
            assert await refusal(alice, "set", f"<query xmlns='{REGISTER}'>{content}</query>") == "not-acceptable"
        await alice.close()

    asyncio.run(scene())
    assert not run_list(server, "twice@")


def run_list(server, start: str) -> list[str]:
    """Accounts whose address begins so."""
    return [line for line in server.run("account", "list", "-c", str(server.config_file)).splitlines()
            if line.startswith(start)]


@pytest.mark.config({"modules": {"register": {}, "version": {}}})
def test_line_34_names_that_look_like_others_are_refused(server):
    async def scene():
        for name, wanted in [
            ("аlice", "not-acceptable"), ("alicе", "not-acceptable"), ("ALICE", "conflict"), ("ａｌｉｃｅ", "conflict"),
            ("admin", "not-acceptable"), ("Admin", "not-acceptable"), ("alice\u200b", "not-acceptable"),
            ("alice@evil", "not-acceptable"), ("alice/x", "not-acceptable"), (" alice", "not-acceptable"),
        ]:
            client = await outside(server, "127.0.35.1" if wanted == "conflict" else None)
            assert await register(client, name) == wanted, name
            client.cut()

    asyncio.run(scene())


@pytest.mark.config({"modules": {"register": {"per_address": 1000}}})
def test_line_34_nothing_of_a_removed_account_is_left_for_the_next(server):
    async def scene():
        for round in range(3):
            client = await outside(server)
            assert await register(client, "heir", f"long enough {round}") is None
            client.cut()
            heir = Client(server, "heir", "lair", password=f"long enough {round}")
            await heir.login()
            answer = await heir.iq("get", f"<query xmlns='{PRIVATE}'><a xmlns='urn:x'/></query>")
            assert not answer.find(f".//{qname('urn:x', 'a')}").text
            assert await refusal(heir, "get", f"<vCard xmlns='{VCARD}'/>") == "item-not-found"
            assert await refusal(heir, "set", f"<query xmlns='{PRIVATE}'><a xmlns='urn:x'>{round}</a></query>") is None
            assert await refusal(heir, "set", f"<vCard xmlns='{VCARD}'><FN>{round}</FN></vCard>") is None
            assert await refusal(heir, "set", f"<query xmlns='{REGISTER}'><remove/></query>") is None
            assert await heir.ended_by() == "not-authorized"

    asyncio.run(scene())


@registering
@pytest.mark.parametrize("data", [
    "<iq type='set' id='x'/>", f"<iq type='result' id='x'><query xmlns='{REGISTER}'/></iq>",
    f"<iq type='set' id='x'><query xmlns='jabber:iq:roster'/></iq>",
    f"<message to='alice@martlet.example'><query xmlns='{REGISTER}'/></message>",
    f"<presence><query xmlns='{REGISTER}'/></presence>",
])
def test_line_34_nothing_else_is_served_to_who_has_not_authenticated(server, data):
    async def scene():
        client = await outside(server)
        client.stream.write(data)
        assert await client.ended_by() == "not-authorized"

    asyncio.run(scene())


@registering
def test_line_34_a_registration_of_a_megabyte_ends_the_stream(server):
    async def scene():
        client = await outside(server)
        client.stream.write(
            f"<iq type='set' id='x'><query xmlns='{REGISTER}'><username>{'x' * 1_000_000}</username></query></iq>")
        assert await client.ended_by() in ("policy-violation", "reset", "no error")

    asyncio.run(scene())


# -- line 36


@pytest.mark.config({"modules": {"register": {"letters": "any", "per_address": 1000}}})
def test_line_36_odd_names_of_users_are_refused_or_kept_apart(server):
    async def scene():
        made = {}
        for name in ODD + ["\x7f", "a\u202eb"]:
            client = await outside(server)
            outcome = await register(client, f"u{name}")
            client.cut()
            assert outcome in (None, "not-acceptable", "conflict"), (name, outcome)
            if outcome is None:
                made[f"u{name}"] = None
        assert {"ua%b", "ua_b", "ua;b", "ua--b", "u100%"} <= set(made)
        for number, user in enumerate(made):
            client = Client(server, user, "lair", password="long enough")
            await client.login()
            payload = f"<query xmlns='{PRIVATE}'><a xmlns='urn:x'>{number}</a></query>"
            assert await refusal(client, "set", payload) is None
            await client.close()
        for number, user in enumerate(made):
            client = Client(server, user, "lair", password="long enough")
            await client.login()
            answer = await client.iq("get", f"<query xmlns='{PRIVATE}'><a xmlns='urn:x'/></query>")
            assert answer.find(f".//{qname('urn:x', 'a')}").text == str(number), user
            await client.close()

    asyncio.run(scene())


def test_line_36_odd_namespaces_are_kept_apart(server):
    async def scene():
        mallory = await here(server, "mallory")
        spaces = [f"urn:{name}" for name in ODD] + ["urn:x' OR '1'='1", "urn:" + "x" * 300]
        for number, space in enumerate(spaces):
            payload = f"<query xmlns='{PRIVATE}'><n xmlns={quoteattr(space)}>{number}</n></query>"
            assert await refusal(mallory, "set", payload) is None, space
        for number, space in enumerate(spaces):
            answer = await mallory.iq("get", f"<query xmlns='{PRIVATE}'><n xmlns={quoteattr(space)}/></query>")
            assert answer[0][0].text == str(number), space
        await mallory.close()

    asyncio.run(scene())


def test_line_36_a_nul_ends_the_stream_and_is_kept_nowhere(server):
    async def scene():
        for data in [b"\0", b"&#0;"]:
            mallory = await here(server, "mallory", f"nul{len(data)}")
            mallory.stream.write(b"<iq type='set' id='n'><query xmlns='jabber:iq:private'><a xmlns='urn:n'>" + data
                                 + b"</a></query></iq>")
            assert await mallory.ended_by() in ("not-well-formed", "bad-format", "invalid-xml")

    asyncio.run(scene())


# -- lines 19 and 20


def test_line_19_what_only_the_server_says_of_offline_messages_is_stripped(server):
    async def scene():
        mallory, alice = await here(server, "mallory"), await here(server, "alice", "home")
        await alice.available()
        mallory.send(
            f"<message to='{alice.jid}' id='forged' type='chat'><body>x</body><offline xmlns='{OFFLINE}'>"
            f"<item node='1'/></offline><offline xmlns='{OFFLINE}'/></message>")
        got = await alice.message()
        assert got.get("id") == "forged" and got.find(qname(OFFLINE, "offline")) is None, show(got)

    asyncio.run(scene())


@pytest.mark.parametrize("payload", [
    f"<query xmlns='{PRIVATE}'/>", f"<query xmlns='{PRIVATE}'>{'<a xmlns=%r/>' % 'urn:x' * 2}</query>",
    f"<query xmlns='{REGISTER}'/>", f"<offline xmlns='{OFFLINE}'/>",
    f"<offline xmlns='{OFFLINE}'><item action='view' node='\u0661'/></offline>",
    f"<query xmlns='{INFO}' node=' '/>", f"<query xmlns='{ITEMS}' node='{'x' * 100_000}'/>",
    f"<query xmlns='{INFO}' node='http://jabber.org/protocol/offline%00'/>",
])
def test_line_20_odd_requests_are_answered_with_an_error(server, payload):
    async def scene():
        mallory = await here(server, "mallory")
        assert await refusal(mallory, "get", payload) is not None
        await mallory.ping()

    asyncio.run(scene())


def test_line_20_many_requests_for_many_elements_at_once_stay_small(server):
    """Asking for one large element many times in a request must not make an answer of all of them."""

    async def scene():
        mallory = await here(server, "mallory")
        large = "x" * 60_000
        assert await refusal(mallory, "set", f"<query xmlns='{PRIVATE}'><b xmlns='urn:b'>{large}</b></query>") is None
        payload = f"<query xmlns='{PRIVATE}'>" + "<b xmlns='urn:b'/>" * 5000 + "</query>"
        for _ in range(20):
            assert await refusal(mallory, "get", payload) == "bad-request"

    asyncio.run(scene())


# -- lines 22 and 23: what strangers learn


# What a stranger may ask of an account, and what he hears: None is a result.
ASKED = [
    ("get", f"<query xmlns='{INFO}'/>", "service-unavailable"),
    ("get", f"<query xmlns='{ITEMS}'/>", None),
    ("get", f"<query xmlns='{INFO}' node='{OFFLINE}'/>", "forbidden"),
    ("get", f"<query xmlns='{ITEMS}' node='{OFFLINE}'/>", "forbidden"),
    ("get", f"<query xmlns='{INFO}' node='urn:none'/>", "service-unavailable"),
    ("get", f"<query xmlns='{ITEMS}' node='urn:none'/>", None),
    ("get", f"<offline xmlns='{OFFLINE}'><fetch/></offline>", "forbidden"),
    ("set", f"<offline xmlns='{OFFLINE}'><purge/></offline>", "forbidden"),
    ("get", f"<vCard xmlns='{VCARD}'/>", "service-unavailable"),
    ("set", f"<vCard xmlns='{VCARD}'><FN>Mallory</FN></vCard>", "forbidden"),
    ("get", f"<query xmlns='{PRIVATE}'/>", "forbidden"),
    ("get", f"<query xmlns='{PRIVATE}'><a xmlns='urn:x'/></query>", "forbidden"),
    ("set", f"<query xmlns='{PRIVATE}'><a xmlns='urn:x'>1</a></query>", "forbidden"),
    ("get", "<query xmlns='jabber:iq:last'/>", "forbidden"),
    ("get", "<query xmlns='jabber:iq:roster'/>", "forbidden"),
    ("set", "<query xmlns='jabber:iq:roster'><item jid='a@b'/></query>", "forbidden"),
    ("get", "<ping xmlns='urn:xmpp:ping'/>", "service-unavailable"),
    ("get", "<query xmlns='jabber:iq:version'/>", "service-unavailable"),
    ("get", "<time xmlns='urn:xmpp:time'/>", "service-unavailable"),
    ("get", f"<query xmlns='{REGISTER}'/>", "service-unavailable"),
    ("set", f"<query xmlns='{REGISTER}'><remove/></query>", "service-unavailable"),
    ("set", "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>", "service-unavailable"),
    ("get", "<query xmlns='urn:none'/>", "service-unavailable"),
]


def test_line_23_strangers_learn_nothing_of_an_account_but_its_vcard(server):
    """Word for word what is said of a name that nobody has, and of a client that is not there."""

    async def answer(client: Client, kind: str, payload: str, to: str) -> tuple:
        """All of the answer but its id, and the address that was asked."""
        found = await client.iq(kind, payload, to=to)
        assert found.get("from") == to, show(found)
        return found.get("type"), "".join(ET.tostring(child, encoding="unicode") for child in found)

    async def scene():
        mallory, alice = await here(server, "mallory"), await here(server, "alice", "home")
        await alice.available()
        nobody = f"nobody@{server.domain}"
        for kind, payload, expected in ASKED:
            assert await refusal(mallory, kind, payload, alice.bare) == expected, payload
            for suffix in ("", "/absent"):
                known = await answer(mallory, kind, payload, alice.bare + suffix)
                assert known == await answer(mallory, kind, payload, nobody + suffix), (payload, suffix)
        # XEP-0012, section 5: nor is a client asked.
        assert await refusal(mallory, "get", "<query xmlns='jabber:iq:last'/>", alice.jid) == "forbidden"

    asyncio.run(scene())
