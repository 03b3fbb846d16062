#!/usr/bin/env python3
"""Kills `martlet backup` and `martlet restore` at random moments, while a server works under load.

Every trial has two kills. First a backup of the busy server gets SIGKILL. If something has the backup's name then, it is
restored to a second server, which must start and have every account and every message that was acknowledged before the
backup began. If nothing has, what is left has to be refused by `restore` and to go with the next backup. Then a restore
of a whole backup gets SIGKILL, in an empty place or over the data of another server, which was stopped or killed. After
it there is the old data, whole, or the new data, whole, or none: then `check` says so and the restore is run again. Old
data that was put aside has to be whole too.

Exit code 0: all of it held. 1: otherwise.
"""

import argparse
import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
sys.dont_write_bytecode = True

from support import martlet  # noqa: E402
from support.namespaces import CLIENT, qname  # noqa: E402
from support.rawclient import Client  # noqa: E402

READERS = [f"reader{number}" for number in range(3)]
SENDERS = [f"sender{number}" for number in range(2)]
CONFIG = {"modules": {"offline": {"limit": 100_000}}, "auth": {"iterations": 4096}}
# Count and bytes of messages that make copying take a while.
FILLER = 1500, 4000
PARTIAL = ".martlet-partial"
# Seconds without a message after which no more are waited for.
PATIENCE = 10
MESSAGE = qname(CLIENT, "message")


class Broken(Exception):
    """A promise that did not hold."""


def command(server, *arguments: str) -> list[str]:
    return [str(martlet.binary()), *arguments, "-c", str(server.config_file)]


async def in_thread(work):
    """The servers go on being talked to meanwhile."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


async def run(server, *arguments: str, input: str = "") -> tuple[int, str]:
    """One command to its end: exit code, and what it said."""
    done = await in_thread(lambda: subprocess.run(
        command(server, *arguments), input=input.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60))
    return done.returncode, done.stdout.decode(errors="replace")


class Clock:
    """How long a command takes, to find moments within it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    async def measured(self, server, *arguments: str) -> tuple[int, str]:
        begun = time.monotonic()
        result = await run(server, *arguments)
        taken = time.monotonic() - begun
        self.seconds[arguments[0]] = 0.7 * self.seconds.get(arguments[0], taken) + 0.3 * taken
        return result

    async def killed(self, chance: random.Random, server, *arguments: str) -> bool:
        """The same, killed at a moment of it; false if it had ended."""
        process = await in_thread(lambda: subprocess.Popen(
            command(server, *arguments), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        # Most of the time goes by before the first file is touched.
        await asyncio.sleep(self.seconds[arguments[0]] * chance.choice((chance.random(), chance.uniform(0.4, 1.1))))
        process.kill()
        return await in_thread(process.wait) == -signal.SIGKILL


class Load:
    """Senders that write to readers who are away, and what was acknowledged to them."""

    def __init__(self, server) -> None:
        self.server = server
        self.promised: set[str] = set()
        self.accounts: set[str] = set()
        self.tasks: list[asyncio.Task] = []

    async def begin(self) -> None:
        clients = [await Client(self.server, user, "desk", transport="plain").login(sm=True) for user in SENDERS]
        count, size = FILLER
        await self.send(clients[0], [self.message(READERS[n % 3], f"filler{n}", size) for n in range(count)])
        self.tasks = [asyncio.ensure_future(self.work(client)) for client in clients]

    def message(self, reader: str, number: str, size: int) -> tuple[str, str]:
        address, id = f"{reader}@{self.server.domain}", f"{reader}.{number}"
        return id, f"<message to='{address}' type='chat' id='{id}'><body>{'x' * size}</body></message>"

    async def send(self, client: Client, messages: list[tuple[str, str]]) -> None:
        """Sends and waits for the acknowledgement."""
        for _, line in messages:
            client.send(line)
        await client.acknowledged(30)
        self.promised |= {id for id, _ in messages}

    async def work(self, client: Client) -> None:
        number = 0
        while True:
            ids = range(number, number + random.choice((1, 2, 5)))
            number = ids.stop
            await self.send(client, [
                self.message(random.choice(READERS), f"{client.user}-{n}", random.choice((50, 500))) for n in ids])
            await asyncio.sleep(0.15)

    async def add_account(self, name: str) -> None:
        code, out = await run(self.server, "account", "add", f"{name}@{self.server.domain}", input="a secret of it\n")
        if code:
            raise Broken(f"an account could not be added: {out}")
        self.accounts.add(name)

    def books(self) -> "Books":
        for task in self.tasks:
            if task.done():
                task.result()
        return Books(set(self.promised), set(self.accounts))

    def end(self) -> None:
        for task in self.tasks:
            task.cancel()


class Books:
    """Messages and accounts that had been acknowledged at one moment."""

    def __init__(self, messages: set[str], accounts: set[str]) -> None:
        self.messages, self.accounts = messages, accounts

    async def compare(self, server, what: str) -> None:
        """The server runs on the copy and must have all of it. Takes the messages out of it."""
        code, out = await run(server, "account", "list")
        there = {line.split("@")[0] for line in out.splitlines()}
        if code or not self.accounts | set(READERS) <= there:
            raise Broken(f"{what} lacks accounts {sorted(self.accounts - there)[:5]}: {out[:200]}")
        found = set().union(*await asyncio.gather(*(self.fetch(server, reader) for reader in READERS)))
        if missing := self.messages - found:
            raise Broken(f"{what} lacks {len(missing)} messages, such as {sorted(missing)[:5]}")

    async def fetch(self, server, reader: str) -> set[str]:
        client = await Client(server, reader, "home", transport="plain").login()
        client.send("<presence/>")
        expected = {id for id in self.messages if id.startswith(f"{reader}.")}
        found: set[str] = set()
        quiet = time.monotonic()
        while expected - found and time.monotonic() < quiet + PATIENCE:
            await asyncio.sleep(0.01)
            while client.stream.events:
                event = client.stream.events.popleft()
                if isinstance(event, ET.Element) and event.tag == MESSAGE:
                    found.add(event.get("id", ""))
                    quiet = time.monotonic()
        client.cut()
        return found


class Trials:
    """A busy server, and a second one that backups are restored to."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.busy, self.second, self.third = martlet.make(CONFIG), martlet.make(CONFIG), martlet.make(CONFIG)
        self.folder = self.busy.folder / "backups"
        self.folder.mkdir()
        self.load, self.clock, self.counts = Load(self.busy), Clock(), Counter()
        # The content of the second server's data: nothing of ours as yet.
        self.held: Books | None = None

    async def begin(self) -> None:
        users = {name: f"password-of-{name}" for name in READERS + SENDERS}
        self.busy.add_accounts(users)
        self.second.passwords = users
        await in_thread(self.busy.start)
        await self.load.begin()
        whole = self.folder / "first"
        for server, arguments in ((self.busy, ("backup", str(whole))), (self.second, ("restore", str(whole), "--force"))):
            code, out = await self.clock.measured(server, *arguments)
            if code:
                raise Broken(f"{arguments}: {out}")
        self.held = self.load.books()

    async def trial(self, number: int) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        await self.load.add_account(f"mark{number}")
        await self.kill_backup(number, chance)
        await self.load.add_account(f"mark{number}-2")
        whole, books = self.folder / f"whole{number}", self.load.books()
        code, out = await self.clock.measured(self.busy, "backup", str(whole))
        if code or list(self.folder.glob(f"*{PARTIAL}")):
            raise Broken(f"the backup behind a killed one: {code}, {out}, {list(self.folder.iterdir())}")
        await self.kill_restore(whole, books, f"mark{number}-2", chance)
        for path in self.folder.iterdir():
            shutil.rmtree(path)

    # -- backups

    async def kill_backup(self, number: int, chance: random.Random) -> None:
        name, books = self.folder / f"killed{number}", self.load.books()
        was_killed = await self.clock.killed(chance, self.busy, "backup", str(name))
        partial = name.with_name(name.name + PARTIAL)
        self.counts["backups killed" if was_killed else "backups faster than the kill"] += 1
        if name.exists():
            if was_killed:
                self.counts["killed backups: whole"] += 1
            if partial.exists():
                raise Broken(f"{partial} is there beside the backup")
            code, out = await run(self.second, "restore", str(name), "--force")
            if code:
                raise Broken(f"{name} has the name of a backup and cannot be restored: {out}")
            await self.starts_with(books, "what has the backup's name")
        elif not was_killed:
            raise Broken("a backup ended and there is none")
        elif partial.exists():
            self.counts["killed backups: partial"] += 1
            code, out = await run(self.second, "restore", str(partial), "--force")
            if code == 0 or "did not end" not in out:
                raise Broken(f"{partial} was not refused: {out}")
        else:
            self.counts["killed backups: nothing yet"] += 1

    async def starts_with(self, books: Books, what: str) -> None:
        """The second server starts and has all of it; then it ends in one way or another."""
        await in_thread(self.second.start)
        await books.compare(self.second, what)
        # The messages were fetched; the accounts are there.
        self.held = Books(set(), books.accounts)
        await in_thread(random.choice((self.second.kill, self.second.stop)))
        for path in self.second.data.glob("replaced-*"):
            shutil.rmtree(path)

    # -- restores

    async def kill_restore(self, whole: Path, books: Books, mark: str, chance: random.Random) -> None:
        if chance.random() < 0.4:
            shutil.rmtree(self.second.data)
            self.held = None
        arguments = "restore", str(whole), "--force"
        was_killed = await self.clock.killed(chance, self.second, *arguments)
        self.counts["restores killed" if was_killed else "restores faster than the kill"] += 1
        await self.look_aside()
        code, out = await run(self.second, "check", "--no-dns")
        if code:
            self.counts["killed restores: no data"] += 1
            if code != 69 or "`martlet restore" not in out or "martlet.db" not in out and "data directory" not in out:
                raise Broken(f"check after a killed restore: {code}, {out}")
            code, out = await self.clock.measured(self.second, *arguments[:2])
            if code:
                raise Broken(f"the restore could not be run again: {out}")
        else:
            # The name of this account is in the new data only.
            _, names = await run(self.second, "account", "list")
            is_new = f"{mark}@" in names
            if was_killed:
                self.counts["killed restores: " + ("new data" if is_new else "old data")] += 1
            if not is_new:
                if not was_killed or self.held is None:
                    raise Broken("a restore ended and the data is not there")
                await self.starts_with(self.held, "the old data behind a killed restore")
                code, out = await self.clock.measured(self.second, *arguments)
                if code:
                    raise Broken(f"the restore could not be run again: {out}")
        if left := list(self.second.data.glob("*.restored*")) + list(self.second.data.glob(f"*{PARTIAL}")):
            if not was_killed:
                raise Broken(f"left behind: {left}")
        await self.starts_with(books, "the restored data")

    async def look_aside(self) -> None:
        """A directory with old data has its name only when it is whole."""
        for path in self.second.data.glob("replaced-*"):
            if path.name.endswith(PARTIAL):
                continue
            self.counts["asides looked at"] += 1
            code, out = await run(self.third, "restore", str(path), "--force")
            if code:
                raise Broken(f"{path} is not whole: {out}")
            code, out = await run(self.third, "account", "list")
            if code or self.held is None or not self.held.accounts <= {line.split("@")[0] for line in out.splitlines()}:
                raise Broken(f"{path} lacks accounts: {out[:200]}")
            for old in self.third.data.glob("replaced-*"):
                shutil.rmtree(old)

    def remove(self) -> None:
        for server in (self.busy, self.second, self.third):
            server.remove()


async def main_loop(options) -> int:
    if reason := martlet.missing():
        print(f"no server to back up: {reason}", file=sys.stderr)
        return 2
    trials, done, failure, begun = Trials(options.seed), 0, "", time.monotonic()
    try:
        await trials.begin()
        for number in range(options.trials):
            await asyncio.wait_for(trials.trial(number), 180)
            done += 1
            if options.verbose:
                print(f"trial {number}: {dict(trials.counts)}", flush=True)
    except (Broken, AssertionError, OSError, asyncio.TimeoutError) as error:
        failure = f"trial {done}: {type(error).__name__}: {error}"
    finally:
        trials.load.end()
        for server in (trials.busy, trials.second):
            server.kill()
    print(f"{done} trials in {time.monotonic() - begun:.0f} s, {len(trials.load.promised)} messages and "
          f"{len(trials.load.accounts)} accounts acknowledged; "
          + ", ".join(f"{count} {name}" for name, count in sorted(trials.counts.items())))
    if failure:
        print(f"FAILED: {failure}\n{trials.second.tail(10)}\nfiles in {trials.busy.folder} and {trials.second.folder}; "
              f"repeat with --seed {options.seed}")
        return 1
    trials.remove()
    print("ok: whatever has the name of a backup is one")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100, help="of two kills each")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the choices, not the timing")
    parser.add_argument("--verbose", action="store_true", help="a line per trial")
    os.environ.pop("MARTLET_TEST_VFS", None)
    return asyncio.run(main_loop(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
