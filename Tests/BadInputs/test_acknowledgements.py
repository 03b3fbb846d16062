"""What is acknowledged, when, and that no peer can hold it up: stream management between two clients and a third.

Sessions that one test leaves detached are there for the next, so what a test counts on goes to full addresses.
"""

import asyncio
import time
import xml.etree.ElementTree as ET

import pytest
from support.attack import at
from support.namespaces import CLIENT, DELAY, SM, local, qname
from support.rawclient import Client, show

MESSAGE = qname(CLIENT, "message")
COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"

# Longer than any test waits: what is acknowledged before is acknowledged for another reason.
LONG_SPILL = {"stream_management": {"spill": "1m", "queue": 5000}, "modules": {"offline": {"limit": 10_000}}}


async def managed(server, user: str, resource: str, *, answering: bool = True) -> Client:
    """A client with stream management that is available."""
    client = await Client(server, user, resource, transport="plain").login(sm=True)
    await client.available()
    client.sm.answering = answering
    return client


async def away(server, user: str = "bob", resource: str = "phone") -> Client:
    """A client whose connection broke and who may come back."""
    client = await managed(server, user, resource)
    client.acknowledge()
    await client.ping()
    client.cut()
    return client


def chat(to: str, number: int, body: str = "x") -> str:
    return f"<message to='{to}' type='chat' id='{number}'><body>{body}</body></message>"


async def messages(client: Client, count: int, timeout: float = 20) -> list[ET.Element]:
    """So many messages in the order they come, errors left out."""
    found = []
    while len(found) < count:
        message = await client.message(timeout)
        if message.get("type") != "error":
            found.append(message)
    return found


def numbers(found: list[ET.Element]) -> list[int]:
    return [int(message.get("id")) for message in found]


async def seconds_to_be_acknowledged(client: Client, xml: str) -> float:
    client.send(xml)
    began = time.monotonic()
    await client.acknowledged()
    return time.monotonic() - began


def test_a_peer_that_never_acknowledges_does_not_freeze_the_sender(server):
    """Nobody is owed the keeping of an IQ result, so it is acknowledged when it is handed on."""

    async def scene():
        alice = await managed(server, "alice", "home")
        mallory = await managed(server, "mallory", "lair", answering=False)
        for number in range(3000):
            alice.send(f"<iq type='result' id='{number}' to='{mallory.jid}'/>")
            if number % 100 == 0:
                await alice.stream.drain(20)
        await alice.acknowledged(20)
        assert alice.sm.acknowledged == alice.sm.sent
        mallory.cut()

    asyncio.run(scene())


@pytest.mark.config(LONG_SPILL)
@pytest.mark.parametrize("kind", ["notice", "presence", "request", "result", "headline", "unkept"])
def test_what_is_owed_nothing_is_acknowledged_at_once_to_a_phone_that_is_away(server, kind):
    async def scene():
        phone = await away(server)
        alice = await managed(server, "alice", "home")
        chat_to = f"<message to='{phone.jid}' type='chat'>"
        stanza = {
            "notice": f"{chat_to}{COMPOSING}</message>",
            "presence": f"<presence to='{phone.jid}'/>",
            "request": f"<iq type='get' id='1' to='{phone.jid}'><ping xmlns='urn:xmpp:ping'/></iq>",
            "result": f"<iq type='result' id='1' to='{phone.jid}'/>",
            "headline": f"<message to='{phone.jid}' type='headline'><body>x</body></message>",
            "unkept": f"{chat_to}<body>x</body><no-store xmlns='urn:xmpp:hints'/></message>",
        }[kind]
        assert await seconds_to_be_acknowledged(alice, stanza) < 1
        alice.cut()

    asyncio.run(scene())


def test_a_typing_notice_to_a_phone_that_is_away_is_acknowledged_at_once(server):
    async def scene():
        phone = await away(server)
        alice = await managed(server, "alice", "home")
        notice = f"<message to='{{}}' type='chat'>{COMPOSING}</message>"
        for to in (phone.jid, phone.bare):
            assert await seconds_to_be_acknowledged(alice, notice.format(to)) < 1

    asyncio.run(scene())


@pytest.mark.config({"modules": {"offline": {"limit": 1000}}})
@pytest.mark.parametrize("to", ["bare", "jid"])
def test_more_than_a_mebibyte_waits_for_a_phone_and_a_resumption_brings_all_of_it(server, to):
    """In order, each with the time that it came; then the phone has the session for good."""

    async def scene():
        phone = await away(server)
        alice = await managed(server, "alice", "home")
        for number in range(300):
            alice.send(chat(getattr(phone, to), number, "x" * 4096))
            await alice.stream.drain(20)
        await alice.acknowledged(20)
        answer = await phone.resume()
        assert local(answer.tag) == "resumed", show(answer)
        found = await messages(phone, 300)
        assert numbers(found) == list(range(300))
        without = [message.get("id") for message in found if message.find(qname(DELAY, "delay")) is None]
        assert not without, f"{len(without)} of 300 do not tell when they were sent: {without[:5]}"
        phone.acknowledge()
        alice.send(chat(phone.jid, 300))
        last = (await messages(phone, 1))[0]
        assert last.get("id") == "300" and last.find(qname(DELAY, "delay")) is None, show(last)
        await phone.close()

    asyncio.run(scene())


@pytest.mark.parametrize("online", [True, False])
def test_a_resumption_with_an_impossible_count_leaves_the_session_as_it_was(server, online):
    """It is refused; a connection that the session has stays, and a later one with the right count has the session."""

    async def scene():
        alice = await managed(server, "alice", "home")
        phone = await managed(server, "bob", "phone")
        await phone.ping()
        if not online:
            phone.cut()
        liar = await at(server, "authenticated", "bob")
        liar.stream.write(f"<resume xmlns='{SM}' previd='{phone.sm.id}' h='{phone.sm.received + 1000}'/>")
        answer = await liar.next()
        assert local(getattr(answer, "tag", "")) != "resumed", show(answer)
        liar.cut()
        alice.send(chat(phone.jid, 7))
        if not online:
            again = await phone.resume()
            assert local(again.tag) == "resumed", show(again)
        assert numbers(await messages(phone, 1)) == [7]
        await phone.ping()
        await phone.close()
        # Nobody is "available" who has gone.
        alice.send(f"<iq type='get' id='gone' to='{phone.jid}'><ping xmlns='urn:xmpp:ping'/></iq>")
        gone = await alice.take(lambda event: event.get("id") == "gone", "an error")
        assert gone.get("type") == "error", show(gone)

    asyncio.run(scene())


@pytest.mark.config(LONG_SPILL)
def test_messages_sent_again_after_a_resumption_arrive_once(server):
    """The server is slow to acknowledge because Bob does not; it takes each message once all the same."""

    async def scene():
        bob = await managed(server, "bob", "desk", answering=False)
        alice = await managed(server, "alice", "home")
        await alice.acknowledged()
        for number in range(50):
            alice.send(chat(bob.jid, number))
        assert numbers(await messages(bob, 50)) == list(range(50))
        alice.cut()
        answer = await alice.resume()
        assert local(answer.tag) == "resumed", show(answer)
        assert alice.resend() == 50, "this test is about messages that are not acknowledged yet"
        alice.send(chat(bob.jid, 50))
        assert numbers(await messages(bob, 1)) == [50]
        bob.acknowledge()
        await alice.acknowledged()
        await bob.ping()
        late = [event for event in bob.stream.events if isinstance(event, ET.Element) and event.tag == MESSAGE]
        assert not late, show(late[0])
        bob.cut()

    asyncio.run(scene())


@pytest.mark.config({"modules": {"offline": {"limit": 1000}}})
@pytest.mark.parametrize("sm", [True, False])
@pytest.mark.parametrize("to", ["full", "bare", "both"])
def test_what_waits_for_an_absent_resource_comes_before_what_is_sent_while_it_logs_in(server, to, sm):
    async def scene():
        alice = await managed(server, "alice", "home")
        bob = Client(server, "bob", "desk", transport="plain")
        address = {"full": [f"{bob.bare}/desk"], "bare": [bob.bare], "both": [bob.bare, f"{bob.bare}/desk"]}[to]
        for number in range(300):
            alice.send(chat(address[number % len(address)], number))
        await alice.acknowledged(20)

        async def more():
            for number in range(300, 320):
                alice.send(chat(address[number % len(address)], number))
                await asyncio.sleep(0.001)

        await bob.login(sm=sm)
        sending = asyncio.ensure_future(more())
        bob.send("<presence/>")
        found = numbers(await messages(bob, 320))
        await sending
        assert found == list(range(320)), f"out of order from {[a for a, b in zip(found, range(320)) if a != b][:5]}"
        await bob.close()

    asyncio.run(scene())


@pytest.mark.config(LONG_SPILL)
def test_counts_are_answered_and_taken_while_stanzas_wait(server):
    """Alice has more messages open than the server lets her have, so her stanzas wait. Her <r/> and <a/> do not."""

    async def scene():
        bob = await managed(server, "bob", "desk", answering=False)
        alice = await managed(server, "alice", "home", answering=False)
        mallory = await managed(server, "mallory", "lair")
        for number in range(1500):
            alice.send(chat(bob.jid, number))
            await alice.stream.drain(20)
        await messages(bob, 1000)
        alice.stream.write(f"<r xmlns='{SM}'/>")
        before = alice.stream.received_bytes
        await alice.stream.until(lambda: alice.stream.received_bytes > before, "an answer to <r/>", 3)
        assert alice.sm.waiting, "this test is about stanzas that wait"

        # What Mallory wrote is open until Alice says that she has it.
        await mallory.acknowledged()
        mallory.send(chat(alice.jid, 1))
        assert numbers(await messages(alice, 1)) == [1]
        assert mallory.sm.waiting
        alice.acknowledge()
        await mallory.acknowledged(3)

        bob.acknowledge()
        reading = asyncio.ensure_future(messages(bob, 500))
        while not reading.done():
            bob.acknowledge()
            await asyncio.sleep(0.05)
        bob.acknowledge()
        await alice.acknowledged(20)
        bob.cut()

    asyncio.run(scene())


def test_each_message_that_is_not_acknowledged_is_kept_after_the_spill_time(server):
    """By default two seconds after it came, and not when the spill of one before it is two seconds old."""

    async def scene():
        bob = await managed(server, "bob", "slow", answering=False)
        alice = await managed(server, "alice", "home")
        await alice.acknowledged()
        alice.send(chat(bob.jid, 1))
        await asyncio.sleep(0.4)
        assert await seconds_to_be_acknowledged(alice, chat(bob.jid, 2)) < 3
        bob.acknowledge()
        await bob.close()

    asyncio.run(scene())
