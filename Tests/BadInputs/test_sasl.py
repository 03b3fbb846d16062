"""Lines 11 to 13: SASL messages that lie or are none."""

import asyncio
import base64
import statistics
import time
import xml.etree.ElementTree as ET

import pytest
from support.attack import NOT_XML, TOO_MUCH, how_it_ends, outcome
from support.namespaces import SASL, local
from support.rawclient import Client, Failure, Stream, condition, encode
from support.scram import Scram, b64

PASSWORD = "mallorys-password"


async def opened(server, user="mallory", transport="starttls") -> Client:
    return await Client(server, user, "lair", transport=transport).connect()


async def answer_of(client: Client, xml: str) -> str:
    """The condition of the <failure/>, the name of another SASL element, or how the stream ended."""
    client.stream.write(xml)
    try:
        event = await client.next("a SASL answer")
    except Failure:
        return "open"
    if isinstance(event, ET.Element) and event.tag.startswith(f"{{{SASL}}}"):
        return condition(event) if local(event.tag) == "failure" else local(event.tag)
    client.stream.events.appendleft(event)
    return await how_it_ends(client)


def auth(mechanism: str, data: str | bytes = "") -> str:
    text = encode(data) if isinstance(data, bytes) else data
    return f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{text}</auth>"


def response(data: str | bytes) -> str:
    return f"<response xmlns='{SASL}'>{encode(data) if isinstance(data, bytes) else data}</response>"


# -- line 11

USER, SECRET = b"mallory", PASSWORD.encode()

PLAIN = {
    "authzid of another account": (b"bob@martlet.example\0" + USER + b"\0" + SECRET, {"invalid-authzid"}),
    "authzid of another account's name": (b"bob\0" + USER + b"\0" + SECRET, {"invalid-authzid"}),
    "authzid of another domain": (b"mallory@other.example\0" + USER + b"\0" + SECRET, {"invalid-authzid"}),
    "authzid of the bare domain": (b"martlet.example\0" + USER + b"\0" + SECRET, {"invalid-authzid"}),
    "authzid of another bare domain": (b"other.example\0" + USER + b"\0" + SECRET, {"invalid-authzid"}),
    "authzid that is no address": (b"@@/\0" + USER + b"\0" + SECRET, {"invalid-authzid", "malformed-request"}),
    "no fields": (b"", {"malformed-request", "not-authorized", "challenge"}),
    "one field": (USER, {"malformed-request", "not-authorized"}),
    "two fields": (USER + b"\0" + SECRET, {"malformed-request", "not-authorized"}),
    "empty user": (b"\0\0" + SECRET, {"malformed-request", "not-authorized"}),
    "empty password": (b"\0" + USER + b"\0", {"malformed-request", "not-authorized"}),
    "only NULs": (b"\0\0\0\0", {"malformed-request", "not-authorized"}),
    "NUL in the password": (b"\0" + USER + b"\0" + SECRET + b"\0", {"malformed-request", "not-authorized"}),
    "NUL and more": (b"\0" + USER + b"\0" + SECRET + b"\0x", {"malformed-request", "not-authorized"}),
    "NUL in the user": (b"\0mal\0lory\0" + SECRET, {"malformed-request", "not-authorized"}),
    "user not UTF-8": (b"\0mallory\xff\0" + SECRET, {"malformed-request", "not-authorized"}),
    "password not UTF-8": (b"\0" + USER + b"\0\xff\xfe", {"malformed-request", "not-authorized"}),
    "overlong UTF-8": (b"\0mallor\xc1\xb9\0" + SECRET, {"malformed-request", "not-authorized"}),
    "user of another host": (b"\0mallory@other.example\0" + SECRET, {"malformed-request", "not-authorized"}),
    "user with a slash": (b"\0mallory/x\0" + SECRET, {"malformed-request", "not-authorized"}),
    "prohibited in the user": ("\0mallory\u0007\0".encode() + SECRET, {"malformed-request", "not-authorized"}),
    "prohibited in the password": (b"\0" + USER + "\0\u0007".encode(), {"malformed-request", "not-authorized"}),
    "user of spaces": (b"\0   \0" + SECRET, {"malformed-request", "not-authorized"}),
    "user of 5 KB": (b"\0" + b"m" * 5000 + b"\0" + SECRET, {"malformed-request", "not-authorized"} | TOO_MUCH),
    "password of 5 KB": (b"\0" + USER + b"\0" + b"x" * 5000, {"malformed-request", "not-authorized"} | TOO_MUCH),
    "the right one with a space": (b"\0" + USER + b"\0" + SECRET + b" ", {"not-authorized"}),
    "the right one in capitals": (b"\0" + USER + b"\0" + SECRET.upper(), {"not-authorized"}),
}


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.differs("prosody", "it ignores the authorization identity, and takes more as not-authorized")
def test_line_11_plain_messages_that_lie(server, kind):
    """#4601 of ejabberd is the first row: PLAIN for somebody else opened somebody else's session."""

    async def scene():
        message, allowed = PLAIN[kind]
        client = await opened(server)
        got = await answer_of(client, auth("PLAIN", message))
        assert got in allowed, got
        if not client.stream.over and got not in {"challenge"}:
            await client.authenticate("SCRAM-SHA-256")

    asyncio.run(scene())


@pytest.mark.parametrize("authzid", ["", "mallory@martlet.example", "MALLORY@Martlet.Example"])
def test_line_11_the_own_address_as_authzid_is_fine(server, authzid):
    async def scene():
        client = await opened(server)
        await client.authenticate("PLAIN", authzid=authzid)
        assert await client.bind() == "mallory@martlet.example/lair"

    asyncio.run(scene())


@pytest.mark.parametrize("text", [
    "!!!!", "AA", "A", "AAA", "AAAA=", "=AAA", "A=AA", "AG1hbGxvcnkAb\nWFsbG9yeXM=", " AG1hbA==", "AG1hbA== ",
    "AG1hbA==AG1hbA==", "AG1hbA=", "\u00c4\u00c4\u00c4\u00c4", "AG1hbA-_", "&#x41;AAA====",
])
@pytest.mark.differs("prosody", "its base64 reads over what does not belong")
def test_line_11_what_is_not_base64(server, text):
    """Lenient base64 decoders are how one message becomes another; RFC 6120 wants incorrect-encoding."""

    async def scene():
        client = await opened(server)
        got = await answer_of(client, auth("PLAIN", text))
        assert got in {"incorrect-encoding", "malformed-request"} | NOT_XML, got

    asyncio.run(scene())


def test_line_11_a_message_of_a_megabyte(server):
    async def scene():
        client = await opened(server)
        data = auth("PLAIN", b"\0mallory\0" + b"x" * 1_000_000).encode()
        assert await outcome(client, data, pieces=16384) in TOO_MUCH

    asyncio.run(scene())


# -- line 12


@pytest.mark.parametrize("mechanism", [
    "ANONYMOUS", "EXTERNAL", "DIGEST-MD5", "CRAM-MD5", "SCRAM-SHA-512", "GSSAPI", "X-OAUTH2", "", "plain", "PLAIN ",
    "SCRAM-SHA-256-PLUS-PLUS", "SCRAM", "x" * 5000, "\u0050LAIN\u200b",
])
@pytest.mark.differs("prosody", "empty mechanism")
def test_line_12_a_mechanism_that_is_not_offered(server, mechanism):
    async def scene():
        client = await opened(server)
        got = await answer_of(client, auth(mechanism, b"\0mallory\0" + SECRET))
        assert got in {"invalid-mechanism", "malformed-request"}, got
        await client.authenticate()

    asyncio.run(scene())


def test_line_12_no_mechanism_at_all(server):
    async def scene():
        client = await opened(server)
        got = await answer_of(client, f"<auth xmlns='{SASL}'>AG1hbA==</auth>")
        assert got in {"invalid-mechanism", "malformed-request"}

    asyncio.run(scene())


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"])
@pytest.mark.differs("prosody", "it says malformed-request")
def test_line_12_what_needs_tls_is_refused_without(server, mechanism):
    async def scene():
        client = await opened(server, transport="plain")
        assert mechanism not in client.mechanisms
        got = await answer_of(client, auth(mechanism, b"\0mallory\0" + SECRET))
        assert got in {"encryption-required", "invalid-mechanism"}, got
        await client.authenticate()

    asyncio.run(scene())


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
@pytest.mark.differs("prosody", "configured with optional TLS")
def test_line_12_nothing_before_tls_where_tls_is_required(server, mechanism):
    async def scene():
        client = Client(server, "mallory", "lair")
        client.stream = await Stream.connect(server.address, server.ports["starttls"])
        await client.open()
        assert client.mechanisms == []
        got = await answer_of(client, auth(mechanism, b"n,,n=mallory,r=abcdefgh"))
        assert got in {"encryption-required", "policy-violation", "not-authorized", "invalid-mechanism"}, got

    asyncio.run(scene())


def test_line_12_a_response_without_auth(server):
    async def scene():
        client = await opened(server)
        got = await answer_of(client, response(b"n,,n=mallory,r=abc"))
        assert got in {"not-authorized", "malformed-request", "unsupported-stanza-type", "policy-violation"}, got

    asyncio.run(scene())


def test_line_12_a_response_after_the_end_of_an_exchange(server):
    """The first exchange failed; its state must be gone."""

    async def scene():
        client = await opened(server)
        scram = client.scram("SCRAM-SHA-256")
        scram.password = "wrong"
        challenge = await client.sasl(auth("SCRAM-SHA-256", scram.first()))
        first = base64.b64decode(challenge.text)
        assert await answer_of(client, response(scram.final(first))) == "not-authorized"
        scram.password = PASSWORD
        got = await answer_of(client, response(scram.final(first)))
        assert got in {"not-authorized", "malformed-request", "unsupported-stanza-type", "policy-violation"}, got

    asyncio.run(scene())


def test_line_12_abort_and_then_again(server):
    async def scene():
        client = await opened(server)
        await client.sasl(auth("SCRAM-SHA-256", client.scram("SCRAM-SHA-256").first()))
        assert await answer_of(client, f"<abort xmlns='{SASL}'/>") == "aborted"
        await client.authenticate("SCRAM-SHA-1")
        assert await client.bind()

    asyncio.run(scene())


def test_line_12_auth_within_an_exchange_ends_the_first(server):
    """The second one is served (RFC 6120, section 6.4.2), and nothing of the first is left."""

    async def scene():
        client = await opened(server)
        first, second = client.scram("SCRAM-SHA-256"), client.scram("SCRAM-SHA-256")
        challenge = await client.sasl(auth("SCRAM-SHA-256", first.first()))
        assert await answer_of(client, auth("SCRAM-SHA-256", second.first())) == "challenge"
        final = first.final(base64.b64decode(challenge.text))
        got = await answer_of(client, response(final))
        assert got != "success", "the finished half of the first exchange was taken for the second"

    asyncio.run(scene())


@pytest.mark.parametrize("when", ["before the new stream", "on the new stream", "when bound"])
def test_line_12_a_second_authentication_after_success(server, when):
    async def scene():
        client = await opened(server)
        if when == "before the new stream":
            client.stream.write(auth("PLAIN", b"\0mallory\0" + SECRET))
            assert local((await client.next()).tag) == "success"
        else:
            await client.authenticate()
            if when == "when bound":
                await client.bind()
        got = await answer_of(client, auth("PLAIN", b"\0mallory\0" + SECRET))
        assert got not in {"success", "challenge"}, got

    asyncio.run(scene())


@pytest.mark.differs("prosody", "it lets one try for ever")
def test_line_12_attempts_are_counted(server):
    """RFC 6120, section 6.4.5: two to five retries, then the stream closes."""

    async def scene():
        client = await opened(server)
        for attempt in range(1, 12):
            got = await answer_of(client, auth("PLAIN", b"\0mallory\0wrong"))
            if got != "not-authorized" or client.stream.over:
                break
        else:
            raise AssertionError("twelve attempts on one stream")
        assert attempt >= 2, "the first retry was refused already"
        assert got in {"policy-violation", "not-authorized", "closed"}, got

    asyncio.run(scene())


# -- line 13


async def tampered(server, change, *, mechanism="SCRAM-SHA-256", binding=None, transport="starttls") -> str:
    """How a SCRAM exchange ends whose messages were changed: change(scram, message, number) gives what is sent."""
    client = await opened(server, transport=transport)
    scram = client.scram(mechanism, binding)
    got = await client.sasl(auth(mechanism, change(scram, scram.first(), 1)))
    if local(got.tag) == "challenge":
        final = scram.final(base64.b64decode(got.text))
        got = await client.sasl(response(change(scram, final, 2)))
    result = condition(got) if local(got.tag) == "failure" else local(got.tag)
    client.cut()
    return result


def on(number: int, change):
    """A change of the first or of the final message only; it gets the exchange and the text."""
    return lambda scram, message, n: change(scram, message.decode()).encode() if n == number else message


def resign(scram: Scram, without_proof: str) -> str:
    """The final message with a proof made for this very text is not possible without the key: keep the old proof."""
    return without_proof + ",p=" + b64(b"\0" * 32)


TAMPERED = {
    "wrong nonce": on(2, lambda s, m: m.replace(s.server_nonce, s.server_nonce[:-1] + "!")),
    "nonce not extended": on(2, lambda s, m: m.replace(s.server_nonce, s.nonce)),
    "empty nonce in the final": on(2, lambda s, m: m.replace(s.server_nonce, "")),
    "empty nonce in the first": on(1, lambda s, m: m.replace(s.nonce, "")),
    "c= of another flag": on(2, lambda s, m: m.replace("c=biws", "c=eSws")),
    "c= empty": on(2, lambda s, m: m.replace("c=biws", "c=")),
    "c= missing": on(2, lambda s, m: m.replace("c=biws,", "")),
    "c= with a binding that was not used": on(2, lambda s, m: m.replace("c=biws", "c=" + b64(b"n,," + b"x" * 32))),
    "authzid of another": on(1, lambda s, m: m.replace("n,,", "n,a=bob@martlet.example,")),
    "reserved m= in the first": on(1, lambda s, m: m.replace("n,,", "n,,m=x,")),
    "reserved m= in the final": on(2, lambda s, m: m.replace("c=biws", "c=biws,m=x")),
    "no flag": on(1, lambda s, m: m[2:]),
    "unknown flag": on(1, lambda s, m: "x" + m[1:]),
    "flag p without -PLUS": on(1, lambda s, m: "p=tls-exporter" + m[1:]),
    "no user": on(1, lambda s, m: m.replace("n=mallory", "n=")),
    "user missing": on(1, lambda s, m: m.replace("n=mallory,", "")),
    "bad escape in the user": on(1, lambda s, m: m.replace("n=mallory", "n=mall=ory")),
    "escaped comma in the user": on(1, lambda s, m: m.replace("n=mallory", "n=mallory=2Cx")),
    "nonce with a comma": on(1, lambda s, m: m + ",,"),
    "NUL in the first": on(1, lambda s, m: m + "\0"),
    "proof of zeroes": on(2, lambda s, m: resign(s, m.rpartition(",p=")[0])),
    "proof too short": on(2, lambda s, m: m.rpartition(",p=")[0] + ",p=AAAA"),
    "proof too long": on(2, lambda s, m: m.rpartition(",p=")[0] + ",p=" + b64(b"\0" * 64)),
    "proof empty": on(2, lambda s, m: m.rpartition(",p=")[0] + ",p="),
    "proof missing": on(2, lambda s, m: m.rpartition(",p=")[0]),
    "proof not base64": on(2, lambda s, m: m.rpartition(",p=")[0] + ",p=!!!!"),
    "proof twice": on(2, lambda s, m: m + "," + m.rpartition(",")[2]),
    "something behind the proof": on(2, lambda s, m: m + ",x=y"),
    "first again as final": on(2, lambda s, m: s.first().decode()),
    "empty final": on(2, lambda s, m: ""),
    "not UTF-8": lambda s, m, n: m + b"\xff" if n == 1 else m,
}


@pytest.mark.parametrize("kind", TAMPERED)
@pytest.mark.differs("prosody", "it ignores the authorization identity, and its parser takes more")
def test_line_13_tampered_messages_are_refused(server, kind):
    got = asyncio.run(tampered(server, TAMPERED[kind]))
    allowed = {"not-authorized", "malformed-request", "invalid-authzid"}
    if kind == "proof not base64":
        allowed |= {"incorrect-encoding"}
    assert got in allowed, got


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
@pytest.mark.differs("prosody", "0.12 has no -PLUS here")
def test_line_13_the_y_flag_when_plus_was_offered_is_a_downgrade(server, mechanism):
    async def scene():
        client = await opened(server)
        assert f"{mechanism}-PLUS" in client.mechanisms

    asyncio.run(scene())
    got = asyncio.run(tampered(server, lambda s, m, n: m, mechanism=mechanism, binding="y"))
    assert got == "not-authorized", got


def test_line_13_the_y_flag_without_tls_is_honest(server):
    got = asyncio.run(tampered(server, lambda s, m, n: m, binding="y", transport="plain"))
    assert got == "success", got


PLUS = {
    "binding type that is not served": on(1, lambda s, m: m.replace("p=tls-exporter", "p=tls-imaginary")),
    "tls-unique within TLS 1.3": on(1, lambda s, m: m.replace("p=tls-exporter", "p=tls-unique")),
    "flag n": on(1, lambda s, m: m.replace("p=tls-exporter", "n")),
    "flag y": on(1, lambda s, m: m.replace("p=tls-exporter", "y")),
    "binding data left out": on(2, lambda s, m: m.replace(m.split(",")[0], "c=" + b64(s.gs2.encode()))),
    "binding data of zeroes": on(2, lambda s, m: m.replace(m.split(",")[0], "c=" + b64(s.gs2.encode() + b"\0" * 32))),
    "type changed in the final": on(
        2, lambda s, m: m.replace(m.split(",")[0], "c=" + b64(b"p=tls-server-end-point,," + s.bound))
    ),
}


@pytest.mark.parametrize("kind", PLUS)
@pytest.mark.differs("prosody", "0.12 has no -PLUS here")
def test_line_13_tampered_channel_bindings_are_refused(server, kind):
    got = asyncio.run(tampered(server, PLUS[kind], mechanism="SCRAM-SHA-256-PLUS"))
    assert got in {"not-authorized", "malformed-request"}, got


@pytest.mark.parametrize("binding", ["tls-exporter"])
@pytest.mark.differs("prosody", "0.12 has no -PLUS here")
def test_line_13_the_binding_of_another_connection_is_refused(server, binding):
    """A man in the middle has two connections; he can only pass on what the client bound to the other."""

    async def scene():
        client, other = await opened(server), await opened(server)
        scram = Scram("mallory", PASSWORD, "sha256", (binding, other.stream.tls.binding(binding)))
        challenge = await client.sasl(auth("SCRAM-SHA-256-PLUS", scram.first()))
        got = await answer_of(client, response(scram.final(base64.b64decode(challenge.text))))
        assert got == "not-authorized"

    asyncio.run(scene())


def test_line_13_a_replayed_final_is_refused(server):
    async def scene():
        one, two = await opened(server), await opened(server)
        scram = one.scram("SCRAM-SHA-256")
        challenge = await one.sasl(auth("SCRAM-SHA-256", scram.first()))
        final = scram.final(base64.b64decode(challenge.text))
        assert await answer_of(one, response(final)) == "success"
        again = await two.sasl(auth("SCRAM-SHA-256", scram.first()))
        assert base64.b64decode(again.text) != base64.b64decode(challenge.text), "the nonce is not fresh"
        assert await answer_of(two, response(final)) in {"not-authorized", "malformed-request"}

    asyncio.run(scene())


@pytest.mark.differs("prosody", "unknown users get a fresh salt")
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
def test_line_13_an_unknown_user_cannot_be_told_from_a_known_one(server, mechanism):
    """Same shape, same iterations, and a salt that is stable for the name and differs between names."""

    async def challenge(user: str) -> dict[str, str]:
        client = await opened(server, user)
        got = await client.sasl(auth(mechanism, client.scram(mechanism).first()))
        client.cut()
        assert local(got.tag) == "challenge", condition(got)
        return dict(part.split("=", 1) for part in base64.b64decode(got.text).decode().split(","))

    async def scene():
        known = await challenge("mallory")
        ghost, again, other = await challenge("ghost"), await challenge("ghost"), await challenge("phantom")
        capital = await challenge("Ghost")
        assert ghost["s"] == again["s"] == capital["s"]
        assert ghost["s"] != other["s"]
        assert ghost["i"] == known["i"]
        assert len(ghost["s"]) == len(known["s"]) and len(ghost["r"]) == len(known["r"])
        assert list(ghost) == list(known)

    asyncio.run(scene())


@pytest.mark.differs("prosody", "an unknown salt after each start")
def test_line_13_the_fake_salt_outlives_a_restart(fresh):
    """Otherwise a restart tells who exists."""

    async def salt(user: str) -> str:
        client = await opened(fresh, user)
        got = await client.sasl(auth("SCRAM-SHA-256", client.scram("SCRAM-SHA-256").first()))
        return dict(p.split("=", 1) for p in base64.b64decode(got.text).decode().split(","))["s"]

    fresh.start()
    before = asyncio.run(salt("ghost"))
    fresh.restart()
    assert asyncio.run(salt("ghost")) == before


@pytest.mark.differs("prosody", "nothing is done for unknown users")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_line_13_an_unknown_user_takes_as_long(server, mechanism):
    """Medians of interleaved attempts; the key derivation (10,000 rounds) would stand out by milliseconds."""

    async def attempt(user: str) -> float:
        client = Client(server, user, "lair", password="wrong", transport="direct")
        await client.connect()
        started = time.perf_counter()
        if mechanism == "PLAIN":
            await client.sasl(auth("PLAIN", f"\0{user}\0wrong".encode()))
            took = time.perf_counter() - started
        else:
            scram = client.scram(mechanism)
            got = await client.sasl(auth(mechanism, scram.first()))
            took = time.perf_counter() - started
            final = scram.final(base64.b64decode(got.text))
            started = time.perf_counter()
            await client.sasl(response(final))
            took += time.perf_counter() - started
        client.cut()
        return took

    async def scene():
        times: dict[str, list[float]] = {"alice": [], "ghost": []}
        for _ in range(25):
            for user in times:
                times[user].append(await attempt(user))
        known, unknown = (statistics.median(each) for each in times.values())
        shown = f"known {known * 1e3:.2f} ms, unknown {unknown * 1e3:.2f} ms"
        assert abs(known - unknown) < max(0.0015, 0.35 * known), shown

    asyncio.run(scene())
