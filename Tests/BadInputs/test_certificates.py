"""Line 9: TLS, and certificates of clients that lie about who they are."""

import asyncio
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from support import certificates, martlet, tls
from support.attack import how_it_ends
from support.certificates import IA5_STRING, address
from support.rawclient import Client, Failure

DOMAIN, OTHER = martlet.DOMAIN, martlet.OTHER_DOMAIN
ALICE = f"alice@{DOMAIN}"

# The path is relative to the config, which lies in a folder beside the authority.
asks = pytest.mark.config({"tls": {"client_authorities": "../ca.pem"}})
pytestmark = pytest.mark.differs("prosody", "it is not configured for certificates of clients")


async def connected(server, certificate=None, **attributes) -> Client:
    client = Client(server, "alice", "home", transport=attributes.pop("transport", "starttls"))
    client.certificate = certificate
    for name, value in attributes.items():
        setattr(client, name, value)
    return await client.connect()


async def refused(server, certificate) -> None:
    """EXTERNAL is neither offered nor taken, and a password still is."""
    client = await connected(server, certificate)
    assert "EXTERNAL" not in client.mechanisms
    for authzid in ("", ALICE):
        with pytest.raises(Failure, match="invalid-mechanism"):
            await client.authenticate("EXTERNAL", authzid=authzid)
    await client.authenticate("SCRAM-SHA-256-PLUS")
    assert await client.bind()
    await client.close()


@asks
@pytest.mark.parametrize("transport", ["starttls", "direct"])
@pytest.mark.parametrize("maximum", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_certificate_lets_in_whom_it_names(server, transport, maximum):
    async def scene():
        shown = certificates.client(server.folder, [address(ALICE)])
        for authzid in ("", ALICE, f"ALICE@{DOMAIN.upper()}"):
            client = await connected(server, shown, transport=transport, tls_maximum=maximum)
            assert "EXTERNAL" in client.mechanisms
            await client.authenticate("EXTERNAL", authzid=authzid)
            assert (await client.bind()).startswith(f"{ALICE}/")
            await client.close()

    asyncio.run(scene())


@asks
def test_a_certificate_without_a_purpose_is_for_every_purpose(server):
    async def scene():
        client = await connected(server, certificates.client(server.folder, [address(ALICE)], usage=None))
        await client.authenticate("EXTERNAL")

    asyncio.run(scene())


@asks
def test_of_several_addresses_the_client_chooses(server):
    async def scene():
        shown = certificates.client(
            server.folder, [address(f"nobody@{OTHER}"), address(ALICE), address(f"bob@{DOMAIN}")]
        )
        client = await connected(server, shown)
        with pytest.raises(Failure, match="invalid-authzid"):
            await client.authenticate("EXTERNAL")
        for stranger in (f"mallory@{DOMAIN}", f"nobody@{OTHER}", f"bob@{DOMAIN}/x"):
            with pytest.raises(Failure, match="invalid-authzid"):
                await client.authenticate("EXTERNAL", authzid=stranger)
        await client.authenticate("EXTERNAL", authzid=f"bob@{DOMAIN}")
        assert (await client.bind()).startswith(f"bob@{DOMAIN}/")

    asyncio.run(scene())


@asks
def test_nobody_needs_a_certificate(server):
    async def scene():
        client = await connected(server)
        assert "EXTERNAL" not in client.mechanisms
        await client.authenticate("SCRAM-SHA-512-PLUS")
        await client.bind()
        await client.close()

    asyncio.run(scene())


def test_line_9_where_no_authority_is_named_no_certificate_is_asked_for(server):
    asyncio.run(refused(server, certificates.client(server.folder, [address(ALICE)])))


def subject(*pairs) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in pairs])


FORGED = {
    "expired": ([address(ALICE)], {"start": -7200, "end": -3600}),
    "not yet valid": ([address(ALICE)], {"start": 3600, "end": 7200}),
    "for servers": ([address(ALICE)], {"usage": ExtendedKeyUsageOID.SERVER_AUTH}),
    "for mail": ([address(ALICE)], {"usage": ExtendedKeyUsageOID.EMAIL_PROTECTION}),
    "signed by itself": ([address(ALICE)], {"signer": "itself"}),
    "signed by a namesake": ([address(ALICE)], {"signer": "stranger"}),
    "no address": ([], {}),
    "common name": ([], {"subject": subject((NameOID.COMMON_NAME, ALICE))}),
    "common name within another one": (
        [], {"subject": subject((NameOID.ORGANIZATION_NAME, f"x, CN={ALICE}"), (NameOID.COMMON_NAME, "mallory"))}
    ),
    "text of an address within another name": (
        [], {"subject": subject((NameOID.ORGANIZATION_NAME, f"otherName:1.3.6.1.5.5.7.8.5;UTF8:{ALICE}"))}
    ),
    "mail address": ([x509.RFC822Name(ALICE)], {}),
    "URI": ([x509.UniformResourceIdentifier(f"xmpp:{ALICE}")], {}),
    "DNS name": ([x509.DNSName(DOMAIN)], {}),
    "of another kind": ([address(ALICE, kind=x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"))], {}),
    "not a UTF-8 string": ([address(ALICE, IA5_STRING)], {}),
    "not UTF-8": ([address(ALICE.encode() + b"\xff")], {}),
    "NUL behind": ([address(f"{ALICE}\0")], {}),
    "NUL and another domain": ([address(f"{ALICE}\0.evil.example")], {}),
    "NUL within": ([address(f"alice\0@{DOMAIN}")], {}),
    "empty": ([address("")], {}),
    "foreign domain": ([address(f"alice@{OTHER}")], {}),
    "the domain alone": ([address(DOMAIN)], {}),
    "with a resource": ([address(f"{ALICE}/home")], {}),
    "with a blank": ([address(f" {ALICE}")], {}),
    "very long": ([address("a" * 10_000 + f"@{DOMAIN}")], {}),
}


@asks
@pytest.mark.parametrize("kind", FORGED)
def test_line_9_a_certificate_that_proves_nothing(server, kind):
    names, options = FORGED[kind]
    asyncio.run(refused(server, certificates.client(server.folder, names, **options)))


@asks
def test_line_9_a_certificate_of_nobody(server):
    async def scene():
        client = await connected(server, certificates.client(server.folder, [address(f"tybalt@{DOMAIN}")]))
        with pytest.raises(Failure, match="not-authorized"):
            await client.authenticate("EXTERNAL")

    asyncio.run(scene())


@asks
@pytest.mark.parametrize("count", [100, 10_000])
def test_line_9_a_certificate_with_very_many_names(server, count):
    """A hundred are read and believed for nobody; ten thousand are more than a handshake may bring."""

    async def scene():
        names = [address(ALICE)] + [x509.DNSName(f"n{number}.example") for number in range(count)]
        shown = certificates.client(server.folder, names)
        started = time.monotonic()
        if count == 100:
            await refused(server, shown)
        else:
            with pytest.raises(Failure):
                client = await connected(server, shown, tls_maximum=SSL.TLS1_2_VERSION)
                await client.authenticate("EXTERNAL")
        assert time.monotonic() - started < 8

    asyncio.run(scene())


@asks
@pytest.mark.parametrize("maximum", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_line_9_a_very_long_chain(server, maximum):
    async def scene():
        authority = Path(server.authority).read_bytes()
        shown = certificates.client(server.folder, [address(ALICE)], extra=authority * 200)
        with pytest.raises((Failure, SSL.Error)):
            client = await connected(server, shown, tls_maximum=maximum)
            # With TLS 1.3 the client believes that it is done before the server has seen the chain.
            await client.authenticate("EXTERNAL")
        # One that is long enough for nothing, and not too long.
        client = await connected(
            server, certificates.client(server.folder, [address(ALICE)], extra=authority * 20), tls_maximum=maximum
        )
        await client.authenticate("EXTERNAL")

    asyncio.run(scene())


ONE_HOST = {"host_config": {DOMAIN: {"tls": {"client_authorities": "../ca.pem"}}}}


@pytest.mark.config(ONE_HOST)
@pytest.mark.parametrize("sni", [DOMAIN, OTHER, None, "foreign.example", "a" * 200 + ".example"])
def test_line_9_whatever_the_handshake_names_the_host_of_the_stream_decides(server, sni):
    """Another host of the same server believes no certificate, and gets none by the back door."""

    async def scene():
        for host, user in ((DOMAIN, "alice"), (OTHER, "alice")):
            shown = certificates.client(server.folder, [address(f"{user}@{host}")])
            client = Client(server, user, "home", domain=host, transport="direct")
            client.certificate, client.names_host = shown, sni
            await client.connect()
            if host == OTHER:
                assert "EXTERNAL" not in client.mechanisms
                with pytest.raises(Failure, match="invalid-mechanism"):
                    await client.authenticate("EXTERNAL")
            elif sni != OTHER:
                await client.authenticate("EXTERNAL")
                assert await client.bind()
            client.cut()

    asyncio.run(scene())


@asks
def test_line_9_a_flood_of_renegotiations(server):
    async def scene():
        done = []
        context = tls.context(server.authority, maximum=SSL.TLS1_2_VERSION)
        context.set_info_callback(lambda _, where, __: done.append(where) if where & SSL.SSL_CB_HANDSHAKE_DONE else None)
        client = await connected(server, _tls_context=lambda: context)
        connection = client.stream.tls.connection
        started = time.monotonic()
        for _ in range(1000):
            if client.stream.over or time.monotonic() - started > 5:
                break
            try:
                connection.renegotiate()
                connection.do_handshake()
            except SSL.Error:
                pass
            records = client.stream.tls.outgoing()
            if records and not client.stream.transport.is_closing():
                client.stream.transport.write(records)
            await asyncio.sleep(0)
        # The first handshake came to its end, and no other.
        assert len(done) == 1
        client.cut()

    asyncio.run(scene())


@asks
@pytest.mark.parametrize("transport", ["starttls", "direct"])
def test_line_9_a_downgrade_ends_the_handshake(server, transport):
    async def scene():
        made = SSL.Context(SSL.TLS_CLIENT_METHOD)
        made.set_min_proto_version(SSL.TLS1_VERSION)
        made.set_max_proto_version(SSL.TLS1_1_VERSION)
        made.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
        client = Client(server, "alice", "home", transport=transport)
        client._tls_context = lambda: made
        with pytest.raises(Failure):
            await client.connect()

    asyncio.run(scene())


@asks
def test_line_9_a_handshake_that_ends_in_the_middle_of_a_certificate(server):
    async def scene():
        before = server.descriptors()
        for _ in range(20):
            client = await connected(server, tls_maximum=SSL.TLS1_3_VERSION)
            client.stream.write(b"\x16\x03\x03\x40\x00\x0b")
            client.cut()
        for _ in range(50):
            if server.descriptors() <= before:
                break
            await asyncio.sleep(0.1)
        assert server.descriptors() <= before
        assert await how_it_ends(await connected(server), timeout=0.2) == "open"

    asyncio.run(scene())
