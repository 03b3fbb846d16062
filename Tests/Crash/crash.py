#!/usr/bin/env python3
"""Kills the server at random moments under load and compares what senders saw acknowledged with what readers got.

Every trial: all kinds of readers come in, four senders write to them as clients do (messages and receipts to bare and
full addresses, and between them requests, answers, typing notices and presence, which nobody keeps), lose their
connections, resume and send again what was not acknowledged. The server gets SIGKILL (or, now and then,
SIGTERM) at a random moment or one that is aimed at: while stanzas are spilled, a session detaches, a backlog is
drained, a session resumes. It starts again, everybody collects, and the books are compared (see ledger.py for what
counts as a loss). Trials share one data directory, so what one leaves behind the next one finds. Every second
server runs on a file system that drops what was not synced.

Exit code 0: no promised message was lost, none came twice without reason or out of order. 1: otherwise.
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

from cast import KINDS, Draining, DrainingPlain, Detached, Person, Reader, Resuming, Sender  # noqa: E402
from ledger import COUNTS, Ledger  # noqa: E402
from support import martlet  # noqa: E402

SENDERS = 4
# Shorter than the default of 2 s, so that much is spilled in a short trial.
SPILL = 0.5
CONFIG = {
    "modules": {"offline": {"limit": 100_000}},
    "stream_management": {"resume": "60s", "spill": f"{SPILL * 1000:.0f}ms"},
    "auth": {"iterations": 4096},
}

# What the kill is aimed at, and how long the load lasts before it.
MOMENTS = {
    "under load": lambda chance: chance.uniform(0.05, 1.8),
    "while starting": lambda chance: chance.uniform(0.0, 0.05),
    "during the spill": lambda chance: SPILL + chance.uniform(-0.05, 0.5),
    "after the spill": lambda chance: 2 * SPILL + chance.uniform(0, 1.5),
    "during a drain": lambda chance: None,
    "during a detach": lambda chance: None,
    "during a resumption": lambda chance: None,
    "orderly stop": lambda chance: chance.uniform(0.05, 2.5),
}


def user(role: str) -> str:
    return "".join(each if each.isalnum() else "-" for each in role.lower())


async def aimed(moment: str, readers: list[Reader], chance: random.Random) -> None:
    """Waits for the moment of the kill."""
    pause = MOMENTS[moment](chance)
    if pause is not None:
        await asyncio.sleep(pause)
        return
    kinds = {"during a drain": (Draining, DrainingPlain), "during a detach": Detached, "during a resumption": Resuming}
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


def choose_file_system(number: int) -> None:
    """A kill alone never shows a missing fsync: the kernel still has what was written. Every second process uses a file
    system that hands over only what was synced."""
    os.environ.pop("MARTLET_TEST_VFS", None)
    if number % 2:
        os.environ["MARTLET_TEST_VFS"] = "dropunsynced"


async def trial(server, ledger: Ledger, number: int, moment: str, chance: random.Random) -> None:
    """One trial; the server runs before and after it."""
    readers = [kind(server, ledger, user(kind.kind), number, moment) for kind in KINDS]
    senders = [Sender(server, ledger, f"sender{n}", number, moment) for n in range(SENDERS)]
    everybody: list[Person] = [*readers, *senders]
    await asyncio.gather(*(reader.begin() for reader in readers), *(sender.connect() for sender in senders))
    tasks = [
        asyncio.ensure_future(sender.work(writes_to(number, readers), random.Random(chance.random())))
        for number, sender in enumerate(senders)
    ]
    tasks += [asyncio.ensure_future(reader.act(random.Random(chance.random()))) for reader in readers]
    await aimed(moment, readers, chance)

    loop = asyncio.get_running_loop()
    try:
        if moment == "orderly stop":
            begun = time.monotonic()
            await loop.run_in_executor(None, server.stop)
            ledger.slowest_stop = max(ledger.slowest_stop, time.monotonic() - begun)
        else:
            server.kill()
    finally:
        for task in tasks:
            task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception) and not isinstance(outcome, (OSError, AssertionError, asyncio.TimeoutError)):
            raise outcome
    await asyncio.gather(*(person.read_to_the_end() for person in everybody if not isinstance(person, Detached)))
    unclear = {reader.user for reader in readers if not reader.has_sm and reader.ended == "reset"}

    choose_file_system(number + 1)
    await loop.run_in_executor(None, server.start)
    ledger.generation += 1
    await asyncio.gather(*(reader.collect(20) for reader in readers))
    ledger.settle(number, moment, unclear)
    for person in everybody:
        if person.client and person.client.stream and person.client.stream.transport:
            person.client.stream.transport.abort()


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
    choose_file_system(0)
    server.start()
    try:
        for number in range(options.trials):
            problems = len(ledger.problems)
            chance, moment = random.Random(f"{options.seed}/{number}"), moment_of(options.seed, number)
            await asyncio.wait_for(trial(server, ledger, number, moment, chance), 120)
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
    bad = sum(ledger.total(name) for name in ("lost", "wrong_duplicates", "disorder", "stuck"))
    result = {
        "server": server.name, "seed": options.seed, "trials": done, "seconds": round(time.monotonic() - started, 1),
        "moments": moments, "kinds": ledger.totals, "all": {name: ledger.total(name) for name in COUNTS},
        "unknown": ledger.strangers, "slowest_stop": round(ledger.slowest_stop, 2), "failure": failure,
        "problems": [asdict(problem) for problem in ledger.problems[:200]],
    }
    if ledger.totals:
        print(table(ledger))
    print(f"{done} trials in {result['seconds']} s: " + ", ".join(f"{n} {name}" for name, n in sorted(moments.items()))
          + f"; slowest stop {ledger.slowest_stop:.1f} s; {ledger.strangers} arrivals of unknown messages")
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
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the choices, not the timing")
    parser.add_argument("--json", help="file for the result; standard output if not given")
    parser.add_argument("--quiet", action="store_true", help="no JSON on standard output")
    parser.add_argument("--verbose", action="store_true", help="a line per trial")
    parser.add_argument("--stop", action="store_true", help="stop at the first problem")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
