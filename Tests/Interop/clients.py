"""Clients that other people wrote, behind one face: connect, send, next, cut beneath, close.

The libraries and go-sendxmpp are here; what runs in a terminal is in `terminals.py`, what has windows in `desktop.py`.
"""

import asyncio
import datetime
import os
import pwd
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import aioxmpp
import aioxmpp.connector
import OpenSSL.SSL
import slixmpp
from support.namespaces import CLIENT, qname
from support.rawclient import Client

WAIT = 15.0


def without_rights(home: Path) -> tuple[str, ...]:
    """What to put before a command that refuses to run as root: it runs as nobody, whom the folder then belongs to."""
    if os.geteuid() != 0:
        return ()
    nobody = pwd.getpwnam("nobody")
    for path in [home, *home.rglob("*")]:
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")


class Face:
    """One account's client. Messages that arrive are (bare sender, body)."""

    transports = ("starttls", "direct")
    needs: tuple[str, ...] = ()

    def __init__(self, server, user: str, transport: str, port: int | None = None) -> None:
        self.server, self.user, self.transport = server, user, transport
        self.address = server.address
        self.port = port or server.ports[transport]
        self.jid = f"{user}@{server.domain}"
        self.inbox: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def next(self, timeout: float = WAIT) -> tuple[str, str]:
        return await asyncio.wait_for(self.inbox.get(), timeout)

    async def until_available(self) -> None:
        """For those who do not tell when they are connected: another resource of the account sees them come."""
        observer = await Client(self.server, self.user, "observer").login()
        await observer.available(-1)
        await observer.take(
            lambda event: event.tag == qname(CLIENT, "presence") and event.get("from") != observer.jid
            and event.get("type") is None, f"the presence of {type(self).__name__}", WAIT,
        )
        await observer.close()


class Slixmpp(Face):
    """slixmpp with XEP-0198; a lost connection is resumed at once."""

    async def connect(self, plugins: Sequence[str] = ()) -> None:
        loop = asyncio.get_running_loop()
        self.ready, self.resumed = loop.create_future(), asyncio.Event()
        client = slixmpp.ClientXMPP(f"{self.jid}/slixmpp", self.server.password(self.user))
        client.ca_certs = Path(self.server.authority)
        client.enable_direct_tls = self.transport == "direct"
        client.enable_starttls = self.transport == "starttls"
        for plugin in ("xep_0198", "xep_0199", *plugins):
            client.register_plugin(plugin)
        client.add_event_handler("session_start", self._started)
        client.add_event_handler("session_resumed", lambda _: self.resumed.set())
        client.add_event_handler("message", self._message)
        client.add_event_handler("disconnected", self._disconnected)
        client.add_event_handler("failed_auth", self._failed)
        self.client, self.closing = client, False
        client.connect(self.address, self.port)
        await asyncio.wait_for(self.ready, WAIT)

    def _failed(self, event) -> None:
        if not self.ready.done():
            self.ready.set_exception(AssertionError(f"authentication failed: {event}"))

    async def _started(self, _) -> None:
        self.client.send_presence()
        await self.client.get_roster()
        if not self.ready.done():
            self.ready.set_result(None)

    def _message(self, stanza) -> None:
        if stanza["type"] in ("chat", "normal") and stanza["body"]:
            self.inbox.put_nowait((stanza["from"].bare, stanza["body"]))

    def _disconnected(self, _) -> None:
        if not self.closing:
            self.client.connect(self.address, self.port)

    async def send(self, to: str, body: str) -> None:
        self.client.send_message(mto=to, mbody=body, mtype="chat")

    async def until_resumed(self) -> None:
        await asyncio.wait_for(self.resumed.wait(), WAIT)

    async def close(self) -> None:
        self.closing = True
        await asyncio.wait_for(self.client.disconnect(), WAIT)


class SlixmppWithHistory(Slixmpp):
    """It knows archives and the ids in them (xep_0313, xep_0359); `ids` are those of what arrived."""

    async def connect(self) -> None:
        self.ids: list[str] = []
        await super().connect(("xep_0313", "xep_0359"))

    def _message(self, stanza) -> None:
        super()._message(stanza)
        if stanza["body"]:
            self.ids.append(stanza["stanza_id"]["id"])

    async def history(self, page: int = 100) -> list[tuple[str, str, str]]:
        """All that the archive has, fetched in pages: the id there, the bare sender, the body."""
        found = []
        async for result in self.client.plugin["xep_0313"].iterate(rsm={"max": page}):
            message = result["mam_result"]["forwarded"]["stanza"]
            found.append((result["mam_result"]["id"], message["from"].bare, message["body"]))
        return found


class Aioxmpp(Face):
    """aioxmpp with its own stream management and pyOpenSSL as its TLS."""

    def _context(self):
        context = OpenSSL.SSL.Context(OpenSSL.SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations(self.server.authority)
        return context

    async def connect(self) -> None:
        security = aioxmpp.make_security_layer(self.server.password(self.user))
        security = security._replace(ssl_context_factory=self._context)
        connector = (aioxmpp.connector.XMPPOverTLSConnector() if self.transport == "direct"
                     else aioxmpp.connector.STARTTLSConnector())
        client = aioxmpp.PresenceManagedClient(
            aioxmpp.JID.fromstr(self.jid).replace(resource="aioxmpp"), security,
            override_peer=[(self.address, self.port, connector)],
        )
        client.backoff_start = client.backoff_cap = datetime.timedelta(seconds=0.2)
        self.client, self.resumed = client, asyncio.Event()
        client.on_stream_resumed.connect(self.resumed.set)
        client.summon(aioxmpp.RosterClient)
        dispatcher = client.summon(aioxmpp.dispatcher.SimpleMessageDispatcher)
        for kind in (aioxmpp.MessageType.CHAT, aioxmpp.MessageType.NORMAL):
            dispatcher.register_callback(kind, None, self._message)
        self._prepare(client)
        started = asyncio.get_running_loop().create_future()

        def failed(error) -> None:
            if not started.done():
                started.set_exception(error)

        client.on_failure.connect(failed)
        client.on_stream_established.connect(lambda: started.done() or started.set_result(None))
        client.presence = aioxmpp.PresenceState(available=True)
        await asyncio.wait_for(started, WAIT)

    def _prepare(self, client) -> None:
        """For subclasses, before the client connects."""

    def _message(self, message) -> None:
        if message.body:
            self.inbox.put_nowait((str(message.from_.bare()), message.body.any()))

    async def send(self, to: str, body: str) -> None:
        message = aioxmpp.Message(type_=aioxmpp.MessageType.CHAT, to=aioxmpp.JID.fromstr(to))
        message.body[None] = body
        await asyncio.wait_for(self.client.send(message), WAIT)

    async def until_resumed(self) -> None:
        await asyncio.wait_for(self.resumed.wait(), WAIT)

    async def close(self) -> None:
        stopped = asyncio.Event()
        self.client.on_stopped.connect(stopped.set)
        self.client.stop()
        await asyncio.wait_for(stopped.wait(), WAIT)


class GoSendxmpp(Face):
    """go-sendxmpp: one process listens, another one sends each message."""

    needs = ("go-sendxmpp",)

    def _command(self, *more: str) -> list[str]:
        tls = ["--tls"] if self.transport == "direct" else []
        return ["go-sendxmpp", "-u", self.jid, "-p", self.server.password(self.user), "-j",
                f"{self.address}:{self.port}", *tls, *more]

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "SSL_CERT_FILE": self.server.authority}

    async def connect(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="go-sendxmpp-"))
        self.process = await asyncio.create_subprocess_exec(
            *self._command("--listen"), env=self._environment(), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )
        self.reading = asyncio.ensure_future(self._read())
        await self.until_available()

    async def _read(self) -> None:
        """Lines are "time sender: body"."""
        while line := (await self.process.stdout.readline()).decode():
            when, _, rest = line.strip().partition(" ")
            sender, _, body = rest.partition(": ")
            self.inbox.put_nowait((sender.partition("/")[0], body))

    async def send(self, to: str, body: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command(to), env=self._environment(), stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(process.communicate(body.encode()), WAIT)
        assert process.returncode == 0, said.decode()

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
        await asyncio.wait_for(self.process.wait(), WAIT)
        await self.reading
        shutil.rmtree(self.home, ignore_errors=True)
