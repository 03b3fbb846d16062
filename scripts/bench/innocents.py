#!/usr/bin/env python3
"""Clients that ping the server at fixed times and note how long each answer takes.

    innocents.py PORT FIRST COUNT

One process, one ping each every 20 ms, whether the ping before is answered or not, so that a server that stalls pays
for all that waited. How late this process itself was is told beside it as `client_late_p99_ms`. Standard input divides
the time: a line is the name of the phase that begins, "end" ends it all. Standard output gets "ready", then one line of
JSON: of each phase the count, percentiles and the slowest in milliseconds.
"""

import gc
import json
import re
import selectors
import sys
import time

sys.dont_write_bytecode = True

from bareclient import BareClient  # noqa: E402
from servers import HOST  # noqa: E402

EVERY = 0.02
ANSWER = re.compile(rb"<iq[^>]*? id=['\"]p(\d+)['\"][^>]*>")
# What is not answered when all ends counts with the time that it waited by then.
LONGEST = 300.0


class Innocent:
    """One client; the times of its pings that wait for an answer, by number."""

    def __init__(self, client):
        self.client = client
        self.client.socket.setblocking(False)
        self.waiting = {}
        self.sent = 0
        self.held = b""

    def ping(self, now, phase):
        self.sent += 1
        self.waiting[self.sent] = now, phase
        ping = f"<iq type='get' id='p{self.sent}' to='{HOST}'><ping xmlns='urn:xmpp:ping'/></iq>"
        try:
            self.client.socket.send(ping.encode())
        except BlockingIOError:
            pass

    def read(self):
        """The times and phases of the pings that were answered."""
        data = self.client.socket.recv(65536)
        if not data:
            raise OSError(f"{self.client.jid} was closed")
        self.held += data
        end = 0
        answered = []
        for match in ANSWER.finditer(self.held):
            end = match.end()
            if found := self.waiting.pop(int(match[1]), None):
                answered.append(found)
        self.held = self.held[end:]
        return answered


class Watch:
    """Runs the clients and keeps the times."""

    def __init__(self, clients):
        self.innocents = [Innocent(client) for client in clients]
        self.times = {}
        self.late = {}
        self.phase = ""
        self.selector = selectors.DefaultSelector()
        for index, innocent in enumerate(self.innocents):
            self.selector.register(innocent.client.socket, selectors.EVENT_READ, index)
        self.selector.register(sys.stdin, selectors.EVENT_READ, None)

    def note(self, index, sent, phase, now):
        self.times.setdefault(phase, [[] for _ in self.innocents])[index].append((now - sent) * 1000)

    def run(self):
        began = time.monotonic()
        step = EVERY / len(self.innocents)
        turn = 0
        while time.monotonic() < began + LONGEST:
            due = began + turn * step
            now = time.monotonic()
            if now >= due:
                if self.phase:
                    self.late.setdefault(self.phase, []).append((now - due) * 1000)
                self.innocents[turn % len(self.innocents)].ping(now, self.phase)
                turn += 1
                continue
            for key, _ in self.selector.select(due - now):
                if key.data is None:
                    line = sys.stdin.readline().strip()
                    if line in ("", "end"):
                        return self.finish()
                    self.phase = line
                    continue
                answered = self.innocents[key.data].read()
                now = time.monotonic()
                for sent, phase in answered:
                    self.note(key.data, sent, phase, now)
        return self.finish()

    def finish(self):
        now = time.monotonic()
        for index, innocent in enumerate(self.innocents):
            for sent, phase in innocent.waiting.values():
                self.note(index, sent, phase, now)
        return {phase: self.summary(phase) for phase in self.times if phase}

    def summary(self, phase):
        each = [sorted(times) for times in self.times[phase]]
        times = sorted(time for client in each for time in client)
        return {
            "count": len(times), "p50_ms": part(times, 0.5), "p99_ms": part(times, 0.99), "max_ms": times[-1],
            "client_late_p99_ms": part(sorted(self.late[phase]), 0.99),
            "p99_ms_per_client": [round(part(times, 0.99), 2) for times in each],
        }


def part(times, share):
    return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0


def main():
    port, first, count = map(int, sys.argv[1:4])
    clients = [BareClient(port, number).bind() for number in range(first, first + count)]
    gc.collect()
    gc.disable()
    print("ready", flush=True)
    print(json.dumps(Watch(clients).run()), flush=True)


if __name__ == "__main__":
    main()
