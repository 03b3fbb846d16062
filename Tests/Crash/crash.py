#!/usr/bin/env python3
"""Kills the server at random moments under load and compares what senders saw acknowledged with what readers got.

Every trial: all kinds of readers come in, four senders write to them, the server gets SIGKILL (or, now and then,
SIGTERM) at a random moment or one that is aimed at: while stanzas are spilled, a session detaches, a backlog is
drained, a session resumes, or once all is acknowledged. It starts again, everybody collects, and the books are compared
(see ledger.py for what counts as a loss). Senders mix in what nobody is owed the keeping of; two of them lose their
connection now and then, resume, and send again what was not acknowledged. Limits are the default ones. Trials share one
data directory, so what one leaves behind the next one finds. Every second server runs on a file system that drops what
was not synced, and the spill time changes from server to server.

Exit code 0: no promised message was lost, none came twice without reason or out of order, each is in the archive of its
sender and in that of its reader (see archives.py), and no acknowledgement stayed behind while the server was up. 1:
otherwise.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from dataclasses import asdict
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
sys.dont_write_bytecode = True

import archives  # noqa: E402
import yaml  # noqa: E402
from cast import KINDS, Detached, Draining, DrainingPlain, Heavy, Resuming  # noqa: E402
from ledger import COUNTS, Ledger  # noqa: E402
from people import Person, Reader  # noqa: E402
from senders import Sender, Watch  # noqa: E402
from support import martlet  # noqa: E402

SENDERS = 4
# A trial makes more messages than an account may keep by default, and logs in more often than people do.
CONFIG = {"modules": {"offline": {"limit": 100_000}, "mam": {"page": archives.PAGE}}, "auth": {"iterations": 4096}}

# Shorter than the default, so that much is spilled in a short trial; the default; longer than <resumed/> waits, so that
# senders are told of less than the server has handled.
SPILLS = [0.5, 0.5, 2.0, 2.0, 0.5, 0.5, 8.0, 2.0]

# What the kill is aimed at, and how long the load lasts before it, given the spill time.
MOMENTS = {
    "under load": lambda chance, spill: chance.uniform(0.05, 1.8) + (6 if spill > 5 else 0),
    "while starting": lambda chance, spill: chance.uniform(0.0, 0.05),
    "during the spill": lambda chance, spill: spill + chance.uniform(-0.05, 0.5),
    "after the spill": lambda chance, spill: min(2 * spill, spill + 3) + chance.uniform(0, 1.5),
    "during a drain": lambda chance, spill: None,
    "during a detach": lambda chance, spill: None,
    "during a resumption": lambda chance, spill: None,
    "all acknowledged": lambda chance, spill: chance.uniform(0.2, 1.2),
    "orderly stop": lambda chance, spill: chance.uniform(0.05, 2.5),
}


# How tasks end when the server does.
ENDINGS = OSError, AssertionError, asyncio.TimeoutError


def user(role: str) -> str:
    return "".join(each if each.isalnum() else "-" for each in role.lower())


async def aimed(moment: str, readers: list[Reader], spill: float, chance: random.Random) -> None:
    """Waits for the moment of the kill."""
    pause = MOMENTS[moment](chance, spill)
    if pause is not None:
        await asyncio.sleep(pause)
        return
    kinds = {"during a drain": (Draining, DrainingPlain), "during a detach": Detached,
             "during a resumption": (Resuming, Heavy)}
    reader = chance.choice([each for each in readers if isinstance(each, kinds[moment])])
    deadline = time.monotonic() + 3
    state = lambda: (reader.client and reader.client.stream, reader.client and reader.client.sm.active)  # noqa: E731
    before = state()
    while time.monotonic() < deadline and state() == before:
        await asyncio.sleep(0.001)
    await asyncio.sleep(chance.choice((0, 0.002, 0.01, 0.03, 0.1)))


def writes_to(number: int, readers: list[Reader]) -> list[Reader]:
    """An acknowledgement covers all that was sent before, so one slow reader holds it up for the others.

    Of four senders one writes to everybody, one only to the quiet ones, two only to the others.
    """
    quiet = [reader for reader in readers if reader.is_quiet]
    return [readers, quiet, *[[reader for reader in readers if not reader.is_quiet]] * 2][number % 4]


def moment_of(seed: int, number: int) -> str:
    """Each of the moments once in every round of trials, in a random order."""
    order = list(MOMENTS)
    random.Random(f"{seed}/{number // len(order)}").shuffle(order)
    return order[number % len(order)]


def choose_process(server, number: int) -> float:
    """Settles what the next process is like; its spill time.

    A kill alone never shows a missing fsync: the kernel still has what was written. Every second process uses a file
    system that hands over only what was synced.
    """
    os.environ.pop("MARTLET_TEST_VFS", None)
    if number % 2:
        os.environ["MARTLET_TEST_VFS"] = "dropunsynced"
    spill = SPILLS[number // 2 % len(SPILLS)]
    config = yaml.safe_load(server.config_file.read_text())
    config["stream_management"] = {"spill": f"{spill * 1000:.0f}ms"}
    server.config_file.write_text(yaml.safe_dump(config, sort_keys=False))
    return spill


async def load(readers: list[Reader], senders: list[Sender], moment: str, spill: float, chance: random.Random,
               end) -> None:
    """Everybody at work until the moment; `end` ends the server. What went wrong before that is a problem."""
    ledger = senders[0].ledger
    watch = Watch(readers, senders, spill)
    writing = {
        asyncio.ensure_future(sender.work(writes_to(number, readers), readers, random.Random(chance.random()))): sender
        for number, sender in enumerate(senders)
    }
    people = writing | {
        asyncio.ensure_future(reader.act(random.Random(chance.random()))): reader for reader in readers
    }
    watching = asyncio.ensure_future(watch.run())
    await aimed(moment, readers, spill, chance)
    if moment == "all acknowledged":
        for sender in senders:
            sender.stopping = True
        await asyncio.wait(writing, timeout=15)
        await watch.all_acknowledged(spill + 20)
    watching.cancel()
    early = {task for task in people if task.done() and task.exception()}
    ledger.is_ending = True
    try:
        await end()
    finally:
        for task in people:
            task.cancel()
    outcomes = await asyncio.gather(*people, watching, return_exceptions=True)
    for task, outcome in zip([*people, watching], outcomes):
        if task in early or isinstance(outcome, Exception) and not isinstance(outcome, ENDINGS):
            detail = f"{type(outcome).__name__}: {outcome}"
            ledger.complain("failed", people[task].user, senders[0].trial, moment, detail)


async def trial(server, ledger: Ledger, number: int, moment: str, spill: float, chance: random.Random) -> float:
    """One trial; the server runs before and after it. Returns the spill time of the next process."""
    readers = [kind(server, ledger, user(kind.kind), number, moment) for kind in KINDS]
    senders = [Sender(server, ledger, f"sender{n}", number, moment) for n in range(SENDERS)]
    for sender in senders[::2]:
        sender.drops = True
    everybody: list[Person] = [*readers, *senders]
    since = archives.now()
    await asyncio.gather(*(reader.begin() for reader in readers), *(sender.connect() for sender in senders))
    loop = asyncio.get_running_loop()

    async def end() -> None:
        if moment == "orderly stop":
            begun = time.monotonic()
            await loop.run_in_executor(None, server.stop)
            ledger.slowest_stop = max(ledger.slowest_stop, time.monotonic() - begun)
        else:
            server.kill()

    await load(readers, senders, moment, spill, chance, end)
    await asyncio.gather(*(person.read_to_the_end() for person in everybody if not isinstance(person, Detached)))
    unclear = {reader.user for reader in readers if reader.ended == "reset" and not reader.client.sm.active}

    spill = choose_process(server, number + 1)
    await loop.run_in_executor(None, server.start)
    ledger.generation += 1
    ledger.is_ending = False
    await asyncio.gather(*(reader.collect(20) for reader in readers))
    users = [person.user for person in everybody]
    await archives.compare(server, ledger, users, since, number, moment)
    ledger.settle(number, moment, unclear)
    for person in everybody:
        if person.client and person.client.stream and person.client.stream.transport:
            person.client.stream.transport.abort()
    return spill


def table(ledger: Ledger) -> str:
    """The counts per kind of reader."""
    width = max(len(kind) for kind in ledger.totals)
    lines = [" " * width + "".join(f"{name.replace('wrong_duplicates', 'wrong dup.'):>12}" for name in COUNTS)]
    for kind, counts in sorted(ledger.totals.items()):
        lines.append(f"{kind:{width}}" + "".join(f"{counts[name]:12}" for name in COUNTS))
    lines.append(f"{'all':{width}}" + "".join(f"{ledger.total(name):12}" for name in COUNTS))
    return "\n".join(lines)


async def run(options) -> int:
    if reason := martlet.missing():
        print(f"no server to crash: {reason}", file=sys.stderr)
        return 2
    server, ledger, moments = martlet.make(CONFIG), Ledger(), {}
    names = [user(kind.kind) for kind in KINDS] + [f"sender{number}" for number in range(SENDERS)]
    server.add_accounts({name: f"password-of-{name}" for name in names})
    started, done, failure = time.monotonic(), 0, ""
    spill = choose_process(server, options.first)
    server.start()
    try:
        for number in range(options.first, options.first + options.trials):
            problems = len(ledger.problems)
            chance, moment = random.Random(f"{options.seed}/{number}"), moment_of(options.seed, number)
            spill = await asyncio.wait_for(trial(server, ledger, number, moment, spill, chance), 120)
            moments[moment] = moments.get(moment, 0) + 1
            done += 1
            if options.verbose or len(ledger.problems) > problems:
                print(f"trial {number}, {moment}: {len(ledger.problems) - problems} problems", flush=True)
            if options.stop and len(ledger.problems) > problems:
                break
    except (AssertionError, OSError, asyncio.TimeoutError) as error:
        failure = f"trial {done} did not end: {type(error).__name__}: {error}\n{server.tail(20)}"
    finally:
        server.kill()
    bad = len(ledger.problems)
    result = {
        "server": server.name, "seed": options.seed, "trials": done, "seconds": round(time.monotonic() - started, 1),
        "moments": moments, "kinds": ledger.totals, "all": {name: ledger.total(name) for name in COUNTS},
        "stuck": ledger.complaints("stuck"), "failed": ledger.complaints("failed"), "pairs": ledger.pairs,
        "resumptions": ledger.resumptions, "repeated": ledger.repeated, "largest_resumption": ledger.largest,
        "slowest_promise": round(ledger.slowest_promise, 2), "unknown": ledger.strangers,
        "slowest_stop": round(ledger.slowest_stop, 2), "failure": failure,
        "problems": [asdict(problem) for problem in ledger.problems[:200]],
    }
    if ledger.totals:
        print(table(ledger))
    print(f"{done} trials in {result['seconds']} s: " + ", ".join(f"{n} {name}" for name, n in sorted(moments.items()))
          + f"; slowest stop {ledger.slowest_stop:.1f} s; {ledger.strangers} arrivals of unknown messages")
    print(f"{ledger.complaints('stuck')} people stuck, {ledger.complaints('failed')} failed; {ledger.pairs} pairs; "
          f"{ledger.resumptions} resumptions of senders, {ledger.repeated} stanzas sent again; "
          f"{ledger.refusals} readers over the limits; largest resumption {ledger.largest / 2**20:.1f} MiB; "
          f"slowest acknowledgement {ledger.slowest_promise:.1f} s")
    for problem in ledger.problems[:20]:
        print(f"  {problem.what}: {problem.message}, trial {problem.trial} {problem.moment} {problem.detail}")
    if failure:
        print(failure)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
    elif not options.quiet:
        print(json.dumps({key: value for key, value in result.items() if key != "problems"}))
    failed = bool(bad or failure or ledger.strangers or done < options.trials)
    if failed:
        print(f"FAILED; the server's files are in {server.folder}; repeat with --seed {options.seed}")
    else:
        print(f"ok: {ledger.total('promised')} promises kept")
        server.remove()
    return int(failed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial, to repeat one")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the choices, not the timing")
    parser.add_argument("--json", help="file for the result; standard output if not given")
    parser.add_argument("--quiet", action="store_true", help="no JSON on standard output")
    parser.add_argument("--verbose", action="store_true", help="a line per trial")
    parser.add_argument("--stop", action="store_true", help="stop at the first problem")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
