"""What is measured: the runs of the load generator, the figures taken from each, and the budget of each figure."""

from dataclasses import dataclass, field
from typing import Optional


@dataclass(frozen=True)
class Budget:
    """A limit: absolute, or a multiple of the relay's figure in the named row."""

    limit: float
    relay_row: Optional[str] = None

    def text(self, unit):
        if self.relay_row:
            return f"≤ {self.limit:g} × relay"
        return f"≤ {self.limit:,g} {unit}"


@dataclass(frozen=True)
class Row:
    """One figure of a run and what it may be."""

    key: str
    title: str
    metric: str
    unit: str
    budget: Optional[Budget] = None


@dataclass(frozen=True)
class Run:
    """One call of martlet-load, made for every server."""

    arguments: list
    rows: list
    tls: bool = False
    on_relay: bool = False
    fresh: bool = False
    repeats: bool = True
    users: int = field(default=0)
    # What --only may call all of its rows.
    group: Optional[str] = None
    # What Martlet has beside its usual modules; the peers are not asked.
    modules: tuple = ()
    # It has Martlet's core in itself and needs no server.
    alone: bool = False


PER_MESSAGE = "server_cpu_us_per_message"
CHAT_100 = "chat-100"


# Those that change what is delivered: on in the config that `setup` makes.
DELIVERY = ("mam", "carbons", "csi", "blocking", "privacy", "reports")


def chat(key, title, users, seconds, budget, *options, tls=False, on_relay=False, modules=()):
    arguments = ["chat", "--users", str(users), "--seconds", f"{seconds:g}", *options]
    return Run(arguments, [Row(key, title, PER_MESSAGE, "µs", budget)], tls=tls, on_relay=on_relay, users=users,
               modules=modules)


def runs(seconds, quick):
    """All runs in the order they are made; `quick` makes the big ones small."""
    many = 2_000 if quick else 10_000
    many_tls = 2_000 if quick else 5_000
    offline = 1_000 if quick else 10_000
    logins = 500 if quick else 4_000
    friends = 400 if quick else 10_000
    receivers = offline // 100
    rate = 1_000
    plan = [
        chat(CHAT_100, "1:1 message, 100 users, closed loop", 100, seconds, Budget(1.6, CHAT_100), on_relay=True),
        chat("chat-1000", "same, 1,000 users", 1_000, seconds, Budget(1.6, "chat-1000"), on_relay=True),
        chat("chat-10000", f"same, {many:,} users", many, seconds, Budget(1.6, "chat-10000"), on_relay=True),
        chat("chat-tls", "same, 100 users, TLS", 100, seconds, Budget(2.2, CHAT_100), "--tls", "direct", tls=True),
        chat("chat-sm", "same, 100 users, stream management, <r/> per message", 100, seconds,
             Budget(2.2, CHAT_100), "--sm"),
        chat("chat-archived", "same, archived for both", 100, seconds, Budget(5, CHAT_100), "--sm", modules=("mam",)),
        chat("chat-all", "same, TLS, the config that setup makes", 100, seconds, Budget(7, CHAT_100), "--sm",
             "--tls", "direct", tls=True, modules=DELIVERY),
        chat("chat-unasked", "1:1 message without stream management, archived", 100, seconds, Budget(5, CHAT_100),
             modules=("mam",)),
        Run(["open", "--users", "100", "--rate", str(rate), "--seconds", f"{seconds:g}"],
            [Row("open", f"open loop, {rate:,} messages/s", PER_MESSAGE, "µs", Budget(1.6, "open")),
             Row("open-p50", "… latency p50", "p50_us", "µs"),
             Row("open-p99", "… latency p99", "p99_us", "µs"),
             Row("open-p999", "… latency p99.9", "p999_us", "µs")], on_relay=True),
        Run(["login", "--users", str(logins), "--concurrency", "50"],
            [Row("login", "login to presence, SCRAM, plain", "server_cpu_us_per_login", "µs", Budget(300))]),
        Run(["login", "--users", str(logins), "--concurrency", "50", "--tls", "direct"],
            [Row("login-tls", "login to presence, SCRAM, TLS", "server_cpu_us_per_login", "µs")],
            tls=True, repeats=False),
        Run(["idle", "--users", str(many)],
            [Row("idle", f"idle session with presence, plain ({many:,})", "userland_bytes_per_session", "B",
                 Budget(5_000)),
             Row("idle-kernel", "… in the kernel, both ends", "kernel_slab_bytes_per_session", "B")],
            fresh=True, repeats=False, on_relay=True),
        Run(["idle", "--users", str(many_tls), "--tls", "direct"],
            [Row("idle-tls", f"idle session with presence, TLS ({many_tls:,})", "userland_bytes_per_session", "B",
                 Budget(20_000))],
            tls=True, fresh=True, repeats=False),
    ]
    # A ring of accounts with 50 contacts each; every fifth is online, so 10 of the 50 are.
    plan += [
        Run(["befriend", "--users", str(friends), "--contacts", "50", "--patience", "600"],
            [Row("befriend", f"roster storm: a subscription, asked and granted ({friends:,} users)",
                 "server_cpu_us_per_subscription", "µs")], repeats=False, group="contacts"),
        Run(["login", "--users", str(friends // 5), "--stride", "5", "--roster", "--concurrency", "50"],
            [Row("login-contacts", "login to presence with 50 contacts, 10 online", "server_cpu_us_per_login", "µs")],
            group="contacts"),
        Run(["idle", "--users", str(friends // 5), "--stride", "5", "--roster"],
            [Row("idle-contacts", f"idle session, 50 contacts, 10 online ({friends // 5:,})",
                 "userland_bytes_per_session", "B", Budget(9_000))], fresh=True, repeats=False, group="contacts"),
    ]
    fill = ["offline", "--messages", str(offline), "--per-receiver", "100", "--users", str(receivers)]
    for key, title, options in [("", "", []), ("-sm", " (SM)", ["--sm", "--receiver-sm"])]:
        plan.append(Run(
            fill + options,
            [Row(f"offline-stored{key}", f"{offline:,} offline messages, stored{title}", "server_cpu_us_per_stored",
                 "µs", Budget(3, CHAT_100)),
             Row(f"offline-fetched{key}", f"… fetched{title}", "server_cpu_us_per_fetched", "µs", Budget(15))],
            fresh=True, repeats=False))
    if not quick:
        plan.append(memory())
    return plan


MEMORY_STEPS = [10_000, 100_000, 1_000_000]


def memory():
    """Sessions without sockets, up to a million."""
    few, most = MEMORY_STEPS[0], MEMORY_STEPS[-1]
    rows = [
        Row(f"memory-{name}", title.format(few=few, most=most), f"{metric}_{count}", unit)
        for name, title, metric, count, unit in [
            ("resident", "{most:,} sessions in memory, resident, each", "resident_bytes_per_session", most, "B"),
            ("allocated", "… allocated", "allocated_bytes_per_session", most, "B"),
            ("login", "… CPU per login", "cpu_us_per_login", most, "µs"),
            ("same-few", "… message among {few:,}, same loop", "same_loop_cpu_us_per_message", few, "µs"),
            ("same", "… message among {most:,}, same loop", "same_loop_cpu_us_per_message", most, "µs"),
            ("cross-few", "… message among {few:,}, across loops", "cross_loop_cpu_us_per_message", few, "µs"),
            ("cross", "… message among {most:,}, across loops", "cross_loop_cpu_us_per_message", most, "µs"),
        ]
    ]
    arguments = ["memory", "--sessions", str(most), "--steps", ",".join(map(str, MEMORY_STEPS))]
    return Run(arguments, rows, repeats=False, group="memory", alone=True)


# Counts that must be nought; a run in which one is not is reported with it.
MUST_BE_ZERO = ["lost", "errors", "duplicates", "disordered", "fetched_again"]

START_ACCOUNTS = 100_000
HOSTS = 1_000
HOSTS_ROW = Row("hosts", "{hosts:,} hosts, every module, nobody there", "anonymous_mb", "MB", Budget(50))
START_ROW = Row("start", "start to listening, {accounts:,} accounts", "start_ms", "ms", Budget(300))
