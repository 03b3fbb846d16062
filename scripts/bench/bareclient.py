"""A blocking XMPP client for the clients of misbehave.py and handlers.py: a login, and then bytes."""

import base64
import os
import re
import socket
import ssl
import sys
import time

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "Tests"))

from servers import ACCOUNT_PREFIX, HOST, PASSWORD  # noqa: E402
from support.namespaces import BIND, CLIENT, SASL, SM, STREAMS  # noqa: E402
from support.scram import Scram, b64  # noqa: E402

HEADER = f"<stream:stream to='{HOST}' version='1.0' xmlns='{CLIENT}' xmlns:stream='{STREAMS}'>"
PATIENCE = 60.0


class BareClient:
    """A connection of account number `number`; `receive_buffer` in bytes makes a slow reader felt at once."""

    def __init__(self, port, number, resource="r", receive_buffer=0, tls=False):
        self.user = f"{ACCOUNT_PREFIX}{number}"
        self.bare = f"{self.user}@{HOST}"
        self.jid = f"{self.bare}/{resource}"
        self.held = b""
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        if tls:
            # The certificate is our own.
            self.socket = ssl._create_unverified_context().wrap_socket(self.socket, server_hostname=HOST)
        self.authenticate()

    def authenticate(self):
        self.send(HEADER)
        features = self.until(rb".*</stream:features>")[0]
        name = "SCRAM-SHA-256" if b">SCRAM-SHA-256<" in features else "SCRAM-SHA-1"
        scram = Scram(self.user, PASSWORD, name.removeprefix("SCRAM-").replace("-", "").lower())
        self.send(f"<auth xmlns='{SASL}' mechanism='{name}'>{b64(scram.first())}</auth>")
        challenge = self.until(rb"<challenge[^>]*>([^<]*)</challenge>|<failure.*?</failure>")
        if not challenge[1]:
            raise OSError(f"{self.user} may not log in: {challenge[0].decode()}")
        answer = scram.final(base64.b64decode(challenge[1]))
        self.send(f"<response xmlns='{SASL}'>{b64(answer)}</response>")
        self.until(rb"<success")
        self.until(rb">")
        self.send(HEADER)
        self.until(rb"</stream:features>")

    def bind(self):
        """Binds the resource; the client itself."""
        resource = self.jid.partition("/")[2]
        self.send(f"<iq type='set' id='bind'><bind xmlns='{BIND}'><resource>{resource}</resource></bind></iq>")
        self.until(rb"<jid>[^<]*</jid>")
        self.until(rb"</iq>")
        return self

    def enable(self):
        """Turns stream management on; the id for a resumption."""
        self.send(f"<enable xmlns='{SM}' resume='true'/>")
        return self.until(rb"<enabled[^>]*[ ]id=['\"]([^'\"]*)")[1].decode()

    def send(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())

    def until(self, pattern):
        """Reads up to what matches, which is returned; what follows stays."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = re.search(pattern, self.held, re.DOTALL)
            if found:
                self.held = self.held[found.end():]
                return found
            data = self.socket.recv(65536)
            if not data:
                raise OSError(f"the server closed before {pattern!r} came: {self.held[-300:]!r}")
            if time.monotonic() > deadline:
                raise OSError(f"{pattern!r} did not come")
            self.held += data

    def skip(self, pattern):
        """Reads up to what matches, which is short and returned, and forgets what is before it."""
        while not (found := re.search(pattern, self.held)):
            data = self.socket.recv(65536)
            if not data:
                raise OSError(f"the server closed before {pattern!r} came")
            self.held = self.held[-1024:] + data
        self.held = self.held[found.end():]
        return found[0]

    def answer(self, id):
        """Waits for the beginning of the answer to an IQ, which must not be an error."""
        tag = self.skip(rb"<iq[^>]*? id=['\"]%s['\"][^>]*>" % id.encode())
        if re.search(rb" type=['\"]error", tag):
            raise OSError(f"an error: {tag + self.until(rb'.*?</iq>')[0]!r}")

    def synchronise(self):
        """Waits until the server has handled all that was sent."""
        self.send(f"<iq type='get' id='synchronised' to='{HOST}'><ping xmlns='urn:xmpp:ping'/></iq>")
        self.skip(rb"<iq[^>]*id=['\"]synchronised['\"][^>]*>")

    def close(self):
        self.socket.close()
