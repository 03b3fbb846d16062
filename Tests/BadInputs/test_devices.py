"""Lines 19 and 29, as far as several devices of an account meet them: copies, and clients that are inactive."""

import asyncio

import pytest
from support.attack import how_it_ends
from support.namespaces import CLIENT, qname
from support.rawclient import Client

CARBONS = "urn:xmpp:carbons:2"
FORWARD = "urn:xmpp:forward:0"
CSI = "urn:xmpp:csi:0"
MUC = "http://jabber.org/protocol/muc#user"
BODY = qname(CLIENT, "body")

pytestmark = [pytest.mark.differs("prosody", "its modules are not loaded")]


async def here(server, user: str, resource: str, *, copies: bool = False) -> Client:
    client = await Client(server, user, resource, transport="plain").login()
    await client.available()
    if copies:
        await client.iq("set", f"<enable xmlns='{CARBONS}'/>")
    return client


async def messages(client: Client, *, behind: Client | None = None) -> list:
    """Those that came before the server answers, and before what the other client sends now."""
    if behind:
        behind.send(f"<message to='{client.jid}' type='groupchat' id='end'><subject>end</subject></message>")
        await client.take(lambda event: event.get("id") == "end", "the end")
    await client.ping()
    found = [event for event in client.stream.events if getattr(event, "tag", "") == qname(CLIENT, "message")]
    for event in found:
        client.stream.events.remove(event)
    return found


def copied(message, name: str):
    """The message within a copy, None for anything else."""
    path = f"{qname(CARBONS, name)}/{qname(FORWARD, 'forwarded')}/{qname(CLIENT, 'message')}"
    return message.find(path)


def wrapper(name: str, sender: str) -> str:
    return (
        f"<{name} xmlns='{CARBONS}'><forwarded xmlns='{FORWARD}'><message xmlns='{CLIENT}' from='{sender}' type='chat'>"
        f"<body>Pay him.</body></message></forwarded></{name}>"
    )


# -- line 19


@pytest.mark.parametrize("name", ["received", "sent"])
def test_line_19_nobody_can_make_a_copy_that_looks_like_the_servers(server, name):
    """A copy is the server's if it is from the account's bare address: no client of whoever it is sends from there."""

    async def scene():
        alice = await here(server, "alice", "home", copies=True)
        phone = await here(server, "alice", "phone", copies=True)
        mallory = await here(server, "mallory", "lair")
        forged = wrapper(name, "bob@" + server.domain)
        mallory.send(f"<message to='{alice.bare}' type='chat'>{forged}</message>")
        got = await messages(alice, behind=mallory)
        for sender in ("", f" from='{alice.bare}'", f" from='{phone.jid}'"):
            phone.send(f"<message to='{alice.jid}'{sender} type='chat'>{forged}</message>")
        got += await messages(alice, behind=phone)
        assert [each.get("from") for each in got] == [mallory.jid] + [phone.jid] * 3
        # And in the name of somebody else the stream ends.
        mallory.send(f"<message to='{alice.jid}' from='{alice.bare}' type='chat'>{forged}</message>")
        assert await how_it_ends(mallory) == "invalid-from"
        assert await messages(alice, behind=phone) == []
        for client in (alice, phone):
            await client.close()

    asyncio.run(scene())


# -- line 29


def test_line_29_copies_are_not_copied_by_clients_that_send_them_on(server):
    """Three devices that send on whatever they get: each round has as many messages as the one before it."""

    async def scene():
        devices = [await here(server, "mallory", f"lair{number}", copies=True) for number in range(3)]
        alice = await here(server, "alice", "home")
        alice.send(f"<message to='{devices[0].jid}' type='chat'><body>Hi</body></message>")
        got = [await messages(device, behind=alice) for device in devices]
        assert [len(each) for each in got] == [1, 1, 1]
        for _ in range(20):
            # The copy as it came, to the next device.
            for number, device in enumerate(devices):
                other = devices[(number + 1) % 3]
                device.send(f"<message to='{other.jid}' type='chat'>{wrapper('received', alice.jid)}</message>")
            for device in devices:
                await device.ping()
            assert [len(await messages(device)) for device in devices] == [1, 1, 1]
        for client in [*devices, alice]:
            await client.close()

    asyncio.run(scene())


@pytest.mark.parametrize("content", [
    f"<body>x</body><private xmlns='{CARBONS}'/>", "<body>x</body><no-copy xmlns='urn:xmpp:hints'/>",
    f"<body>x</body><private xmlns='{CARBONS}'/><private xmlns='{CARBONS}'/>",
    f"<body>x</body><x xmlns='{MUC}'/>",
])
def test_line_29_what_is_private_reaches_one_device(server, content):
    """A private message of a room looks like the last one; to its full address it goes, and nowhere else."""

    async def scene():
        home = await here(server, "alice", "home", copies=True)
        phone = await here(server, "alice", "phone", copies=True)
        bob = await here(server, "bob", "home")
        bob.send(f"<message to='{home.jid}' type='chat'>{content}</message>")
        assert [each.findtext(BODY) for each in await messages(home, behind=bob)] == ["x"]
        assert await messages(phone) == []
        for client in (home, phone, bob):
            await client.close()

    asyncio.run(scene())


def test_line_29_what_waits_for_an_inactive_client_is_bounded(server):
    """Ten thousand stanzas that nobody waits for: all of them come, in order, and little of it was held."""

    async def scene():
        alice = await here(server, "alice", "phone")
        alice.send(f"<inactive xmlns='{CSI}'/>")
        mallory = await here(server, "mallory", "lair")
        for part in range(100):
            mallory.send("".join(
                f"<message to='{alice.jid}' type='headline'><body>{part * 100 + number} {'x' * 500}</body></message>"
                for number in range(100)
            ))
            await mallory.ping()
        got = await messages(alice, behind=mallory)
        assert [int(each.findtext(BODY).split()[0]) for each in got] == list(range(10_000))
        for client in (alice, mallory):
            await client.close()

    asyncio.run(scene())


def test_line_29_presence_of_ten_thousand_makes_no_heap(server):
    """One address may say as much as it likes: the last of it waits. Stanzas of the largest size do not wait at all."""

    async def scene():
        alice = await here(server, "alice", "phone")
        alice.send(f"<inactive xmlns='{CSI}'/>")
        mallory = await here(server, "mallory", "lair")
        for number in range(10_000):
            mallory.send(f"<presence to='{alice.jid}'><status>{number}</status></presence>")
            if number % 500 == 0:
                await mallory.ping()
        large = "x" * 200_000
        for _ in range(20):
            mallory.send(f"<message to='{alice.jid}' type='headline'><body>{large}</body></message>")
        got = await messages(alice, behind=mallory)
        assert len(got) == 20
        assert all(each.findtext(BODY) == large for each in got)
        statuses = [
            event.findtext(qname(CLIENT, "status")) for event in alice.stream.events
            if getattr(event, "tag", "") == qname(CLIENT, "presence") and event.get("from") == mallory.jid
        ]
        assert statuses == ["9999"]
        for client in (alice, mallory):
            await client.close()

    asyncio.run(scene())


def test_line_29_a_client_that_cannot_make_up_its_mind(server):
    async def scene():
        mallory = await here(server, "mallory", "lair")
        for _ in range(20):
            mallory.send(f"<inactive xmlns='{CSI}'/><active xmlns='{CSI}'/>" * 500)
            await mallory.ping()
        mallory.send(f"<inactive xmlns='{CSI}'>{'<x/>' * 1000}text</inactive>")
        await mallory.ping()
        mallory.send(f"<active xmlns='{CSI}' x='{'y' * 10_000}'/>")
        await mallory.ping()
        await mallory.close()

    asyncio.run(scene())
