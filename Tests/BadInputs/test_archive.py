"""Lines 19, 23, 26, 30 and 36, as far as they meet archives of messages (XEP-0313, XEP-0441)."""

import asyncio
import itertools

import pytest
from support.archive import FORMS, IDS, MAM, RSM, archive_id, ask, everything, query
from support.namespaces import CLIENT, qname
from support.rawclient import Client, condition, escape, show

pytestmark = [pytest.mark.differs("prosody", "its archive is not loaded")]

HOSTILE = ["' OR '1'='1", "'; DROP TABLE archive; --", "\"", "%", "_", "\\", "a' UNION SELECT 1--", "1; 1", "*", "?1",
           ":id", "0x10", "1e3", "+1", "-1", " 1", "1 ", "01", "١٢", "9223372036854775807", "9223372036854775808",
           "99999999999999999999999999", "\u202e1", "\U0001f339", "x" * 5000]
ODD = ["a'b", 'a"b', "a;b", "a%b", "a_b", "a\\b", "a--b", "100%", "\u00e1", "\U0001f339", "a b", "%", "_"]

numbers = itertools.count(1)


@pytest.fixture
def two(server):
    """Two accounts with empty archives, one more that has nothing to do with them."""
    number = next(numbers)
    names = [f"{each}.archive{number}" for each in ("writer", "reader", "other")]
    server.add_accounts({name: f"pass-{name}" for name in names})
    return names


async def here(server, user: str, resource: str = "lair", **options) -> Client:
    client = Client(server, user, resource, transport="plain")
    await client.login(**options)
    return client


async def filled(server, two, count: int, size: int = 1) -> Client:
    """The reader, with messages of the writer in its archive. They are not delivered, and wait nowhere."""
    writer, reader = await here(server, two[0], sm=True), await here(server, two[1])
    await reader.available()
    for number in range(count):
        body = f"{number}{'x' * size}"
        writer.send(f"<message to='{reader.jid}' type='chat' id='m{number}'><body>{body}</body></message>")
        assert (await reader.message()).get("id") == f"m{number}"
    await writer.acknowledged()
    await writer.close()
    return reader


async def refusal(client: Client, payload: str, kind: str = "set", to: str | None = None) -> str | None:
    answer = await client.iq(kind, payload, to=to)
    return None if answer.get("type") == "result" else condition(answer.find(qname(CLIENT, "error")))


# -- line 19


def test_line_19_ids_that_claim_to_be_of_an_archive_are_replaced_by_its_own(server, two):
    """In what arrives, in both archives, and whatever their number; nothing of the sender's archive goes out."""

    async def scene():
        writer, reader = await here(server, two[0]), await here(server, two[1])
        await reader.available()
        claims = "".join(
            f"<stanza-id xmlns='{IDS}' by='{by}' id='{id}'/>" for by in
            (reader.bare, reader.bare, reader.jid, writer.bare, writer.bare, writer.jid, server.domain,
             reader.bare.upper(), f" {reader.bare} ") for id in ("1", "forged")
        )
        writer.send(f"<message to='{reader.jid}' type='chat' id='f'>{claims}<body>x</body>{claims}</message>")
        got = await reader.message()
        id = archive_id(got, reader.bare)
        assert id and id not in ("1", "forged") and archive_id(got, writer.bare) is None, show(got)
        for client, other in (reader, writer), (writer, reader):
            (found,) = (await ask(client, query())).rows
            assert archive_id(found.message, client.bare) == found.id, show(found.message)
            assert archive_id(found.message, other.bare) is None, show(found.message)
        assert (await ask(reader, query())).ids == [id]

    asyncio.run(scene())


def test_line_19_a_result_of_a_stranger_has_the_strangers_address(server, two):
    async def scene():
        writer, reader = await here(server, two[0]), await here(server, two[1])
        await reader.available()
        forged = (f"<result xmlns='{MAM}' queryid='f27' id='1'><forwarded xmlns='urn:xmpp:forward:0'><message "
                  f"xmlns='jabber:client' from='{two[2]}@{server.domain}' to='{reader.bare}' type='chat'>"
                  "<body>forged</body></message></forwarded></result>")
        writer.send(f"<message to='{reader.jid}' type='chat' id='f'>{forged}</message>"
                    f"<message to='{reader.jid}' id='end'><body>end</body></message>")
        while (got := await reader.message()).get("id") != "end":
            assert got.get("from") == writer.jid
        for row in (await ask(reader, query())).rows:
            assert row.message.get("from") == writer.jid

    asyncio.run(scene())


def test_line_19_delays_that_claim_to_be_the_servers_are_in_no_archive(server, two):
    async def scene():
        writer, reader = await here(server, two[0]), await here(server, two[1])
        claim = f"<delay xmlns='urn:xmpp:delay' from='{server.domain}' stamp='2002-09-10T23:08:25Z'/>"
        writer.send(f"<message to='{reader.bare}' type='chat'>{claim}<body>x</body>{claim}</message>")
        await writer.ping()
        for client in (reader, writer):
            (found,) = (await ask(client, query())).rows
            assert found.message.find(qname("urn:xmpp:delay", "delay")) is None, show(found.message)

    asyncio.run(scene())


def test_line_19_a_message_within_a_message_stays_within_it(server, two):
    """What looks like the end of a stored message, and what stands behind it, is text."""

    async def scene():
        writer, reader = await here(server, two[0]), await here(server, two[1])
        texts = ["</message>", "<stanza-id/></message>", "]]>", "&amp;", "a\r\nb\tc",
                 "</forwarded></result></message><message>"]
        for text in texts:
            writer.send(f"<message to='{reader.bare}' type='chat'><body>{escape(text)}</body></message>".replace(
                "\r", "&#13;").replace("]]>", "]]&gt;"))
        writer.send(f"<message to='{reader.bare}' type='chat'><message xmlns='urn:x'><message/></message></message>")
        await writer.ping()
        page = await ask(reader, query())
        assert page.bodies == [*texts, None]
        assert page.rows[-1].message.find("{urn:x}message/{urn:x}message") is not None

    asyncio.run(scene())


# -- line 23


@pytest.mark.parametrize("kind, payload", [
    ("set", query()), ("get", query()), ("set", query({"with": "a@b"}, max=1)), ("set", query(after="1")),
    ("set", query({"nonsense": "1"})), ("set", query(max="x")), ("get", f"<metadata xmlns='{MAM}'/>"),
    ("get", f"<prefs xmlns='{MAM}'/>"), ("set", f"<prefs xmlns='{MAM}' default='never'/>"),
    ("set", f"<prefs xmlns='{MAM}' default='x'/>"),
])
def test_line_23_archives_of_others_are_the_same_whether_they_exist_or_not(server, two, kind, payload):
    """Word for word, for full ones, for those of another host of this server, and for the host itself."""

    async def scene():
        reader = await filled(server, two, 1)
        mallory = await here(server, two[2])

        async def answer(to: str) -> tuple:
            found = await mallory.iq(kind, payload, to=to)
            assert found.get("type") == "error" and found.get("from") == to, show(found)
            return show(found).replace(to, "…").replace(found.get("id"), "…")

        for suffix in ("", "/absent"):
            known = await answer(reader.bare + suffix)
            assert known == await answer(f"nobody.there@{server.domain}{suffix}")
        assert await answer("nobody@other.example") == await answer("somebody@other.example")
        assert await answer(server.domain) and await answer("other.example")
        assert not [each for each in mallory.stream.events if each.tag == qname(CLIENT, "message")]
        assert (await ask(reader, query())).bodies == ["0x"]
        await reader.close()

    asyncio.run(scene())


def test_line_23_who_asks_for_the_archive_of_another_is_told_that_it_is_forbidden(server, two):
    """XEP-0313, section 8.1, whether there is one or not."""

    async def scene():
        mallory = await here(server, two[2])
        for to in (f"{two[1]}@{server.domain}", f"nobody.there@{server.domain}"):
            assert await refusal(mallory, query(), to=to) == "forbidden"

    asyncio.run(scene())


# -- line 26


def test_line_26_ids_cannot_be_guessed(server, two):
    """XEP-0313, section 2: whoever sends a message knows its id in the own archive, and not the one in the other."""

    async def scene():
        reader = await filled(server, two, 10)
        writer = await here(server, two[0])
        theirs, own = (await ask(reader, query())).ids, (await ask(writer, query())).ids
        near = [int(own[number]) + step for number in range(10) for step in range(-100, 100) if own[number].isdigit()]
        assert not set(theirs) & {str(number) for number in near}

    asyncio.run(scene())


@pytest.mark.parametrize("value", ["-1", "+1", "1.5", "one", "0x10", "١", "1 0", "'", "1e3", "NaN"])
@pytest.mark.parametrize("name", ["max", "index"])
def test_line_26_numbers_that_are_none_are_refused(server, two, name, value):
    async def scene():
        reader = await filled(server, two, 3)
        page = await ask(reader, query(**{name: value}))
        assert page.error == "bad-request" and not page.rows
        assert len((await ask(reader, query())).rows) == 3

    asyncio.run(scene())


@pytest.mark.parametrize("value", [
    "10000000", "2147483648", "9223372036854775807", "18446744073709551616", "9" * 4000, "007",
])
def test_line_26_a_page_is_never_larger_than_the_server_likes(server, two, value):
    async def scene():
        reader = await filled(server, two, 120)
        page = await ask(reader, query(max=value))
        assert page.error or len(page.rows) == min(100, int(value)) and not page.complete
        last = await ask(reader, query(max=value, before=""))
        assert page.error == last.error
        assert page.error or [row.body for row in last.rows][-1] == "119x"

    asyncio.run(scene())


@pytest.mark.parametrize("where", ["after", "before", "after-id", "before-id", "ids"])
def test_line_26_ids_that_are_not_of_this_archive_are_not_found(server, two, where):
    """Unknown ones, those of another archive, those with metacharacters, and one beside one that is known."""

    def asking(id: str, known: str) -> list[str]:
        if where in ("after", "before"):
            return [query(**{where: id}), query(**{where: id, "max": 0})]
        if where == "ids":
            return [query({where: [id]}), query({where: [known, id]}), query({where: [id, known]}, max=0)]
        return [query({where: id}), query({where: id, "with": "a@b"}, max=0)]

    async def scene():
        reader = await filled(server, two, 3)
        writer = await here(server, two[0])
        own, foreign = (await ask(reader, query())).ids, (await ask(writer, query())).ids
        known = own[0]
        for id in [*HOSTILE, *foreign, known + "0", "0" + known, "+" + known, f" {known}", known[:-1]]:
            if id in own:
                continue
            for payload in asking(id, known):
                page = await ask(reader, payload)
                assert page.error == "item-not-found" and not page.rows, (id, page)
        assert len((await ask(reader, query())).rows) == 3

    asyncio.run(scene())


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize("value", [
    *[each for each in HOSTILE if each.strip()], "yesterday", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z",
    "2026-11-28", "2026-11-28T25:00:00Z", "2026-11-28T00:00:00", "20261128T00:00:00Z", "2026-11-28T00:00:00.Z",
    "2026-11-28T00:00:00+99:99", "1764288000", "-0001-01-01T00:00:00Z", "+2026-11-28T00:00:00Z",
])
def test_line_26_times_that_are_none_are_refused(server, two, name, value):
    async def scene():
        reader = await here(server, two[1])
        assert (await ask(reader, query({name: value}))).error == "bad-request"

    asyncio.run(scene())


@pytest.mark.parametrize("value, is_past", [
    ("0001-01-01T00:00:00Z", True), ("1582-10-14T23:59:59Z", True), ("1969-12-31T23:59:59.999Z", True),
    ("1970-01-01T00:00:00Z", True), ("2016-12-31T23:59:60Z", True), ("2020-02-29T12:00:00.123456789Z", True),
    ("2020-02-29T12:00:00-12:00", True), ("2038-01-19T03:14:08Z", False), ("9999-12-31T23:59:59.999Z", False),
    ("0000-01-01T00:00:00Z", True), ("2999-12-31T23:59:59+14:00", False),
])
def test_line_26_times_far_away_are_times_or_refused(server, two, value, is_past):
    async def scene():
        reader = await filled(server, two, 2)
        for name in ("start", "end"):
            page = await ask(reader, query({name: value}))
            assert page.error in (None, "bad-request")
            assert page.error or len(page.rows) == (2 if is_past == (name == "start") else 0), (name, page)

    asyncio.run(scene())


def test_line_26_a_span_that_ends_before_it_starts_is_empty(server, two):
    async def scene():
        reader = await filled(server, two, 2)
        page = await ask(reader, query({"start": "2030-01-01T00:00:00Z", "end": "2020-01-01T00:00:00Z"}))
        assert page.error in (None, "bad-request") and not page.rows
        first, second = (await ask(reader, query())).ids
        page = await ask(reader, query({"after-id": second, "before-id": first}))
        assert page.error is None and not page.rows and page.complete

    asyncio.run(scene())


def test_line_26_both_directions_at_once_are_between_the_two(server, two):
    """Nobody says what it means (XEP-0313, 3.3.2); it must be some page of the archive."""

    async def scene():
        reader = await filled(server, two, 5)
        ids = (await ask(reader, query())).ids
        page = await ask(reader, query(after=ids[0], before=ids[3], max=10))
        assert page.error == "bad-request" or page.ids == ids[1:3]

    asyncio.run(scene())


def test_line_26_preferences_have_bounds(server, two):
    async def scene():
        reader = await here(server, two[1])

        def prefs(count: int) -> str:
            jids = "".join(f"<jid>u{number}@e.example</jid>" for number in range(count))
            return f"<prefs xmlns='{MAM}' default='always'><never>{jids}</never></prefs>"

        assert await refusal(reader, prefs(500)) is None
        assert await refusal(reader, prefs(501)) == "resource-constraint"
        answer = await reader.iq("get", f"<prefs xmlns='{MAM}'/>")
        assert len(answer.findall(f".//{qname(MAM, 'jid')}")) == 500
        assert await refusal(reader, f"<prefs xmlns='{MAM}' default='always'/>") is None
        reader.stream.write(f"<iq type='set' id='p'>{prefs(100_000)}</iq>")
        assert await reader.ended_by() in ("policy-violation", "reset", "no error")
        again = await here(server, two[1])
        answer = await again.iq("get", f"<prefs xmlns='{MAM}'/>")
        assert not answer.findall(f".//{qname(MAM, 'jid')}")

    asyncio.run(scene())


@pytest.mark.parametrize("jid", ["", "@", "@b", "a@", "a@b@", "a@b/", "a b@c", "<x/>", "a@" + "b" * 2000, "'@"])
def test_line_26_addresses_of_preferences_are_addresses(server, two, jid):
    async def scene():
        reader = await here(server, two[1])
        for name in ("always", "never"):
            payload = f"<prefs xmlns='{MAM}' default='always'><{name}><jid>{escape(jid)}</jid></{name}></prefs>"
            assert await refusal(reader, payload) == "jid-malformed"

    asyncio.run(scene())


# -- line 30


def raw_form(inner: str, attributes: str = "type='submit'") -> str:
    return f"<query xmlns='{MAM}'><x xmlns='{FORMS}' {attributes}>{inner}</x></query>"


WRONG = {"bad-request", "not-acceptable"}
TYPE = f"<field var='FORM_TYPE' type='hidden'><value>{MAM}</value></field>"


@pytest.mark.parametrize("payload, errors", [
    (raw_form(TYPE + "<field var='search'><value>x</value></field>"), {"feature-not-implemented"}),
    (raw_form(TYPE + "<field var='{urn:x}y'/>"), {"feature-not-implemented"}),
    (raw_form(TYPE + "<field var='with'><value>a@b</value><value>c@d</value></field>"), WRONG),
    (raw_form(TYPE + f"<field var='start'>{'<value>2020-01-01T00:00:00Z</value>' * 2}</field>"), WRONG),
    (raw_form(TYPE + "<field var='with'><value>a@b</value></field><field var='with'><value>c@d</value></field>"),
     WRONG),
    (raw_form("<field var='FORM_TYPE'><value>urn:other</value></field>"), {"bad-request"}),
    (raw_form(TYPE + "<field var='include-groupchat'><value>perhaps</value></field>"), WRONG),
    (raw_form(TYPE, "type='form'"), {"bad-request"}), (raw_form(TYPE, "type='result'"), {"bad-request"}),
    (raw_form(TYPE, "type='cancel'"), {"bad-request"}), (raw_form(TYPE, "type='nonsense'"), {"bad-request"}),
    (raw_form(TYPE, ""), {"bad-request"}),
    (raw_form(TYPE + "<field var='ids'>" + "<value>1</value>" * 5000 + "</field>"),
     {"not-acceptable", "bad-request", "item-not-found"}),
    (raw_form(TYPE + "".join(f"<field var='f{n}'><value>1</value></field>" for n in range(3000))),
     {"bad-request", "feature-not-implemented", "not-acceptable"}),
    (query(queryid="x" * 100_000), {"bad-request"}),
])
def test_line_30_forms_that_are_wrong_are_refused(server, two, payload, errors):
    async def scene():
        reader = await filled(server, two, 2)
        page = await ask(reader, payload)
        assert page.error in errors and not page.rows, page
        assert len((await ask(reader, query())).rows) == 2

    asyncio.run(scene())


@pytest.mark.parametrize("payload", [
    raw_form(""), raw_form(TYPE), raw_form(TYPE + "<field var='with'/>"), raw_form(TYPE + "<field var='start'/>"),
    raw_form(TYPE + "<field var='ids'/>"), raw_form(TYPE + "<field var='start'><value/></field>"),
    raw_form("<field var='start'><value>2020-01-01T00:00:00Z</value></field>"),
    f"<query xmlns='{MAM}'><set xmlns='{RSM}'/></query>", f"<query xmlns='{MAM}'><x xmlns='urn:x'/></query>",
    f"<query xmlns='{MAM}' node='urn:x'/>", f"<query xmlns='{MAM}'><set xmlns='urn:x'><max>-1</max></set></query>",
])
def test_line_30_forms_that_leave_something_out_ask_for_all(server, two, payload):
    async def scene():
        reader = await filled(server, two, 2)
        page = await ask(reader, payload)
        assert page.error is None and len(page.rows) == 2, page

    asyncio.run(scene())


def test_line_30_a_form_of_a_hundred_thousand_fields_ends_the_stream(server, two):
    async def scene():
        reader = await here(server, two[1])
        reader.stream.write(f"<iq type='set' id='x'>{raw_form(TYPE + '<field var=%r/>' % 'with' * 100_000)}</iq>")
        assert await reader.ended_by() in ("policy-violation", "reset", "no error")

    asyncio.run(scene())


def test_line_30_a_queryid_comes_back_as_it_was(server, two):
    async def scene():
        reader = await filled(server, two, 1)
        for id in ["", "'", "\"<>&'", "\u00e4\U0001f339", "a\tb\nc", "x" * 1024, "' id='forged"]:
            written = query(queryid=id).replace("\t", "&#9;").replace("\n", "&#10;")
            answer = await reader.iq("set", written)
            assert answer.get("type") == "result", show(answer)
            result = (await reader.message()).find(qname(MAM, "result"))
            assert result.get("queryid") == id and result.get("id").isdigit()

    asyncio.run(scene())


# -- line 36


def test_line_36_with_is_that_address_and_no_pattern(server, two):
    """Names that are patterns elsewhere match themselves; what is no address is refused."""

    async def scene():
        reader = await here(server, two[1])
        peers = []
        for name in ODD:
            resource = f"{two[0]}@{server.domain}/{name}"
            peers.append(resource)
            reader.send(f"<message to='{escape(resource)}' type='chat'><body>{escape(name)}</body></message>".replace(
                "a'b", "a&apos;b"))
        await reader.ping()
        for name, peer in zip(ODD, peers):
            page = await ask(reader, query({"with": peer}))
            assert page.bodies == [name], (peer, page)
        assert len((await ask(reader, query({"with": f"{two[0]}@{server.domain}"}))).rows) == len(ODD)
        assert len((await ask(reader, query({"with": f"{two[0]}@{server.domain}".upper()}))).rows) == len(ODD)
        for pattern in ["%", "_", "*", f"%@{server.domain}", f"{two[0][:-1]}_@{server.domain}", server.domain,
                        f"{two[0][:-1]}@{server.domain}", f"{two[0]}@{server.domain}/nobody", "a@b"]:
            page = await ask(reader, query({"with": pattern}))
            assert not page.rows and page.error in (None, "jid-malformed"), (pattern, page)
        for wrong in ["@", "a@", "@b", "a@b/", "a@b@c", "a" * 5000, "a@" + "b" * 5000, "a@b/" + "c" * 5000, "a b@c"]:
            page = await ask(reader, query({"with": wrong}))
            assert page.error == "jid-malformed", (wrong, page)

    asyncio.run(scene())


@pytest.mark.config({"modules": {"mam": {}}})
def test_line_36_archives_of_odd_names_are_kept_apart(server):
    names = ["q%b", "q_b", "qab", "q;b", "q--b", "q\u00e1", "q{b}", "q*"]

    async def scene():
        for number, name in enumerate(names):
            client = await here(server, name)
            client.send(f"<message to='{client.bare}' type='chat'><body>{number}</body></message>")
            await client.ping()
            await client.close()
        for number, name in enumerate(names):
            client = await here(server, name)
            assert [row.body for row in await everything(client)] == [str(number)]
            await client.close()

    server.add_accounts({name: "secret" for name in names})
    asyncio.run(scene())
