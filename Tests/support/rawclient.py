"""An XMPP client without manners: it sends what it is told, shows what comes, and never mends anything silently.

`Stream` is one connection; `Client` adds what a login needs and stream management.
"""

import base64
import collections
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

from . import tls
from .namespaces import BIND, CLIENT, PING, SASL, SM, STANZAS, STREAM_ERRORS, STREAMS, TLS, local, qname
from .scram import Scram
from .stream import TIMEOUT, Closed, Ended, Event, Failure, Opened, Stream, linger_zero, show

__all__ = [
    "Client", "Closed", "Ended", "Event", "Failure", "Management", "Opened", "Stream", "TIMEOUT", "condition", "encode",
    "escape", "fragments", "linger_zero", "show", "stream_error",
]

DIGESTS = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}


@dataclass
class Management:
    """One side's counts of stream management (XEP-0198)."""

    id: str = ""
    received: int = 0
    sent: int = 0
    acknowledged: int = 0
    active: bool = False
    counting: bool = False
    answering: bool = True
    asked: int = 0
    waiting: collections.deque = field(default_factory=collections.deque)


class Client:
    """A login on a server under test. Transport is "starttls", "direct" or "plain"."""

    def __init__(self, server, user: str, resource: str = "", *, password: str | None = None,
                 transport: str = "starttls", domain: str | None = None, source: str | None = None) -> None:
        self.server = server
        self.user = user
        self.domain = domain or server.domain
        self.resource = resource
        self.password = password if password is not None else server.password(user)
        self.transport = transport
        self.source = source
        self.stream: Stream | None = None
        self.features: ET.Element | None = None
        self.header: Opened | None = None
        self.jid = ""
        self.sm = Management()
        self.tls_maximum: int | None = None
        self.certificate: tuple[str, str] | None = None
        self.names_host: str | None = self.domain
        self.language = ""
        self._ids = 0

    @property
    def bare(self) -> str:
        return f"{self.user}@{self.domain}"

    # -- the steps of a login

    async def connect(self, *, to: str | None = None, receive_buffer: int = 0) -> "Client":
        """Opens the connection and the stream, with TLS if the transport says so."""
        self.sm.active = self.sm.counting = False
        self.stream = await Stream.connect(
            self.server.address, self.server.ports[self.transport], source=self.source, receive_buffer=receive_buffer
        )
        context = self._tls_context()
        if self.transport == "direct":
            await self.stream.start_tls(context, self.domain, [b"xmpp-client"], sni=self.names_host)
        await self.open(to)
        if self.transport == "starttls":
            await self.start_tls(context)
        return self

    async def start_tls(self, context=None) -> None:
        """STARTTLS (RFC 6120, section 5) and a new stream."""
        if self.features.find(qname(TLS, "starttls")) is None:
            raise Failure(f"no STARTTLS offered: {show(self.features)}")
        self.stream.write(f"<starttls xmlns='{TLS}'/>")
        answer = await self.stream.next("<proceed/>")
        if not isinstance(answer, ET.Element) or answer.tag != qname(TLS, "proceed"):
            raise Failure(f"expected <proceed/>, got {show(answer)}")
        await self.stream.start_tls(context or self._tls_context(), self.domain, sni=self.names_host)
        await self.open()

    def _tls_context(self):
        return tls.context(self.server.authority, maximum=self.tls_maximum, certificate=self.certificate)

    async def open(self, to: str | None = None) -> None:
        """Sends a stream header and waits for the server's header and features."""
        self.stream.restart()
        language = f"xml:lang={quoteattr(self.language)} " if self.language else ""
        self.stream.write(
            f"<?xml version='1.0'?><stream:stream to={quoteattr(to or self.domain)} version='1.0' {language}"
            f"xmlns='{CLIENT}' xmlns:stream='{STREAMS}'>"
        )
        header = await self.stream.next("the server's stream header")
        if not isinstance(header, Opened) or header.tag != qname(STREAMS, "stream"):
            raise Failure(f"expected a stream header, got {show(header)}")
        self.header = header
        features = await self.stream.next("stream features")
        if not isinstance(features, ET.Element) or features.tag != qname(STREAMS, "features"):
            self.stream.events.appendleft(features)
            raise Failure(f"expected features, got {show(features)}")
        self.features = features

    @property
    def mechanisms(self) -> list[str]:
        found = self.features.find(qname(SASL, "mechanisms"))
        return [] if found is None else [each.text or "" for each in found.findall(qname(SASL, "mechanism"))]

    async def authenticate(self, mechanism: str = "SCRAM-SHA-256", binding: str | None = None,
                           authzid: str = "") -> None:
        """One SASL exchange and a new stream. Failure with the condition's name when it is refused."""
        if mechanism == "PLAIN":
            initial = f"{authzid}\0{self.user}\0{self.password}".encode()
            answer = await self.sasl(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{encode(initial)}</auth>")
        elif mechanism == "EXTERNAL":
            initial = encode(authzid.encode()) if authzid else "="
            answer = await self.sasl(f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>{initial}</auth>")
        elif mechanism == "ANONYMOUS":
            answer = await self.sasl(f"<auth xmlns='{SASL}' mechanism='ANONYMOUS'/>")
        else:
            scram = self.scram(mechanism, binding, authzid)
            answer = await self.sasl(
                f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{encode(scram.first())}</auth>"
            )
            if local(answer.tag) == "challenge":
                final = scram.final(base64.b64decode(answer.text))
                answer = await self.sasl(f"<response xmlns='{SASL}'>{encode(final)}</response>")
            if local(answer.tag) == "success":
                scram.verify(base64.b64decode(answer.text or ""))
        if local(answer.tag) != "success":
            raise Failure(f"authentication refused: {condition(answer)}")
        await self.open()

    def scram(self, mechanism: str, binding: str | None = None, authzid: str = "") -> Scram:
        """The exchange for a mechanism, bound to this connection for a -PLUS one."""
        bound = None
        if mechanism.endswith("-PLUS"):
            kind = binding or "tls-exporter"
            bound = (kind, self.stream.tls.binding(kind))
        elif binding == "y":
            bound = "y"
        return Scram(self.user, self.password, DIGESTS[mechanism.removesuffix("-PLUS")], bound, authzid)

    async def sasl(self, xml: str) -> ET.Element:
        """Sends one SASL element and returns the next."""
        self.stream.write(xml)
        answer = await self.stream.next("a SASL answer")
        if not isinstance(answer, ET.Element) or not answer.tag.startswith(f"{{{SASL}}}"):
            raise Failure(f"expected a SASL answer, got {show(answer)}")
        return answer

    async def bind(self, resource: str | None = None) -> str:
        """Binds the resource and returns the full address."""
        wanted = self.resource if resource is None else resource
        inner = f"<resource>{escape(wanted)}</resource>" if wanted else ""
        answer = await self.iq("set", f"<bind xmlns='{BIND}'>{inner}</bind>")
        jid = answer.find(f"{qname(BIND, 'bind')}/{qname(BIND, 'jid')}")
        if jid is None or not jid.text:
            raise Failure(f"binding failed: {show(answer)}")
        self.jid = jid.text
        return self.jid

    async def enable(self, resume: bool = True) -> ET.Element:
        """Turns stream management on."""
        if self.features.find(qname(SM, "sm")) is None:
            raise Failure(f"no stream management offered: {show(self.features)}")
        self.sm = Management(counting=True)
        self._watch()
        self.stream.write(f"<enable xmlns='{SM}'" + (" resume='true'/>" if resume else "/>"))
        # Stanzas may come between the binding and the answer.
        answer = await self.take(lambda event: event.tag.startswith(f"{{{SM}}}"), "<enabled/>")
        if answer.tag != qname(SM, "enabled"):
            raise Failure(f"expected <enabled/>, got {show(answer)}")
        self.sm.id = answer.get("id", "")
        return answer

    async def login(self, mechanism: str = "SCRAM-SHA-256", *, sm: bool = False, resume: bool = True) -> "Client":
        """Connects, authenticates, binds, and enables stream management if wanted."""
        await self.connect()
        await self.authenticate(mechanism)
        await self.bind()
        if sm:
            await self.enable(resume)
        return self

    async def resume(self, *, id: str | None = None, h: int | None = None) -> ET.Element:
        """Connects anew and asks to resume; returns the server's answer, which may be <failed/>."""
        await self.connect()
        await self.authenticate()
        return await self.ask_to_resume(id=id, h=h)

    async def ask_to_resume(self, *, id: str | None = None, h: int | None = None) -> ET.Element:
        """Sends <resume/> on an authenticated stream. The counts go on if the server agrees."""
        previous = self.sm.id if id is None else id
        count = self.sm.received if h is None else h
        self.sm.received = count
        self._watch()
        self.stream.write(f"<resume xmlns='{SM}' previd={quoteattr(previous)} h='{count}'/>")
        answer = await self.stream.next("<resumed/> or <failed/>", TIMEOUT + 5)
        if not isinstance(answer, ET.Element) or not answer.tag.startswith(f"{{{SM}}}"):
            raise Failure(f"expected <resumed/> or <failed/>, got {show(answer)}")
        return answer

    def _watch(self) -> None:
        stream = self.stream
        self.stream.hook = lambda event: self._managed(stream, event)

    def _managed(self, stream: Stream, event: Event) -> bool:
        """Counts and answers; true for elements that only concern the counts."""
        if not isinstance(event, ET.Element):
            return False
        if event.tag in STANZAS:
            if self.sm.active:
                self.sm.received += 1
            return False
        if event.tag == qname(SM, "enabled"):
            self.sm.active = True
        elif event.tag == qname(SM, "resumed"):
            self.sm.active = self.sm.counting = True
            self._acknowledged(int(event.get("h", "0")))
        elif event.tag == qname(SM, "r"):
            self.sm.asked += 1
            if self.sm.answering:
                self.acknowledge()
            return True
        elif event.tag == qname(SM, "a"):
            self._acknowledged(int(event.get("h", "0")))
            stream._wake()
            return True
        return False

    def _acknowledged(self, h: int) -> None:
        """The server's count, which wraps at 2^32."""
        new = (h - self.sm.acknowledged) & 0xFFFFFFFF
        if new > len(self.sm.waiting):
            raise Failure(f"the server acknowledged {h}, but only {self.sm.sent} were sent")
        for _ in range(new):
            self.sm.waiting.popleft()
        self.sm.acknowledged = h

    # -- on the stream

    def send(self, xml: str) -> None:
        """Sends stanzas given as text, as they are, and counts them if stream management is on."""
        if self.sm.counting:
            for element in fragments(xml):
                if element.tag in STANZAS:
                    self.sm.sent += 1
                    self.sm.waiting.append(ET.tostring(element, encoding="unicode"))
        self.stream.write(xml)

    def resend(self) -> int:
        """Sends again what the server did not acknowledge; how many that were."""
        unacknowledged = list(self.sm.waiting)
        for xml in unacknowledged:
            self.stream.write(xml)
        return len(unacknowledged)

    def acknowledge(self, h: int | None = None) -> None:
        """Tells the server how much was received, or something else."""
        self.stream.write(f"<a xmlns='{SM}' h='{self.sm.received if h is None else h}'/>")

    async def acknowledged(self, timeout: float = TIMEOUT, ask: bool = True) -> None:
        """Waits until the server has acknowledged all that was sent."""
        if ask:
            self.stream.write(f"<r xmlns='{SM}'/>")
        await self.stream.until(lambda: not self.sm.waiting, f"an acknowledgement of {self.sm.sent}", timeout)

    async def next(self, what: str = "a stanza", timeout: float = TIMEOUT) -> Event:
        return await self.stream.next(what, timeout)

    async def iq(self, kind: str, payload: str, *, to: str | None = None, timeout: float = TIMEOUT) -> ET.Element:
        """Sends a request and returns its answer; everything else stays queued in order."""
        self._ids += 1
        id = f"q{self._ids}"
        address = f" to={quoteattr(to)}" if to else ""
        self.send(f"<iq type='{kind}' id='{id}'{address}>{payload}</iq>")
        return await self.take(
            lambda event: event.tag == qname(CLIENT, "iq") and event.get("id") == id, f"the answer to {payload}",
            timeout,
        )

    async def take(self, wanted, what: str, timeout: float = TIMEOUT) -> ET.Element:
        """The first queued element that is wanted; waits for it and leaves the others where they are."""
        deadline = time.monotonic() + timeout
        seen = 0
        while True:
            waiting = list(self.stream.events)
            for index in range(seen, len(waiting)):
                event = waiting[index]
                if isinstance(event, ET.Element) and wanted(event):
                    del self.stream.events[index]
                    return event
            seen = len(waiting)
            if self.stream.over:
                raise Failure(f"the connection ended before {what} came: {[show(each) for each in waiting][-5:]}")
            await self.stream._wait(deadline, what)

    async def ping(self, timeout: float = TIMEOUT) -> ET.Element:
        """Asks the server for a sign of life: all it handled before has been answered then."""
        return await self.iq("get", f"<ping xmlns='{PING}'/>", to=self.domain, timeout=timeout)

    async def available(self, priority: int | None = None) -> None:
        """Sends presence and waits until the server shows it to this very resource."""
        inner = "" if priority is None else f"<priority>{priority}</priority>"
        self.send(f"<presence>{inner}</presence>")
        await self.take(
            lambda event: event.tag == qname(CLIENT, "presence") and event.get("from") == self.jid
            and event.get("type") is None, "the own presence",
        )

    async def message(self, timeout: float = TIMEOUT) -> ET.Element:
        """The next message; everything before it is dropped."""
        while True:
            event = await self.next("a message", timeout)
            if not isinstance(event, ET.Element):
                raise Failure(f"expected a message, got {show(event)}")
            if event.tag == qname(CLIENT, "message"):
                return event

    async def close(self, timeout: float = TIMEOUT) -> list[Event]:
        """Closes the stream in the orderly way and returns what else came."""
        self.stream.write("</stream:stream>")
        seen = await self.stream.ends(timeout)
        self.stream.transport.close()
        if not any(isinstance(event, Closed) for event in seen):
            raise Failure(f"the server did not close its stream: {[show(each) for each in seen]}")
        return [event for event in seen if not isinstance(event, Closed)]

    def cut(self) -> None:
        """Drops the connection; counts stay for a resumption."""
        if self.stream is not None:
            self.stream.cut()
        self.sm.active = False

    async def ended_by(self, timeout: float = TIMEOUT) -> str:
        """Waits for the end of the stream; the condition of its <stream:error/>, or how it ended without one."""
        found = ""
        for event in await self.stream.ends(timeout):
            if isinstance(event, ET.Element) and event.tag == qname(STREAMS, "error"):
                found = stream_error(event)
        return found or "no error"


def encode(data: bytes) -> str:
    """Base64 as SASL writes it: an empty message is an equals sign (RFC 6120, section 6.4.2)."""
    return base64.b64encode(data).decode() or "="


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fragments(xml: str) -> list[ET.Element]:
    """The elements of a text in the namespace of clients."""
    return list(ET.fromstring(f"<x xmlns='{CLIENT}' xmlns:stream='{STREAMS}'>{xml}</x>"))


def condition(element: ET.Element) -> str:
    """The defined condition of an error: the name of the first child that is not a text."""
    return next((local(child.tag) for child in element if local(child.tag) != "text"), "none")


def stream_error(element: ET.Element) -> str:
    return next((local(child.tag) for child in element
                 if child.tag.startswith(f"{{{STREAM_ERRORS}}}") and local(child.tag) != "text"), "undefined")
