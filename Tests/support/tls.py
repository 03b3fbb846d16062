"""TLS for the raw client over memory buffers, by pyOpenSSL: it exposes what channel binding needs."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from OpenSSL._util import lib


class TLSFailure(Exception):
    """The TLS layer failed; the text says how."""


def context(authority: str, *, maximum: int | None = None, ciphers: bytes | None = None,
            certificate: tuple[str, str] | None = None) -> SSL.Context:
    """A client context that trusts the test authority and nothing else; with a certificate chain and its key."""
    made = SSL.Context(SSL.TLS_CLIENT_METHOD)
    made.load_verify_locations(authority)
    made.set_verify(SSL.VERIFY_PEER, lambda connection, certificate, error, depth, ok: bool(ok))
    made.set_min_proto_version(SSL.TLS1_2_VERSION)
    if maximum is not None:
        made.set_max_proto_version(maximum)
    if ciphers is not None:
        made.set_cipher_list(ciphers)
    if certificate is not None:
        made.use_certificate_chain_file(certificate[0])
        made.use_privatekey_file(certificate[1])
    return made


class TLSPipe:
    """Turns plain bytes to TLS records and back; the owner moves the records.

    OpenSSL keeps errors per thread, and another client's would be taken for ours: they are cleared before each call.
    """

    def __init__(self, context: SSL.Context, name: str, alpn: list[bytes] | None = None, sni: str | None = None):
        self.name = name
        self.connection = SSL.Connection(context, None)
        if alpn:
            self.connection.set_alpn_protos(alpn)
        if sni is not None:
            self.connection.set_tlsext_host_name(sni.encode())
        self.connection.set_connect_state()
        self.ready = False
        self.closed = False

    def outgoing(self) -> bytes:
        """The records to write to the socket now."""
        lib.ERR_clear_error()
        pieces = []
        while True:
            try:
                pieces.append(self.connection.bio_read(65536))
            except SSL.WantReadError:
                return b"".join(pieces)

    def handshake(self) -> bool:
        """One step of the handshake; true when it is complete."""
        lib.ERR_clear_error()
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise TLSFailure(f"handshake: {error}") from error
        self.ready = True
        names = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if self.name not in names.get_values_for_type(x509.DNSName):
            raise TLSFailure(f"the certificate is not for {self.name}: {names}")
        return True

    def incoming(self, records: bytes) -> bytes:
        """The plain bytes within records from the socket."""
        lib.ERR_clear_error()
        self.connection.bio_write(records)
        if not self.ready and not self.handshake():
            return b""
        pieces = []
        while True:
            try:
                pieces.append(self.connection.recv(65536))
            except SSL.WantReadError:
                return b"".join(pieces)
            except SSL.ZeroReturnError:
                self.closed = True
                return b"".join(pieces)
            except SSL.Error as error:
                raise TLSFailure(f"reading: {error}") from error

    def send(self, data: bytes) -> bytes:
        """The records that carry plain bytes."""
        lib.ERR_clear_error()
        for start in range(0, len(data), 16384):
            self.connection.send(data[start:start + 16384])
        return self.outgoing()

    def close(self) -> bytes:
        """The records that say goodbye."""
        try:
            self.connection.shutdown()
        except SSL.Error:
            pass
        return self.outgoing()

    @property
    def certificate(self) -> x509.Certificate:
        found = self.connection.get_peer_certificate(as_cryptography=True)
        if found is None:
            raise TLSFailure("the server showed no certificate")
        return found

    def binding(self, kind: str) -> bytes:
        """The channel binding data of one type (RFC 5929, RFC 9266)."""
        if kind == "tls-exporter":
            return self.connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        if kind == "tls-server-end-point":
            algorithm = self.certificate.signature_hash_algorithm
            if algorithm is None or isinstance(algorithm, (hashes.MD5, hashes.SHA1)):
                algorithm = hashes.SHA256()
            digest = hashes.Hash(algorithm)
            digest.update(self.certificate.public_bytes(Encoding.DER))
            return digest.finalize()
        if kind == "tls-unique":
            return self.connection.get_finished()
        raise ValueError(f"no such channel binding: {kind}")
