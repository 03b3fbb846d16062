"""Line 28: stream management's counts and ids in the wrong hands."""

import asyncio
import xml.etree.ElementTree as ET

import pytest
from support.attack import at, how_it_ends
from support.namespaces import CLIENT, SM, local, qname
from support.rawclient import Client, condition, show


async def managed(server, user="mallory", resource="lair") -> Client:
    client = await Client(server, user, resource, transport="plain").login(sm=True)
    await client.available()
    return client


WRONG = {
    "beyond what was sent": "1000", "just beyond": "2", "negative": "-1", "not a number": "one", "empty": "",
    "at 2^31": "2147483648", "at 2^32 - 1": "4294967295", "at 2^32": "4294967296",
    "beyond 2^64": "18446744073709551617",
    "with a sign": "+1", "with white space": " 1 x", "hexadecimal": "0x1", "fraction": "1.0", "other digits": "١",
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.differs("prosody", "its numbers are lenient")
def test_line_28_a_wrong_count_closes_the_stream(server, kind):
    """One stanza (the own presence) was sent to Mallory; anything but 0 or 1 is a lie."""

    async def scene():
        client = await managed(server)
        client.stream.write(f"<a xmlns='{SM}' h='{WRONG[kind]}'/>")
        events = await client.stream.ends()
        error = next(event for event in events if isinstance(event, ET.Element) and local(event.tag) == "error")
        name = condition(error)
        if WRONG[kind].isascii() and WRONG[kind].isdigit() and int(WRONG[kind]) < 2**32:
            assert name == "undefined-condition"
            assert error.find(qname(SM, "handled-count-too-high")) is not None, show(error)
        else:
            assert name in {"undefined-condition", "invalid-xml", "bad-format", "policy-violation"}, name

    asyncio.run(scene())


def test_line_28_a_missing_count_closes_the_stream(server):
    async def scene():
        client = await managed(server)
        client.stream.write(f"<a xmlns='{SM}'/>")
        assert await how_it_ends(client) != "open"

    asyncio.run(scene())


@pytest.mark.differs("prosody", "it takes it as a wrap")
def test_line_28_a_count_that_goes_back_takes_nothing_back(server):
    """It may be ignored as one that was overtaken, or close the stream; nothing may come a second time."""

    async def scene():
        alice = await Client(server, "alice", "home", transport="plain").login()
        client = await managed(server)
        for number in range(3):
            alice.send(f"<message to='{client.jid}' id='{number}'><body>x</body></message>")
            await client.message()
        client.acknowledge()
        client.stream.write(f"<a xmlns='{SM}' h='1'/>")
        ended = await how_it_ends(client, 0.5)
        assert ended in {"open", "undefined-condition"}
        if ended == "open":
            client.cut()
            again = await client.resume()
            assert local(again.tag) == "resumed"
            await client.ping()
            assert not client.stream.events, show(client.stream.events[0])

    asyncio.run(scene())


@pytest.mark.parametrize("attributes", [
    "h='1000'", "h='-1'", "h='x'", "h=''", "", "h='4294967296'", "previd='' h='0'",
])
@pytest.mark.differs("prosody", "its numbers are lenient")
def test_line_28_resuming_with_a_wrong_count_is_refused(server, attributes):
    """The session must neither resume nor be lost to its owner... unless it is closed for the lie, with an error."""

    async def scene():
        client = await managed(server)
        id = client.sm.id
        client.cut()
        thief = await at(server, "authenticated")
        previd = "" if "previd" in attributes else f"previd='{id}' "
        thief.stream.write(f"<resume xmlns='{SM}' {previd}{attributes}/>")
        answer = await thief.next()
        assert not (isinstance(answer, ET.Element) and answer.tag == qname(SM, "resumed"))

    asyncio.run(scene())


@pytest.mark.differs("prosody", "it closes the old connection without a word")
def test_line_28_of_two_who_resume_at_the_same_time_one_has_the_session(server):
    async def scene():
        alice = await Client(server, "alice", "home", transport="plain").login()
        for round in range(10):
            client = await managed(server)
            id, count, jid = client.sm.id, client.sm.received, client.jid
            client.cut()
            alice.send(f"<message to='{jid}' id='waiting{round}' type='chat'><body>x</body></message>")
            await alice.ping()
            rivals = [await at(server, "authenticated") for _ in range(3)]
            for rival in rivals:
                rival.stream.write(f"<resume xmlns='{SM}' previd='{id}' h='{count}'/>")
            answers = [await rival.next() for rival in rivals]
            names = [local(answer.tag) for answer in answers]
            assert set(names) <= {"resumed", "failed"} and "resumed" in names, names
            alice.send(f"<message to='{jid}' id='after{round}' type='chat'><body>x</body></message>")
            await alice.ping()
            await asyncio.sleep(0.2)
            last = f"after{round}"
            holders = [r for r in rivals if any(getattr(e, "attrib", {}).get("id") == last for e in r.stream.events)]
            assert len(holders) == 1, f"{len(holders)} have the session"
            got = [e.get("id") for e in holders[0].stream.events if getattr(e, "tag", "") == qname(CLIENT, "message")]
            assert [id for id in got if id.endswith(str(round))] == [f"waiting{round}", f"after{round}"]
            for rival, name in zip(rivals, names):
                if rival is not holders[0] and name == "resumed":
                    assert await how_it_ends(rival) == "conflict"
            holders[0].stream.write("</stream:stream>")
            await holders[0].stream.ends()

    asyncio.run(scene())


def test_line_28_ids_cannot_be_guessed(server):
    """Ids of consecutive sessions share no long prefix and are long enough."""

    async def scene():
        ids = []
        for _ in range(8):
            client = await managed(server)
            ids.append(client.sm.id)
            await client.close()
        assert len(set(ids)) == 8
        assert all(12 <= len(id) <= 4000 for id in ids)
        differing = sum(a != b for a, b in zip(ids[0], ids[1]))
        assert differing >= 8, ids

    asyncio.run(scene())


@pytest.mark.parametrize("previd", ["' OR 1=1 --", "../../etc/passwd", "x" * 4000, "é🌹", "%s%n", "\t"])
def test_line_28_odd_ids_are_not_found(server, previd):
    async def scene():
        client = await at(server, "authenticated")
        answer = await client.ask_to_resume(id=previd, h=0)
        assert local(answer.tag) == "failed" and condition(answer) == "item-not-found", show(answer)
        await client.bind()

    asyncio.run(scene())


@pytest.mark.differs("prosody", "resumable from any state")
def test_line_28_resuming_when_bound_is_refused(server):
    async def scene():
        first = await managed(server)
        id = first.sm.id
        first.cut()
        second = await managed(server, resource="second")
        second.stream.write(f"<resume xmlns='{SM}' previd='{id}' h='0'/>")
        answer = await second.take(lambda event: event.tag.startswith(f"{{{SM}}}"), "<failed/>")
        assert local(answer.tag) == "failed" and condition(answer) == "unexpected-request"

    asyncio.run(scene())


def test_line_28_before_authentication_there_is_nothing_to_resume(server):
    async def scene():
        first = await managed(server)
        id = first.sm.id
        first.cut()
        client = await at(server, "opened")
        client.stream.write(f"<resume xmlns='{SM}' previd='{id}' h='0'/>")
        event = await client.next()
        assert local(getattr(event, "tag", "")) != "resumed"

    asyncio.run(scene())


def test_line_28_a_flood_of_requests_for_the_count(server):
    """50,000 <r/> in a row: each is answered or they are coalesced, the last answer is right, memory is flat."""

    async def scene():
        client = await managed(server)
        for _ in range(50):
            client.stream.write(f"<r xmlns='{SM}'/>" * 1000)
            await client.stream.drain(20)
        client.send(f"<message to='{client.bare}' type='chat' id='last'><body>x</body></message>")
        await client.acknowledged(20)
        await client.close()

    asyncio.run(scene())


@pytest.mark.differs("prosody", "its resumed sessions of earlier tests collide")
def test_line_28_a_flood_of_counts(server):
    async def scene():
        client = await managed(server)
        for _ in range(50):
            client.stream.write(f"<a xmlns='{SM}' h='1'/>" * 1000)
            await client.stream.drain(20)
        await client.ping(20)
        await client.close()

    asyncio.run(scene())


@pytest.mark.config({"stream_management": {"queue": 50}, "modules": {"offline": {"limit": 1000}}})
@pytest.mark.differs("prosody", "its queue is limited otherwise")
def test_line_28_a_reader_that_never_acknowledges_has_a_bounded_queue_and_loses_nothing(server):
    async def scene():
        alice = await Client(server, "alice", "home", transport="plain").login(sm=True)
        reader = await managed(server)
        reader.sm.answering = False
        for number in range(300):
            alice.send(f"<message to='{reader.bare}' type='chat' id='{number}'><body>{'x' * 200}</body></message>")
        await alice.acknowledged(10)
        await asyncio.sleep(0.2)
        got = [e.get("id") for e in reader.stream.events if getattr(e, "tag", "") == qname(CLIENT, "message")]
        assert got == [str(number) for number in range(len(got))]
        reader.cut()
        again = await Client(server, "mallory", "again", transport="plain").login()
        await again.available()
        later: list[str] = []
        while len(set(got) | set(later)) < 300:
            later.append((await again.message()).get("id"))
        breaks = [f"{one}, then {other}" for one, other in zip(later, later[1:]) if int(other) <= int(one)]
        assert not breaks, f"of {len(got)} at first and {len(later)} later the order is lost: {breaks[:5]}"
        alice_errors = [e for e in alice.stream.events if e.get("type") == "error"]
        assert not alice_errors, show(alice_errors[0])

    asyncio.run(scene())


def test_line_28_a_slow_reader_does_not_hold_up_others(server):
    """Mallory reads nothing at all; Alice writes to her and to Bob, and Bob has all of his."""

    async def scene():
        alice = await Client(server, "alice", "home", transport="plain").login()
        bob = await Client(server, "bob", "desk", transport="plain").login()
        await bob.available()
        mallory = Client(server, "mallory", "lair", transport="plain")
        await mallory.connect(receive_buffer=4096)
        await mallory.authenticate()
        await mallory.bind()
        await mallory.available()
        mallory.stream.freeze()
        for number in range(400):
            alice.send(f"<message to='{mallory.jid}' type='headline'><body>{'x' * 20_000}</body></message>")
            alice.send(f"<message to='{bob.jid}' type='chat' id='{number}'><body>x</body></message>")
            await alice.stream.drain(20)
            assert (await bob.message()).get("id") == str(number)
        mallory.stream.cut()

    asyncio.run(scene())
