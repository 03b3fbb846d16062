"""Clients with another device beside them: they see what it gets and says (XEP-0280), and say when nobody looks (XEP-0352)."""

import asyncio

import aioxmpp
import aioxmpp.im.dispatcher
import pytest
from clients import WAIT, Aioxmpp, Slixmpp
from desktop import Gajim
from support.namespaces import CLIENT, qname
from support.rawclient import Client
from terminals import Poezio, Profanity
from test_clients import connected, over_each, play, text_of

CARBONS = "urn:xmpp:carbons:2"


class SlixmppDevice(Slixmpp):
    """With the plug-ins for both."""

    async def connect(self) -> None:
        await super().connect(["xep_0280", "xep_0352"])
        self.client.add_event_handler("carbon_received", lambda copy: self._copy(copy["carbon_received"]))
        self.client.add_event_handler("carbon_sent", lambda copy: self._copy(copy["carbon_sent"]))
        await self.client.plugin["xep_0280"].enable()

    def _copy(self, message) -> None:
        other = message["to"] if message["from"].bare == self.jid else message["from"]
        self.inbox.put_nowait((other.bare, message["body"]))


class AioxmppDevice(Aioxmpp):
    """With its dispatcher for chats, which asks the server whether it copies, enables that and unwraps what comes."""

    def _prepare(self, client) -> None:
        client.summon(aioxmpp.im.dispatcher.IMDispatcher).message_filter.register(self._dispatched, 1)

    def _message(self, message) -> None:
        """The dispatcher has it too."""

    def _dispatched(self, message, peer, sent, source):
        if message.body:
            self.inbox.put_nowait((str(peer.bare()), message.body.any()))


@over_each(SlixmppDevice, AioxmppDevice, Poezio, Gajim)
def test_sees_what_another_device_gets_and_says(server, pair, kind, transport):
    async def scene():
        juliet = await Client(server, pair[1], "balcony").login()
        await juliet.available()
        async with connected(kind(server, pair[0], transport)) as romeo:
            other = await Client(server, pair[0], "other").login()
            juliet.send(f"<message to='{other.jid}' type='chat' id='1'><body>to the other</body></message>")
            assert await romeo.next() == (juliet.bare, "to the other")
            assert text_of(await other.message()) == "to the other"
            other.send(f"<message to='{juliet.bare}' type='chat' id='2'><body>from the other</body></message>")
            assert text_of(await juliet.message()) == "from the other"
            assert await romeo.next() == (juliet.bare, "from the other")
            juliet.send(f"<message to='{romeo.jid}' type='chat' id='3'><body>to all</body></message>")
            assert await romeo.next() == (juliet.bare, "to all")
            await other.close()
        await juliet.close()

    play(scene())


@over_each(Profanity)
def test_shows_what_another_device_gets_and_says(server, pair, kind, transport):
    async def scene():
        juliet = await Client(server, pair[1], "balcony").login()
        await juliet.available()
        async with connected(kind(server, pair[0], transport)) as romeo:
            await romeo.type("/carbons on")
            other = await Client(server, pair[0], "other").login()
            juliet.send(f"<message to='{romeo.jid}' type='chat' id='0'><body>hello</body></message>")
            assert await romeo.next() == (juliet.bare, "hello")
            juliet.send(f"<message to='{other.jid}' type='chat' id='1'><body>to the other</body></message>")
            assert await romeo.next() == (juliet.bare, "to the other")
            other.send(f"<message to='{juliet.bare}' type='chat' id='2'><body>from the other</body></message>")
            await romeo.shows("me: from the other")
            await other.close()
        await juliet.close()

    play(scene())


@over_each(Slixmpp, Aioxmpp, Profanity, Poezio, Gajim)
def test_other_devices_see_what_it_says(server, pair, kind, transport):
    async def scene():
        juliet = await Client(server, pair[1], "balcony").login()
        await juliet.available()
        other = await Client(server, pair[0], "other").login()
        await other.iq("set", f"<enable xmlns='{CARBONS}'/>")
        async with connected(kind(server, pair[0], transport)) as romeo:
            await romeo.send(juliet.bare, "Good evening")
            assert text_of(await juliet.message()) == "Good evening"
            copy = await other.take(lambda event: event.find(f".//{qname(CLIENT, 'body')}") is not None, "the copy")
            assert copy.get("from") == other.bare
            sent = copy.find(f"{qname(CARBONS, 'sent')}/*/{qname(CLIENT, 'message')}")
            assert text_of(sent) == "Good evening"
        await other.close()
        await juliet.close()

    play(scene())


def test_slixmpp_says_that_nobody_looks(server, pair):
    async def scene():
        juliet = await Client(server, pair[1], "balcony").login()
        await juliet.available()
        async with connected(SlixmppDevice(server, pair[0], "starttls")) as romeo:
            seen: asyncio.Queue = asyncio.Queue()
            romeo.client.add_event_handler("presence_available", lambda presence: seen.put_nowait(presence["status"]))
            assert romeo.client.plugin["xep_0352"].enabled
            romeo.client.plugin["xep_0352"].send_inactive()
            await romeo.client.plugin["xep_0199"].send_ping(server.domain)
            for status in ("one", "two"):
                juliet.send(f"<presence to='{romeo.client.boundjid.full}'><status>{status}</status></presence>")
            await juliet.ping()
            romeo.client.plugin["xep_0352"].send_active()
            while await asyncio.wait_for(seen.get(), WAIT) != "two":
                pass
            juliet.send(f"<message to='{romeo.jid}' type='chat'><body>Hi</body></message>")
            assert await romeo.next() == (juliet.bare, "Hi")
        await juliet.close()

    play(scene())
