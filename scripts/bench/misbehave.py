"""What other clients feel while one misbehaves: their pings, and the server's memory.

    scripts/bench/bench.py --only misbehave          # or one of: flood, roster, slow-disk, resume

The innocent clients and the culprit are processes of their own (innocents.py, culprits.py).
"""

import json
import os
import subprocess
import sys
import threading
import time

from rows import Budget, Row
from servers import BenchError, child_set_up

HERE = os.path.dirname(os.path.abspath(__file__))
GROUP = "misbehave"
INNOCENTS = 12
FIRST_INNOCENT = 20
ACCOUNTS = FIRST_INNOCENT + INNOCENTS
CALM = 3.0
AFTERWARDS = 10.0

# What the culprit does, by its name for --only.
TITLES = {
    "roster": "49 sessions that ask for the largest roster and do not read",
    "slow-disk": "one that floods an absent account, syncs of 0 to 900 ms",
    "flood": "one that floods absent accounts on both loops",
    "resume": "one that resumes again and again, with 4 MB waiting",
}


def rows(kind):
    return [
        Row(f"{kind}-p50", f"ping of others beside {TITLES[kind]}, p50", "p50_ms", "ms"),
        Row(f"{kind}-p99", "… p99", "p99_ms", "ms", Budget(20)),
        Row(f"{kind}-max", "… slowest", "max_ms", "ms"),
        Row(f"{kind}-calm", "… p99 before it begins", "calm_p99_ms", "ms"),
        Row(f"{kind}-before", "… server's resident memory before", "before_mb", "MB"),
        Row(f"{kind}-peak", "… at its peak", "peak_mb", "MB"),
        Row(f"{kind}-after", "… 10 s after", "after_mb", "MB"),
    ]


def prepare(server, kind):
    """Settles how the server runs for this kind; to be called before its start."""
    if kind == "slow-disk":
        server.variables = {"MARTLET_TEST_VFS": "dropunsynced", "MARTLET_TEST_SYNC_MS": "900"}
        # So that there is always something to sync.
        server.configure("  offline: {}", "  offline: {limit: 100000}")


class Helper:
    """A process of ours that says "ready", is told when to go on, and ends with a line of JSON."""

    def __init__(self, script, *arguments):
        self.name = script
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, script), *map(str, arguments)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, preexec_fn=child_set_up)
        if self.process.stdout.readline().strip() != "ready":
            raise BenchError(f"{script} {arguments[0]} did not begin")

    def tell(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def result(self, patience):
        try:
            output, _ = self.process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self.name} did not end") from None
        if self.process.returncode != 0:
            raise BenchError(f"{self.name} failed")
        return json.loads(output.splitlines()[-1])

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Memory(threading.Thread):
    """The resident memory of a process, looked at every 50 ms, and the processor time of its threads."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = self.now()
        self.over = threading.Event()
        self.start()

    def now(self):
        with open(f"/proc/{self.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def threads(self):
        """Seconds of processor time by thread, the busiest first."""
        found = {}
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{task}/stat") as stat:
                name, _, rest = stat.read().partition("(")[2].rpartition(")")
            fields = rest.split()
            found[f"{name} {task}"] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return dict(sorted(found.items(), key=lambda entry: -entry[1])[:6])

    def run(self):
        while not self.over.wait(0.05):
            try:
                self.peak = max(self.peak, self.now())
            except OSError:
                return


def measure(server, kind, seconds):
    """One kind against a server that runs: what the rows show, and more for whoever looks into it."""
    helpers = []
    memory = None
    try:
        innocents = Helper("innocents.py", server.port, FIRST_INNOCENT, INNOCENTS)
        helpers.append(innocents)
        culprit = Helper("culprits.py", kind, server.port, seconds)
        helpers.append(culprit)
        innocents.tell("calm")
        time.sleep(CALM)
        memory = Memory(server.pid)
        before = memory.now()
        innocents.tell(kind)
        culprit.tell("go")
        did = culprit.result(seconds + 120)
        threads = memory.threads()
        innocents.tell("afterwards")
        time.sleep(AFTERWARDS)
        after = memory.now()
        innocents.tell("end")
        phases = innocents.result(30)
        return {
            **phases[kind], "before_mb": before, "peak_mb": memory.peak, "after_mb": after,
            "calm_p99_ms": phases["calm"]["p99_ms"], "calm": phases["calm"], "afterwards": phases["afterwards"],
            "culprit": did, "threads": threads, "kind": kind, "load": os.getloadavg()[0],
        }
    except OSError as error:
        raise BenchError(f"{kind}: {error}") from None
    finally:
        if memory:
            memory.over.set()
        for helper in helpers:
            helper.end()
