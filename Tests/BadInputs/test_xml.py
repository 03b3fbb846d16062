"""Lines 1 to 6: XML that is not for XMPP, not XML, or too much of it."""

import asyncio
import random
import xml.etree.ElementTree as ET
from xml.sax.saxutils import quoteattr

import pytest
from support.attack import NOT_XML, RESTRICTED, TOO_MUCH, Watch, at, ending, header, outcome
from support.rawclient import Client, Failure, escape, show

STAGES = ["opened", "bound"]

calls_it_malformed = pytest.mark.differs("prosody", "it says not-well-formed")
writes_it_plain = pytest.mark.differs("prosody", "it does not escape white space in attributes")


def is_archive_id(child: ET.Element) -> bool:
    """What the server adds to a message that it archives."""
    return child.tag == "{urn:xmpp:sid:0}stanza-id"


async def never_reaches(server, data: bytes | str, allowed: set[str], pieces: int = 0) -> None:
    """Mallory's bytes end the stream in one of the allowed ways, and Bob gets nothing of them."""
    bob = await Client(server, "bob", "desk", transport="plain").login()
    await bob.available()
    while bob.stream.events:
        await bob.next()
    ended = await ending(server, "bound", data, pieces=pieces)
    assert ended in allowed, f"the stream ended by: {ended}"
    await bob.ping()
    assert not bob.stream.events, show(bob.stream.events[0])
    await bob.close()


def to_bob(server, inner: bytes | str, before: str = "") -> bytes:
    inner = inner.encode() if isinstance(inner, str) else inner
    return f"<message to='bob@{server.domain}' type='chat'{before}>".encode() + inner + b"</message>"


# -- line 1

DOCTYPES = {
    "plain": "<!DOCTYPE stream>",
    "internal subset": "<!DOCTYPE stream [ ]>",
    "entity": "<!DOCTYPE stream [<!ENTITY a 'aaaaaaaaaa'>]>",
    "bomb": "<!DOCTYPE s [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>"
            "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;'>]>",
    "external entity": "<!DOCTYPE s [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>",
    "external subset": "<!DOCTYPE s SYSTEM 'http://127.0.0.1:9/x.dtd'>",
    "parameter entity": "<!DOCTYPE s [<!ENTITY % a SYSTEM 'http://127.0.0.1:9/x'> %a;]>",
    "attribute default": "<!DOCTYPE s [<!ATTLIST s x CDATA 'y'>]>",
}


@pytest.mark.parametrize("kind", DOCTYPES)
@calls_it_malformed
def test_line_01_a_doctype_before_the_stream(server, kind):
    ended = asyncio.run(ending(server, "connected", "<?xml version='1.0'?>" + DOCTYPES[kind] + header(server)))
    assert ended in RESTRICTED


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", DOCTYPES)
def test_line_01_a_doctype_within_the_stream(server, kind, stage):
    assert asyncio.run(ending(server, stage, DOCTYPES[kind])) in NOT_XML


@pytest.mark.parametrize("text", ["<body>&a;</body>", "<body x='&a;'/>", "<body>&nbsp;</body>", "<body x='&a'/>"])
def test_line_01_an_entity_in_text_or_attribute(server, text):
    asyncio.run(never_reaches(server, to_bob(server, text), NOT_XML))


@calls_it_malformed
def test_line_01_entities_declared_before_the_stream_are_never_expanded(server):
    """The way past ejabberd's first fix: the expansion in an attribute."""
    data = "<?xml version='1.0'?>" + DOCTYPES["bomb"] + header(server).replace("to=", "id='&c;' to=")
    assert asyncio.run(ending(server, "connected", data)) in RESTRICTED


# -- line 2


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("text", ["<!-- x -->", "<?php x ?>", "<?xml-stylesheet href='x'?>"])
@calls_it_malformed
def test_line_02_comments_and_instructions_between_stanzas(server, text, stage):
    assert asyncio.run(ending(server, stage, text)) in RESTRICTED


@pytest.mark.parametrize("text", ["<body><!-- x --></body>", "<body><?x y?></body>", "<body>a<!---->b</body>"])
@calls_it_malformed
def test_line_02_comments_and_instructions_within_stanzas(server, text):
    asyncio.run(never_reaches(server, to_bob(server, text), RESTRICTED))


@pytest.mark.parametrize("text", ["<!-- x -->", "<?php x ?>"])
@calls_it_malformed
def test_line_02_comments_and_instructions_before_the_stream(server, text):
    assert asyncio.run(ending(server, "connected", text + header(server))) in RESTRICTED


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("text", ["<?xml version='1.0'?>", " <?xml version='1.0'?>", "<a/><?xml version='1.0'?>"])
def test_line_02_a_second_declaration(server, text, stage):
    assert asyncio.run(ending(server, stage, text)) in NOT_XML | {"unsupported-stanza-type"}


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "UTF-16", "US-ASCII", "UTF-7", "x-unknown"])
def test_line_02_another_encoding(server, encoding):
    data = f"<?xml version='1.0' encoding='{encoding}'?>" + header(server)
    assert asyncio.run(ending(server, "connected", data)) in {"unsupported-encoding"} | NOT_XML


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.differs("prosody", "it reads UTF-16")
def test_line_02_bytes_of_another_encoding(server, codec):
    data = ("<?xml version='1.0'?>" + header(server)).encode(codec)
    assert asyncio.run(ending(server, "connected", data)) in {"unsupported-encoding"} | NOT_XML


def test_line_02_a_byte_order_mark_is_refused_or_without_effect(server):
    async def scene():
        client = await at(server, "connected")
        client.stream.write(b"\xef\xbb\xbf<?xml version='1.0'?>" + header(server).encode())
        first = await client.next()
        assert "stream" in show(first)

    asyncio.run(scene())


def test_line_02_character_data_sections_are_text(server):
    async def scene():
        bob = await Client(server, "bob", "desk", transport="plain").login()
        await bob.available()
        mallory = await at(server, "bound")
        mallory.send(f"<message to='{bob.jid}' id='c'><body>a<![CDATA[<b>&amp;</b>]]]]><![CDATA[>]]>z</body></message>")
        assert (await bob.message())[0].text == "a<b>&amp;</b>]]>z"

    asyncio.run(scene())


# -- line 3

INVALID = {
    "overlong slash": b"\xc0\xaf",
    "overlong less-than": b"\xc0\xbc",
    "overlong in three": b"\xe0\x80\xbc",
    "overlong in four": b"\xf0\x80\x80\xbc",
    "surrogate": b"\xed\xa0\x80",
    "surrogate pair": b"\xed\xa0\xbd\xed\xb8\x80",
    "0xFF": b"\xff",
    "0xFE": b"\xfe",
    "lone continuation": b"\x80",
    "above U+10FFFF": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "truncated before a tag": b"\xe2\x82",
    "truncated before a quote": b"\xf0\x9f\x8c",
    "NUL": b"\x00",
    "0x01": b"\x01",
    "0x0B": b"\x0b",
    "0x1F": b"\x1f",
    "U+FFFE": b"\xef\xbf\xbe",
    "U+FFFF": b"\xef\xbf\xbf",
    "reference to 0": b"&#x0;",
    "reference to 1": b"&#1;",
    "reference to a surrogate": b"&#xD800;",
    "reference to U+FFFE": b"&#xFFFE;",
    "reference beyond": b"&#x110000;",
    "reference that wraps": b"&#x100000041;",
}


@pytest.mark.parametrize("where", ["text", "attribute", "name"])
@pytest.mark.parametrize("kind", INVALID)
def test_line_03_what_is_no_character_ends_the_stream(server, kind, where):
    bad = INVALID[kind]
    inner = {
        "text": b"<body>a" + bad + b"</body>", "attribute": b"<body a='" + bad + b"'/>",
        "name": b"<b" + bad + b"/>",
    }[where]
    asyncio.run(never_reaches(server, to_bob(server, inner), NOT_XML | {"unsupported-encoding"}))


@pytest.mark.parametrize("kind", ["truncated before a tag", "truncated before a quote", "surrogate"])
def test_line_03_also_when_it_comes_byte_by_byte(server, kind):
    inner = b"<body a='" + INVALID[kind] + b"'>" + INVALID[kind] + b"</body>"
    asyncio.run(never_reaches(server, to_bob(server, inner), NOT_XML | {"unsupported-encoding"}, pieces=1))


@pytest.mark.parametrize("stage", ["connected", "opened"])
def test_line_03_before_authentication_too(server, stage):
    data = (header(server) if stage == "connected" else "").encode() + b"<auth mechanism='\xff'/>"
    assert asyncio.run(ending(server, stage, data)) in NOT_XML | {"unsupported-encoding"}


# -- line 4

NAMES = [
    "<a:b:c xmlns:a='urn:x'/>", "<:a/>", "<a: xmlns:a='urn:x'/>", "<" + "a:" * 500 + "b/>", "<undeclared:a/>",
    "<a undeclared:b='c'/>", "<a xmlns:xml='urn:x'/>", "<a xmlns:xmlns='urn:x'/>", "<xmlns:a/>",
    "<a xmlns:b='http://www.w3.org/XML/1998/namespace'/>", "<a xmlns:b='http://www.w3.org/2000/xmlns/'/>",
    "<a xmlns='http://www.w3.org/2000/xmlns/'/>", "<a xmlns:b=''/>", "<a xmlns:b='urn:x' xmlns:b='urn:y'/>",
    "<a b='1' b='2'/>", "<a xmlns:p='urn:x' xmlns:q='urn:x' p:b='1' q:b='2'/>", "<1a/>", "<-a/>", "<a b=c/>",
    "<a b/>", "<a b='<'/>", "<a></b>", "<a><b></a></b>", "<a", "< a/>", "<a//>", "<a b='1'c='2'/>", "]]>",
]


@pytest.mark.parametrize("xml", NAMES, ids=lambda xml: xml[:40])
def test_line_04_what_is_not_well_formed_or_breaks_namespaces(server, xml):
    asyncio.run(never_reaches(server, to_bob(server, xml), NOT_XML))


@pytest.mark.parametrize("stage", ["connected", "opened"])
@pytest.mark.parametrize("xml", ["<a:b/>", "<a xmlns:xml='urn:x'/>", "<:a/>", "<a b='1' b='2'/>"])
def test_line_04_before_authentication_too(server, xml, stage):
    data = (header(server) if stage == "connected" else "") + xml
    assert asyncio.run(ending(server, stage, data)) in NOT_XML


@pytest.mark.parametrize("character", [" ", "|", "{", "#", "&#9;", "&#10;", "^", "\\", "&#x20AC;", "\x7f", "!"])
@writes_it_plain
def test_line_04_separators_within_a_namespace(server, character):
    """A parser that joins namespace and name by a character must not be fooled by that character."""

    async def scene():
        bob = await Client(server, "bob", "desk", transport="plain").login()
        await bob.available()
        mallory = await at(server, "bound")
        sent = f"<x xmlns='urn:a{character}jabber:client{character}body' {'p:y'}='1' xmlns:p='urn:b{character}c'/>"
        mallory.stream.write(f"<message to='{bob.jid}' id='sep'>{sent}</message>")
        mallory.stream.write(f"<message to='{bob.jid}' id='after'/>")
        try:
            got = await bob.message(timeout=2)
        except Failure:
            ended = await mallory.ended_by()
            assert ended in NOT_XML
            return
        wanted = ET.fromstring(sent)
        assert got.get("id") == "sep"
        assert [child.tag for child in got if not is_archive_id(child)] == [wanted.tag]
        assert dict(got[0].attrib) == dict(wanted.attrib)

    asyncio.run(scene())


def test_line_04_a_brace_within_a_namespace(server):
    """Python's parser joins by this one, so the bytes are looked at."""

    async def scene():
        bob = await Client(server, "bob", "desk", transport="plain").login()
        await bob.available()
        bob.stream.raw = bytearray()
        mallory = await at(server, "bound")
        mallory.stream.write(f"<message to='{bob.jid}' id='sep'><x xmlns='urn:a}}jabber:client}}body'/></message>")
        try:
            await bob.stream.until(lambda: b"</message>" in bob.stream.raw, "the message", 2)
        except Failure:
            assert await mallory.ended_by() in NOT_XML
            return
        assert b"urn:a}jabber:client}body" in bob.stream.raw

    asyncio.run(scene())


# -- line 5

FLOODS = {
    "an attribute of 10 MB": ("<auth a='", "x" * 65536, 160),
    "a million attributes": ("<auth ", None, 16),
    "depth of 100,000": ("", "<a>" * 4096, 25),
    "a million children": ("<auth>", "<a/>" * 4096, 250),
    "a container that is never closed": ("<a xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>", "<a b='c'>d</a>" * 4096, 100),
    "endless text": ("<auth>", "text " * 8192, 160),
    "endless white space in an element": ("<auth>", " " * 65536, 160),
    "a name of 10 MB": ("<", "a" * 65536, 160),
    "a namespace of 10 MB": ("<a xmlns='", "a" * 65536, 160),
    "endless character data section": ("<a><![CDATA[", "x" * 65536, 160),
    "an unfinished comment": ("<!--", "x" * 65536, 160),
    "an unfinished end tag": ("<a></a", " " * 65536, 160),
    "an unfinished reference": ("<a>&", "x" * 65536, 160),
}


def flood(kind: str) -> bytes:
    start, block, times = FLOODS[kind]
    if block is None:
        return (start + " ".join(f"a{number}='b'" for number in range(1_000_000))).encode()
    return (start + block * times).encode()


@pytest.mark.parametrize("stage", ["connected", "opened", "bound"])
@pytest.mark.parametrize("kind", FLOODS)
def test_line_05_too_much_ends_the_stream_with_flat_memory(server, kind, stage):
    data = flood(kind)
    if stage == "connected":
        value = data[len(FLOODS[kind][0]):].replace(b"'", b"").replace(b"<", b"")
        data = header(server)[:-1].encode() + b" a='" + value
    with Watch(server) as watch:
        ended = asyncio.run(ending(server, stage, data, pieces=65536, timeout=20))
    assert ended in TOO_MUCH | NOT_XML
    assert watch.cpu < 3.0, f"{watch.cpu:.1f} s of processor time"


def test_line_05_white_space_between_stanzas_costs_nothing(server):
    async def scene():
        mallory = await at(server, "bound")
        for _ in range(160):
            if mallory.stream.over:
                return
            mallory.stream.write(b" \n" * 32768)
            await mallory.stream.drain()
        try:
            await mallory.ping()
        except Failure as failure:
            # More than a client needs in years: closed, with a word.
            assert "policy-violation" in str(failure)

    asyncio.run(scene())


@pytest.mark.parametrize("stage", ["opened", "bound"])
def test_line_05_a_huge_token_byte_by_byte_is_stopped_in_linear_time(server, stage):
    """One attribute, one byte a packet; the limit must hold, and early bytes must not be scanned again and again.

    Before authentication an element has 16 KiB, after it 256 KiB.
    """
    limit = {"opened": 16, "bound": 256}[stage] * 1024

    async def scene():
        client = await at(server, stage)
        client.stream.write("<message a='")
        sent = 0
        while not client.stream.over and sent < 2 * limit:
            client.stream.write(b"x")
            sent += 1
            if sent % 64 == 0:
                await asyncio.sleep(0)
        return sent, await outcome(client, b"x" * 100_000, timeout=20)

    with Watch(server) as watch:
        sent, ended = asyncio.run(scene())
    assert ended in TOO_MUCH
    assert watch.cpu < 10, f"{watch.cpu:.1f} s of processor time for {sent} bytes"


def test_line_05_a_stanza_within_the_limits_is_served(server):
    """Limits must not be so tight that honest stanzas suffer: 100 KB of text, 100 levels, 60 attributes."""

    async def scene():
        bob = await Client(server, "bob", "desk", transport="plain").login()
        await bob.available()
        mallory = await at(server, "bound")
        attributes = " ".join(f"a{number}='{number}'" for number in range(60))
        deep = "<d>" * 60 + "</d>" * 60
        mallory.stream.write(
            f"<message to='{bob.jid}' id='big'><body>{'x' * 100_000}</body>"
            f"<x xmlns='urn:x' {attributes}>{deep}</x></message>"
        )
        got = await bob.message()
        assert got.get("id") == "big" and len(got[0].text) == 100_000 and len(got[1].attrib) == 60

    asyncio.run(scene())


# -- line 6

PIECES = [
    "a", "<", ">", "&", "'", '"', "\t", "\n", "\r", "]]>", "<!--", "&amp;", "&lt;", "/>", "</message>", "é", "€", "🌹",
    "\u2028", "\x7f", "\x85", "=", " ", "<message to='x'>", "%", "\u202e", "\ufffd",
]


def written(text: str) -> str:
    """An attribute's value with everything that XML would normalise as a reference."""
    return quoteattr(text, {"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"})


def same(one: ET.Element, other: ET.Element) -> bool:
    return (one.tag == other.tag and one.attrib == other.attrib and (one.text or "") == (other.text or "")
            and (one.tail or "") == (other.tail or "") and len(one) == len(other) and all(map(same, one, other)))


@writes_it_plain
def test_line_06_what_arrives_is_the_tree_that_was_sent(server):
    """400 random trees: the receiver's parser must see what the sender meant, whatever was escaped and how."""
    generator = random.Random(6)

    def text() -> str:
        return "".join(generator.choice(PIECES) for _ in range(generator.randrange(6)))

    def tree(depth: int) -> str:
        attributes = "".join(f" a{number}={written(text())}" for number in range(generator.randrange(3)))
        namespace = generator.choice(["", " xmlns='urn:x'", " xmlns='urn:y&amp;&lt;'", " xmlns=''"])
        prefixed = generator.choice(["", f" xmlns:p='urn:p' p:q={written(text())}"])
        content = escape(text()).replace("\r", "&#13;")
        count = generator.randrange(3) if depth else 0
        children = "".join(tree(depth - 1) + escape(text()).replace("\r", "&#13;") for _ in range(count))
        name = generator.choice(["x", "body", "é", "message", "a.b-c"])
        return f"<{name}{namespace}{attributes}{prefixed}>{content}{children}</{name}>"

    async def scene():
        bob = await Client(server, "bob", "desk", transport="plain").login()
        await bob.available()
        mallory = await at(server, "bound")
        for number in range(400):
            inner = tree(3)
            mallory.send(f"<message to='{bob.jid}' type='chat' id='{number}'>{inner}</message>")
            got = await bob.message()
            assert got.get("id") == str(number), f"lost before {number}: {show(got)}"
            wanted = ET.fromstring(f"<message xmlns='jabber:client'>{inner}</message>")
            assert len([each for each in got if not is_archive_id(each)]) == 1 and same(got[0], wanted[0]), f"sent {inner}\ngot  {show(got[0])}"

    asyncio.run(scene())


@writes_it_plain
def test_line_06_attribute_white_space_as_written_is_normalised_once(server):
    """A literal tab or newline in an attribute is a space to every parser; a reference is not."""

    async def scene():
        bob = await Client(server, "bob", "desk", transport="plain").login()
        await bob.available()
        mallory = await at(server, "bound")
        mallory.send(f"<message to='{bob.jid}' id='a\tb\nc&#9;d&#10;e&#13;f'><x xmlns='urn:x' y=' z  &#32;'/>"
                     "</message>")
        got = await bob.message()
        assert got.get("id") == "a b c\td\ne\rf"
        assert got[0].get("y") == " z   "

    asyncio.run(scene())
