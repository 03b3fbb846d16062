"""Opening and closing of streams (RFC 6120, sections 4 to 7): what the server's side of the conversation must be."""

import asyncio
import base64
import xml.etree.ElementTree as ET

import pytest
from support.attack import header
from support.namespaces import BIND, SASL, STREAMS, TLS, qname
from support.rawclient import Client, Closed, Ended, Failure, Opened, condition, encode, show, stream_error

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


@pytest.mark.differs("prosody", "its answer is to the full address")
def test_the_client_may_say_who_it_is(server, romeo):
    """Section 4.7.2: the answer is then to its bare address, and to nobody if the client said nothing. Section 4.7.3:
    the id is the server's affair."""
    async def scene():
        bare = f"{romeo}@{server.domain}"
        for attributes, to in [({"from": bare}, bare), ({"from": f"{bare}/desk"}, bare), ({"id": "mine"}, None)]:
            client, answer = await opened(server, romeo, **attributes)
            assert answer.attributes.get("to") == to
            assert answer.attributes.get("id") != "mine"
            client.cut()

    play(scene())


@pytest.mark.parametrize("version, answered", [("0.9", "0.9"), (None, None)])
@pytest.mark.differs("prosody", "it serves old versions, as 1.0")
def test_an_older_version_is_answered_in_kind_and_refused(server, romeo, version, answered):
    async def scene():
        client, answer = await opened(server, romeo, version=version)
        assert answer.attributes.get("version") == answered
        assert stream_error(await client.stream.next("an error")) == "unsupported-version"

    play(scene())


@pytest.mark.parametrize("version, answered", [("1.0", "1.0"), ("1.7", "1.0"), ("1.13", "1.0"), ("2.0", "1.0"),
                                               ("01.00", "1.0")])
def test_the_lower_version_is_spoken(server, romeo, version, answered):
    """Section 4.7.5: numbers, not texts."""
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


@pytest.mark.differs("prosody", "it answers in the name of the host that it does not know")
def test_an_error_during_the_opening_comes_within_a_stream(server, romeo):
    """Section 4.9.1.2: the header first, then the error, then the end."""
    async def scene():
        client, answer = await opened(server, romeo, to="elsewhere.example")
        assert answer.attributes.get("id") and answer.attributes.get("version") == "1.0"
        assert answer.attributes.get("from") == server.domain and answer.attributes.get(LANG)
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
        client, answer = await opened(server, romeo, **attributes)
        # Section 4.9.1.3: a host of the server, or nobody.
        assert answer.attributes.get("from") in (server.domain, "")
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


@pytest.mark.parametrize("opening", [
    "<stream xmlns='{STREAMS}' to='{domain}' version='1.0'>",
    "<s:stream xmlns:s='{STREAMS}' xmlns='jabber:client' to='{domain}' version='1.0'>",
    "<?xml version='1.0' standalone='no'?><stream:stream xmlns:stream='{STREAMS}' xmlns='jabber:client' to='{domain}' "
    "version='1.0'>",
    "<?xml version='1.0' encoding='utf-8'?><stream:stream xmlns:stream='{STREAMS}' xmlns='jabber:client' "
    "xmlns:a='urn:example:a' to='{domain}' version='1.0'>",
])
def test_a_header_may_be_written_in_other_ways(server, romeo, opening):
    """Sections 4.8.2, 4.8.5 and 11.5. What the header declares is declared again where it is passed on."""
    async def scene():
        juliet = await Client(server, "juliet.streams", "desk", transport="plain").login()
        client = Client(server, romeo, "desk", transport="plain")

        async def again(to=None):
            client.stream.restart()
            client.stream.write(opening.format(STREAMS=STREAMS, domain=server.domain))
            client.header = await client.stream.next("the server's header")
            client.features = await client.stream.next("features")

        client.open = again
        await client.connect()
        await client.authenticate()
        client.stream.write(f"<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='{BIND}'/></iq>")
        assert (await client.next()).get("type") == "result"
        prefix = "a:x" if "xmlns:a" in opening else "x xmlns='urn:example:a'"
        client.stream.write(f"<c:message xmlns:c='jabber:client' to='{juliet.jid}'><c:body>b</c:body><{prefix}/>"
                            "</c:message>")
        message = await juliet.message()
        # Behind them may be the id of the archive.
        assert [each.tag for each in message][:2] == ["{jabber:client}body", "{urn:example:a}x"]
        assert ":message" not in juliet.stream.trace[-1] and ":body" not in juliet.stream.trace[-1]
        await juliet.close()
        client.cut()

    play(scene())


@pytest.mark.differs("prosody", "it ignores the command on a bound stream")
def test_starttls_has_its_own_failure_at_every_stage(server, romeo):
    """Section 5.4.2.2: a failure of TLS, then the end."""
    async def scene():
        for stage in ["opened", "authenticated", "bound"]:
            client = await Client(server, romeo, "desk", transport="plain").connect()
            if stage != "opened":
                await client.authenticate()
            if stage == "bound":
                await client.bind()
            client.stream.write(f"<starttls xmlns='{TLS}'/>")
            failure, *rest = await client.stream.ends()
            assert failure.tag == qname(TLS, "failure") and len(failure) == 0, stage
            assert [type(each) for each in rest] == [Closed], stage

    play(scene())


@pytest.mark.differs("prosody", "it does not compare")
def test_who_opens_the_stream_as_somebody_else_is_not_let_in(server, romeo):
    """Section 6.4.6: the `from` of a header over TLS has to be who authenticates."""
    async def scene():
        for name, is_fine in [(romeo, True), ("juliet.streams", False)]:
            client = Client(server, romeo, "desk", transport="starttls")
            await client.connect()
            client.cut()
            fresh = Client(server, romeo, "desk", transport="direct")
            fresh.stream = await type(client.stream).connect(server.address, server.ports["direct"])
            await fresh.stream.start_tls(fresh._tls_context(), fresh.domain, [b"xmpp-client"])
            fresh.stream.restart()
            fresh.stream.write(header(server, **{"from": f"{name}@{server.domain}"}))
            await fresh.stream.next("a header")
            await fresh.stream.next("features")
            initial = encode(f"\0{romeo}\0{fresh.password}".encode())
            answer = await fresh.sasl(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{initial}</auth>")
            assert answer.tag == qname(SASL, "success" if is_fine else "failure"), show(answer)
            if not is_fine:
                assert await fresh.ended_by() == "invalid-from"
            fresh.cut()

    play(scene())


def test_a_second_auth_takes_the_place_of_the_first(server, romeo):
    """Section 6.4.2."""
    async def scene():
        client = await Client(server, romeo, "desk", transport="starttls").connect()
        first = client.scram("SCRAM-SHA-256")
        answer = await client.sasl(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{encode(first.first())}</auth>")
        assert answer.tag == qname(SASL, "challenge")
        await client.authenticate("SCRAM-SHA-1")
        assert await client.bind()
        await client.close()

    play(scene())


@pytest.mark.parametrize("empty", ["", "="])
@pytest.mark.differs("prosody", "it wants the first message with the mechanism")
def test_the_first_message_may_come_after_the_mechanism(server, romeo, empty):
    """Section 6.3.10: the less efficient way works as well. A challenge without data is answered with the data."""
    async def scene():
        for mechanism in ["PLAIN", "SCRAM-SHA-1"]:
            client = await Client(server, romeo, "desk", transport="starttls").connect()
            answer = await client.sasl(f"<auth xmlns='{SASL}' mechanism='{mechanism}'/>")
            assert answer.tag == qname(SASL, "challenge") and not answer.text
            if empty:
                answer = await client.sasl(f"<response xmlns='{SASL}'>{empty}</response>")
                assert condition(answer) == "malformed-request"
                answer = await client.sasl(f"<auth xmlns='{SASL}' mechanism='{mechanism}'/>")
            scram = client.scram("SCRAM-SHA-1")
            data = f"\0{romeo}\0{client.password}".encode() if mechanism == "PLAIN" else scram.first()
            answer = await client.sasl(f"<response xmlns='{SASL}'>{encode(data)}</response>")
            if mechanism != "PLAIN":
                final = scram.final(base64.b64decode(answer.text))
                answer = await client.sasl(f"<response xmlns='{SASL}'>{encode(final)}</response>")
                scram.verify(base64.b64decode(answer.text))
            assert answer.tag == qname(SASL, "success"), show(answer)
            await client.open()
            client.cut()

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


@pytest.mark.differs("prosody", "it lets one ask for ever, and makes a resource of its own")
def test_requests_to_bind_are_counted(server, romeo):
    """Section 7.7.3: five to ten further attempts, then the end."""
    async def scene():
        client = await Client(server, romeo, "desk", transport="plain").connect()
        await client.authenticate()
        for number in range(20):
            client.send(f"<iq type='set' id='{number}'><bind xmlns='{BIND}'><resource>&#x202e;</resource></bind></iq>")
        events = await client.stream.ends()
        answers = [each for each in events if isinstance(each, ET.Element) and each.tag.endswith("}iq")]
        assert all(condition(each.find("{*}error")) == "bad-request" for each in answers)
        assert 6 <= len(answers) <= 11
        assert stream_error(events[len(answers)]) == "policy-violation"

    play(scene())


@pytest.mark.parametrize("request_, answer", [
    ("<iq type='set' id='1'><bind xmlns='{BIND}'/><x xmlns='urn:example:x'/></iq>", "bad-request"),
    ("<iq type='get' id='1'><bind xmlns='{BIND}'/></iq>", "bad-request"),
    ("<iq type='result' id='1'><bind xmlns='{BIND}'/></iq>", "not-authorized"),
    ("<iq type='set' id='1' to='juliet.streams@{domain}'><bind xmlns='{BIND}'/></iq>", "not-authorized"),
    ("<iq type='set' id='1' to='{domain}'><bind xmlns='{BIND}'/></iq>", "result"),
])
@pytest.mark.differs("prosody", "it takes what is close enough")
def test_what_binds_is_a_request_to_the_server(server, romeo, request_, answer):
    """Section 7.1, and 8.2.3 for every IQ."""
    async def scene():
        client = await Client(server, romeo, "desk", transport="plain").connect()
        await client.authenticate()
        client.send(request_.format(BIND=BIND, domain=server.domain))
        event = await client.next("an answer")
        if answer == "not-authorized":
            assert stream_error(event) == answer
        else:
            error = event.find("{*}error")
            assert event.get("id") == "1"
            assert (event.get("type") if error is None else condition(error)) == answer
        client.cut()

    play(scene())


@pytest.mark.differs("prosody", "it closes the stream")
def test_an_account_that_is_gone_binds_nothing(server, romeo):
    """Section 7.6.2.2: not-allowed."""
    server.add_accounts({"mercutio.streams": "pass-mercutio"})

    async def scene():
        client = await Client(server, "mercutio.streams", "desk", transport="plain").connect()
        await client.authenticate()
        await asyncio.to_thread(
            server.run, "account", "remove", f"mercutio.streams@{server.domain}", "-c", str(server.config_file))
        try:
            await client.bind()
        except Failure as failure:
            assert "not-allowed" in str(failure)
        else:
            raise AssertionError("bound")
        client.cut()

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


@pytest.mark.parametrize("xml, expected", [
    ("<message xmlns='jabber:server' to='{juliet}'><body>x</body></message>", "invalid-namespace"),
    ("<message xmlns='jabber:component:accept' to='{juliet}'><body>x</body></message>", "invalid-namespace"),
    ("<message xmlns='urn:example:x' to='{juliet}'><body>x</body></message>", "unsupported-stanza-type"),
    ("<pubsub to='{juliet}'/>", "unsupported-stanza-type"),
    ("<auth xmlns='{SASL}' mechanism='PLAIN'/>", "unsupported-stanza-type"),
    ("<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>", "no error"),
])
@pytest.mark.differs("prosody", "it answers or ignores some of them")
def test_what_is_no_stanza_is_named_for_what_it_is(server, romeo, xml, expected):
    """Sections 4.8.3 and 4.8.4: nothing of it is passed on."""
    async def scene():
        juliet = await Client(server, "juliet.streams", "desk", transport="plain").login()
        await juliet.available()
        client = await Client(server, romeo, "desk", transport="plain").login()
        client.stream.write(xml.format(juliet=juliet.jid, SASL=SASL))
        assert await client.ended_by() == expected
        await juliet.ping()
        assert not juliet.stream.events
        await juliet.close()

    play(scene())


@pytest.mark.differs("prosody", "its answers differ")
def test_a_stanza_error_keeps_what_the_sender_needs(server, romeo):
    """Sections 8.1.3, 8.3.1 and 8.3.2: the id, empty where an IQ had none, and the language of the text."""
    async def scene():
        client = await Client(server, romeo, "desk", transport="plain").login()
        for number, (xml, id) in enumerate([
            ("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>", ""), ("<iq type='x' id='a'/>", "a"),
            ("<message id='b' to='@'/>", "b"), ("<message to='@'/>", None), ("<presence type='x' id='c'/>", "c"),
        ]):
            client.send(xml)
            answer = await client.next()
            assert answer.get("type") == "error" and answer.get("id") == id, show(answer)
            assert answer.get("to") in (None, client.jid) and answer.get("from") in (None, client.bare), show(answer)
            text = answer.find("{*}error/{*}text")
            assert text is None or text.get(LANG) == "en", show(answer)
        await client.close()

    play(scene())


def test_whether_somebody_is_there_shows_in_no_error(server, romeo):
    """Section 13.10.2: the same refusal for an account, for each of its resources, and for nobody."""
    async def scene():
        juliet = await Client(server, "juliet.streams", "desk", transport="plain").login()
        await juliet.available()
        client = await Client(server, romeo, "desk", transport="plain").login()
        seen = set()
        for to in ["juliet.streams", "juliet.streams/absent", "nobody.streams", "nobody.streams/desk"]:
            user, slash, resource = to.partition("/")
            address = f"{user}@{server.domain}{slash}{resource}"
            answer = await client.iq("get", "<query xmlns='urn:example:unknown'/>", to=address)
            assert answer.get("from") == address
            seen.add(show(answer.find("{*}error")))
        assert len(seen) == 1 and "service-unavailable" in seen.pop()
        await client.close()
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
