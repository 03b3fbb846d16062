"""Whether the time of an answer tells accounts that exist from those that do not.

    scripts/bench/bench.py --only timing

The figure is the area under the ROC curve: the share of pairs, of a time for an account and one for none, in which the
first is the longer one. 0.5 tells nothing; below it the other way round tells as much, so the larger of both is shown.
"""

import random
import re
import socket
import time

from bareclient import HEADER, PATIENCE, BareClient
from rows import Budget, Row
from servers import ACCOUNT_PREFIX, HOST
from support.namespaces import SASL
from support.scram import Scram, b64

GROUP = "timing"
SAMPLES = 1_500
ACCOUNTS = SAMPLES + 100
MOST = 0.55
# So that no answer is delayed for another reason.
LIMITS = ("limits: {failed_logins: {free: 1000000, free_per_address: 1000000, refuse: 1000000, "
          "refuse_per_address: 1000000}, authenticated: {connections_per_address: 1000000}}")

ROWS = [
    Row("scram-timing", "accounts told from none by the time of SCRAM's first step (AUC)", "scram", "",
        Budget(MOST)),
    Row("vcard-timing", "… of a vCard that there is not, account not in memory (AUC)", "vcard", "", Budget(MOST)),
    Row("vcard-again-timing", "… asked for once more (AUC)", "vcard_again", "", Budget(MOST)),
    Row("ping-timing", "… of a ping (AUC)", "ping", "",
        Budget(MOST)),
]


def prepare(server):
    """To be called before the server's start."""
    server.configure("limits: {authenticated: {connections_per_address: 1000000}}", LIMITS)


def names():
    """Those of accounts and as many alike, in random order: (exists, name)."""
    generator = random.Random(7)
    found = [(True, f"{ACCOUNT_PREFIX}{100 + number}") for number in range(SAMPLES)]
    # As long, and among them in the order of names.
    found += [(False, f"{ACCOUNT_PREFIX}{100 + number}"[:-1] + "x") for number in range(0, SAMPLES * 10, 10)]
    generator.shuffle(found)
    return found


def area(times):
    """AUC of the times of accounts against those of none, by ranks."""
    ranked = sorted((each, exists) for exists in (True, False) for each in times[exists])
    total, position = 0.0, 0
    while position < len(ranked):
        end = position
        while end < len(ranked) and ranked[end][0] == ranked[position][0]:
            end += 1
        rank = (position + 1 + end) / 2
        total += rank * sum(1 for _, exists in ranked[position:end] if exists)
        position = end
    count, other = len(times[True]), len(times[False])
    value = (total - count * (count + 1) / 2) / (count * other)
    return max(value, 1 - value)


def timed(stream, text, pattern):
    """Sends and waits; seconds until the answer, which must come in one piece with its end."""
    began = time.perf_counter()
    stream.sendall(text)
    data = stream.recv(65536)
    took = time.perf_counter() - began
    while not re.search(pattern, data, re.DOTALL):
        more = stream.recv(65536)
        if not more:
            raise OSError(f"no answer: {data!r}")
        data += more
    return took


def scram(port):
    times = {True: [], False: []}
    for exists, name in names():
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as stream:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            timed(stream, HEADER.encode(), b"</stream:features>")
            first = b64(Scram(name, "x", "sha256").first())
            auth = f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{first}</auth>"
            times[exists].append(timed(stream, auth.encode(), b"</challenge>"))
    return area(times)


def stanzas(client, text, loads=False):
    """`text` is a stanza with a hole for the address; `loads`: accounts are read from disk for it."""
    times = {True: [], False: []}
    for number, (exists, name) in enumerate(names()):
        # Loads of accounts are limited per sender.
        if loads and number % 400 == 399:
            time.sleep(5.2)
        stanza = text.format(to=f"{name}@{HOST}", number=number)
        times[exists].append(timed(client.socket, stanza.encode(), b"</iq>"))
    return area(times)


VCARD = "<iq type='get' id='v{number}' to='{to}'><vCard xmlns='vcard-temp'/></iq>"
PING = "<iq type='get' id='p{number}' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>"


def measure(server):
    """The figures of all rows, by their metric."""
    port = server.port
    asker, again, writer = (BareClient(port, number).bind() for number in (1, 2, 3))
    return {
        "kind": GROUP, "scram": scram(port), "vcard": stanzas(asker, VCARD, loads=True),
        "vcard_again": stanzas(again, VCARD), "ping": stanzas(writer, PING),
    }
