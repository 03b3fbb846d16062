"""Lines 20, 21, 23 and 36, as far as blocklists, privacy lists and reports meet them."""

import asyncio
import subprocess
from xml.sax.saxutils import quoteattr

import pytest
from support import martlet
from support.namespaces import CLIENT, qname
from support.rawclient import Client, condition, show

BLOCKING = "urn:xmpp:blocking"
PRIVACY = "jabber:iq:privacy"
PING = "<ping xmlns='urn:xmpp:ping'/>"

pytestmark = [pytest.mark.differs("prosody", "its modules are not loaded")]


async def here(server, user: str, resource: str = "lair") -> Client:
    return await Client(server, user, resource, transport="starttls").login()


async def refusal(client: Client, kind: str, payload: str, to: str | None = None) -> str | None:
    """The condition of the error, None for a result."""
    answer = await client.iq(kind, payload, to=to) if to else await client.iq(kind, payload)
    return None if answer.get("type") == "result" else condition(answer.find(qname(CLIENT, "error")))


def items(addresses) -> str:
    return "".join(f"<item jid={quoteattr(address)}/>" for address in addresses)


async def block(client: Client, *addresses: str) -> str | None:
    return await refusal(client, "set", f"<block xmlns='{BLOCKING}'>{items(addresses)}</block>")


async def unblock(client: Client, *addresses: str) -> str | None:
    return await refusal(client, "set", f"<unblock xmlns='{BLOCKING}'>{items(addresses)}</unblock>")


async def blocklist(client: Client) -> list[str]:
    answer = await client.iq("get", f"<blocklist xmlns='{BLOCKING}'/>")
    return [item.get("jid") for item in answer.iter(qname(BLOCKING, "item"))]


async def said(client: Client) -> str | None:
    """The condition with which the next message comes back."""
    return condition((await client.message()).find(qname(CLIENT, "error")))


# -- line 23


@pytest.mark.parametrize("by", ["resource", "address", "domain"])
def test_line_23_the_blocked_find_no_way_around(server, by):
    """By resource, by address, by domain: directed presence, probes, last activity, requests and messages."""

    async def scene():
        alice = await here(server, "alice", "home")
        mallory = await here(server, "mallory")
        await alice.available()
        await unblock(alice)
        alice.send(f"<presence to='{mallory.jid}'/>")
        await mallory.take(lambda stanza: stanza.get("from") == alice.jid, "the presence that was sent directly")
        assert await block(alice, {"resource": mallory.jid, "address": mallory.bare, "domain": server.domain}[by]) is None
        await mallory.take(lambda stanza: stanza.get("type") == "unavailable", "the end of it")
        for to in [alice.bare, alice.jid, f"{alice.bare}/absent"]:
            for payload in ["<query xmlns='jabber:iq:last'/>", "<query xmlns='jabber:iq:version'/>",
                            "<vCard xmlns='vcard-temp'/>", PING,
                            "<query xmlns='http://jabber.org/protocol/disco#info'/>",
                            "<query xmlns='http://jabber.org/protocol/disco#items'/>"]:
                assert await refusal(mallory, "get", payload, to) == "service-unavailable", f"{payload} at {to}"
            mallory.send(f"<message to='{to}' type='chat'><body>x</body></message>")
            assert await said(mallory) == "service-unavailable"
            mallory.send(f"<presence to='{to}' type='probe'/><presence to='{to}'/><presence to='{to}' type='subscribe'/>")
        await mallory.ping()
        await alice.ping()
        assert not [stanza for stanza in list(mallory.stream.events) if "alice" in show(stanza)]
        # Who is blocked by resource is not blocked by another one.
        other = await here(server, "mallory", "other")
        other.send(f"<message to='{alice.jid}' type='chat' id='o'><body>x</body></message>")
        if by == "resource":
            assert (await alice.message()).get("id") == "o"
        else:
            assert await said(other) == "service-unavailable"
        await unblock(alice)

    asyncio.run(scene())


def test_line_23_nobody_blocks_himself_or_loses_his_server(server):
    async def scene():
        alice = await here(server, "alice", "home")
        phone = await here(server, "alice", "phone")
        await unblock(alice)
        for own in [alice.bare, alice.jid, f"{alice.bare}/elsewhere", alice.bare.upper()]:
            assert await block(alice, "x@example.net", own) == "not-allowed"
        assert await blocklist(alice) == []
        assert await block(alice, server.domain) is None
        # A list that denies everything to everybody, by the other protocol.
        everything = f"<query xmlns='{PRIVACY}'><list name='all'><item action='deny' order='0'/></list></query>"
        assert await refusal(alice, "set", everything) is None
        assert await refusal(alice, "set", f"<query xmlns='{PRIVACY}'><active name='all'/></query>") is None
        assert await refusal(alice, "get", PING, server.domain) is None
        assert await refusal(alice, "get", "<query xmlns='jabber:iq:roster'/>") is None
        alice.send(f"<message to='{phone.jid}' type='chat' id='own'><body>x</body></message>")
        assert (await phone.message()).get("id") == "own"
        phone.send(f"<message to='{alice.jid}' type='chat' id='back'><body>x</body></message>")
        assert (await alice.message()).get("id") == "back"
        await alice.iq("set", f"<query xmlns='{PRIVACY}'><list name='all'/></query>")
        await unblock(alice)

    asyncio.run(scene())


def test_line_23_a_hundred_thousand_addresses(server):
    """What does not fit is refused, whatever way it comes, and what was there stays."""

    async def scene():
        mallory = await here(server, "mallory")
        await unblock(mallory)
        outcomes = set()
        for start in range(0, 100_000, 2_000):
            outcomes.add(await block(mallory, *[f"{start + number}@example.net" for number in range(2_000)]))
        assert outcomes == {None, "resource-constraint"}
        assert len(await blocklist(mallory)) == 2_000
        rules = "".join(f"<item type='jid' value='{n}@x' action='deny' order='{n}'/>" for n in range(1_001))
        assert await refusal(
            mallory, "set", f"<query xmlns='{PRIVACY}'><list name='l'>{rules}</list></query>") == "resource-constraint"
        names = [await refusal(mallory, "set", f"<query xmlns='{PRIVACY}'><list name='{number}'>"
                               "<item action='allow' order='0'/></list></query>") for number in range(40)]
        assert set(names) == {None, "resource-constraint"}
        long = "a" * 1023
        fat = [f"{long}@{number}.example/{long}" for number in range(200)]
        assert await block(mallory, *fat[:90]) == "resource-constraint"
        # All of it can be taken back.
        assert await unblock(mallory) is None
        for number in range(20):
            await mallory.iq("set", f"<query xmlns='{PRIVACY}'><list name='{number}'/></query>")
        assert await blocklist(mallory) == []

    asyncio.run(scene())


def test_line_23_reports_with_forged_ids():
    """Only ids that the reporter's archive or the reported address gives are believed to be such."""
    server = martlet.make()
    server.add_accounts({"alice": "alices-password"})
    server.start()

    def command(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([str(martlet.binary()), *arguments, "-c", str(server.config_file)], capture_output=True,
                              text=True, timeout=20)

    async def scene():
        alice = await Client(server, "alice", "home").login()
        ids = "".join(f"<stanza-id xmlns='urn:xmpp:sid:0' by={quoteattr(by)} id={quoteattr(id)}/>" for by, id in [
            (alice.bare, "own"), ("bob@example.net", "theirs"), ("eve@example.net", "forged-1"), ("", "forged-2"),
            (server.domain, "forged-3"), ("bob@example.net", "forged-4" * 64), ("bob@example.net", "';--%_")])
        report = f"<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:abuse'>{ids}<text>\u001f"
        report = report.rstrip("\u001f") + "\u2028'\"%_;&lt;b&gt;</text></report>"
        payload = f"<block xmlns='{BLOCKING}'><item jid='bob@example.net'>{report}</item></block>"
        assert await refusal(alice, "set", payload) is None
        for _ in range(30):
            await alice.iq("set", payload)
        await alice.close()

    try:
        asyncio.run(scene())
        listed = command("reports", "list").stdout
        # One account's share.
        assert listed.count("bob@example.net") == 20, listed
        shown = command("reports", "show", "1")
        assert "own by alice@" in shown.stdout and "theirs by bob@example.net" in shown.stdout, shown
        assert "';--%_ by bob@example.net" in shown.stdout and "forged" not in shown.stdout, shown
        assert command("reports", "close", "1").returncode == 0
        assert command("reports", "show", "1").returncode == 2
        assert command("reports", "close", "1").returncode == 2
        assert command("reports", "show", "x").returncode == 64
    finally:
        server.remove()


# -- line 20


def test_line_20_answers_that_nobody_asked_for(server):
    """BUGS-NEXT C10: results and errors with these payloads end no session."""

    async def scene():
        alice = await here(server, "alice", "home")
        mallory = await here(server, "mallory")
        for kind in ["result", "error"]:
            for payload in [f"<query xmlns='{PRIVACY}'/>", f"<query xmlns='{PRIVACY}'><list name='x'/></query>",
                            f"<block xmlns='{BLOCKING}'><item jid='a@b'/></block>", f"<blocklist xmlns='{BLOCKING}'/>",
                            f"<unblock xmlns='{BLOCKING}'/>", "<report xmlns='urn:xmpp:reporting:1'/>"]:
                for to in [alice.jid, alice.bare, server.domain, mallory.bare, ""]:
                    address = f" to='{to}'" if to else ""
                    mallory.send(f"<iq type='{kind}' id='r'{address}>{payload}</iq>")
        await mallory.ping()
        await alice.ping()

    asyncio.run(scene())


# -- lines 21 and 36

ODD = ["a'b", 'a"b', "a;b", "a%b", "a_b", "a\\b", "a--b", "á", "a\u0301", "\U0001f339", "ß", "ς", "İ"]


@pytest.mark.parametrize("name", ODD)
def test_line_36_odd_names_of_lists_and_groups(server, name):
    async def scene():
        alice = await here(server, "alice", "home")
        quoted = quoteattr(name)
        roster = f"<query xmlns='jabber:iq:roster'><item jid='x@example.net'>{'<group>%s</group>'}</item></query>"
        await alice.iq("set", roster % name)
        rules = f"<item type='group' value={quoted} action='deny' order='1'/>"
        assert await refusal(alice, "set", f"<query xmlns='{PRIVACY}'><list name={quoted}>{rules}</list></query>") is None
        answer = await alice.iq("get", f"<query xmlns='{PRIVACY}'><list name={quoted}/></query>")
        item = answer.find(f".//{qname(PRIVACY, 'item')}")
        assert item is not None and item.get("value") == name, show(answer)
        # Another spelling is another list.
        other = {"á": "a\u0301", "a\u0301": "á"}.get(name, name + "x")
        assert await refusal(
            alice, "get", f"<query xmlns='{PRIVACY}'><list name={quoteattr(other)}/></query>") == "item-not-found"
        assert await refusal(alice, "set", f"<query xmlns='{PRIVACY}'><list name={quoted}/></query>") is None

    asyncio.run(scene())


@pytest.mark.parametrize("address, canonical", [
    ("ROMEO@Example.NET", "romeo@example.net"), ("romeo@example.net.", "romeo@example.net"),
    ("ς@example.net", "ς@example.net"), ("x@b\u00fccher.example/A B", "x@b\u00fccher.example/A B"),
    ("x@xn--bcher-kva.example", "x@b\u00fccher.example"), ("room@example.net/a@b/c", "room@example.net/a@b/c"),
    ("@example.net", None), ("a@", None), ("a@b@c", None), ("x@example.net/", None), (" x@example.net", None),
    ("x@example.net/" + "r" * 1024, None), ("x" * 1024 + "@example.net", None), ("x@\u202eexample.net", None),
])
def test_line_21_one_form_of_an_address(server, address, canonical):
    """What is blocked in one spelling is unblocked in another."""

    async def scene():
        alice = await here(server, "alice", "home")
        await unblock(alice)
        assert await block(alice, address) == (None if canonical else "jid-malformed")
        assert await blocklist(alice) == ([canonical] if canonical else [])
        if canonical:
            assert await unblock(alice, canonical) is None
            assert await blocklist(alice) == []

    asyncio.run(scene())
