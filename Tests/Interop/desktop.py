"""Gajim on a screen that nobody sees (Xvfb), spoken to over its own D-Bus interface by `gajim_hand.py`."""

import asyncio
import json
import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

from clients import WAIT, Face, without_rights

START = 20.0
SCHEMA = 5  # of the settings of Gajim 1.7; later ones convert them.
ACCOUNT = "test"


class Gajim(Face):
    """Gajim of Debian (nbxmpp, GLib's TLS) with an account that is set up before it starts.

    It refuses to run as root, so a superuser's tests run it as nobody. The authority of the tests cannot be given to
    it, so the server's certificate is among those that its user accepted; what it is for and since when is checked.
    """

    reading: asyncio.Future | None = None
    needs = ("gajim", "Xvfb", "dbus-daemon", "setpriv", "/usr/bin/python3")

    async def connect(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="gajim-"))
        self.processes: list[asyncio.subprocess.Process] = []
        self._write_settings()
        self.prefix = without_rights(self.home)
        self.environment = {
            "HOME": str(self.home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "XDG_RUNTIME_DIR": str(self.home),
            "NO_AT_BRIDGE": "1", "GDK_BACKEND": "x11", "GSETTINGS_BACKEND": "memory",
        }
        number = await self._first_line("Xvfb", "-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp")
        self.environment["DISPLAY"] = f":{number}"
        bus = await self._first_line("dbus-daemon", "--session", "--nofork", "--print-address=1")
        self.environment["DBUS_SESSION_BUS_ADDRESS"] = bus
        with open(self.home / "log", "wb") as log:
            await self._start("gajim", "--verbose", stdout=log)
        self.hand = await self._start(
            "/usr/bin/python3", "-c", (Path(__file__).parent / "gajim_hand.py").read_text(), ACCOUNT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        self.online, self.reading = asyncio.Event(), asyncio.ensure_future(self._read())
        try:
            await asyncio.wait_for(self.online.wait(), START)
        except asyncio.TimeoutError:
            raise AssertionError(f"gajim is not online:\n{self._said()[-3000:]}") from None

    def _write_settings(self) -> None:
        """What its own dialogs would have written."""
        data, config = self.home / ".local/share/gajim", self.home / ".config/gajim"
        (data / "cert_store").mkdir(parents=True)
        config.mkdir(parents=True)
        shutil.copy(Path(self.server.authority).parent / "cert.pem", data / "cert_store/accepted")
        account = {
            "name": self.user, "hostname": self.server.domain, "address": self.jid, "account_label": ACCOUNT,
            "password": self.server.password(self.user), "active": True, "autoconnect": False, "resource": "gajim",
            "use_custom_host": True, "custom_host": self.address, "custom_port": self.port,
            "custom_type": {"starttls": "START TLS", "direct": "DIRECT TLS"}[self.transport],
        }
        settings = {
            "app": {"use_keyring": False, "remote_control": True, "autopopup": False, "sounds_on": False},
            "soundevents": {}, "status_presets": {}, "proxies": {}, "plugins": {},
            "workspaces": {"w": {"name": "Chats", "color": "rgb(191,15,167)", "avatar_sha": None, "chats": []}},
        }
        with sqlite3.connect(config / "settings.sqlite") as database:
            database.execute("CREATE TABLE settings (name TEXT UNIQUE, settings TEXT)")
            database.execute("CREATE TABLE account_settings (account TEXT UNIQUE, settings TEXT)")
            for name, value in settings.items():
                database.execute("INSERT INTO settings VALUES (?, ?)", (name, json.dumps(value)))
            database.execute(f"PRAGMA user_version = {SCHEMA}")
            database.execute("INSERT INTO account_settings VALUES (?, ?)", (
                ACCOUNT, json.dumps({"account": account, "contact": {}, "group_chat": {}})))
        database.close()

    async def _start(self, *command: str, **more) -> asyncio.subprocess.Process:
        more = {"stdin": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.STDOUT} | more
        if more.get("stdout") == asyncio.subprocess.PIPE:
            more["stderr"] = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *self.prefix, *command, env=self.environment, cwd=self.home, limit=1 << 20, **more)
        self.processes.append(process)
        return process

    async def _first_line(self, *command: str) -> str:
        process = await self._start(*command, stdout=asyncio.subprocess.PIPE)
        line = (await asyncio.wait_for(process.stdout.readline(), WAIT)).decode().strip()
        assert line, f"{command[0]} does not start"
        return line

    def _said(self) -> str:
        return (self.home / "log").read_text(errors="replace")

    async def _read(self) -> None:
        """What its hand tells: ["online"], or a sender and a body."""
        while line := await self.hand.stdout.readline():
            heard = json.loads(line)
            if heard == ["online"]:
                self.online.set()
            else:
                self.inbox.put_nowait((heard[0].partition("/")[0], heard[1]))

    async def send(self, to: str, body: str) -> None:
        self.hand.stdin.write(json.dumps([to, body]).encode() + b"\n")
        await self.hand.stdin.drain()

    async def history(self) -> list[str]:
        """All texts that it keeps, the oldest first, as soon as it has fetched what the archive of its account has."""
        deadline = time.monotonic() + WAIT
        with sqlite3.connect(self.home / ".local/share/gajim/logs.db") as database:
            fetched = ("SELECT 1 FROM last_archive_message NATURAL JOIN jids WHERE jid = ? AND last_mam_id IS NOT NULL",
                       [self.jid])
            while not database.execute(*fetched).fetchone():
                assert time.monotonic() < deadline, f"gajim fetched no history:\n{self._said()[-3000:]}"
                await asyncio.sleep(0.1)
            texts = database.execute("SELECT message FROM logs WHERE message IS NOT NULL ORDER BY time, log_line_id")
            found = [text for (text,) in texts]
        database.close()
        return found

    async def until_resumed(self) -> None:
        deadline = time.monotonic() + WAIT
        while "<resumed " not in self._said():
            assert time.monotonic() < deadline, f"gajim did not resume:\n{self._said()[-3000:]}"
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
        for process in reversed(self.processes):
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), 2)
                except asyncio.TimeoutError:
                    process.kill()
                    await process.wait()
        if not os.environ.get("TEST_KEEP"):
            shutil.rmtree(self.home, ignore_errors=True)
