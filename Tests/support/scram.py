"""SCRAM (RFC 5802, RFC 7677) as a client does it, with every field open to be tampered with."""

import base64
import hashlib
import hmac
import os


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def stored_keys(password: str, salt: bytes, iterations: int, digest: str = "sha256") -> tuple[bytes, bytes]:
    """The StoredKey and ServerKey that a server keeps for a password."""
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", digest)
    return hashlib.new(digest, client_key).digest(), hmac.digest(salted, b"Server Key", digest)


class Scram:
    """One exchange. `first` and `final` give the messages; `verify` checks the server's signature.

    Binding is (type, data) for a -PLUS mechanism, "y" for a client that could bind but saw no offer, or None.
    """

    def __init__(self, user: str, password: str, digest: str = "sha256", binding=None, authzid: str = ""):
        self.password = password
        self.digest = digest
        self.nonce = b64(os.urandom(18))
        flag = "n" if binding is None else "y" if binding == "y" else f"p={binding[0]}"
        identity = f"a={authzid}" if authzid else ""
        self.gs2 = f"{flag},{identity},"
        self.bound = binding[1] if isinstance(binding, tuple) else b""
        name = user.replace("=", "=3D").replace(",", "=2C")
        self.first_bare = f"n={name},r={self.nonce}"
        self.signature = b""
        self.server_nonce = ""
        self.salt = b""
        self.iterations = 0

    def first(self) -> bytes:
        return (self.gs2 + self.first_bare).encode()

    def final(self, server_first: bytes, *, nonce: str | None = None, binding: str | None = None) -> bytes:
        """The client's final message; `nonce` and `binding` (base64) replace what is right."""
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        self.server_nonce, self.salt = fields["r"], base64.b64decode(fields["s"])
        self.iterations = int(fields["i"])
        if not self.server_nonce.startswith(self.nonce) or self.server_nonce == self.nonce:
            raise AssertionError("the server did not extend the nonce")
        c = binding if binding is not None else b64(self.gs2.encode() + self.bound)
        without_proof = f"c={c},r={nonce if nonce is not None else self.server_nonce}"
        message = f"{self.first_bare},{server_first.decode()},{without_proof}".encode()
        salted = hashlib.pbkdf2_hmac(self.digest, self.password.encode(), self.salt, self.iterations)
        client_key = hmac.digest(salted, b"Client Key", self.digest)
        stored = hashlib.new(self.digest, client_key).digest()
        mask = hmac.digest(stored, message, self.digest)
        proof = bytes(a ^ b for a, b in zip(client_key, mask))
        self.signature = hmac.digest(hmac.digest(salted, b"Server Key", self.digest), message, self.digest)
        return f"{without_proof},p={b64(proof)}".encode()

    def verify(self, server_final: bytes) -> None:
        """Raises AssertionError unless the server proved that it knows the account's key."""
        fields = dict(part.split("=", 1) for part in server_final.decode().split(","))
        if base64.b64decode(fields.get("v", "")) != self.signature:
            raise AssertionError(f"wrong server signature: {server_final!r}")
