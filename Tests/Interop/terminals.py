"""Clients for people at a terminal: they run in a terminal of tmux, get lines typed, and show or write what arrives."""

import asyncio
import os
import re
import shlex
import shutil
import tempfile
import time
import xml.etree.ElementTree as ET
from contextlib import suppress
from pathlib import Path

from clients import WAIT, Face, without_rights

PAUSE = 0.1


class Terminal(Face):
    """A program in a tmux of its own, with a home of its own."""

    count = 0
    program = ""
    watching: asyncio.Future | None = None

    async def launch(self, command: str, **environment: str) -> None:
        """Starts the command; `home` must be there already."""
        Terminal.count += 1
        self.tmux = ["tmux", "-L", f"martlet-{os.getpid()}-{Terminal.count}", "-f", "/dev/null"]
        everything = {"HOME": str(self.home), "LANG": "C.UTF-8"} | environment
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in everything.items())
        await self.run("new-session", "-d", "-x", "220", "-y", "200", "-s", "p", f"env {variables} {command}")

    def make_home(self, files: dict[str, str]) -> None:
        """A folder with configuration files that nobody else may read; ~ in them is that folder."""
        self.home = Path(tempfile.mkdtemp(prefix=f"{self.program}-"))
        for name, text in files.items():
            path, text = self.home / name, text.replace("~", str(self.home))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o600)

    async def run(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *self.tmux, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), WAIT)
        assert process.returncode == 0, f"tmux {arguments}: {err.decode()}"
        return out.decode()

    async def type(self, line: str) -> None:
        await self.run("send-keys", "-t", "p", "-l", line)
        await self.run("send-keys", "-t", "p", "Enter")

    async def screen(self) -> str:
        return await self.run("capture-pane", "-p", "-t", "p")

    async def shows(self, text: str, *, at_start_of_last: bool = False) -> None:
        """Waits until the text is on the screen, or until the last line starts with it."""
        deadline = time.monotonic() + WAIT
        while True:
            screen = await self.screen()
            last = screen.rstrip().rpartition("\n")[2].lstrip(" │")
            if last.startswith(text) if at_start_of_last else text in screen:
                return
            assert time.monotonic() < deadline, f"{self.program} does not show {text!r}:\n{screen.strip()[-3000:]}"
            await asyncio.sleep(PAUSE)

    async def read_logs(self, pattern: str, line: re.Pattern, take) -> None:
        """Calls `take` with the path and each match in the whole lines that are written to the files of a pattern."""
        taken: dict[Path, int] = {}
        while True:
            for path in sorted(self.home.glob(pattern)):
                text = path.read_text(errors="replace")
                whole = text[: text.rfind("\n") + 1]
                for found in line.findall(whole, taken.get(path, 0)):
                    take(path, found)
                taken[path] = len(whole)
            await asyncio.sleep(PAUSE)

    async def quit(self, command: str) -> None:
        """Types the last command and waits for the end; kills what does not end."""
        if self.watching is not None:
            self.watching.cancel()
        with suppress(AssertionError):
            await self.type(command)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                await self.run("has-session", "-t", "p")
            except AssertionError:
                break
            await asyncio.sleep(PAUSE)
        else:
            await self.run("kill-server")
        shutil.rmtree(self.home, ignore_errors=True)


class Profanity(Terminal):
    """profanity (libstrophe); what it shows is what arrived."""

    program = "profanity"
    needs = ("profanity", "tmux")

    async def connect(self) -> None:
        self.make_home({".config/profanity/profrc": (
            "[ui]\nwrap=false\nsplash=false\n[connection]\nreconnect=1\nautoping=5\n[logging]\nhistory=false\n"
            "[notifications]\nmessage=off\n"
        )})
        await self.launch("profanity", SSL_CERT_FILE=self.server.authority)
        await self.shows("Profanity")
        tls = "legacy" if self.transport == "direct" else "force"
        await self.type(f"/connect {self.jid} server {self.address} port {self.port} tls {tls}")
        await self.shows("password")
        await self.type(self.server.password(self.user))
        await self.shows("logged in successfully")
        self.watching = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        """Goes to the window of who wrote, and takes its lines "time - sender: body"."""
        taken, in_chat = 0, False
        while True:
            screen = await self.screen()
            if not in_chat and "<< chat message" in screen:
                await self.type("/win 2")
                in_chat = True
            lines = re.findall(r"^\S+ - ([^\s@]+@[^\s/]+)(?:/\S+)?: (.*?) *$", screen, re.M)
            for sender, body in lines[taken:]:
                self.inbox.put_nowait((sender, body))
            taken = max(taken, len(lines))
            await asyncio.sleep(PAUSE)

    async def send(self, to: str, body: str) -> None:
        await self.type(f"/msg {to} {body}")

    async def open_with_history(self, other: str) -> None:
        """Opens the window of a contact anew, which is filled from the archive."""
        self.watching.cancel()
        await self.type("/win 1")
        await self.type("/mam on")
        await self.shows("Message Archive Management enabled")
        await self.type("/close all")
        await self.shows("Closed 1 window")
        await self.type(f"/msg {other}")

    async def close(self) -> None:
        await self.quit("/quit")


class Mcabber(Terminal):
    """mcabber (loudmouth): PLAIN under TLS, no stream management. It takes commands from a pipe and logs what comes.

    Over direct TLS it wants the certificate to be for the name of the machine it connects to, hence "localhost".
    """

    program = "mcabber"
    needs = ("mcabber", "tmux")
    LINE = re.compile(r"^MR \S+ \d+ (.*)$", re.M)

    async def connect(self) -> None:
        self.make_home({"mcabberrc": (
            f"set jid = {self.jid}\nset password = {self.server.password(self.user)}\n"
            f"set server = localhost\nset port = {self.port}\nset ssl_ca = {self.server.authority}\n"
            f"set tls = {int(self.transport == 'starttls')}\nset ssl = {int(self.transport == 'direct')}\n"
            "set logging = 1\nset logging_dir = ~/log/\nset fifo_name = ~/pipe\nmodule load fifo\n"
        )})
        await self.launch(f"mcabber -f {shlex.quote(str(self.home / 'mcabberrc'))}")
        await self.shows("MCabber version")
        await self.until_available()
        self.watching = asyncio.ensure_future(self.read_logs(
            "log/*@*", self.LINE, lambda path, body: self.inbox.put_nowait((path.name, body))))

    async def send(self, to: str, body: str) -> None:
        await asyncio.wait_for(asyncio.to_thread(
            (self.home / "pipe").write_text, f"say_to -n {to} {body}\n", encoding="utf-8"), WAIT)

    async def close(self) -> None:
        await self.quit("/quit")


class Poezio(Terminal):
    """poezio of Debian (slixmpp 1.8) with stream management; its debug log has what comes.

    It knows no direct TLS, and does not run as root.
    """

    program = "poezio"
    needs = ("poezio", "tmux", "setpriv")
    transports = ("starttls",)
    LINE = re.compile(r"RECV: (<message .*>)$", re.M)

    async def connect(self) -> None:
        self.make_home({".config/poezio/poezio.cfg": (
            f"[Poezio]\njid = {self.jid}/poezio\npassword = {self.server.password(self.user)}\n"
            f"custom_host = {self.address}\ncustom_port = {self.port}\nca_cert_path = ~/ca.pem\n"
            "use_log = true\nforce_encryption = true\nenable_smacks = true\nauto_reconnect = true\n"
            "enable_css = false\nuse_bookmarks_method =\n"
        ), "ca.pem": Path(self.server.authority).read_text()})
        await self.launch(shlex.join([*without_rights(self.home), "poezio", "--debug", str(self.home / "debug")]))
        await self.until_available()
        self.watching = asyncio.ensure_future(self.read_logs("debug", self.LINE, self._take))

    def _take(self, _, xml: str) -> None:
        """Also what is in a copy of another device's message: it has it, and its own log shows nothing of that."""
        stanza = ET.fromstring(xml)
        for message in [stanza, *stanza.findall("{urn:xmpp:carbons:2}*/{*}forwarded/{*}message")]:
            if body := message.findtext("{*}body"):
                sender, to = (message.get(name, "").partition("/")[0] for name in ("from", "to"))
                self.inbox.put_nowait((to if sender == self.jid else sender, body))

    async def send(self, to: str, body: str) -> None:
        """Types in three parts: keys that come together count as pasted, and pasted keys give no commands."""
        for keys, seen in ("/", "/"), (f"message {to} {body}", f"/message {to} {body}"):
            await self.run("send-keys", "-t", "p", "-l", keys)
            await self.shows(seen, at_start_of_last=True)
        await self.run("send-keys", "-t", "p", "Enter")

    async def close(self) -> None:
        await self.quit("/quit")
