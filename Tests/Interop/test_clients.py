"""Clients that other people wrote: they log in, chat, fetch what waited, and survive a cut wire."""

import asyncio
import shutil
from contextlib import asynccontextmanager, suppress

import pytest
from clients import Aioxmpp, GoSendxmpp, Slixmpp
from desktop import Gajim
from support.rawclient import Client
from support.wire import Wire
from terminals import Mcabber, Poezio, Profanity

EVERYBODY = [Slixmpp, Aioxmpp, Profanity, GoSendxmpp, Mcabber, Poezio, Gajim]
LIMIT = 90


def over_each(*kinds):
    """Parameters: each client with each transport it knows."""
    return pytest.mark.parametrize("kind, transport", [
        pytest.param(kind, transport, id=f"{transport}-{kind.__name__}")
        for kind in kinds for transport in kind.transports
    ])


@asynccontextmanager
async def connected(client):
    for program in client.needs:
        assert shutil.which(program), f"{program} is not installed; scripts/test-venv does that"
    try:
        await client.connect()
    except BaseException:
        with suppress(Exception):
            await client.close()
        raise
    try:
        yield client
    finally:
        await client.close()


def play(scene) -> None:
    asyncio.run(asyncio.wait_for(scene, LIMIT))


def text_of(message) -> str:
    return message.findtext("{jabber:client}body")


@over_each(*EVERYBODY)
def test_logs_in_and_chats_both_ways(server, pair, kind, transport):
    async def scene():
        juliet = await Client(server, pair[1], "balcony").login()
        await juliet.available()
        async with connected(kind(server, pair[0], transport)) as romeo:
            await romeo.send(juliet.bare, "Good evening <&> äöü")
            assert text_of(await juliet.message()) == "Good evening <&> äöü"
            for number in range(5):
                juliet.send(f"<message to='{romeo.jid}' type='chat'><body>number {number} é&lt;</body></message>")
            for number in range(5):
                assert await romeo.next() == (juliet.bare, f"number {number} é<")
        await juliet.close()

    play(scene())


@over_each(*EVERYBODY)
def test_gets_what_was_sent_while_it_was_offline(server, pair, kind, transport):
    async def scene():
        juliet = await Client(server, pair[1], "balcony").login(sm=True)
        romeo = kind(server, pair[0], transport)
        for number in range(5):
            juliet.send(f"<message to='{romeo.jid}' type='chat'><body>number {number}</body></message>")
        await juliet.acknowledged()
        async with connected(romeo):
            for number in range(5):
                assert await romeo.next() == (juliet.bare, f"number {number}")
        await juliet.close()

    play(scene())


@over_each(Slixmpp, Aioxmpp, Gajim)
def test_resumes_after_the_wire_was_cut(server, pair, kind, transport):
    """What was sent both ways around the cut arrives, once and in order."""

    async def scene():
        juliet = await Client(server, pair[1], "balcony").login()
        await juliet.available()
        async with Wire(server.address, server.ports[transport]) as wire:
            async with connected(kind(server, pair[0], transport, wire.port)) as romeo:
                juliet.send(f"<message to='{romeo.jid}' type='chat'><body>before</body></message>")
                assert await romeo.next() == (juliet.bare, "before")
                wire.cut()
                for number in range(5):
                    juliet.send(f"<message to='{romeo.jid}' type='chat'><body>meanwhile {number}</body></message>")
                await juliet.ping()
                await romeo.until_resumed()
                assert wire.connections == 2
                for number in range(5):
                    assert await romeo.next() == (juliet.bare, f"meanwhile {number}")
                await romeo.send(juliet.bare, "again")
                assert text_of(await juliet.message()) == "again"
                juliet.send(f"<message to='{romeo.jid}' type='chat'><body>after</body></message>")
                assert await romeo.next() == (juliet.bare, "after")
                assert romeo.inbox.empty()
        await juliet.close()

    play(scene())


@over_each(Profanity)
def test_reconnects_after_the_wire_was_cut(server, pair, kind, transport):
    """Without stream management, messages wait until it is back; none sent after the server knew is lost."""

    async def scene():
        juliet = await Client(server, pair[1], "balcony").login()
        await juliet.available()
        async with Wire(server.address, server.ports[transport]) as wire:
            async with connected(kind(server, pair[0], transport, wire.port)) as romeo:
                juliet.send(f"<message to='{romeo.jid}' type='chat'><body>before</body></message>")
                assert await romeo.next() == (juliet.bare, "before")
                wire.cut()
                await asyncio.sleep(0.3)
                juliet.send(f"<message to='{romeo.jid}' type='chat'><body>meanwhile</body></message>")
                assert await romeo.next(30) == (juliet.bare, "meanwhile")
                assert wire.connections >= 2
                await romeo.send(juliet.bare, "again")
                assert text_of(await juliet.message()) == "again"
        await juliet.close()

    play(scene())


@pytest.mark.parametrize("kinds", [(Slixmpp, Aioxmpp), (Profanity, GoSendxmpp)],
                         ids=lambda kinds: " and ".join(kind.__name__ for kind in kinds))
def test_they_talk_to_each_other(server, pair, kinds):
    async def scene():
        romeo, juliet = kinds[0](server, pair[0], "starttls"), kinds[1](server, pair[1], "direct")
        async with connected(romeo), connected(juliet):
            for number in range(3):
                await romeo.send(juliet.jid, f"to you {number}")
                assert await juliet.next() == (romeo.jid, f"to you {number}")
                await juliet.send(romeo.jid, f"and back {number}")
                assert await romeo.next() == (juliet.jid, f"and back {number}")

    play(scene())


def test_a_server_restart_is_survived_by_slixmpp(server, pair):
    """The session is gone with the old process, the messages are not; one it had not acknowledged may come again."""

    async def scene():
        juliet = await Client(server, pair[1], "balcony").login(sm=True)
        async with connected(Slixmpp(server, pair[0], "starttls")) as romeo:
            juliet.send(f"<message to='{romeo.jid}' type='chat'><body>before</body></message>")
            assert await romeo.next() == (juliet.bare, "before")
            await asyncio.get_running_loop().run_in_executor(None, server.restart)
            juliet = await Client(server, pair[1], "balcony").login(sm=True)
            juliet.send(f"<message to='{romeo.jid}' type='chat'><body>after</body></message>")
            await juliet.acknowledged()
            while (got := await romeo.next(30)) == (juliet.bare, "before"):
                pass
            assert got == (juliet.bare, "after")

    play(scene())
