"""What a scene cannot write down of RFC 6121, sections 4.7.2.3 and 8.5: where a message may go by more than one way."""

import asyncio
import xml.etree.ElementTree as ET

import pytest
from support.namespaces import CLIENT, qname
from support.rawclient import Client


@pytest.fixture
def accounts(server):
    server.add_accounts({"romeo.messages": "pass-romeo", "juliet.messages": "pass-juliet"})
    return "romeo.messages", "juliet.messages"


def play(scene) -> None:
    asyncio.run(asyncio.wait_for(scene, 60))


async def bodies(client: Client) -> list[str]:
    """What arrived up to the answer of a ping."""
    await client.ping()
    waiting = [each for each in client.stream.events if isinstance(each, ET.Element)]
    return [each.findtext(qname(CLIENT, "body")) for each in waiting if each.tag == qname(CLIENT, "message")]


@pytest.mark.parametrize("kind", ["chat", "normal"])
def test_of_equal_resources_one_or_all_get_a_message(server, accounts, kind):
    async def scene():
        romeo = await Client(server, accounts[0], "orchard", transport="plain").login(sm=True)
        juliets = [await Client(server, accounts[1], resource, transport="plain").login() for resource in ("a", "b")]
        low = await Client(server, accounts[1], "low", transport="plain").login()
        for juliet in juliets:
            await juliet.available(3)
        await low.available(1)
        romeo.send(f"<message to='{juliets[0].bare}' type='{kind}' id='1'><body>x</body></message>")
        await romeo.acknowledged()
        got = [await bodies(each) for each in juliets]
        assert ["x"] in got and all(each in ([], ["x"]) for each in got)
        for client in (romeo, low, *juliets):
            await client.close()

    play(scene())


@pytest.mark.parametrize("priority, counts", [("127", 127), ("-128", None), ("0", 0), ("+5", 5), ("-1", None)])
def test_priorities_are_small_numbers(server, accounts, priority, counts):
    """Against another resource with 1: who has more gets it, who has less or is negative does not."""
    async def scene():
        romeo = await Client(server, accounts[0], "orchard", transport="plain").login(sm=True)
        one = await Client(server, accounts[1], "one", transport="plain").login()
        other = await Client(server, accounts[1], "other", transport="plain").login()
        await one.available(1)
        other.send(f"<presence><priority>{priority}</priority></presence>")
        await other.ping()
        romeo.send(f"<message to='{one.bare}' type='chat' id='1'><body>x</body></message>")
        await romeo.acknowledged()
        expected = ["x"] if counts is not None and counts > 1 else []
        assert await bodies(other) == expected
        assert expected or await bodies(one) == ["x"]
        for client in (romeo, one, other):
            await client.close()

    play(scene())


@pytest.mark.parametrize("priority", ["128", "-129", "high", "1.5", "", "99999999999999999999"])
def test_a_priority_that_is_none_does_no_harm(server, accounts, priority):
    """Refused, or taken for some number: the session lives and presence is what it was or what was sent."""
    async def scene():
        juliet = await Client(server, accounts[1], "one", transport="plain").login()
        await juliet.available(1)
        juliet.send(f"<presence id='p'><priority>{priority}</priority></presence>")
        await juliet.ping()
        await juliet.close()

    play(scene())
