"""A certificate authority for the tests, and the server's certificate signed by it."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def _write(path: Path, *parts: bytes) -> None:
    path.write_bytes(b"".join(parts))
    path.chmod(0o600)


def _private(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def make(folder: Path, names: list[str]) -> None:
    """Writes ca.pem, cert.pem and key.pem; the certificate is for the names and holds for a day."""
    now = datetime.datetime.now(datetime.timezone.utc)
    start, end = now - datetime.timedelta(hours=1), now + datetime.timedelta(days=1)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _name("Test authority")
    ca = (
        x509.CertificateBuilder(authority, authority, authority_key.public_key(), x509.random_serial_number())
        .not_valid_before(start).not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        x509.CertificateBuilder(authority, _name(names[0]), key.public_key(), x509.random_serial_number())
        .not_valid_before(start).not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .add_extension(_usage(signs_certificates=False), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    _write(folder / "ca.pem", ca.public_bytes(pem))
    _write(folder / "cert.pem", leaf.public_bytes(pem))
    _write(folder / "key.pem", _private(key))
    _write(folder / "ca.key", _private(authority_key))


XMPP_ADDRESS = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")
UTF8_STRING, IA5_STRING = 0x0C, 0x16


def address(text: str | bytes, tag: int = UTF8_STRING, kind: x509.ObjectIdentifier = XMPP_ADDRESS) -> x509.OtherName:
    """A subjectAltName of the kind id-on-xmppAddr (RFC 6120, section 13.7.1.4)."""
    data = text.encode() if isinstance(text, str) else text
    length = bytes([len(data)]) if len(data) < 128 else b"\x82" + len(data).to_bytes(2, "big")
    return x509.OtherName(kind, bytes([tag]) + length + data)


def client(folder: Path, names: list = (), *, start: int = -3600, end: int = 86400,
           usage=ExtendedKeyUsageOID.CLIENT_AUTH, subject: x509.Name | None = None, signer: str = "ca",
           extra: bytes = b"") -> tuple[str, str]:
    """A client's certificate chain and key, as files. Times are seconds from now; `signer` "itself" or "stranger" is
    none that the server believes; `extra` goes behind the chain."""
    now = datetime.datetime.now(datetime.timezone.utc)
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, issuer_key = _name("Test authority"), key
    if signer == "ca":
        issuer_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    elif signer == "stranger":
        # Of the same name as the one that the server believes.
        issuer_key = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder(issuer, subject or _name("A client"), key.public_key(), x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(seconds=start))
        .not_valid_after(now + datetime.timedelta(seconds=end))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if usage is not None:
        made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    written = folder / f"client-{x509.random_serial_number():x}.pem"
    leaf = made.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    _write(written, leaf, extra)
    _write(written.with_suffix(".key"), _private(key))
    return str(written), str(written.with_suffix(".key"))


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )
