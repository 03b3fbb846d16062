"""slixmpp's own choice of a mechanism: what it logs in with where the config offers it."""

import asyncio
from pathlib import Path

import pytest
import slixmpp
from support import certificates

WAIT = 30


async def login(server, jid: str, password: str = "", certificate=None) -> tuple[str, str]:
    """The mechanism that slixmpp took, and the address that it got."""
    client = slixmpp.ClientXMPP(jid, password)
    client.ca_certs = Path(server.authority)
    client.enable_direct_tls, client.enable_starttls = False, True
    if certificate is not None:
        client.certfile, client.keyfile = certificate
    ready = asyncio.get_running_loop().create_future()

    def failed(event) -> None:
        if not ready.done():
            ready.set_exception(AssertionError(f"authentication failed: {event}"))

    client.add_event_handler("session_start", lambda _: ready.done() or ready.set_result(None))
    client.add_event_handler("failed_auth", failed)
    client.connect(server.address, server.ports["starttls"])
    await asyncio.wait_for(ready, WAIT)
    try:
        return client.plugin["feature_mechanisms"].mech.name, client.boundjid.full
    finally:
        await asyncio.wait_for(client.disconnect(), WAIT)


def play(scene):
    return asyncio.run(asyncio.wait_for(scene, 2 * WAIT))


def test_takes_the_strongest_hash(server, pair):
    mechanism, address = play(login(server, f"{pair[0]}@{server.domain}/x", server.password(pair[0])))
    assert mechanism == "SCRAM-SHA-512"
    assert address == f"{pair[0]}@{server.domain}/x"


@pytest.mark.config({"auth": {"hashes": ["SHA-256", "SHA-1"]}})
def test_takes_the_strongest_hash_that_the_host_has(server, pair):
    assert play(login(server, f"{pair[0]}@{server.domain}/x", server.password(pair[0])))[0] == "SCRAM-SHA-256"


@pytest.mark.config({"tls": {"client_authorities": "../ca.pem"}})
def test_needs_no_password_with_a_certificate(server, pair):
    address = f"{pair[0]}@{server.domain}"
    shown = certificates.client(server.folder, [certificates.address(address)])
    mechanism, bound = play(login(server, f"{address}/x", certificate=shown))
    assert mechanism == "EXTERNAL"
    assert bound == f"{address}/x"


@pytest.mark.config({"auth": {"mechanisms": ["SCRAM", "ANONYMOUS"]}})
def test_needs_no_account_where_anybody_may_come_in(server):
    mechanism, bound = play(login(server, server.domain))
    assert mechanism == "ANONYMOUS"
    local = bound.partition("@")[0]
    assert len(local) == 36 and bound.startswith(f"{local}@{server.domain}/")
