"""Lines 5, 20, 26, 28 and 29, as far as pages of archives meet clients that do not read, leave, or write meanwhile."""

import asyncio
import itertools
import time

import pytest
from support.archive import ask, everything, query, read_page, row
from support.namespaces import CLIENT, local, qname
from support.rawclient import Client, Failure, show

pytestmark = [pytest.mark.differs("prosody", "its archive is not loaded")]
IQ = qname(CLIENT, "iq")
LARGE = 240_000
# A page of a hundred of these is more than a connection takes that is not read.
MIDDLE = 40_000

numbers = itertools.count(1)


@pytest.fixture
def two(server):
    """Two accounts with empty archives."""
    number = next(numbers)
    names = [f"{each}.pages{number}" for each in ("writer", "reader")]
    server.add_accounts({name: f"pass-{name}" for name in names})
    return names


def client_of(server, user: str, resource: str = "lair") -> Client:
    return Client(server, user, resource, transport="plain")


async def fill(server, two, count: int, size: int = 1) -> list[str]:
    """Messages in the archive of the reader, one of whose clients takes them; their bodies."""
    writer = await client_of(server, two[0]).login(sm=True)
    reader = await client_of(server, two[1], "taker").login()
    await reader.available()
    bodies = [f"{number}{'x' * size}" for number in range(count)]
    for start in range(0, count, 20):
        for number in range(start, min(start + 20, count)):
            body = f"<body>{bodies[number]}</body>"
            writer.send(f"<message to='{reader.jid}' type='chat' id='m{number}'>{body}</message>")
        await writer.acknowledged()
    while (await reader.message()).get("id") != f"m{count - 1}":
        pass
    await writer.close()
    await reader.close()
    return bodies


async def connect(server, user: str, resource: str = "lair", *, buffer: int = 4096, sm: bool = False) -> Client:
    """A client whose system takes little that it has not read."""
    client = client_of(server, user, resource)
    await client.connect(receive_buffer=buffer)
    await client.authenticate()
    await client.bind()
    if sm:
        await client.enable()
    return client


async def served(server, user: str = "alice") -> None:
    """Somebody else's session works."""
    client = await client_of(server, user, "elsewhere").login()
    await client.ping()
    await client.close()


async def is_taken(client: Client, count: int) -> None:
    """Waits until there are so many events."""
    await client.stream.until(lambda: len(client.stream.events) >= count, f"{count} stanzas", 30)


# -- clients that do not read


def test_line_26_thousands_of_queries_of_who_does_not_read_cost_little(server, two):
    """Each is answered by a page or refused, in the end; others are served all the while."""
    count = 3000

    async def scene():
        await fill(server, two, 100)
        reader = await connect(server, two[1])
        reader.stream.transport.pause_reading()
        for start in range(0, count, 100):
            reader.stream.write("".join(
                f"<iq type='set' id='h{number}'>{query(queryid=str(number))}</iq>"
                for number in range(start, start + 100)))
            try:
                await reader.stream.drain(0.5)
            except asyncio.TimeoutError:
                break
            await served(server)
        for _ in range(10):
            await served(server)
            await served(server, two[0])
        reader.stream.transport.resume_reading()
        wanted = {f"h{number}" for number in range(count)}
        seen, rows = set(), {}
        try:
            while wanted - seen:
                event = await reader.next("an answer", 20)
                if found := row(event):
                    key = event.find("{urn:xmpp:mam:2}result").get("queryid")
                    rows[key] = rows.get(key, 0) + 1
                elif getattr(event, "tag", None) == IQ:
                    seen.add(event.get("id"))
                    page = read_page([], event)
                    assert page.error in (None, "resource-constraint"), show(event)
                    assert page.error or rows.pop(event.get("id")[1:]) == 100
                else:
                    break
        except Failure:
            assert reader.stream.over
        # Either all are answered, or the stream ended because of what was unread.
        assert seen == wanted or reader.stream.over, f"{len(seen)} of {count} are answered"

    asyncio.run(scene())


@pytest.mark.growth(64 << 20)
def test_line_29_pages_of_large_messages_wait_for_who_does_not_read(server, two):
    """Ten megabytes a page: one client after the other asks and reads nothing, then the first reads everything."""

    async def scene():
        bodies = await fill(server, two, 40, LARGE)
        readers = []
        for number in range(10):
            reader = await connect(server, two[1], f"r{number}")
            reader.stream.transport.pause_reading()
            for name in "abcd":
                reader.stream.write(f"<iq type='set' id='{name}'>{query(queryid=name)}</iq>")
            readers.append(reader)
            await served(server)
        await served(server, two[0])
        first = readers[0]
        first.stream.transport.resume_reading()
        rows = {name: [] for name in "abcd"}
        answered = set()
        while answered != set("abcd"):
            event = await first.next("a result", 60)
            assert getattr(event, "tag", None), f"the stream ended: {show(event)}"
            if found := row(event):
                rows[event.find("{urn:xmpp:mam:2}result").get("queryid")].append(found.body)
            else:
                answered.add(event.get("id"))
                assert read_page([], event).error is None and rows[event.get("id")] == bodies
        for reader in readers:
            reader.cut()

    asyncio.run(scene())


def test_line_29_a_page_of_large_messages_is_no_reason_to_end_a_session_that_reads_slowly(server, two):
    async def scene():
        bodies = await fill(server, two, 30, LARGE)
        reader = await connect(server, two[1])
        reader.stream.transport.pause_reading()
        ping = "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>"
        reader.stream.write(f"<iq type='set' id='h'>{query()}</iq>{ping}")
        await served(server)
        reader.stream.transport.resume_reading()
        answers, rows = [], []
        while len(answers) < 2:
            event = await reader.next("a result", 60)
            assert getattr(event, "tag", None), f"the stream ended: {show(event)}"
            if found := row(event):
                rows.append(found)
            else:
                answers.append(event.get("id"))
        # What is asked behind a page does not wait for it.
        assert answers == ["p", "h"]
        assert [each.body for each in rows] == bodies

    asyncio.run(scene())


@pytest.mark.growth(64 << 20)
def test_line_29_fifty_sessions_of_an_account_that_ask_and_do_not_read(server, two):
    async def scene():
        await fill(server, two, 40, 60_000)
        readers = [await connect(server, two[1], f"r{number}") for number in range(45)]
        for reader in readers:
            reader.stream.transport.pause_reading()
            reader.stream.write("".join(f"<iq type='set' id='h{number}'>{query()}</iq>" for number in range(20)))
        await served(server)
        await served(server, two[0])
        for reader in readers:
            reader.cut()
        # What they had asked for is given up with them.
        again = await connect(server, two[1], "again")
        deadline = time.monotonic() + 20
        while (page := await ask(again, query(), timeout=30)).error == "resource-constraint":
            assert time.monotonic() < deadline, "the pages of lost sessions count for ever"
            await asyncio.sleep(0.05)
        assert len(page.rows) == 40
        again.cut()

    asyncio.run(scene())


# -- clients that leave


def test_line_28_a_page_goes_on_where_it_was_when_its_session_resumes(server, two):
    """Cut at many places: every result comes, in order, once but for what was not acknowledged, and one answer."""

    async def scene():
        bodies = await fill(server, two, 100, MIDDLE)
        for cut in (1, 7, 60, 101):
            reader = await connect(server, two[1], f"r{cut}", buffer=65536, sm=True)
            reader.send(f"<iq type='set' id='h'>{query()}</iq>")
            await is_taken(reader, cut)
            reader.stream.freeze()
            rows = [found for event in reader.stream.events if (found := row(event))]
            answers = [event for event in reader.stream.events if getattr(event, "tag", None) == IQ]
            reader.cut()
            answer = await reader.resume()
            assert local(answer.tag) == "resumed"
            reader.resend()
            while not answers:
                event = await reader.next("a result")
                if found := row(event):
                    rows.append(found)
                elif event.tag == IQ:
                    answers.append(event)
            await reader.ping()
            assert not reader.stream.events, show(reader.stream.events[0])
            assert [each.body for each in rows] == bodies, (cut, len(rows))
            assert read_page(rows, answers[0]).last == rows[-1].id
            await reader.close()

    asyncio.run(scene())


def test_line_28_a_page_under_way_does_not_hold_up_a_resumption(server, two):
    """Its query was handled. The page goes on only when the session does, so <resumed/> cannot wait for its end."""

    async def scene():
        await fill(server, two, 100, MIDDLE)
        reader = await connect(server, two[1], buffer=65536, sm=True)
        reader.send(f"<iq type='set' id='h'>{query()}</iq>")
        await is_taken(reader, 7)
        reader.cut()
        answer = await reader.resume()
        assert answer.get("h") == "1", show(answer)

    asyncio.run(scene())


def test_line_28_a_page_under_way_ends_with_its_connection(server, two):
    """Many times over: no page is left behind that counts, with stream management and without."""

    async def scene():
        await fill(server, two, 100, 5000)
        for sm in (False, True):
            for number in range(20):
                reader = await connect(server, two[1], f"r{number % 2}", sm=sm)
                reader.stream.transport.pause_reading()
                reader.stream.write(f"<iq type='set' id='h'>{query()}</iq>")
                await served(server, two[0])
                reader.cut()
        again = await connect(server, two[1], "r0")
        other = await connect(server, two[1], "r1")
        for client in (again, other):
            deadline = time.monotonic() + 20
            while (page := await ask(client, query(), timeout=30)).error == "resource-constraint":
                assert time.monotonic() < deadline, "the pages of lost sessions count for ever"
                await asyncio.sleep(0.05)
            assert len(page.rows) == 100

    asyncio.run(scene())


def test_line_28_who_resumes_again_and_again_within_a_page_gets_it(server, two):
    async def scene():
        bodies = await fill(server, two, 100, MIDDLE)
        reader = await connect(server, two[1], buffer=65536, sm=True)
        reader.send(f"<iq type='set' id='h'>{query()}</iq>")
        rows, answer = [], None
        for _ in range(4):
            await is_taken(reader, 5)
            reader.stream.freeze()
            events = list(reader.stream.events)
            rows += [found for event in events if (found := row(event))]
            answer = answer or next((each for each in events if getattr(each, "tag", None) == IQ), None)
            if answer is not None:
                break
            reader.cut()
            assert local((await reader.resume()).tag) == "resumed"
            reader.resend()
        while answer is None:
            event = await reader.next("a result")
            if found := row(event):
                rows.append(found)
            elif event.tag == IQ:
                answer = event
        assert [each.body for each in rows] == bodies

    asyncio.run(scene())


@pytest.mark.config({"stream_management": {"resume": "1s"}})
def test_line_28_a_page_that_nobody_comes_back_for_is_dropped(server, two):
    """Its results are no messages: nothing waits for the next login, and the archive is the same."""

    async def scene():
        await fill(server, two, 100, 5000)
        before = await client_of(server, two[1], "before").login()
        ids = [each.id for each in await everything(before)]
        await before.close()
        for number in range(3):
            reader = await connect(server, two[1], f"r{number}", sm=True)
            await reader.available()
            reader.send(f"<iq type='set' id='h'>{query()}</iq>")
            await is_taken(reader, 10)
            reader.cut()
        # Their time passes: a chat goes to them until they are gone, and then to who comes.
        await asyncio.sleep(2)
        again = await connect(server, two[1], "again")
        await again.available()
        await again.ping()
        assert not [each for each in again.stream.events if local(each.tag) == "message"]
        assert [each.id for each in await everything(again)] == ids

    asyncio.run(scene())


# -- queries while messages flow


@pytest.mark.config({"modules": {"offline": {"limit": 5000}}})
@pytest.mark.parametrize("size", [1, 7, 100])
def test_line_26_who_pages_while_others_write_has_everything_once_and_in_order(server, two, size):
    """Two write to the reader, who writes too; what is there when all are done is what the pages brought."""
    count = 300

    async def scene():
        server.add_accounts({f"second.{two[0]}": "secret"})
        writers = [await client_of(server, name).login(sm=True) for name in (two[0], f"second.{two[0]}")]
        reader = await client_of(server, two[1]).login(sm=True)
        own = await client_of(server, two[1], "own").login(sm=True)

        async def write(client: Client, name: str, to: str) -> None:
            for number in range(count):
                client.send(f"<message to='{to}' type='chat'><body>{name}.{number}</body></message>")
                if number % 10 == 9:
                    await client.stream.drain()
                    await asyncio.sleep(0.005)
            await client.acknowledged(30)

        writing = asyncio.gather(write(writers[0], "a", reader.bare), write(writers[1], "b", reader.bare),
                                 write(own, "c", writers[0].bare))
        rows, after = [], None
        while True:
            is_done = writing.done()
            page = await ask(reader, query(max=size, after=after))
            assert page.error is None, page
            rows += page.rows
            after = page.last or after
            if page.complete and is_done:
                break
        await writing
        ids = [each.id for each in rows]
        assert len(set(ids)) == len(ids)
        for name in "abc":
            of_one = [each.body for each in rows if each.body.startswith(name)]
            assert of_one == [f"{name}.{number}" for number in range(count)]
        whole = await everything(await client_of(server, two[1], "late").login())
        assert [each.id for each in whole] == ids

    asyncio.run(scene())


@pytest.mark.config({"modules": {"offline": {"limit": 5000}}})
def test_line_26_who_pages_backward_while_others_write_has_everything_that_was_there(server, two):
    async def scene():
        bodies = await fill(server, two, 150)
        writer = await client_of(server, two[0]).login(sm=True)
        reader = await client_of(server, two[1]).login()

        async def write() -> None:
            for number in range(300):
                writer.send(f"<message to='{reader.bare}' type='chat'><body>new {number}</body></message>")
                await asyncio.sleep(0.001)
            await writer.acknowledged(30)

        writing = asyncio.ensure_future(write())
        rows, before = [], ""
        while True:
            page = await ask(reader, query(max=10, before=before))
            rows = page.rows + rows
            if page.complete:
                break
            before = page.first
        await writing
        texts = [each.body for each in rows]
        assert texts[:150] == bodies and texts[150:] == [f"new {number}" for number in range(len(texts) - 150)]

    asyncio.run(scene())


@pytest.mark.config({"modules": {"offline": {"limit": 5000}}})
def test_line_26_the_archive_up_to_the_presence_and_what_comes_then_is_everything(server, two):
    """Who asks for the archive and comes online at once has no gap and, by the ids, nothing twice."""

    async def scene():
        writer = await client_of(server, two[0]).login(sm=True)
        for round in range(5):
            reader = await client_of(server, two[1]).login()

            async def write() -> None:
                for number in range(60):
                    text = f"{round}.{number}"
                    writer.send(f"<message to='{reader.bare}' type='chat' id='{text}'><body>{text}</body></message>")
                    await asyncio.sleep(0.001)
                await writer.acknowledged(30)

            writing = asyncio.ensure_future(write())
            await asyncio.sleep(0.005 * round)
            reader.send(f"<presence/><iq type='set' id='h'>{query({'start': '2020-01-01T00:00:00Z'}, max=500)}</iq>")
            await writing
            await reader.ping()
            got = {}
            for event in reader.stream.events:
                found = row(event)
                if found:
                    got[found.id] = found.body
                elif local(event.tag) == "message":
                    body = event.findtext(qname(CLIENT, "body"))
                    (id,) = [each.get("id") for each in event.findall("{urn:xmpp:sid:0}stanza-id")]
                    assert got.get(id, body) == body
                    got[id] = body
            texts = [text for text in got.values() if text.startswith(f"{round}.")]
            assert len(texts) == len(set(texts)) and set(texts) >= {f"{round}.{number}" for number in range(60)}
            await reader.close()

    asyncio.run(scene())


# -- a disk that is slow


@pytest.fixture
def slow(fresh, monkeypatch):
    """A server each of whose syncs takes up to three seconds."""
    monkeypatch.setenv("MARTLET_TEST_VFS", "dropunsynced")
    monkeypatch.setenv("MARTLET_TEST_SYNC_MS", "3000")
    return fresh.start()


def test_line_37_a_slow_disk_holds_up_acknowledgements_and_no_delivery(slow):
    """And a page has what had come before it was asked for, or was sent, though the disk has not taken it yet."""

    async def scene():
        alice = await client_of(slow, "alice", "home").login(sm=True)
        bob = await client_of(slow, "bob", "home").login()
        await bob.available()
        waited = 0
        for number in range(6):
            alice.send(f"<message to='{bob.jid}' type='chat' id='{number}'><body>{number}</body></message>")
            alice.stream.write("<r xmlns='urn:xmpp:sm:3'/>")
            assert (await bob.message()).get("id") == str(number)
            waited += len(alice.sm.waiting) > 0
            for client in (bob, alice):
                page = await ask(client, query(), timeout=30)
                assert page.bodies == [str(each) for each in range(number + 1)], (client.bare, page.bodies)
            while any("<body" in each for each in alice.sm.waiting):
                await alice.acknowledged(30)
        assert waited, "no acknowledgement came after its delivery"

    asyncio.run(scene())
