"""Four clients that other people wrote, behind one face: connect, send, next, cut beneath, close."""

import asyncio
import datetime
import os
import re
import shlex
import shutil
import tempfile
import time
from pathlib import Path

import aioxmpp
import aioxmpp.connector
import OpenSSL.SSL
import slixmpp
from support.namespaces import CLIENT, qname
from support.rawclient import Client

WAIT = 15.0


class Face:
    """One account's client. Messages that arrive are (bare sender, body)."""

    resumes = False

    def __init__(self, server, user: str, transport: str, port: int | None = None) -> None:
        self.server, self.user, self.transport = server, user, transport
        self.address = server.address
        self.port = port or server.ports[transport]
        self.jid = f"{user}@{server.domain}"
        self.inbox: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def next(self, timeout: float = WAIT) -> tuple[str, str]:
        return await asyncio.wait_for(self.inbox.get(), timeout)


class Slixmpp(Face):
    """slixmpp with XEP-0198; a lost connection is resumed at once."""

    resumes = True

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready, self.resumed = loop.create_future(), asyncio.Event()
        client = slixmpp.ClientXMPP(f"{self.jid}/slixmpp", self.server.password(self.user))
        client.ca_certs = Path(self.server.authority)
        client.enable_direct_tls = self.transport == "direct"
        client.enable_starttls = self.transport == "starttls"
        client.register_plugin("xep_0198")
        client.register_plugin("xep_0199")
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


class Aioxmpp(Face):
    """aioxmpp with its own stream management and pyOpenSSL as its TLS."""

    resumes = True

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
        dispatcher = client.summon(aioxmpp.dispatcher.SimpleMessageDispatcher)
        for kind in (aioxmpp.MessageType.CHAT, aioxmpp.MessageType.NORMAL):
            dispatcher.register_callback(kind, None, self._message)
        started = asyncio.get_running_loop().create_future()

        def failed(error) -> None:
            if not started.done():
                started.set_exception(error)

        client.on_failure.connect(failed)
        client.on_stream_established.connect(lambda: started.done() or started.set_result(None))
        client.presence = aioxmpp.PresenceState(available=True)
        await asyncio.wait_for(started, WAIT)

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
        await self._is_online()

    async def _is_online(self) -> None:
        """It says nothing when it is connected, but another resource of the account sees it come."""
        observer = await Client(self.server, self.user, "observer").login()
        await observer.available(-1)
        await observer.take(
            lambda event: event.tag == qname(CLIENT, "presence") and event.get("from") != observer.jid
            and event.get("type") is None, "the presence of go-sendxmpp", WAIT,
        )
        await observer.close()

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


class Profanity(Face):
    """profanity in a terminal of tmux; what it shows is what arrived."""

    count = 0

    async def connect(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="profanity-"))
        Profanity.count += 1
        self.tmux = ["tmux", "-L", f"martlet-{os.getpid()}-{Profanity.count}", "-f", "/dev/null"]
        home, authority = shlex.quote(str(self.home)), shlex.quote(self.server.authority)
        environment = f"HOME={home} SSL_CERT_FILE={authority} LANG=C.UTF-8"
        (self.home / ".config/profanity").mkdir(parents=True)
        (self.home / ".config/profanity/profrc").write_text(
            "[ui]\nwrap=false\nsplash=false\n[connection]\nreconnect=1\nautoping=5\n[logging]\nhistory=false\n"
            "[notifications]\nmessage=off\n"
        )
        await self._run("new-session", "-d", "-x", "220", "-y", "200", "-s", "p", f"env {environment} profanity")
        await self._shows("Profanity")
        tls = "legacy" if self.transport == "direct" else "force"
        await self._type(f"/connect {self.jid} server {self.address} port {self.port} tls {tls}")
        await self._shows("password")
        await self._type(self.server.password(self.user))
        await self._shows("logged in successfully")
        self.watching = asyncio.ensure_future(self._watch())

    async def _run(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *self.tmux, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), WAIT)
        assert process.returncode == 0, f"tmux {arguments}: {err.decode()}"
        return out.decode()

    async def _type(self, line: str) -> None:
        await self._run("send-keys", "-t", "p", "-l", line)
        await self._run("send-keys", "-t", "p", "Enter")

    async def _screen(self) -> str:
        return await self._run("capture-pane", "-p", "-t", "p")

    async def _shows(self, text: str, times: int = 1, timeout: float = WAIT) -> str:
        deadline = time.monotonic() + timeout
        while (screen := await self._screen()).count(text) < times:
            assert time.monotonic() < deadline, f"profanity does not show {text!r}:\n{screen.strip()[-3000:]}"
            await asyncio.sleep(0.1)
        return screen

    async def _watch(self) -> None:
        """Goes to the window of who wrote, and takes its lines "time - sender: body"."""
        taken, in_chat = 0, False
        while True:
            screen = await self._screen()
            if not in_chat and "<< chat message" in screen:
                await self._type("/win 2")
                in_chat = True
            lines = re.findall(r"^\S+ - ([^\s@]+@[^\s/]+)(?:/\S+)?: (.*?) *$", screen, re.M)
            for sender, body in lines[taken:]:
                self.inbox.put_nowait((sender, body))
            taken = max(taken, len(lines))
            await asyncio.sleep(0.1)

    async def send(self, to: str, body: str) -> None:
        await self._type(f"/msg {to} {body}")

    async def close(self) -> None:
        self.watching.cancel()
        await self._type("/quit")
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                await self._run("has-session", "-t", "p")
            except AssertionError:
                break
            await asyncio.sleep(0.1)
        else:
            await self._run("kill-server")
        shutil.rmtree(self.home, ignore_errors=True)
