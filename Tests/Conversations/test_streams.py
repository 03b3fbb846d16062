"""Opening and closing of streams (RFC 6120, sections 4 to 7): what the server's side of the conversation must be."""

import asyncio
import xml.etree.ElementTree as ET

import pytest
from support.attack import header
from support.namespaces import BIND, SASL, STREAMS, TLS, qname
from support.rawclient import Client, Closed, Ended, Opened, show, stream_error

LANG = "{http://www.w3.org/XML/1998/namespace}lang"


@pytest.fixture
def romeo(server):
    """An account that no scene has."""
    server.add_accounts({"romeo.streams": "pass-romeo", "juliet.streams": "pass-juliet"})
    return "romeo.streams"


def play(scene) -> None:
    asyncio.run(asyncio.wait_for(scene, 60))


async def opened(server, romeo: str, transport: str = "plain", **attributes):
    """A client that has sent a header with these attributes and taken the server's."""
    client = Client(server, romeo, "desk", transport=transport)
    await client.connect()
    client.cut()
    fresh = Client(server, romeo, "desk", transport=transport)
    fresh.stream = await type(client.stream).connect(server.address, server.ports[transport])
    fresh.stream.restart()
    fresh.stream.write(header(server, **attributes))
    answer = await fresh.stream.next("the server's header")
    assert isinstance(answer, Opened), show(answer)
    return fresh, answer


@pytest.mark.parametrize("transport", ["plain", "starttls", "direct"])
def test_the_answer_has_a_from_an_id_a_version_and_a_language(server, romeo, transport):
    async def scene():
        client = await Client(server, romeo, "desk", transport=transport).connect()
        seen = [client.header]
        await client.authenticate()
        seen.append(client.header)
        for answer in seen:
            assert answer.attributes.get("from") == server.domain
            assert answer.attributes.get("version") == "1.0"
            assert answer.attributes.get(LANG)
            assert len(answer.attributes.get("id")) >= 16
        assert len({answer.attributes.get("id") for answer in seen}) == len(seen)
        await client.close()

    play(scene())


def test_ids_of_streams_never_repeat(server, romeo):
    async def scene():
        ids = set()
        for _ in range(30):
            client = await Client(server, romeo, transport="plain").connect()
            ids.add(client.header.attributes.get("id"))
            client.cut()
        assert len(ids) == 30

    play(scene())


def test_the_client_may_say_who_it_is(server, romeo):
    """Section 4.7.2: the answer is then addressed to it, if it is addressed at all."""
    async def scene():
        client, answer = await opened(server, romeo, **{"from": f"{romeo}@{server.domain}"})
        assert answer.attributes.get("to") in (None, f"{romeo}@{server.domain}")
        client.cut()

    play(scene())


@pytest.mark.parametrize("version, answered", [("1.0", "1.0"), ("1.7", "1.0"), ("2.0", "1.0")])
def test_the_lower_version_is_spoken(server, romeo, version, answered):
    async def scene():
        client, answer = await opened(server, romeo, version=version)
        assert answer.attributes.get("version") == answered
        features = await client.stream.next("features")
        assert isinstance(features, ET.Element) and features.tag == qname(STREAMS, "features")
        client.cut()

    play(scene())


@pytest.mark.parametrize("stage", ["connected", "authenticated", "bound"])
def test_a_closed_stream_is_closed_by_the_server_too(server, romeo, stage):
    """Section 4.4: also with stanzas on their way, which are still handled."""
    async def scene():
        client = await Client(server, romeo, "desk", transport="starttls").connect()
        if stage != "connected":
            await client.authenticate()
        if stage == "bound":
            await client.bind()
            client.send("<iq type='get' id='last'><query xmlns='jabber:iq:roster'/></iq>")
        left = await client.close()
        stanzas = [each for each in left if isinstance(each, ET.Element)]
        assert [each.get("id") for each in stanzas] == (["last"] if stage == "bound" else [])

    play(scene())


def test_an_error_during_the_opening_comes_within_a_stream(server, romeo):
    """Section 4.9.1.2: the header first, then the error, then the end."""
    async def scene():
        client, answer = await opened(server, romeo, to="elsewhere.example")
        assert answer.attributes.get("id") and answer.attributes.get("version") == "1.0"
        error = await client.stream.next("an error")
        assert stream_error(error) == "host-unknown"
        assert isinstance(await client.stream.next("the end"), (Closed, Ended))

    play(scene())


@pytest.mark.parametrize("attributes, conditions", [
    ({"xmlns:stream": "urn:example:wrong"}, {"invalid-namespace"}),
    ({"xmlns": "urn:example:wrong"}, {"invalid-namespace"}),
    ({"to": None}, {"host-unknown", "improper-addressing"}),
    ({"to": "@"}, {"host-unknown", "improper-addressing"}),
])
@pytest.mark.differs("prosody", "it says not-well-formed for another content namespace")
def test_a_header_that_cannot_be_served_names_its_mistake(server, romeo, attributes, conditions):
    async def scene():
        client, _ = await opened(server, romeo, **attributes)
        event = await client.stream.next("an error")
        if isinstance(event, ET.Element) and event.tag == qname(STREAMS, "features"):
            event = await client.stream.next("an error")
        assert stream_error(event) in conditions

    play(scene())


def test_after_starttls_the_client_starts_anew(server, romeo):
    """Section 5.4.3.3: a new header, new features, no more STARTTLS; a second one is refused."""
    async def scene():
        client = await Client(server, romeo, "desk", transport="starttls").connect()
        assert client.features.find(qname(TLS, "starttls")) is None
        assert client.mechanisms
        client.stream.write(f"<starttls xmlns='{TLS}'/>")
        event = await client.stream.next("a refusal")
        assert not (isinstance(event, ET.Element) and event.tag == qname(TLS, "proceed")), show(event)

    play(scene())


@pytest.mark.differs("prosody", "it has them in no order")
def test_mechanisms_are_in_the_order_of_preference_and_never_empty(server, romeo):
    """Section 6.3.3 and 6.4.1: something to choose, the strongest first."""
    async def scene():
        client = await Client(server, romeo, "desk", transport="starttls").connect()
        offered = client.mechanisms
        assert len(offered) == len(set(offered)) > 0
        if "PLAIN" in offered:
            assert offered[-1] == "PLAIN"
        client.cut()

    play(scene())


@pytest.mark.differs("prosody", "it handles stanzas of a stream without a resource")
def test_binding_is_offered_after_authentication_and_demanded_before_stanzas(server, romeo):
    """Section 7.4 and 7.1."""
    async def scene():
        client = await Client(server, romeo, "desk", transport="starttls").connect()
        assert client.features.find(qname(BIND, "bind")) is None
        await client.authenticate()
        assert client.features.find(qname(BIND, "bind")) is not None
        assert client.features.find(qname(SASL, "mechanisms")) is None
        client.send("<presence/>")
        assert await client.ended_by() == "not-authorized"

    play(scene())


def test_a_bound_resource_is_told_as_a_full_address(server, romeo):
    """Section 7.6.1 and 7.7.1: in the result, and it is the one that others see."""
    async def scene():
        first = Client(server, romeo, "", transport="starttls")
        await first.connect()
        await first.authenticate()
        await first.bind()
        second = Client(server, romeo, "", transport="starttls")
        await second.connect()
        await second.authenticate()
        await second.bind()
        assert first.jid != second.jid
        for each in (first, second):
            assert each.jid.startswith(f"{romeo}@{server.domain}/") and len(each.jid.partition("/")[2]) >= 8
        first.send(f"<message to='{second.jid}' id='1'><body>x</body></message>")
        assert (await second.message()).get("from") == first.jid
        await first.close()
        await second.close()

    play(scene())


def test_the_language_of_the_stream_is_that_of_stanzas_without_one(server, romeo):
    """Sections 4.7.4 and 8.1.5: what a stanza says of itself stays, and what it does not say it gets."""
    async def scene():
        juliet = await Client(server, "juliet.streams", "desk", transport="plain").login()
        sender = Client(server, romeo, "desk", transport="plain")
        sender.language = "de"
        await sender.login()
        sender.send(f"<message to='{juliet.jid}' id='1'><body>a</body></message>"
                    f"<message to='{juliet.jid}' id='2' xml:lang='fr'><body>b</body></message>")
        assert [(await juliet.message()).get(LANG) for _ in range(2)] == ["de", "fr"]
        await sender.close()
        await juliet.close()

    play(scene())


def test_a_client_of_the_old_days_may_ask_for_a_session(server, romeo):
    """RFC 3921, section 3, is gone from RFC 6121, but libraries that ask for it leave when they are refused. It is
    advertised as optional, and the answer is a result."""
    async def scene():
        client = await Client(server, romeo, "desk", transport="starttls").connect()
        await client.authenticate()
        session = "urn:ietf:params:xml:ns:xmpp-session"
        feature = client.features.find(qname(session, "session"))
        assert feature is not None and feature.find(qname(session, "optional")) is not None, show(client.features)
        await client.bind()
        answer = await client.iq("set", f"<session xmlns='{session}'/>")
        assert answer.get("type") == "result", show(answer)
        await client.close()

    play(scene())
