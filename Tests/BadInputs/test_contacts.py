"""Lines 14, 18, 19, 21, 22, 23 and 38: tokens of resumption, what a client's stream can forge, addresses, rosters, imports."""

import asyncio
import subprocess

import pytest
from support import martlet
from support.attack import at, how_it_ends, outcome
from support.namespaces import CLIENT, SM, local, qname
from support.rawclient import Client, Failure, condition, escape, show

ROSTER = "jabber:iq:roster"
DELAY = "urn:xmpp:delay"


async def here(server, user: str, resource: str = "lair", **options) -> Client:
    client = Client(server, user, resource, transport="plain", **options)
    await client.login()
    return client


def item(inside: str) -> str:
    return f"<query xmlns='{ROSTER}'>{inside}</query>"


async def refusal(client: Client, kind: str, payload: str, to: str | None = None) -> str | None:
    """The condition of the error, None for a result."""
    answer = await client.iq(kind, payload, to=to) if to else await client.iq(kind, payload)
    return None if answer.get("type") == "result" else condition(answer.find(qname(CLIENT, "error")))


async def push(client: Client):
    """The item of the next roster push."""
    iq = await client.take(lambda stanza: stanza.get("type") == "set" and local(stanza.tag) == "iq", "a roster push")
    return iq.find(f"{qname(ROSTER, 'query')}/{qname(ROSTER, 'item')}")


# -- line 14: the tokens of stream management


async def resumable(server, user: str = "mallory") -> Client:
    client = Client(server, user, "lair", transport="plain")
    return await client.login(sm=True)


async def try_to_resume(server, user: str, id: str) -> str:
    client = Client(server, user, "lair", transport="plain")
    await client.connect()
    await client.authenticate()
    answer = await client.ask_to_resume(id=id, h=0)
    client.cut()
    return local(answer.tag)


def test_line_14_ids_of_resumption_are_long_and_never_alike(server):
    async def scene():
        ids = set()
        for _ in range(20):
            client = await resumable(server)
            ids.add(client.sm.id)
            await client.close()
        assert len(ids) == 20
        # 18 bytes of a generator in Base64, perhaps with more before them.
        assert all(len(id) >= 24 for id in ids), ids
        tails = {id[-12:] for id in ids}
        assert len(tails) == 20

    asyncio.run(scene())


def test_line_14_a_guess_and_another_account_get_nothing(server):
    async def scene():
        client = await resumable(server)
        client.cut()
        id = client.sm.id
        for guess in [id[:-1] + ("A" if id[-1] != "A" else "B"), id + "A", id[:-1], id.swapcase(), "A" * len(id), ""]:
            assert await try_to_resume(server, "mallory", guess) == "failed", guess
        assert await try_to_resume(server, "alice", id) == "failed"
        assert await try_to_resume(server, "mallory", id) == "resumed"

    asyncio.run(scene())


def test_line_14_an_id_is_of_no_use_after_logging_out(server):
    async def scene():
        client = await resumable(server)
        await client.close()
        assert await try_to_resume(server, "mallory", client.sm.id) == "failed"

    asyncio.run(scene())


def test_line_14_an_id_is_of_no_use_after_another_password_or_a_kick(fresh):
    fresh.start()

    def command(*arguments: str, input: str = "") -> None:
        subprocess.run([str(martlet.binary()), *arguments, "-c", str(fresh.config_file)], input=input, text=True,
                       check=True, capture_output=True)

    async def scene():
        client = await resumable(fresh)
        client.cut()
        await asyncio.to_thread(command, "kick", client.bare)
        assert await try_to_resume(fresh, "mallory", client.sm.id) == "failed"
        client = await resumable(fresh)
        client.cut()
        await asyncio.to_thread(command, "account", "password", client.bare, input="new\n")
        fresh.passwords["mallory"] = "new"
        assert await try_to_resume(fresh, "mallory", client.sm.id) == "failed"

    asyncio.run(scene())


def test_line_14_an_id_is_of_no_use_after_its_time():
    server = martlet.make({"stream_management": {"resume": "1s"}})
    server.add_accounts({"mallory": "mallorys-password"})
    server.start()

    async def scene():
        watcher = await here(server, "mallory", "watcher")
        await watcher.available()
        client = await resumable(server)
        await client.available()
        client.cut()
        # The session's end is seen, not waited for by the clock.
        await watcher.take(lambda stanza: stanza.get("type") == "unavailable", "the end of the session")
        assert await try_to_resume(server, "mallory", client.sm.id) == "failed"

    try:
        asyncio.run(scene())
    finally:
        server.remove()


# -- line 18: what a client's stream can try of a server's


@pytest.mark.parametrize("sender", [
    "other.example", "mallory@other.example", "mallory@other.example/lair", "alice@{domain}", "{domain}", "",
    "alice@{domain}/home", "mallory@{domain}/another",
])
def test_line_18_a_sender_that_is_not_the_stream_s(server, sender):
    async def scene():
        client = await here(server, "mallory")
        sender_here = sender.format(domain=server.domain)
        data = f"<message from='{sender_here}' to='alice@{server.domain}'><body>x</body></message>"
        assert await outcome(client, data) in {"invalid-from", "open"} - ({"open"} if sender else set())

    asyncio.run(scene())


@pytest.mark.parametrize("data", [
    "<db:result xmlns:db='jabber:server:dialback' from='other.example' to='{domain}'>key</db:result>",
    "<db:verify xmlns:db='jabber:server:dialback' from='other.example' to='{domain}' id='x' type='valid'/>",
    "<handshake xmlns='jabber:component:accept'>00</handshake>",
    "<message xmlns='jabber:server' from='a@other.example' to='alice@{domain}'><body>x</body></message>",
    "<message xmlns='jabber:component:accept' from='a@other.example' to='alice@{domain}'><body>x</body></message>",
    "<bidi xmlns='urn:xmpp:bidi'/>",
])
@pytest.mark.parametrize("stage", ["opened", "bound"])
def test_line_18_the_words_of_servers_and_components(server, stage, data):
    async def scene():
        client = await at(server, stage)
        ended = await outcome(client, data.format(domain=server.domain))
        assert ended in {"unsupported-stanza-type", "invalid-namespace", "invalid-xml", "not-authorized",
                         "policy-violation", "bad-format"}, ended

    asyncio.run(scene())


def test_line_18_nothing_goes_to_domains_that_are_not_here(server):
    async def scene():
        client = await here(server, "mallory")
        for to in ["a@elsewhere.example", "elsewhere.example", "elsewhere.example/x"]:
            client.send(f"<message to='{to}' id='m'><body>x</body></message>")
            answer = await client.message()
            assert condition(answer.find(qname(CLIENT, "error"))) == "remote-server-not-found", show(answer)

    asyncio.run(scene())


# -- line 19: what only a server may say


def test_line_19_stamps_and_ids_in_the_server_s_name_are_taken_out(server):
    async def scene():
        alice = await here(server, "alice", "home")
        mallory = await here(server, "mallory")
        mallory.send(
            f"<message to='{alice.jid}' id='m'><body>x</body>"
            f"<delay xmlns='{DELAY}' from='{server.domain}' stamp='2001-01-01T00:00:00Z'/>"
            f"<delay xmlns='{DELAY}' from='{server.domain.upper()}' stamp='2001-01-01T00:00:00Z'/>"
            f"<stanza-id xmlns='urn:xmpp:sid:0' by='{alice.bare}' id='1'/>"
            f"<stanza-id xmlns='urn:xmpp:sid:0' by='{alice.bare}' id='2'/></message>")
        message = await alice.message()
        # The archive has put its own.
        assert [local(child.tag) for child in message] == ["body", "stanza-id"], show(message)
        assert message[1].get("by") == alice.bare and message[1].get("id") not in ("1", "2")

    asyncio.run(scene())


def test_line_19_a_roster_push_of_a_stranger_does_not_look_like_ours(server):
    """RFC 6121 §8.5.3.1: what is for a client goes to the client, under the address of the one that sends it."""

    async def scene():
        alice = await here(server, "alice", "home")
        mallory = await here(server, "mallory")
        payload = item("<item jid='evil@other.example' subscription='both'/>")
        assert await refusal(mallory, "set", payload, to=alice.bare) == "forbidden"
        assert await refusal(mallory, "set", payload, to=f"{alice.bare}/nowhere") == "service-unavailable"
        await alice.ping()
        assert not alice.stream.events
        mallory.send(f"<iq type='set' id='push' to='{alice.jid}'>{payload}</iq>")
        push = await alice.take(lambda each: each.get("id") == "push", "the push")
        assert push.get("from") == mallory.jid

    asyncio.run(scene())


# -- line 21: addresses


CANONICAL = {
    "ALICE@{DOMAIN}": "alice@{domain}", "Alice@{domain}": "alice@{domain}", "alice@{domain}.": "alice@{domain}",
    "ａｌｉｃｅ@{domain}": "alice@{domain}",
}


@pytest.mark.parametrize("written", CANONICAL)
def test_line_21_one_account_has_one_address(server, written):
    async def scene():
        alice = await here(server, "alice", "home")
        await alice.available()
        mallory = await here(server, "mallory")
        to = written.format(domain=server.domain, DOMAIN=server.domain.upper())
        mallory.send(f"<message to='{to}' type='chat' id='m'><body>x</body></message>")
        assert (await alice.message()).get("id") == "m"
        await refusal(mallory, "get", item(""))
        assert await refusal(mallory, "set", item(f"<item jid='{to}'/>")) is None
        pushed = await push(mallory)
        assert pushed.get("jid") == CANONICAL[written].format(domain=server.domain)
        await refusal(mallory, "set", item(f"<item jid='{to}' subscription='remove'/>"))

    asyncio.run(scene())


@pytest.mark.parametrize("address", [
    "@{domain}", "a@", "@", "/", "a@{domain}/", "a@b@{domain}", "a b@{domain}", "a\u0000".replace("\u0000", "&#x1F;"),
    "a\u202eb@{domain}", "\u200b@{domain}", "a@exa mple.org", "a@-.example", "a@[::1", "a@[::1]]", "a@..",
    "a@xn--zzzzzzzzz", "a@{long}.example", "\u212bngstr\ufe0fm\u0378@{domain}",
    "{part1024}@{domain}", "a@{domain}/{part1024}", "a\"b@{domain}", "a:b@{domain}", "a<b@{domain}", "a'b@{domain}",
])
def test_line_21_what_is_no_address_is_refused(server, address):
    async def scene():
        client = await here(server, "mallory")
        text = address.format(domain=server.domain, long="x" * 64, part1024="x" * 1024)
        escaped = text if "&#" in text else escape(text).replace("'", "&apos;")
        client.send(f"<message to='{escaped}' id='m'><body>x</body></message>")
        try:
            answer = await client.message()
        except Failure:
            # A reference to what XML cannot hold ends the stream.
            assert "&#" in text
            return
        assert condition(answer.find(qname(CLIENT, "error"))) == "jid-malformed", show(answer)

    asyncio.run(scene())


@pytest.mark.parametrize("address", [
    "{part1023}@{domain}", "a@{domain}/{part1023}", "a@{domain}/x/y@z", "a@192.0.2.1", "a@[2001:db8::1]",
    "a@münchen.example", "straße@{domain}", "ς@{domain}", "\u0130x@{domain}", "a\u0301@{domain}",
])
def test_line_21_what_is_an_address_goes_its_way(server, address):
    async def scene():
        client = await here(server, "mallory")
        text = address.format(domain=server.domain, part1023="x" * 1023)
        client.send(f"<message to='{escape(text)}' id='m'><body>x</body></message>")
        answer = await client.message()
        assert condition(answer.find(qname(CLIENT, "error"))) in {
            "service-unavailable", "remote-server-not-found", "item-not-found"}, show(answer)

    asyncio.run(scene())


# -- line 22: rosters


def test_line_22_a_roster_has_an_end(server):
    async def scene():
        client = await here(server, "bob")
        for number in range(1000):
            entry = item(f"<item jid='c{number}@other.example'/>")
            client.send(f"<iq type='set' id='r{number}'>{entry}</iq>")
        assert await refusal(client, "set", item("<item jid='one@too.many.example'/>")) == "resource-constraint"
        client.stream.events.clear()
        client.send("<presence to='two@too.many.example' type='subscribe' id='p'/>")
        answer = await client.take(lambda stanza: stanza.get("type") == "error", "the refusal")
        assert condition(answer.find(qname(CLIENT, "error"))) == "resource-constraint"
        # What is there can still be changed, and removed.
        assert await refusal(client, "set", item("<item jid='c1@other.example' name='One'/>")) is None
        for number in range(1000):
            entry = item(f"<item jid='c{number}@other.example' subscription='remove'/>")
            client.send(f"<iq type='set' id='d{number}'>{entry}</iq>")
        assert await refusal(client, "set", item("<item jid='one@too.many.example' subscription='remove'/>")) == \
            "item-not-found"

    asyncio.run(scene())


@pytest.mark.parametrize("inside, expected", [
    ("<item jid='mallory@{domain}'/>", "not-allowed"), ("<item/>", "bad-request"), ("", "bad-request"),
    ("<item jid='a@b.example'/><item jid='c@b.example'/>", "bad-request"),
    ("<item jid='a@b.example'><group>x</group><group>x</group></item>", "bad-request"),
    ("<item jid='a@b.example'><group/></item>", "not-acceptable"),
    ("<item jid='a@b.example'><group>{big}</group></item>", "not-acceptable"),
    ("<item jid='a@b.example' name='{big}'/>", "not-acceptable"),
    ("<item jid='a@b.example'>{groups}</item>", "not-acceptable"),
    ("<item jid='@'/>", "jid-malformed"), ("<item jid='nobody@b.example' subscription='remove'/>", "item-not-found"),
    ("<other jid='a@b.example'/>", "bad-request"), ("<item xmlns='urn:other' jid='a@b.example'/>", "bad-request"),
])
def test_line_22_items_that_are_refused(server, inside, expected):
    async def scene():
        client = await here(server, "mallory")
        groups = "".join(f"<group>g{number}</group>" for number in range(51))
        payload = item(inside.format(domain=server.domain, big="x" * 5000, groups=groups))
        assert await refusal(client, "set", payload) == expected

    asyncio.run(scene())


def test_line_22_a_group_of_a_megabyte_ends_the_stream(server):
    async def scene():
        client = await at(server, "bound")
        entry = item("<item jid='a@b.example'><group>" + "x" * 1_000_000 + "</group></item>")
        data = f"<iq type='set' id='r'>{entry}</iq>"
        assert await outcome(client, data, pieces=16384) in {"policy-violation", "resource-constraint", "reset"}

    asyncio.run(scene())


def test_line_22_a_subscription_cannot_be_claimed(server):
    async def scene():
        alice = await here(server, "alice", "home")
        await alice.available()
        client = await here(server, "mallory")
        await client.available()
        await refusal(client, "get", item(""))
        for claim in ["both", "from", "to", "nonsense"]:
            payload = item(f"<item jid='{alice.bare}' subscription='{claim}' ask='subscribe' approved='true'/>")
            assert await refusal(client, "set", payload) is None
            pushed = await push(client)
            assert (pushed.get("subscription"), pushed.get("ask"), pushed.get("approved")) == ("none", None, None)
        # An approval of what was never asked for opens nothing either.
        client.send(f"<presence to='{alice.bare}' type='subscribed'/><presence to='{alice.bare}' type='probe'/>")
        await alice.ping()
        client.stream.events.clear()
        await client.ping()
        assert not [e for e in client.stream.events if local(e.tag) == "presence"]
        await refusal(client, "set", item(f"<item jid='{alice.bare}' subscription='remove'/>"))

    asyncio.run(scene())


def test_line_22_a_flood_of_requests_is_kept_once_and_shown_once(server):
    async def scene():
        client = await here(server, "mallory")
        bob = await here(server, "bob", "home")
        await bob.available()
        for number in range(300):
            client.send(f"<presence to='{bob.bare}' type='subscribe' id='s{number}'/>")
        await client.ping()
        await bob.ping()
        await bob.take(lambda stanza: stanza.get("type") == "subscribe", "the request")
        assert not [e for e in bob.stream.events if e.get("type") == "subscribe"]
        bob.send(f"<presence to='{client.bare}' type='unsubscribed'/>")
        await bob.ping()
        client.send(f"<presence to='{bob.bare}' type='unsubscribe'/>")
        await client.ping()
        await refusal(client, "set", item(f"<item jid='{bob.bare}' subscription='remove'/>"))

    asyncio.run(scene())


@pytest.mark.parametrize("version", ["' or 1=1 --", "99999999999999999999999", "-1", "1.1.1", "\U0001f339", "x" * 5000])
def test_line_22_a_version_that_was_never_given_brings_everything(server, version):
    async def scene():
        client = await here(server, "mallory")
        assert await refusal(client, "set", item("<item jid='a@b.example'/>")) is None
        escaped = escape(version).replace("'", "&apos;")
        answer = await client.iq("get", f"<query xmlns='{ROSTER}' ver='{escaped}'/>")
        query = answer.find(qname(ROSTER, "query"))
        assert query is not None and len(query) >= 1, show(answer)
        await refusal(client, "set", item("<item jid='a@b.example' subscription='remove'/>"))

    asyncio.run(scene())


# -- line 23: what presence tells


def test_line_23_nobody_is_left_to_believe_that_the_user_is_there(server):
    """Directed presence beyond what the server remembers is refused rather than forgotten."""
    async def scene():
        client = await here(server, "mallory")
        for number in range(1000):
            client.send(f"<presence to='c{number}@{server.domain}/x'/>")
        client.send(f"<presence to='one.more@{server.domain}/x' id='p'/>")
        answer = await client.take(lambda stanza: stanza.get("type") == "error", "the refusal")
        assert condition(answer.find(qname(CLIENT, "error"))) == "resource-constraint"

    asyncio.run(scene())


# -- line 38: what an import may hold


@pytest.mark.parametrize("line, complaint", [
    ("romeo@elsewhere.example secret", "elsewhere.example"), ("../../etc/passwd secret", "1"), ("@{domain} secret", "1"),
    ("romeo@{domain}", "1"), ("romeo@{domain} SCRAM-SHA-256$1:x$y:z", "1"), ("a b@{domain} secret", "1"),
    ("romeo@{domain} " + "x" * 2000, "1"), ("x" * 100_000, "1"), ("romeo@{domain}/resource secret", "1"),
    ("romeo@{domain} SCRAM-SHA-256$99999999999:c2FsdA==$AAAA:AAAA", "1"), ("rom\x01eo@{domain} secret", "1"),
])
def test_line_38_a_wrong_line_is_told_and_makes_nothing(fresh, line, complaint):
    text = f"{line.format(domain=fresh.domain)}\njuliet@{fresh.domain} fine\n"
    command = [str(martlet.binary()), "account", "import", "-", "-c", str(fresh.config_file)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and complaint in done.stderr, done.stderr
    listed = subprocess.run([*command[:2], "list", "-c", str(fresh.config_file)], capture_output=True, text=True).stdout
    assert sorted(listed.split()) == sorted(f"{user}@{fresh.domain}" for user in ["alice", "bob", "juliet", "mallory"])


@pytest.mark.parametrize("file", ["/", "/nowhere/at/all", "/proc/self/mem"])
def test_line_38_a_file_that_is_none_is_refused(fresh, file):
    command = [str(martlet.binary()), "account", "import", file, "-c", str(fresh.config_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and done.stderr.strip()
