"""Clients that block, and that keep privacy lists (XEP-0191, XEP-0016, XEP-0377)."""

import asyncio

import aioxmpp
import aioxmpp.blocking
import pytest
import slixmpp
from clients import WAIT, Aioxmpp, Slixmpp
from slixmpp.exceptions import IqError
from support.namespaces import CLIENT, qname
from support.rawclient import Client, condition
from test_clients import connected, over_each, play, text_of


class SlixmppBlocker(Slixmpp):
    """With the plug-ins for blocklists, reports and privacy lists."""

    async def connect(self) -> None:
        await super().connect(["xep_0191", "xep_0377", "xep_0016"])
        self.pushed: asyncio.Queue[tuple[str, set[str]]] = asyncio.Queue()
        for event in ("blocked", "unblocked"):
            self.client.add_event_handler(event, lambda iq, event=event: self._pushed(event, iq))
        assert await self.blocked() == set()

    def _pushed(self, event: str, iq) -> None:
        items = iq["block" if event == "blocked" else "unblock"]
        self.pushed.put_nowait((event, {str(item["jid"]) for item in items}))

    async def blocked(self) -> set[str]:
        return {jid.full for jid in await self.client.plugin["xep_0191"].get_blocked_jids(timeout=WAIT)}

    async def block(self, jid: str) -> None:
        await self.client.plugin["xep_0191"].block(slixmpp.JID(jid), timeout=WAIT)

    async def unblock(self, jid: str) -> None:
        await self.client.plugin["xep_0191"].unblock(slixmpp.JID(jid), timeout=WAIT)


class AioxmppBlocker(Aioxmpp):
    """With its service for blocklists, which follows the pushes by itself."""

    def _prepare(self, client) -> None:
        self.pushed: asyncio.Queue[tuple[str, set[str]]] = asyncio.Queue()
        self.blocking = client.summon(aioxmpp.blocking.BlockingClient)
        self.blocking.on_jids_blocked.connect(lambda jids: self._pushed("blocked", jids))
        self.blocking.on_jids_unblocked.connect(lambda jids: self._pushed("unblocked", jids))

    def _pushed(self, event: str, jids) -> None:
        self.pushed.put_nowait((event, {str(jid) for jid in jids}))

    async def blocked(self) -> set[str]:
        return {str(jid) for jid in self.blocking.blocklist}

    async def block(self, jid: str) -> None:
        await asyncio.wait_for(self.blocking.block_jids([aioxmpp.JID.fromstr(jid)]), WAIT)

    async def unblock(self, jid: str) -> None:
        await asyncio.wait_for(self.blocking.unblock_jids([aioxmpp.JID.fromstr(jid)]), WAIT)


@over_each(SlixmppBlocker, AioxmppBlocker)
def test_blocks_and_unblocks_and_hears_of_it(server, pair, kind, transport):
    async def scene():
        juliet = await Client(server, pair[1], "balcony").login()
        await juliet.available()
        async with connected(kind(server, pair[0], transport)) as romeo:
            await romeo.block(juliet.bare)
            assert await asyncio.wait_for(romeo.pushed.get(), WAIT) == ("blocked", {juliet.bare})
            assert await romeo.blocked() == {juliet.bare}
            juliet.send(f"<message to='{romeo.jid}' type='chat' id='1'><body>Hi</body></message>")
            answer = await juliet.message()
            assert condition(answer.find(qname(CLIENT, "error"))) == "service-unavailable"
            await romeo.unblock(juliet.bare)
            assert await asyncio.wait_for(romeo.pushed.get(), WAIT) == ("unblocked", {juliet.bare})
            assert await romeo.blocked() == set()
            juliet.send(f"<message to='{romeo.jid}' type='chat' id='2'><body>Hi again</body></message>")
            assert await romeo.next() == (juliet.bare, "Hi again")
            await romeo.send(juliet.bare, "Hello")
            assert text_of(await juliet.message()) == "Hello"
        await juliet.close()

    play(scene())


@over_each(SlixmppBlocker)
def test_keeps_privacy_lists_and_reports(server, pair, kind, transport):
    async def scene():
        juliet = await Client(server, pair[1], "balcony").login()
        async with connected(kind(server, pair[0], transport)) as romeo:
            lists = romeo.client.plugin["xep_0016"]
            deny = {"type": "jid", "value": juliet.bare, "action": "deny", "order": "1", "message": True}
            await lists.edit_list("quiet", [deny], timeout=WAIT)
            await lists.activate("quiet", timeout=WAIT)
            names = (await lists.get_privacy_lists(timeout=WAIT))["privacy"]
            assert names["active"]["name"] == "quiet" and [each["name"] for each in names["lists"]] == ["quiet"]
            items = (await lists.get_list("quiet", timeout=WAIT))["privacy"]["list"]["items"]
            assert [(item["value"], item["action"]) for item in items] == [(juliet.bare, "deny")]
            juliet.send(f"<message to='{romeo.jid}/slixmpp' type='chat' id='1'><body>Hi</body></message>")
            answer = await juliet.message()
            assert condition(answer.find(qname(CLIENT, "error"))) == "service-unavailable"
            await lists.deactivate(timeout=WAIT)
            juliet.send(f"<message to='{romeo.jid}' type='chat' id='2'><body>Hi again</body></message>")
            assert await romeo.next() == (juliet.bare, "Hi again")
            await lists.remove_list("quiet", timeout=WAIT)
            with pytest.raises(IqError):
                await lists.get_list("quiet", timeout=WAIT)
            await romeo.client.plugin["xep_0377"].report(slixmpp.JID(juliet.bare), reason="spam", timeout=WAIT)
            assert await romeo.blocked() == {juliet.bare}
            await romeo.unblock(juliet.bare)
        await juliet.close()

    play(scene())
