#!/usr/bin/env python3
"""Clients that misbehave, each kind in a process of its own.

    culprits.py KIND PORT SECONDS

Standard output gets "ready" once the culprit is logged in; it begins at the first line on standard input, and ends with
one line of JSON that says what it did.
"""

import json
import re
import sys
import threading
import time

sys.dont_write_bytecode = True

from bareclient import BareClient  # noqa: E402
from servers import HOST  # noqa: E402
from support.namespaces import ROSTER, SM  # noqa: E402

CULPRIT = 0
ACCOMPLICE = 1
# Nobody logs in with these. With so many some have their home on the other event loop, whatever the hash.
ABSENT = [10, 11, 12, 13, 14, 15]

SESSIONS = 49
CONTACTS, GROUPS, NAME = 1_000, 50, 1_023

WAITING_MESSAGES, WAITING_BODY = 950, 4_096


def ready():
    print("ready", flush=True)
    sys.stdin.readline()


class Discard(threading.Thread):
    """Reads what comes and counts the bytes, until the connection ends."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client = client
        self.bytes = 0
        self.start()

    def run(self):
        buffer = bytearray(1 << 20)
        try:
            while size := self.client.socket.recv_into(buffer):
                self.bytes += size
        except OSError:
            pass


def send_for(client, block, seconds):
    """Sends the block again and again; how many of them, the last one perhaps cut."""
    client.socket.settimeout(0.25)
    deadline = time.monotonic() + seconds
    sent = 0
    view = memoryview(block)
    while time.monotonic() < deadline:
        try:
            sent += client.socket.send(view[sent % len(block):])
        except TimeoutError:
            pass
    return sent / len(block)


def flood(port, seconds, recipients=ABSENT):
    """Sends to one absent account after the other, as fast as it can."""
    client = BareClient(port, CULPRIT).bind()
    ready()
    discard = Discard(client)
    done = {}
    rest = b""
    for number in recipients:
        message = f"<message to='u{number}@{HOST}' type='chat'><body>flood</body></message>".encode()
        block = message * 1000
        client.socket.settimeout(60)
        client.socket.sendall(rest)
        blocks = send_for(client, block, seconds / len(recipients))
        rest = block[round(blocks % 1 * len(block)):] if blocks % 1 else b""
        done[f"u{number}"] = round(blocks * 1000)
    client.close()
    return {"sent": sum(done.values()), "per_second": round(sum(done.values()) / seconds), "each": done,
            "bytes_back": discard.bytes}


def slow_disk(port, seconds):
    """Floods one absent account only."""
    return flood(port, seconds, ABSENT[:1])


def fill_roster(client):
    """Contacts with as many groups as the server takes, until it takes no more; how many contacts, and their bytes.

    What is refused is tried with half of its groups, and at last without any.
    """
    groups, taken, size = GROUPS, 0, 0
    while taken < CONTACTS:
        inner = "".join(f"<group>{number:02}{'g' * (NAME - 2)}</group>" for number in range(groups))
        name = "n" * NAME if groups else ""
        item = f"<item jid='c{taken}@{HOST}' name='{name}'>{inner}</item>"
        client.send(f"<iq type='set' id='f{taken}-{groups}'><query xmlns='{ROSTER}'>{item}</query></iq>")
        answer = client.until(rb"<iq[^>]*? id=['\"]f%d-%d['\"][^>]*>" % (taken, groups))[0]
        if b"error" not in answer:
            taken, size = taken + 1, size + len(item)
        elif groups == 0:
            break
        else:
            groups //= 2
    return taken, size


def roster(port, seconds):
    """Many sessions of one account ask for a large roster, again and again, and none of them reads."""
    client = BareClient(port, CULPRIT).bind()
    ready()
    began = time.monotonic()
    contacts, size = fill_roster(client)
    filled = time.monotonic() - began
    sessions = [BareClient(port, CULPRIT, f"s{number}", receive_buffer=4096).bind() for number in range(SESSIONS)]
    ask = f"<iq type='get' id='all'><query xmlns='{ROSTER}'/></iq>"
    deadline = time.monotonic() + seconds
    asked = closed = 0
    while time.monotonic() < deadline and sessions:
        for session in list(sessions):
            session.socket.settimeout(0)
            try:
                session.send(ask)
                asked += 1
            except BlockingIOError:
                pass
            except OSError:
                sessions.remove(session)
                closed += 1
        time.sleep(0.5)
    return {"contacts": contacts, "roster_bytes": size, "fill_seconds": round(filled, 1), "asked": asked,
            "closed": closed}


def fill_queue(port, culprit):
    """Lets messages wait for the culprit's session, whose connection is gone."""
    accomplice = BareClient(port, ACCOMPLICE).bind()
    for number in range(WAITING_MESSAGES):
        accomplice.send(f"<message to='{culprit.jid}' type='chat' id='{number}'>"
                        f"<body>{'x' * WAITING_BODY}</body></message>")
    accomplice.synchronise()
    accomplice.close()


def resume(port, seconds):
    """Resumes a session for which 4 MB wait, reads a little of it slowly, breaks off, and does it again."""
    client = BareClient(port, CULPRIT).bind()
    id = client.enable()
    client.send("<presence/>")
    client.synchronise()
    client.close()
    fill_queue(port, client)
    ready()
    deadline = time.monotonic() + seconds
    outcomes = {}
    read = 0
    while time.monotonic() < deadline:
        client = BareClient(port, CULPRIT, receive_buffer=4096)
        client.send(f"<resume xmlns='{SM}' previd='{id}' h='0'/>")
        try:
            answer = re.search(rb"resumed|failed", client.until(rb"<(resumed|failed)[^>]*>")[0])[0].decode()
        except OSError as error:
            answer = f"{type(error).__name__}: {error}"[:80]
        outcomes[answer] = outcomes.get(answer, 0) + 1
        client.socket.settimeout(0.2)
        for _ in range(10):
            try:
                read += len(client.socket.recv(4096))
            except OSError:
                break
            time.sleep(0.05)
        client.close()
    return {"outcomes": outcomes, "bytes_read": read}


KINDS = {"flood": flood, "slow-disk": slow_disk, "roster": roster, "resume": resume}


def main():
    kind, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    print(json.dumps(KINDS[kind](port, seconds)), flush=True)


if __name__ == "__main__":
    main()
