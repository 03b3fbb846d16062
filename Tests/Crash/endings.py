#!/usr/bin/env python3
"""Kills the server at random moments while accounts are removed and made again and reloads take out hosts and modules.

Every trial: senders write to accounts of two hosts, which are away or take what comes. Commands remove some of them
and make them again, with another password; reloads take out and put back the module `offline` and the second host, or
change nothing. Then the server gets SIGKILL, at a random moment or in the middle of such a command, and starts again, now and
then with the config as it was left. Everybody collects, and the books are compared (ledger.py, lives.py):

- What was acknowledged to an account that stayed has come, once and in order, unless it was answered by an error.
- An account that was made anew has nothing of the one before: an empty roster, no message that was acknowledged before
  it was made; the old password is refused. What was sent to it since and acknowledged has come.
- Whatever a command said was done is so after the restart.

Exit code 0: all of it held. 1: otherwise.
"""

import argparse
import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
sys.dont_write_bytecode = True

import yaml  # noqa: E402
from crash import ENDINGS, table  # noqa: E402
from lives import Books, Life, Resident, Role  # noqa: E402
from people import Person  # noqa: E402
from senders import Sender, Watch  # noqa: E402
from support import martlet  # noqa: E402

HOME, OTHER = martlet.DOMAIN, martlet.OTHER_DOMAIN
SPILL = 0.5
CONFIG = {
    "modules": {"offline": {"limit": 100_000}}, "auth": {"iterations": 4096},
    "stream_management": {"spill": f"{SPILL * 1000:.0f}ms"},
}
ROLES = [
    Role("stays", HOME, "stays, away"), Role("stays-home", HOME, "stays, at home", at_home=True),
    Role("far", OTHER, "other host, away"), Role("far-home", OTHER, "other host, at home", at_home=True),
    Role("passing", HOME, "removed, away", is_passing=True),
    Role("passing-too", HOME, "removed, away", is_passing=True),
    Role("passing-home", HOME, "removed, at home", at_home=True, is_passing=True),
    Role("passing-far", OTHER, "removed, other host", is_passing=True),
]
SENDERS = 3
MOMENTS = ["under load", "account remove", "account add", "reload", "all acknowledged", "account remove", "reload",
           "orderly stop"]
# How the command line says that a host is not there, and that a name is free or taken.
NO_SUCH, EXISTS = 2, 3


class Commands:
    """The operator: runs commands, and says when one of a kind has just begun."""

    def __init__(self, server) -> None:
        self.server = server
        self.begun: dict[str, asyncio.Event] = {}
        self.running: set[asyncio.Future] = set()

    def event(self, name: str) -> asyncio.Event:
        return self.begun.setdefault(name, asyncio.Event())

    async def run(self, *arguments: str, input: str = "") -> tuple[int, str]:
        """To its end also if whoever asked for it is gone: nobody else may have the database before."""
        command = [str(martlet.binary()), *arguments, "-c", str(self.server.config_file)]
        work = asyncio.get_running_loop().run_in_executor(None, lambda: subprocess.run(
            command, input=input.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60))
        self.running.add(work)
        work.add_done_callback(self.running.discard)
        self.event(" ".join(arguments[:2] if arguments[0] == "account" else arguments[:1])).set()
        done = await asyncio.shield(work)
        return done.returncode, done.stdout.decode(errors="replace")

    async def end(self) -> None:
        await asyncio.gather(*self.running, return_exceptions=True)


class Config:
    """The config file: what may be taken out of it, and is."""

    def __init__(self, server) -> None:
        self.file, self.whole = server.config_file, yaml.safe_load(server.config_file.read_text())
        self.has_offline = self.has_other = True

    def write(self, *, has_offline: bool, has_other: bool) -> None:
        self.has_offline, self.has_other = has_offline, has_other
        config = dict(self.whole)
        if not has_other:
            config["hosts"] = [HOME]
        if not has_offline:
            config["modules"] = {name: value for name, value in config["modules"].items() if name != "offline"}
        partial = self.file.with_name("next.yml")
        partial.write_text(yaml.safe_dump(config, sort_keys=False))
        partial.rename(self.file)


class Trials:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.server, self.books = martlet.make(CONFIG), Books()
        self.commands, self.config = Commands(self.server), Config(self.server)
        self.names = 0
        self.trial, self.moment = 0, ""

    def complain(self, what: str, whom: str, detail: str) -> None:
        self.books.complain(what, whom, self.trial, self.moment, detail)

    def count(self, what: str) -> None:
        self.books.counts[what] += 1

    def begin(self) -> None:
        users = {role.user: f"password-of-{role.user}" for role in ROLES} | {
            f"sender{number}": f"password-of-sender{number}" for number in range(SENDERS)}
        self.server.passwords = users
        self.server.import_lines([f"{role.user}@{role.domain} {users[role.user]}" for role in ROLES]
                                 + [f"sender{number}@{HOME} {users[f'sender{number}']}" for number in range(SENDERS)])
        for role in ROLES:
            if role.is_passing:
                self.books.lives[role.user] = [Life(users[role.user], made=time.monotonic())]
        self.choose_process(0)
        self.server.start()

    def choose_process(self, number: int) -> None:
        """Every second process uses a file system that hands over only what was synced (see crash.py)."""
        os.environ.pop("MARTLET_TEST_VFS", None)
        if number % 2:
            os.environ["MARTLET_TEST_VFS"] = "dropunsynced"

    # -- what the operator does

    async def remove(self, reader: Resident) -> bool:
        """False: nobody knows, or the host is not there."""
        life = self.books.lives[reader.user][-1]
        life.ending = time.monotonic()
        code, out = await self.commands.run("account", "remove", reader.bare)
        if code == 0:
            life.ended = time.monotonic()
        elif code == NO_SUCH and "not a host" in out:
            life.ending = None
        elif code == NO_SUCH or not self.books.is_ending:
            self.complain("failed", reader.bare, f"is not removed: {code}, {out}")
        self.count(f"removed: {code}")
        return code == 0

    async def add(self, reader: Resident) -> bool:
        self.names += 1
        life = Life(f"another password {self.names}", begun=time.monotonic())
        lives = self.books.lives[reader.user]
        lives.append(life)
        code, out = await self.commands.run("account", "add", reader.bare, input=f"{life.password}\n")
        if code == 0:
            life.made = time.monotonic()
        elif code == NO_SUCH and "not a host" in out:
            lives.remove(life)
        elif code == EXISTS or not self.books.is_ending:
            self.complain("failed", reader.bare, f"is not made: {code}, {out}")
        self.count(f"added: {code}")
        return code == 0

    async def come_and_go(self, reader: Resident, chance: random.Random) -> None:
        """An account is removed and made again, until somebody loses track of it; that is found out after the kill."""
        lives = self.books.lives[reader.user]
        while not self.books.is_ending:
            await asyncio.sleep(chance.choice((0.02, chance.uniform(0.1, 1))))
            if lives[-1].ended is None:
                if not await self.remove(reader) and lives[-1].ending:
                    return
                continue
            before = lives[-1]
            await asyncio.sleep(chance.choice((0, 0, 0.05, 0.2)))
            if not await self.add(reader):
                if lives[-1] is not before:
                    return
                continue
            try:
                await self.look_at(reader)
            except ENDINGS:
                # The host went, or the server ends.
                pass

    async def look_at(self, reader: Resident) -> None:
        """At an account that has just been made."""
        *_, before, life = self.books.lives[reader.user]
        refused = await reader.is_refused(before)
        self.count(f"old passwords refused: {refused}")
        if refused is False:
            self.complain("password", reader.bare, "the password from before the removal logs in")
        await reader.look_at_roster(life, f"friend{self.names}@{HOME}")

    async def change_config(self, chance: random.Random) -> None:
        config = self.config
        while not self.books.is_ending:
            await asyncio.sleep(chance.uniform(0.02, 0.5))
            what = chance.choice(("offline", "offline", "host", "host", "nothing"))
            config.write(has_offline=config.has_offline ^ (what == "offline"),
                         has_other=config.has_other ^ (what == "host"))
            await self.reload(what)

    async def reload(self, what: str) -> None:
        code, out = await self.commands.run("reload")
        self.count(f"reloads, {what}: {code}")
        if code == 1 or code == 0 and "restart" in out or code != 0 and not self.books.is_ending:
            self.complain("failed", "reload", out)

    # -- one trial

    async def run(self, number: int) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        books, loop = self.books, asyncio.get_running_loop()
        self.trial, self.moment = number, MOMENTS[number % len(MOMENTS)]
        residents = [Resident(self.server, books, role, number, self.moment) for role in ROLES]
        passing = [resident for resident in residents if resident.role.is_passing]
        senders = [Sender(self.server, books, f"sender{each}", number, self.moment) for each in range(SENDERS)]
        senders[0].drops = True
        for resident in passing:
            books.lives[resident.user] = books.lives[resident.user][-1:]
        await asyncio.gather(*(sender.connect() for sender in senders))
        await self.load(residents, senders, chance)
        await self.commands.end()
        await asyncio.gather(*(person.read_to_the_end() for person in [*residents, *senders]))

        self.choose_process(number + 1)
        as_left = chance.random() < 0.3
        if not as_left:
            self.config.write(has_offline=True, has_other=True)
        await loop.run_in_executor(None, self.server.start)
        books.generation += 1
        books.is_ending = False
        if as_left:
            self.count("starts with the config as it was left")
            self.config.write(has_offline=True, has_other=True)
            await self.reload("whole")
        answered, silent = books.between()
        books.counts["to nobody: errors"] += answered
        books.counts["to nobody: no answer"] += silent
        for resident in passing:
            await self.find_out(resident)
        await asyncio.gather(*(resident.collect(20) for resident in residents))
        books.settle(number, self.moment, set())
        for person in [*residents, *senders]:
            if person.client and person.client.stream and person.client.stream.transport:
                person.client.stream.transport.abort()

    async def load(self, residents: list[Resident], senders: list[Sender], chance: random.Random) -> None:
        watch = Watch(residents, senders, SPILL)
        seed = lambda: random.Random(chance.random())  # noqa: E731
        writing: dict[asyncio.Future, Person | None] = {
            asyncio.ensure_future(sender.work(residents, residents, seed())): sender for sender in senders}
        others: dict[asyncio.Future, Person | None] = {
            asyncio.ensure_future(resident.act(seed())): resident for resident in residents}
        others |= {asyncio.ensure_future(self.come_and_go(resident, seed())): resident
                   for resident in residents if resident.role.is_passing}
        others[asyncio.ensure_future(self.change_config(seed()))] = None
        watching = asyncio.ensure_future(watch.run())
        await asyncio.sleep(chance.uniform(0.1, 1.5))
        if self.moment == "all acknowledged":
            for sender in senders:
                sender.stopping = True
            await asyncio.wait(writing, timeout=15)
            await watch.all_acknowledged(SPILL + 20)
        elif self.moment not in ("under load", "orderly stop"):
            event = self.commands.event(self.moment)
            event.clear()
            try:
                await asyncio.wait_for(event.wait(), 3)
            except asyncio.TimeoutError:
                self.count("moments missed")
            await asyncio.sleep(chance.uniform(0, 0.04))
        watching.cancel()
        tasks = writing | others
        early = {task for task in tasks if task.done() and task.exception()}
        self.books.is_ending = True
        if self.moment == "orderly stop":
            await asyncio.get_running_loop().run_in_executor(None, self.server.stop)
        else:
            self.server.kill()
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, watching, return_exceptions=True)
        for task, outcome in zip([*tasks, watching], outcomes, strict=True):
            if task in early or isinstance(outcome, Exception) and not isinstance(outcome, ENDINGS):
                person = tasks.get(task)
                self.complain("failed", person.user if person else "-", f"{type(outcome).__name__}: {outcome}")

    async def find_out(self, reader: Resident) -> None:
        """Finds the fate of an account from the answers of the commands, and makes it again if it is gone."""
        lives = self.books.lives[reader.user]
        code, out = await self.commands.run("account", "show", reader.bare)
        is_there, life = code == 0, lives[-1]
        if code not in (0, NO_SUCH):
            self.complain("failed", reader.bare, f"account show: {code}, {out}")
        if life.ended is None and life.ending is None and life.made is not None and not is_there:
            self.complain("gone", reader.bare, "was made, and is not there after the restart")
        if life.ended is not None and is_there:
            self.complain("back", reader.bare, "was removed, and is there after the restart")
        if life.made is None and life.ending is None:
            self.count(f"unknown making: {'done' if is_there else 'not done'}")
            if not is_there:
                lives.pop()
        elif life.ending is not None and life.ended is None:
            self.count(f"unknown removal: {'not done' if is_there else 'done'}")
            life.ending = None
            if not is_there:
                life.ended = time.monotonic()
        if not is_there and not await self.add(reader):
            self.complain("failed", reader.bare, "cannot be made again")
        for old in lives[:-1]:
            if await reader.is_refused(old) is not True:
                self.complain("password", reader.bare, f"{old.password} logs in after the restart, or nobody can")
        if await reader.is_refused(lives[-1]) is not False:
            self.complain("password", reader.bare, "its own password does not log in after the restart")
        await reader.look_at_roster(lives[-1])


async def main_loop(options) -> int:
    if reason := martlet.missing():
        print(f"no server to crash: {reason}", file=sys.stderr)
        return 2
    trials, moments, done, failure, begun = Trials(options.seed), Counter(), 0, "", time.monotonic()
    books = trials.books
    try:
        trials.begin()
        for number in range(options.first, options.first + options.trials):
            problems = len(books.problems)
            await asyncio.wait_for(trials.run(number), 120)
            moments[trials.moment] += 1
            done += 1
            if options.verbose or len(books.problems) > problems:
                print(f"trial {number}, {trials.moment}: {len(books.problems) - problems} problems", flush=True)
            if options.stop and len(books.problems) > problems:
                break
    except ENDINGS as error:
        failure = f"trial {done} did not end: {type(error).__name__}: {error}\n{trials.server.tail(20)}"
    finally:
        trials.server.kill()
    if books.totals:
        print(table(books))
    print(f"{done} trials in {time.monotonic() - begun:.0f} s: "
          + ", ".join(f"{count} {name}" for name, count in sorted(moments.items())))
    print("; ".join(f"{name}: {count}" for name, count in sorted(books.counts.items())))
    for problem in books.problems[:20]:
        print(f"  {problem.what}: {problem.message}, trial {problem.trial} {problem.moment} {problem.detail}")
    if failure or books.problems or books.strangers or done < options.trials:
        print(f"FAILED: {failure or f'{len(books.problems)} problems, {books.strangers} unknown messages'}; the files "
              f"are in {trials.server.folder}; repeat with --seed {options.seed}")
        return 1
    trials.server.remove()
    print(f"ok: {books.total('promised')} promises kept, and nothing came back from the dead")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial, to repeat one")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the choices, not the timing")
    parser.add_argument("--verbose", action="store_true", help="a line per trial")
    parser.add_argument("--stop", action="store_true", help="stop at the first problem")
    return asyncio.run(main_loop(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
