"""Every test of this folder ends with a look at the server: it serves, and its memory has not grown."""

import asyncio

import pytest
from support import martlet
from support.attack import Watch
from support.rawclient import Client

USERS = {"mallory": "mallorys-password", "alice": "alices-password", "bob": "bobs-password"}
GROWTH = 32 * 1024 * 1024


async def serves(server) -> None:
    """A well-behaved conversation, through TLS."""
    alice = await Client(server, "alice", "home").login(sm=True)
    bob = await Client(server, "bob", "home").login()
    await bob.available()
    alice.send(f"<message to='{bob.jid}' type='chat' id='still'><body>Still there?</body></message>")
    while (await bob.message()).get("id") != "still":
        pass
    await alice.acknowledged()
    await alice.close()
    await bob.close()


@pytest.fixture
def server(server):
    """The server with the accounts of this folder."""
    if "mallory" not in server.passwords:
        server.add_accounts(USERS)
        asyncio.run(serves(server))
    return server


@pytest.fixture
def fresh():
    """A server of the test's own, with the accounts, not started."""
    made = martlet.make()
    made.add_accounts(USERS)
    yield made
    made.remove()


@pytest.fixture(autouse=True)
def unharmed(request):
    """After the test the same process serves a well-behaved client, and its memory stayed flat meanwhile."""
    if "server" not in request.fixturenames:
        yield
        return
    server = request.getfixturevalue("server")
    process = server.process
    with Watch(server) as watch:
        yield
        assert server.process is process and server.running, f"the server died:\n{server.tail()}"
        asyncio.run(serves(server))
    limit = request.node.get_closest_marker("growth")
    allowed = limit.args[0] if limit else GROWTH
    assert watch.growth < allowed, f"memory grew by {watch.growth / 2**20:.1f} MiB"
