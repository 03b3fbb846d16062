#!/usr/bin/env python3
"""Measures the release build of Martlet beside a plain byte relay, and with PEERS=1 beside Debian's ejabberd and
Prosody, all in one run; prints a table with the budgets and writes JSON.

    scripts/bench/bench.py [--json FILE] [--only ROW|GROUP[,…]] [--subjects NAME[,NAME]] [--binaries FOLDER]

Environment: PEERS=1 (needs root, installs the packages), BENCH_QUICK=1 (smaller and shorter: for a look, not for the
record), BENCH_SECONDS (per measurement, 10), BENCH_REPEAT (times each closed or open loop is measured for relay and
Martlet, the median counts, 3), BENCH_LOOPS (event loops of Martlet and the relay; the number of cores), BENCH_SPLIT=1
(half of the relay's pairs cross loops, as Martlet's accounts do), BENCH_KEEP=1 (leaves the servers' folders).
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import handlers  # noqa: E402
import misbehave  # noqa: E402
import peers  # noqa: E402
import rows as plan  # noqa: E402
import table  # noqa: E402
import timing  # noqa: E402
from servers import ACCOUNT_PREFIX, HOST, PASSWORD, BenchError, Martlet, Relay, raise_descriptor_limit  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ORDER = ["relay", "martlet", "ejabberd", "prosody"]


def say(text):
    print(text, file=sys.stderr, flush=True)


def flag(name):
    return os.environ.get(name, "") not in ("", "0")


def commit():
    result = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True)
    return result.stdout.strip() or "?"


def end(*_):
    raise KeyboardInterrupt


class Bench:
    def __init__(self, options):
        self.binaries = options.binaries
        self.quick = flag("BENCH_QUICK")
        self.seconds = float(os.environ.get("BENCH_SECONDS") or (3 if self.quick else 10))
        self.repeat = int(os.environ.get("BENCH_REPEAT") or (1 if self.quick else 3))
        self.loops = int(os.environ.get("BENCH_LOOPS") or os.cpu_count())
        self.split = flag("BENCH_SPLIT")
        self.only = set(options.only.split(",")) if options.only else None
        self.subjects = options.subjects
        self.servers = {}
        self.figures = {}
        self.rows = []
        self.reports = []
        self.complaints = []

    def accounts(self):
        return 4_000 if self.quick else 12_000

    def make(self, name):
        if name == "relay":
            return Relay(self.binaries, self.loops, self.split)
        if name == "martlet":
            return Martlet(self.binaries, self.accounts(), self.loops)
        return {"ejabberd": peers.Ejabberd, "prosody": peers.Prosody}[name](self.accounts())

    def load(self, server, run):
        """One measurement: the report of the load generator; None: it failed, which is noted."""
        port = server.tls_port if run.tls else server.port
        command = [os.path.join(self.binaries, "martlet-load"), *run.arguments, "--port", str(port),
                   "--host", HOST, "--prefix", ACCOUNT_PREFIX, "--password", PASSWORD,
                   "--pid", str(server.pid), "--label", server.name]
        if server.is_relay:
            command.append("--relay")
        return self.execute(server.name, run, command)

    def execute(self, name, run, command):
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, errors="replace")
        lines = [line for line in result.stdout.splitlines() if line.startswith("{")]
        if result.returncode != 0 or not lines:
            self.complain(f"{name}: {' '.join(run.arguments)}: {result.stderr.strip()[-500:]}")
            return None
        report = json.loads(lines[-1])
        report["arguments"] = run.arguments
        self.reports.append(report)
        wrong = [f"{key}={report[key]}" for key in plan.MUST_BE_ZERO if report.get(key)]
        if wrong:
            self.complain(f"{name}: {' '.join(run.arguments)}: {' '.join(wrong)}")
        return report

    def complain(self, text):
        say(f"  ! {text}")
        self.complaints.append(text)

    def measure(self, run):
        """The run for every server, turn by turn, so that a slow minute of the machine is everybody's."""
        names = [name for name in self.subjects
                 if (name != "relay" or run.on_relay) and (name in ("relay", "martlet") or not run.modules)]
        samples = {name: [] for name in names}
        for turn in range(self.repeat if run.repeats else 1):
            for name in names:
                if turn > 0 and name not in ("relay", "martlet"):
                    continue
                server = self.servers[name]
                try:
                    has_others = name == "martlet" and server.enable(run.modules)
                    if run.fresh or has_others or server.process is None or server.process.poll() is not None:
                        server.restart()
                except BenchError as error:
                    self.complain(str(error))
                    continue
                say(f"  {name}: {' '.join(run.arguments)}")
                report = self.load(server, run)
                if report:
                    samples[name].append(report)
        self.keep(run, samples)

    def measure_alone(self, run):
        """The run without a server: Martlet's core is in the load generator."""
        say(f"  martlet: {' '.join(run.arguments)}")
        command = [os.path.join(self.binaries, "martlet-load"), *run.arguments, "--loops", str(max(2, self.loops))]
        report = self.execute("martlet", run, command)
        self.keep(run, {"martlet": [report] if report else []})

    def keep(self, run, samples):
        for row in run.rows:
            self.figures[row.key] = {
                name: statistics.median(values)
                for name, reports in samples.items()
                if (values := [report[row.metric] for report in reports if row.metric in report])
            }
            self.rows.append((row, row.title))

    def measure_start(self):
        """Martlet alone: from the start to the line that says it listens, with many accounts in the database."""
        accounts = 10_000 if self.quick else plan.START_ACCOUNTS
        say(f"  martlet: start with {accounts:,} accounts")
        server = Martlet(self.binaries, accounts, self.loops)
        try:
            say(f"  martlet: {accounts:,} accounts imported in {server.import_seconds:.1f} s")
            times = [server.start_to_ready() * 1000 for _ in range(5)]
        finally:
            server.discard()
        self.figures[plan.START_ROW.key] = {"martlet": statistics.median(times)}
        self.rows.append((plan.START_ROW, plan.START_ROW.title.format(accounts=accounts)))

    def measure_hosts(self):
        """Martlet alone: what many hosts of one config cost in memory."""
        say(f"  martlet: {plan.HOSTS:,} hosts")
        server = Martlet(self.binaries, 1, self.loops)
        try:
            server.serve_hosts(plan.HOSTS)
            server.start_to_ready()
            memory = server.anonymous_memory() / 1e6
        finally:
            server.discard()
        self.figures[plan.HOSTS_ROW.key] = {"martlet": memory}
        self.rows.append((plan.HOSTS_ROW, plan.HOSTS_ROW.title.format(hosts=plan.HOSTS)))

    def measure_misbehaviour(self, kind):
        """Martlet alone: what others feel while one client misbehaves. Each time a fresh server with few accounts."""
        say(f"  martlet: beside {misbehave.TITLES[kind]}")
        server = Martlet(self.binaries, misbehave.ACCOUNTS, self.loops)
        report = {}
        try:
            misbehave.prepare(server, kind)
            server.start()
            report = misbehave.measure(server, kind, 2 * self.seconds)
            self.reports.append(report)
        except BenchError as error:
            self.complain(f"martlet: {error}")
        finally:
            server.discard()
        for row in misbehave.rows(kind):
            self.figures[row.key] = {"martlet": report[row.metric]} if report else {}
            self.rows.append((row, row.title))

    def measure_timing(self):
        """Martlet alone: whether the time of an answer tells that an account exists."""
        say("  martlet: times of accounts and of none")
        server = Martlet(self.binaries, timing.ACCOUNTS, self.loops)
        report = {}
        try:
            timing.prepare(server)
            server.start()
            report = timing.measure(server)
            self.reports.append({"label": "martlet", **report})
        except (BenchError, OSError) as error:
            self.complain(f"martlet: {error}")
        finally:
            server.discard()
        for row in timing.ROWS:
            self.figures[row.key] = {"martlet": report[row.metric]} if report else {}
            self.rows.append((row, row.title))

    def measure_handlers(self):
        """Martlet alone: for how long the heaviest stanza of each handler holds a loop."""
        server = Martlet(self.binaries, handlers.ACCOUNTS, self.loops)
        try:
            server.start()
            scene = handlers.Scene(server)
            for key in self.wanted_handlers():
                say(f"  martlet: {key}")
                try:
                    report = handlers.measure(scene, key)
                except BenchError as error:
                    self.complain(str(error))
                    continue
                self.reports.append({"label": "martlet", **report})
                for row in handlers.rows(key):
                    self.figures[row.key] = {"martlet": report[row.metric]}
                    self.rows.append((row, row.title))
        finally:
            server.discard()

    def wanted_handlers(self):
        if "martlet" not in self.subjects:
            return []
        return [key for key in handlers.CASES
                if self.wanted(handlers.rows(key), handlers.GROUP) or key in self.only]

    def wanted_misbehaviour(self):
        if "martlet" not in self.subjects:
            return []
        return [kind for kind in misbehave.TITLES
                if self.wanted(misbehave.rows(kind), misbehave.GROUP) or kind in self.only]

    def wants_timing(self):
        return "martlet" in self.subjects and self.wanted(timing.ROWS, timing.GROUP)

    def wanted(self, rows, group=None):
        return self.only is None or group in self.only or any(row.key in self.only for row in rows)

    def wanted_runs(self):
        return [run for run in plan.runs(self.seconds, self.quick)
                if self.wanted(run.rows, run.group) and (not run.alone or "martlet" in self.subjects)]

    def wants_start(self):
        return "martlet" in self.subjects and self.wanted([plan.START_ROW])

    def wants_hosts(self):
        return "martlet" in self.subjects and self.wanted([plan.HOSTS_ROW])

    def binaries_needed(self):
        names = {"martlet-load"}
        if any(not run.alone for run in self.wanted_runs()):
            names |= {{"relay": "martlet-relay"}.get(name, name) for name in self.subjects if name[0] in "rm"}
        if self.wants_start() or self.wants_hosts() or self.wanted_handlers() or self.wanted_misbehaviour() \
                or self.wants_timing():
            names.add("martlet")
        return sorted(names)

    def run(self):
        runs = self.wanted_runs()
        try:
            if any(not run.alone for run in runs):
                for name in self.subjects:
                    say(f"preparing {name}")
                    self.servers[name] = self.make(name)
                    self.servers[name].start()
            for run in runs:
                say(run.rows[0].title)
                if run.alone:
                    self.measure_alone(run)
                else:
                    self.measure(run)
            if self.wants_start():
                self.measure_start()
            if self.wants_hosts():
                self.measure_hosts()
            for kind in self.wanted_misbehaviour():
                self.measure_misbehaviour(kind)
            if self.wanted_handlers():
                self.measure_handlers()
            if self.wants_timing():
                self.measure_timing()
        finally:
            for server in self.servers.values():
                server.discard()

    def results(self):
        results = []
        for row, title in self.rows:
            figures = self.figures[row.key]
            ratio, kept = table.verdict(row, figures, self.figures)
            results.append({
                "key": row.key, "title": title, "unit": row.unit, "metric": row.metric, "figures": figures,
                "ratio": ratio, "budget": row.budget.text(row.unit) if row.budget else None, "kept": kept,
            })
        return results

    def machine(self):
        model = ""
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.startswith("model name"):
                    model = line.partition(":")[2].strip()
                    break
        return {
            "date": time.strftime("%Y-%m-%d %H:%M"), "cpu": model, "cores": os.cpu_count(),
            "kernel": platform.release(), "commit": commit(), "loops": self.loops, "split": self.split,
            "seconds": self.seconds, "repeat": self.repeat, "quick": self.quick,
            **{package: peers.version(package) for package in peers.PACKAGES if package in self.subjects},
        }


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="where the results go as JSON")
    parser.add_argument("--only", help="rows to measure, by key or group, divided by commas")
    parser.add_argument("--subjects", help="servers to measure; default: relay,martlet and with PEERS=1 all")
    parser.add_argument("--binaries", default=os.path.join(ROOT, ".build", "release"),
                        help="where martlet, martlet-load and martlet-relay are")
    options = parser.parse_args()
    chosen = options.subjects.split(",") if options.subjects else ORDER[:4 if flag("PEERS") else 2]
    unknown = set(chosen) - set(ORDER)
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    options.subjects = [name for name in ORDER if name in chosen]
    options.binaries = os.path.abspath(options.binaries)
    return options


def main():
    options = parse()
    raise_descriptor_limit()
    signal.signal(signal.SIGTERM, end)
    bench = Bench(options)
    for binary in bench.binaries_needed():
        if not os.access(os.path.join(options.binaries, binary), os.X_OK):
            say(f"{binary} is not in {options.binaries}: build for release first")
            return 2
    if {"ejabberd", "prosody"} & set(options.subjects):
        peers.install()
    if os.getloadavg()[0] > 0.5 * os.cpu_count():
        say("the machine is busy: the figures will be worse than they are, and noisy")
    try:
        bench.run()
    except BenchError as error:
        say(f"bench: {error}")
        return 2
    except KeyboardInterrupt:
        say("bench: interrupted; every server was stopped")
        return 130
    results = bench.results()
    machine = bench.machine()
    print(" ".join(f"{key}={value}" for key, value in machine.items()))
    print()
    print(table.render(results, options.subjects))
    for complaint in bench.complaints:
        print(f"! {complaint}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"machine": machine, "results": results, "runs": bench.reports,
                       "complaints": bench.complaints}, file, indent=1, ensure_ascii=False)
            file.write("\n")
    missed = [result["key"] for result in results if result["kept"] is False]
    print()
    print(f"{sum(r['kept'] is True for r in results)} budgets kept, {len(missed)} missed"
          + (f": {', '.join(missed)}" if missed else ""))
    return 1 if bench.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
