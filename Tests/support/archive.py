"""Archives as a client sees them (XEP-0313): queries, and what comes back."""

import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

from .namespaces import CLIENT, qname
from .rawclient import Client, Failure, condition, escape, show
from .stream import TIMEOUT

MAM = "urn:xmpp:mam:2"
RSM = "http://jabber.org/protocol/rsm"
FORMS = "jabber:x:data"
IDS = "urn:xmpp:sid:0"
FORWARD = "urn:xmpp:forward:0"

MESSAGE, IQ, RESULT = qname(CLIENT, "message"), qname(CLIENT, "iq"), qname(MAM, "result")


@dataclass
class Row:
    """One archived message: its id in the archive and the message itself."""

    id: str
    message: ET.Element

    @property
    def body(self) -> str | None:
        return self.message.findtext(qname(CLIENT, "body"))


@dataclass
class Page:
    """What one query brought. `error` is the condition of an error, None for a result."""

    rows: list[Row] = field(default_factory=list)
    error: str | None = None
    complete: bool = False
    first: str | None = None
    last: str | None = None
    count: int | None = None

    @property
    def ids(self) -> list[str]:
        return [row.id for row in self.rows]

    @property
    def bodies(self) -> list[str | None]:
        return [row.body for row in self.rows]


def form(fields: dict[str, str | list[str]]) -> str:
    """A submitted form; underscores in names stand for hyphens."""
    written = ""
    for name, values in fields.items():
        values = [values] if isinstance(values, str) else values
        inner = "".join(f"<value>{escape(value)}</value>" for value in values)
        written += f"<field var={quoteattr(name.replace('_', '-'))}>{inner}</field>"
    return (f"<x xmlns='{FORMS}' type='submit'><field var='FORM_TYPE' type='hidden'><value>{MAM}</value></field>"
            f"{written}</x>")


def query(fields: dict[str, str | list[str]] | None = None, *, flip: bool = False, queryid: str | None = None,
          **rsm) -> str:
    """A query by the fields of the form, and a page of it by `max`, `after`, `before`."""
    page = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in rsm.items() if value is not None)
    named = "" if queryid is None else f" queryid={quoteattr(queryid)}"
    return (f"<query xmlns='{MAM}'{named}>" + (form(fields) if fields else "")
            + (f"<set xmlns='{RSM}'>{page}</set>" if rsm else "") + ("<flip-page/>" if flip else "") + "</query>")


def row(event) -> Row | None:
    """The archived message that a stanza carries, if it is a result."""
    if not isinstance(event, ET.Element) or event.tag != MESSAGE or (found := event.find(RESULT)) is None:
        return None
    message = found.find(f"{qname(FORWARD, 'forwarded')}/{MESSAGE}")
    if message is None:
        raise Failure(f"a result without a message: {show(event)}")
    return Row(found.get("id", ""), message)


def read_page(rows: list[Row], answer: ET.Element) -> Page:
    """The page whose results came before its answer."""
    if answer.get("type") == "error":
        return Page(rows, condition(answer.find(qname(CLIENT, "error"))))
    fin = answer.find(qname(MAM, "fin"))
    if fin is None or (found := fin.find(qname(RSM, "set"))) is None:
        raise Failure(f"no <fin/> with a <set/>: {show(answer)}")
    count = found.findtext(qname(RSM, "count"))
    return Page(rows, None, fin.get("complete") == "true", found.findtext(qname(RSM, "first")),
                found.findtext(qname(RSM, "last")), None if count is None else int(count))


async def ask(client: Client, payload: str, *, timeout: float = TIMEOUT) -> Page:
    """Sends one query, waits for its answer, and takes the results out of what has arrived. All results must come
    before the answer; what else came stays queued."""
    answer = await client.iq("set", payload, timeout=timeout)
    rows = [found for event in client.stream.events if (found := row(event))]
    others = [event for event in client.stream.events if row(event) is None]
    client.stream.events.clear()
    client.stream.events.extend(others)
    page = read_page(rows, answer)
    if page.error is None and page.rows:
        ids = page.ids if page.first == page.ids[0] else page.ids[::-1]
        if (page.first, page.last) != (ids[0], ids[-1]):
            raise Failure(f"<fin/> speaks of {page.first} and {page.last}, the page is from {ids[0]} to {ids[-1]}")
    return page


async def everything(client: Client, size: int = 100, fields: dict | None = None, *, timeout: float = 60) -> list[Row]:
    """All of an archive that a query is about, page by page, forward."""
    rows: list[Row] = []
    after, deadline = None, time.monotonic() + timeout
    while True:
        page = await ask(client, query(fields, max=size, after=after))
        if page.error:
            raise Failure(f"the page after {after} is refused: {page.error}")
        rows += page.rows
        if page.complete:
            return rows
        if not page.rows or time.monotonic() > deadline:
            raise Failure(f"no end of the archive after {len(rows)} messages")
        after = page.last


def archive_id(message: ET.Element, archive: str) -> str | None:
    """The id that the archive gave a message; Failure if there are several."""
    found = [each.get("id") for each in message.findall(qname(IDS, "stanza-id")) if each.get("by") == archive]
    if len(found) > 1:
        raise Failure(f"several ids of {archive}: {show(message)}")
    return found[0] if found else None
