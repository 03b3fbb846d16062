"""What the server tells of its limits, what becomes of two who want one resource, and ports behind a proxy."""

import asyncio
import socket
import struct
import time

import pytest
from support import martlet
from support.namespaces import qname
from support.rawclient import Client, Failure
from support.stream import Stream
from test_commands import own, run  # noqa: F401
from test_operation import edit, table

pytestmark = pytest.mark.skipif(martlet.KIND != "martlet", reason="about martlet's own options")

LIMITS = "urn:xmpp:stream-limits:0"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def told(client) -> dict[str, int]:
    """The limits in the features that the client got last (XEP-0478)."""
    found = client.features.find(qname(LIMITS, "limits"))
    return {child.tag.partition("}")[2]: int(child.text) for child in found}


def start(server, limits: dict, proxy: list[str] | None = None) -> None:
    def change(config):
        config["limits"]["authenticated"] = limits
        if proxy is not None:
            for entry in config["listen"]:
                if entry["port"] != server.ports["starttls"]:
                    entry["proxy"] = list(proxy)

    edit(server, change)
    server.add_accounts({"romeo": "first", "juliet": "second"})
    server.start()


def test_a_stream_tells_its_limits_at_each_stage_and_they_hold(own):  # noqa: F811
    start(own, {"element": 20000, "idle": "40m"})

    async def scene():
        romeo = await Client(own, "romeo", "desk").connect()
        before = told(romeo)
        assert before == {"max-bytes": 16384}
        await romeo.authenticate()
        assert told(romeo) == {"max-bytes": 20000, "idle-seconds": 2400}
        await romeo.bind()

        def message(size):
            start, end = f"<message to='{romeo.jid}' type='chat'><body>", "</body></message>"
            return start + "x" * (size - len(start) - len(end)) + end

        romeo.send(message(19990))
        await romeo.message()
        romeo.send(message(20010))
        assert await romeo.ended_by() == "policy-violation"
        juliet = await Client(own, "juliet", "desk").connect()
        juliet.stream.write("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + "A" * 16400)
        assert await juliet.ended_by() == "policy-violation"

    asyncio.run(scene())


@pytest.mark.parametrize("policy", ["replace", "refuse", "rename"])
def test_two_who_want_one_resource_at_the_same_moment(own, policy):  # noqa: F811
    start(own, {"conflict": policy})

    async def scene():
        clients = [Client(own, "romeo", "desk", transport="plain") for _ in range(6)]
        for client in clients:
            await client.connect()
            await client.authenticate()

        async def bind(client):
            try:
                return await client.bind()
            except Failure as failure:
                return str(failure)

        answers = await asyncio.gather(*map(bind, clients))
        code, out, _ = await asyncio.to_thread(run, own, "sessions")
        assert code == 0
        there = [line.split("\t")[0] for line in out.splitlines()[1:]]
        assert there.count(f"romeo@{own.domain}/desk") == 1
        assert len(there) == (6 if policy == "rename" else 1)
        if policy == "refuse":
            assert sum("conflict" in answer for answer in answers) == 5
        # Whoever was not refused and not replaced is served.
        alive = [client for client in clients if client.jid and not client.stream.over]
        for client in alive:
            try:
                await client.ping()
            except Failure:
                assert policy == "replace"

    asyncio.run(scene())


def test_one_too_many_from_an_address_is_refused_after_its_password(own):  # noqa: F811
    start(own, {"connections_per_address": 2})

    async def scene():
        first = await Client(own, "romeo", "a").login()
        await Client(own, "romeo", "b").login()
        third = Client(own, "juliet", "c")
        with pytest.raises(Failure, match="temporary-auth-failure"):
            await third.login()
        third.cut()
        await first.close()
        await Client(own, "juliet", "c").login()
        _, out, _ = await asyncio.to_thread(run, own, "status")
        assert table(out)["logins_crowded"] == "1" and table(out)["connections_logged_in"] == "2"

    asyncio.run(scene())


def test_a_connection_that_fails_to_resume_no_longer_counts(own):  # noqa: F811
    start(own, {})

    async def scene():
        romeo = await Client(own, "romeo", "desk", transport="plain").login(sm=True)
        romeo.cut()
        await romeo.connect()
        await romeo.authenticate()
        # It cannot have handled so many (XEP-0198, section 5); the session stays.
        romeo.stream.write(f"<resume xmlns='urn:xmpp:sm:3' previd='{romeo.sm.id}' h='4000000000'/>")
        await romeo.ended_by()
        _, out, _ = await asyncio.to_thread(run, own, "status")
        assert table(out)["sessions_detached"] == "1" and table(out)["connections_logged_in"] == "0"
        assert (await romeo.resume()).tag.endswith("}resumed")
        _, out, _ = await asyncio.to_thread(run, own, "status")
        assert table(out)["connections_logged_in"] == "1"

    asyncio.run(scene())


def test_an_account_that_sends_too_much_is_read_slowly_and_loses_nothing(own):  # noqa: F811
    start(own, {"rate": 20000, "burst": 20000})

    async def scene():
        romeo = await Client(own, "romeo", "desk", transport="plain").login()
        juliet = await Client(own, "juliet", "desk", transport="plain").login()
        await juliet.available(0)
        begin = time.monotonic()
        for number in range(80):
            romeo.send(f"<message to='{juliet.jid}' id='{number}' type='chat'><body>{'x' * 920}</body></message>")
        # Somebody else is not slowed.
        await juliet.ping()
        assert time.monotonic() - begin < 2
        for number in range(80):
            assert (await juliet.message()).get("id") == str(number)
        assert 2 < time.monotonic() - begin < 8
        _, out, _ = await asyncio.to_thread(run, own, "status")
        assert int(table(out)["reading_slowed"]) > 0

    asyncio.run(scene())


def test_silent_clients_are_kept_awake_and_at_last_taken_for_dead(own):  # noqa: F811
    start(own, {"idle": "13s", "keepalive": "10s"})

    async def scene():
        silent = await Client(own, "romeo", "silent", transport="plain").login()
        managed = await Client(own, "romeo", "managed", transport="plain").login(sm=True)
        alive = await Client(own, "juliet", "alive", transport="plain").login()
        before = silent.stream.received_bytes
        begin = time.monotonic()
        ended = asyncio.create_task(silent.ended_by(20))
        while not ended.done():
            alive.stream.write(" ")
            await asyncio.sleep(2)
            if 10.5 < time.monotonic() - begin < 12.5:
                assert silent.stream.received_bytes == before + 1
        assert await ended == "connection-timeout"
        assert 12.9 < time.monotonic() - begin < 17
        await alive.ping()
        _, out, _ = await asyncio.to_thread(run, own, "status")
        assert table(out)["sessions_idle"] == "2" and table(out)["sessions_detached"] == "1"
        answer = await managed.resume()
        assert answer.tag.endswith("}resumed")
        await managed.ping()

    asyncio.run(scene())


# -- PROXY protocol


async def through(server, port: str, header: bytes) -> Client:
    """A client behind a proxy that says this."""
    client = Client(server, "romeo", "desk", transport=port)
    client.stream = await Stream.connect(server.address, server.ports[port])
    client.stream.transport.write(header)
    if port == "direct":
        await client.stream.start_tls(client._tls_context(), client.domain, [b"xmpp-client"])
    await client.open()
    return client


def version_2(source: str, port: int) -> bytes:
    addresses = socket.inet_aton(source) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", port, 5222)
    tail = b"\xe0\x00\x03abc"
    return SIGNATURE + bytes([0x21, 0x11]) + struct.pack("!H", len(addresses) + len(tail)) + addresses + tail


@pytest.mark.parametrize("port", ["plain", "direct"])
def test_behind_a_proxy_the_client_has_its_own_address(own, port):  # noqa: F811
    start(own, {}, ["127.0.0.0/8"])

    async def scene():
        one = await through(own, port, b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 5222\r\n")
        await one.authenticate()
        await one.bind("one")
        two = await through(own, port, version_2("198.51.100.9", 4712))
        await two.authenticate()
        await two.bind("two")
        # A port without a proxy is as it was.
        await Client(own, "juliet", "three", transport="starttls").login()
        _, out, _ = await asyncio.to_thread(run, own, "sessions")
        assert {line.split("\t")[0].partition("/")[2]: line.split("\t")[1] for line in out.splitlines()[1:]} == {
            "one": "192.0.2.7", "two": "198.51.100.9", "three": "127.0.0.1",
        }
        bad = await through(own, port, b"PROXY TCP6 2001:db8::5 ::1 1 2\r\n")
        bad.password = "wrong"
        with pytest.raises(Failure, match="not-authorized"):
            await bad.authenticate()
        own.logged("address=2001:db8::5")

    asyncio.run(scene())


def test_a_port_for_proxies_is_closed_to_others_and_a_reload_changes_who_they_are(own):  # noqa: F811
    start(own, {}, ["10.0.0.0/8"])
    header = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 5222\r\n"

    async def scene():
        with pytest.raises((Failure, ConnectionError)):
            await through(own, "plain", header)

        def change(config):
            for entry in config["listen"]:
                if "proxy" in entry:
                    entry["proxy"] = ["127.0.0.1"]

        edit(own, change)
        code, out, error = await asyncio.to_thread(run, own, "reload")
        assert code == 0, error
        assert table(out)[f"listen 127.0.0.1:{own.ports['plain']}"] == "needs listener restart"
        client = await through(own, "plain", header)
        await client.authenticate()
        await client.bind()
        with pytest.raises((Failure, ConnectionError)):
            await Client(own, "romeo", "desk", transport="plain").login()
        _, out, _ = await asyncio.to_thread(run, own, "status")
        assert table(out)["proxy_headers_refused"] == "1"

    asyncio.run(scene())
