"""The same conversation on a second device: what was said on the first one, and what came while there was none."""

import asyncio

import pytest
from clients import Slixmpp, SlixmppWithHistory
from desktop import Gajim
from support.rawclient import Client
from terminals import Profanity
from test_clients import connected, over_each, play

SAID = ["Good evening", "number 0", "and back 0", "number 1", "and back 1", "meanwhile 0", "meanwhile 1", "meanwhile 2"]


async def conversation(server, pair) -> None:
    """romeo talks to juliet with slixmpp and goes; she writes on."""
    juliet = await Client(server, pair[1], "balcony").login(sm=True)
    await juliet.available()
    async with connected(Slixmpp(server, pair[0], "starttls")) as romeo:
        await romeo.send(juliet.bare, SAID[0])
        assert (await juliet.message()).findtext("{*}body") == SAID[0]
        for number in range(2):
            juliet.send(f"<message to='{romeo.jid}' type='chat' id='n{number}'><body>number {number}</body></message>")
            assert await romeo.next() == (juliet.bare, f"number {number}")
            await romeo.send(juliet.bare, f"and back {number}")
            await juliet.message()
    for number in range(3):
        juliet.send(f"<message to='{romeo.jid}' type='chat' id='m{number}'><body>meanwhile {number}</body></message>")
    await juliet.acknowledged()
    await juliet.close()


@pytest.mark.parametrize("page", [1, 3, 8, 100])
@pytest.mark.parametrize("transport", Slixmpp.transports)
def test_slixmpp_fetches_the_history_in_pages(server, pair, transport, page):
    """What waited comes under the same ids, so that who has both has each message once."""

    async def scene():
        await conversation(server, pair)
        async with connected(SlixmppWithHistory(server, pair[0], transport)) as romeo:
            # What he had not acknowledged when he went comes once more, in front of the rest.
            waited = [await romeo.next()]
            while waited[-1][1] != "meanwhile 2":
                waited.append(await romeo.next())
            assert waited[-3:] == [(f"{pair[1]}@{server.domain}", f"meanwhile {number}") for number in range(3)]
            found = await romeo.history(page)
            assert [body for _, _, body in found] == SAID
            names = [sender.partition("@")[0] for _, sender, _ in found]
            assert names == [pair[0], pair[1], pair[0], pair[1], pair[0], *[pair[1]] * 3]
            ids = [id for id, _, _ in found]
            assert len(set(ids)) == len(SAID) and romeo.ids == ids[-3:]

    play(scene())


@over_each(Gajim)
def test_a_second_device_shows_everything_once(server, pair, kind, transport):
    """It is sent what waited and fetches the same from the archive."""

    async def scene():
        await conversation(server, pair)
        async with connected(kind(server, pair[0], transport)) as romeo:
            assert await romeo.history() == SAID

    play(scene())


def test_slixmpp_fetches_the_newest_first(server, pair):
    async def scene():
        await conversation(server, pair)
        async with connected(SlixmppWithHistory(server, pair[0], "starttls")) as romeo:
            found = romeo.client.plugin["xep_0313"].iterate(reverse=True, rsm={"max": 3}, total=6)
            bodies = [each["mam_result"]["forwarded"]["stanza"]["body"] async for each in found]
            assert bodies == SAID[:1:-1]

    play(scene())


@over_each(Profanity)
def test_a_window_is_filled_from_the_archive(server, pair, kind, transport):
    """That of Debian (0.13) fetches a page twice, whatever the server says, so nothing is said of how often."""

    async def scene():
        await conversation(server, pair)
        async with connected(kind(server, pair[0], transport)) as romeo:
            for _ in range(3):
                await romeo.next()
            await romeo.open_with_history(f"{pair[1]}@{server.domain}")
            for text in SAID:
                await romeo.shows(text)

    play(scene())
