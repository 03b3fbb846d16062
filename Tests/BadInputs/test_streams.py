"""Lines 7 and 8: stanzas in odd packets, headers that lie, and connections that only cost."""

import asyncio
import resource
import selectors
import socket
import time

import pytest
from support import tls
from support.attack import NOT_XML, Watch, at, ending, header, outcome
from support.namespaces import SASL, TLS, local
from support.rawclient import Client, Failure, Stream, encode, linger_zero, show

# -- line 7


def test_line_07_a_stanza_split_at_each_byte(server):
    """Once in single bytes, then in two packets for every place it can be split at."""

    async def scene():
        bob = await Client(server, "bob", "desk", transport="plain").login()
        await bob.available()
        mallory = await at(server, "bound")
        stanza = (f"<message to='{bob.jid}' type='chat' id='ü'><body>é&lt;€ 🌹&#x41;<![CDATA[]]></body>"
                  f"<p:x xmlns:p='urn:x' p:a=\"'\"/></message>").encode()
        for byte in stanza:
            mallory.stream.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await bob.message())[0].text == "é<€ 🌹A"
        for cut in range(1, len(stanza)):
            mallory.stream.write(stanza[:cut])
            await asyncio.sleep(0.001)
            mallory.stream.write(stanza[cut:])
            got = await bob.message()
            assert got.get("id") == "ü" and got[0].text == "é<€ 🌹A", f"split at {cut}"

    asyncio.run(scene())


@pytest.mark.parametrize("stage", ["opened", "bound"])
@pytest.mark.parametrize("half", ["<![CDATA[", "<![CDATA[ ", "<!", "<![CDAT", "<", "&", "&#", "<a", "<a><![CDATA[", "\r"])
def test_line_02_what_one_stream_leaves_half_said_is_read_into_no_other(server, stage, half):
    """Streams take turns with their parsers: one that rests within something must not give it away."""

    async def scene():
        others = [await Client(server, user, "desk", transport="plain").login() for user in ("alice", "bob")]
        for number in range(6):
            mallory = await at(server, "opened") if stage == "opened" else await Client(
                server, "mallory", f"lair{number}", transport="plain").login()
            mallory.stream.write(half)
            await asyncio.sleep(0.005)
            for other in others:
                await other.ping()
            (await Client(server, "bob", f"new{number}", transport="plain").login()).cut()
            mallory.cut()

    asyncio.run(scene())


@pytest.mark.parametrize("transport", ["plain", "starttls", "direct"])
def test_line_07_many_stanzas_in_one_packet(server, transport):
    async def scene():
        bob = await Client(server, "bob", "desk", transport=transport).login()
        await bob.available()
        mallory = await Client(server, "mallory", "lair", transport=transport).login()
        mallory.send("".join(f"<message to='{bob.jid}' id='{n}'><body>{n}</body></message>" for n in range(2000)))
        for number in range(2000):
            assert (await bob.message()).get("id") == str(number)

    asyncio.run(scene())


def test_line_07_a_whole_login_in_one_packet_before_any_answer_is_safe(server):
    """Pipelined behind <auth/>, nothing may run as somebody who has not proved who they are."""

    async def scene():
        bob = await Client(server, "bob", "desk", transport="plain").login()
        await bob.available()
        mallory = await at(server, "opened")
        mallory.stream.write(
            f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>biwsbj1ib2Iscj1hYmM=</auth>" + header(server)
            + "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
            + f"<message to='{bob.jid}' id='evil'><body>x</body></message>"
        )
        await asyncio.sleep(0.3)
        await bob.ping()
        assert not bob.stream.events

    asyncio.run(scene())


@pytest.mark.parametrize("behind", [
    "<iq type='get' id='evil'><ping xmlns='urn:xmpp:ping'/></iq>",
    f"<auth xmlns='{SASL}' mechanism='PLAIN'>AG1hbGxvcnkAbWFsbG9yeXMtcGFzc3dvcmQ=</auth>",
    "<stream:stream to='martlet.example' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>",
    "\x16\x03",
    "\n<iq/>",
])
@pytest.mark.differs("prosody", "it drops the bytes and goes on")
def test_line_07_clear_bytes_behind_starttls_close_the_stream(server, behind):
    """The class of CVE-2011-0411: what a man in the middle put behind must never run inside TLS."""

    async def scene():
        client = Client(server, "mallory", "lair", transport="starttls")
        client.stream = await Stream.connect(server.address, server.ports["starttls"])
        await client.open()
        client.stream.write(f"<starttls xmlns='{TLS}'/>" + behind)
        try:
            events = await client.stream.ends(4)
        except Failure as failure:
            raise AssertionError("the connection stays open") from failure
        assert not any(local(getattr(event, "tag", "")) == "success" for event in events)

    asyncio.run(scene())


@pytest.mark.parametrize("space", ["\n", " ", "\r\n\t "])
def test_line_07_white_space_behind_starttls_is_dropped(server, space):
    """go-sendxmpp ends the element with a newline (against RFC 6120, section 5.3.3); that cannot hurt."""

    async def scene():
        client = Client(server, "mallory", "lair", transport="starttls")
        client.stream = await Stream.connect(server.address, server.ports["starttls"])
        await client.open()
        client.stream.write(f"<starttls xmlns='{TLS}'/>" + space)
        answer = await client.next()
        assert "proceed" in show(answer), show(answer)
        await client.stream.start_tls(tls.context(server.authority), server.domain)
        await client.open()
        await client.authenticate()
        await client.bind()

    asyncio.run(scene())


@pytest.mark.parametrize("data", [
    "<message/>", "<iq type='get'/>", "text ", "<stream/>", "<stream:stream>", "<a:b xmlns:a='urn:x'>",
    "</stream:stream>",
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "<?xml version='1.0'?><a>",
])
def test_line_07_something_else_than_a_stream_header(server, data):
    assert asyncio.run(ending(server, "connected", data)) not in {"open"}


@pytest.mark.parametrize("changes, allowed", [
    ({"xmlns_stream": "urn:other"}, {"invalid-namespace"} | NOT_XML),
    ({"xmlns": "urn:other"}, {"invalid-namespace"}),
    ({"xmlns": "jabber:server"}, {"invalid-namespace"}),
    ({"xmlns": "jabber:component:accept"}, {"invalid-namespace"}),
    ({"to": "elsewhere.example"}, {"host-unknown"}),
    ({"to": "a@b@c"}, {"host-unknown", "improper-addressing"}),
    ({"to": ""}, {"host-unknown", "improper-addressing"}),
    ({"to": "x" * 3000}, {"host-unknown", "improper-addressing", "policy-violation"}),
    ({"version": "0.9"}, {"unsupported-version"}),
    ({"version": None}, {"unsupported-version"}),
    ({"version": "x"}, {"unsupported-version"}),
])
@pytest.mark.differs("prosody", "it serves old versions and answers some with other conditions")
def test_line_07_a_header_that_is_not_for_this_server(server, changes, allowed):
    assert asyncio.run(ending(server, "connected", header(server, **changes))) in allowed


@pytest.mark.parametrize("stage", ["opened", "bound"])
@pytest.mark.differs("prosody", "it says not-well-formed or goes on")
def test_line_07_a_second_header_at_the_wrong_time(server, stage):
    allowed = {"unsupported-stanza-type", "conflict", "policy-violation", "not-authorized", "invalid-namespace"}
    allowed |= NOT_XML
    assert asyncio.run(ending(server, stage, header(server))) in allowed


def test_line_07_the_host_is_fixed_by_authentication(server):
    """CVE-2018-10847: authenticated for one host, then a stream to another."""

    async def scene():
        client = await at(server, "opened")
        await_open = client.open
        client.open = lambda to=None: await_open("other.example")
        try:
            await client.authenticate()
        except Failure as failure:
            assert "refused" not in str(failure)
            assert await client.ended_by() in {
                "host-unknown", "not-authorized", "policy-violation", "invalid-namespace", "improper-addressing"
            }
            return
        assert (await client.bind()).startswith(f"mallory@{server.domain}/")

    asyncio.run(scene())


@pytest.mark.parametrize("xml", [
    "<unknown xmlns='urn:x'/>", "<message xmlns='jabber:server'/>", "<message xmlns=''/>", "<foo/>",
    "<iq xmlns='urn:x' type='get' id='1'/>", "<stream:features/>",
])
@pytest.mark.differs("prosody", "it answers or ignores some of them")
def test_line_07_what_is_no_stanza_ends_the_stream(server, xml):
    allowed = {"unsupported-stanza-type", "invalid-namespace", "bad-format", "invalid-xml"}
    assert asyncio.run(ending(server, "bound", xml)) in allowed


def test_line_07_text_between_stanzas_ends_the_stream(server):
    allowed = NOT_XML | {"unsupported-stanza-type", "open"}

    async def scene():
        bob = await Client(server, "bob", "desk", transport="plain").login()
        await bob.available()
        assert await ending(server, "bound", f"text&lt;message to='{bob.jid}'/>", timeout=2) in allowed
        await bob.ping()
        assert not bob.stream.events

    asyncio.run(scene())


# -- line 8

QUICK = {"limits": {"unauthenticated": {"timeout": "5s", "connections": 1_000_000}}}
HELLO = bytes.fromhex("16030100f8010000f40303")


def count_for(server) -> int:
    """How many connections both processes have descriptors for, with some left for other things."""
    mine = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    theirs = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)[0]
    return max(100, min(mine, theirs, 40_000) - 2_000)


def many(server, transport: str, data: bytes, count: int) -> list[socket.socket]:
    """Connections from 127.0.0.0/8, a hundred an address, each with the same first bytes; what 12 s allow."""
    sockets = []
    deadline = time.monotonic() + 12
    for number in range(count):
        if time.monotonic() > deadline:
            break
        sock = socket.socket()
        sock.bind((f"127.1.{number // 25000}.{number // 100 % 250 + 1}", 0))
        sock.settimeout(5)
        sock.connect((server.address, server.ports[transport]))
        if data:
            sock.send(data)
        sock.setblocking(False)
        sockets.append(sock)
    return sockets


def wait_for_ends(sockets: list[socket.socket], timeout: float) -> int:
    """Reads until the server has ended them all; how many it has not."""
    selector = selectors.DefaultSelector()
    for sock in sockets:
        selector.register(sock, selectors.EVENT_READ)
    left, deadline = len(sockets), time.monotonic() + timeout
    while left and time.monotonic() < deadline:
        for key, _ in selector.select(0.5):
            try:
                ended = key.fileobj.recv(65536) == b""
            except BlockingIOError:
                continue
            except OSError:
                ended = True
            if ended:
                selector.unregister(key.fileobj)
                left -= 1
    selector.close()
    return left


@pytest.mark.config(QUICK)
@pytest.mark.growth(400 * 1024 * 1024)
@pytest.mark.differs("prosody", "it sets no time limit before the header, and its select is slow")
def test_line_08_slow_loris_with_all_descriptors(server, capsys):
    """Silent ones, half a TLS hello and half a header; all end in time, others are served meanwhile."""
    open_before = server.descriptors()
    total = count_for(server)
    kinds = [("plain", b""), ("direct", HELLO), ("starttls", header(server)[:40].encode())]
    sockets: list[socket.socket] = []
    with Watch(server) as watch:
        try:
            started = time.monotonic()
            for transport, data in kinds:
                sockets += many(server, transport, data, total // len(kinds))
            opened = time.monotonic() - started

            async def guest():
                client = await Client(server, "alice", "guest", source="127.9.9.9").login()
                await client.ping()
                await client.close()

            asyncio.run(guest())
            left = wait_for_ends(sockets, 20)
        finally:
            for sock in sockets:
                sock.close()
    with capsys.disabled():
        print(f"\n  {len(sockets)} connections in {opened:.1f} s, peak {watch.growth / len(sockets):.0f} bytes each, "
              f"{watch.cpu:.1f} s of processor time, {left} left")
    assert left == 0
    assert watch.growth / len(sockets) < 12_000
    deadline = time.monotonic() + 5
    while server.descriptors() > open_before + 10:
        assert time.monotonic() < deadline, "descriptors were not given back"
        time.sleep(0.05)


@pytest.mark.config(QUICK)
@pytest.mark.differs("prosody", "it sets no time limit before the header")
@pytest.mark.parametrize("stage", [
    "connected", "half a header", "opened", "half an element", "within SCRAM", "no TLS hello", "half a TLS hello",
])
def test_line_08_every_stage_before_authentication_has_its_end(server, stage):
    """The whole time until authentication is limited; a byte now and then does not extend it."""

    async def scene():
        if "TLS" in stage:
            client = Client(server, "mallory", "lair")
            client.stream = await Stream.connect(server.address, server.ports["direct"])
            client.stream.write(HELLO if "half" in stage else b"")
        else:
            client = await at(server, "connected" if stage in ("connected", "half a header") else "opened")
        if stage == "half a header":
            client.stream.write(header(server)[:30])
        if stage == "half an element":
            client.stream.write("<auth ")
        if stage == "within SCRAM":
            first = encode(client.scram("SCRAM-SHA-256").first())
            await client.sasl(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{first}</auth>")
        started = time.monotonic()

        async def drip():
            while not client.stream.over and stage != "no TLS hello":
                client.stream.write(b"\0" if "TLS" in stage else b" ")
                await asyncio.sleep(0.5)

        dripping = asyncio.ensure_future(drip())
        ended = await outcome(client, b"", timeout=10)
        dripping.cancel()
        return ended, time.monotonic() - started

    ended, took = asyncio.run(scene())
    assert ended != "open" and 2 < took < 9, (ended, took)


@pytest.mark.config(QUICK)
@pytest.mark.differs("prosody", "its collector takes its time")
def test_line_08_coming_and_going_leaks_nothing(server):
    """30,000 connections (or what 30 s allow) of all kinds that end at once, in the orderly way or by a reset."""
    open_before = server.descriptors()
    kinds = [("plain", b""), ("direct", HELLO), ("starttls", header(server).encode()), ("plain", b"<a")]
    growth = []
    for _ in range(3):
        deadline = time.monotonic() + 10
        with Watch(server) as watch:
            for number in range(10_000):
                if time.monotonic() > deadline:
                    break
                transport, data = kinds[number % len(kinds)]
                sock = socket.socket()
                sock.bind((f"127.2.{number // 100 % 250}.{number % 100 + 1}", 0))
                sock.settimeout(5)
                sock.connect((server.address, server.ports[transport]))
                if data:
                    sock.send(data)
                if number % 2:
                    linger_zero(sock)
                sock.close()
        growth.append(watch.growth)
    deadline = time.monotonic() + 10
    while server.descriptors() > open_before + 10:
        assert time.monotonic() < deadline, f"{server.descriptors() - open_before} descriptors leaked"
        time.sleep(0.05)
    assert growth[2] < 4 * 1024 * 1024, f"memory still grows: {growth}"


@pytest.mark.config(QUICK)
@pytest.mark.differs("prosody", "it spins")
def test_line_08_when_descriptors_run_out_it_recovers(server):
    """The server's own limit is lowered; after the flood it takes connections again."""
    pid = server.process.pid
    old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (server.descriptors() + 50, old[1]))
    sockets = []
    try:
        with Watch(server) as watch:
            for number in range(200):
                sock = socket.socket()
                sock.settimeout(0.5)
                sock.bind((f"127.3.0.{number + 1}", 0))
                sock.connect((server.address, server.ports["plain"]))
                sockets.append(sock)
            time.sleep(1)
        assert watch.cpu < 1.5, "it spins on accept"
    finally:
        for sock in sockets:
            linger_zero(sock)
            sock.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, old)

    async def guest():
        client = await Client(server, "alice", "guest").login()
        await client.ping()
        await client.close()

    deadline = time.monotonic() + 10
    while True:
        try:
            asyncio.run(guest())
            return
        except (Failure, OSError, asyncio.TimeoutError):
            assert time.monotonic() < deadline
            time.sleep(0.2)
