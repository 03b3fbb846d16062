"""What a scene cannot write down of RFC 6121, section 2."""

import asyncio

import pytest
from support.rawclient import Client, condition


@pytest.mark.parametrize("item", ["<item jid='{0}' name='{1}'/>", "<item jid='{0}'><group>{1}</group></item>"],
                         ids=["name", "group"])
@pytest.mark.differs("prosody", "0.12 has no limit")
def test_names_that_are_too_long_are_not_acceptable(server, item):
    async def scene():
        server.add_accounts({"romeo.long": "pass-romeo"})
        romeo = await Client(server, "romeo.long", "desk", transport="plain").login()
        payload = item.format(f"juliet@{server.domain}", "n" * 60_000)
        answer = await romeo.iq("set", f"<query xmlns='jabber:iq:roster'>{payload}</query>")
        assert answer.get("type") == "error"
        assert condition(answer.find("{*}error")) == "not-acceptable"
        roster = await romeo.iq("get", "<query xmlns='jabber:iq:roster'/>")
        assert not list(roster[0])
        await romeo.close()

    asyncio.run(asyncio.wait_for(scene(), 60))
