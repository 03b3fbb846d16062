"""Archives as an operator sees them: commands, reloads, accounts that go."""

import asyncio
import json
import socket

import pytest
from support import martlet
from support.archive import ask, everything, query
from support.namespaces import CLIENT, qname
from support.rawclient import Client, condition
from test_commands import run

pytestmark = pytest.mark.skipif(martlet.KIND != "martlet", reason="about martlet's own commands")

METADATA = "<metadata xmlns='urn:xmpp:mam:2'/>"


@pytest.fixture
def own():
    """A running server of the test's own."""
    made = martlet.make()
    made.add_accounts({"romeo": "first", "juliet": "second"})
    made.start()
    yield made
    made.remove()


def control(server, command: str, **arguments: str) -> dict:
    """The answer of the control socket, which is what a command line prints."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(30)
        peer.connect(str(server.data / "martlet.sock"))
        peer.sendall(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n") and (part := peer.recv(65536)):
            answer += part
    return json.loads(answer)


async def show(server, address: str) -> list[list[str]]:
    answer = await asyncio.to_thread(control, server, "archive show", address=address)
    return answer["table"]["rows"] if "table" in answer else []


async def purge(server, address: str, **more: str) -> str:
    return (await asyncio.to_thread(control, server, "archive purge", address=address, **more))["done"]


async def write(server, count: int, first: int = 0, size: int = 1) -> None:
    """Messages of romeo that wait for juliet, and are in both archives when this returns."""
    romeo = await Client(server, "romeo", "desk", transport="plain").login(sm=True)
    for number in range(first, first + count):
        body = f"{number} {'x' * size}"
        romeo.send(f"<message to='juliet@{server.domain}' type='chat' id='{number}'><body>{body}</body></message>")
        if number % 20 == 19:
            await romeo.acknowledged(30)
    await romeo.acknowledged(30)
    await romeo.close()


async def reads(server, user: str, resource: str = "reader") -> Client:
    return await Client(server, user, resource, transport="plain").login()


def play(scene) -> None:
    asyncio.run(asyncio.wait_for(scene, 120))


def change(server, options: str) -> None:
    """Another section for the module in the config, and a reload."""
    text = server.config_file.read_text()
    before = next(line for line in text.splitlines() if line.startswith("  mam:"))
    server.config_file.write_text(text.replace(before, f"  mam: {options}"))
    code, out, error = run(server, "reload")
    assert code == 0, out + error


# -- commands


def test_an_archive_is_shown_and_purged_from_the_command_line(own):
    juliet = f"juliet@{own.domain}"
    play(write(own, 3))
    code, shown, error = run(own, "archive", "show", juliet)
    assert code == 0 and "3" in shown, error
    code, done, error = run(own, "archive", "purge", juliet)
    assert code == 0 and "3" in done, error
    code, shown, error = run(own, "archive", "show", juliet)
    assert code == 0 and "empty" in shown, error


def test_show_tells_how_much_there_is_and_from_when(own):
    async def scene():
        juliet = f"juliet@{own.domain}"
        assert await show(own, juliet) == []
        await write(own, 3)
        client = await reads(own, "juliet")
        (ends,) = await client.iq("get", METADATA)
        stamps = [each.get("timestamp") for each in ends]
        assert await show(own, juliet) == [["3", *stamps]]
        assert [row[0] for row in await show(own, f"romeo@{own.domain}")] == ["3"]

    play(scene())


def test_a_purge_leaves_nothing_of_this_archive_and_all_of_others(own):
    async def scene():
        juliet = f"juliet@{own.domain}"
        await write(own, 5)
        client = await reads(own, "juliet")
        old = (await ask(client, query())).ids
        assert (await purge(own, juliet)).startswith("5 ")
        assert await show(own, juliet) == []
        page = await ask(client, query())
        assert page.rows == [] and page.complete and page.count == 0
        assert len(await client.iq("get", METADATA)) == 1 and not list((await client.iq("get", METADATA))[0])
        for id in old:
            assert (await ask(client, query(after=id))).error == "item-not-found"
            assert (await ask(client, query({"ids": id}))).error == "item-not-found"
        await write(own, 2, 5)
        new = (await ask(client, query())).ids
        assert len(new) == 2 and not set(new) & set(old)
        romeo = await reads(own, "romeo")
        assert len(await everything(romeo)) == 7
        # A second one has nothing more to do, and nothing comes back with a restart.
        assert (await purge(own, juliet)).startswith("2 ")
        assert (await purge(own, juliet)).startswith("0 ")
        await asyncio.to_thread(own.restart)
        assert (await ask(await reads(own, "juliet"), query())).rows == []

    play(scene())


def test_what_waits_is_delivered_though_the_archive_was_purged(own):
    """Also when it waits in both archives only once: a body is not gone while somebody is to get it."""

    async def scene():
        await write(own, 5, size=3000)
        for name in ("romeo", "juliet"):
            assert (await purge(own, f"{name}@{own.domain}")).startswith("5 ")
        juliet = await reads(own, "juliet")
        await juliet.available()
        for number in range(5):
            got = await juliet.message()
            assert got.get("id") == str(number)
            assert got.findtext(qname(CLIENT, "body")) == f"{number} {'x' * 3000}"

    play(scene())


def test_a_purge_with_a_time_drops_what_is_older(own):
    async def scene():
        juliet = f"juliet@{own.domain}"
        await write(own, 3)
        client = await reads(own, "juliet")
        await asyncio.sleep(0.01)
        await write(own, 2, 3)
        rows = await everything(client)
        (_, second) = [each.get("timestamp") for each in (await client.iq("get", METADATA))[0]]
        assert (await purge(own, juliet, before="2020-01-01T00:00:00Z")).startswith("0 ")
        stamp = await stamp_of(client, rows[3].id)
        assert (await purge(own, juliet, before=stamp)).startswith("3 ")
        assert [row.id for row in await everything(client)] == [row.id for row in rows[3:]]
        assert (await show(own, juliet))[0] == ["2", stamp, second]

    play(scene())


async def stamp_of(client: Client, id: str) -> str:
    client.send(f"<iq type='set' id='stamp'>{query({'ids': id})}</iq>")
    message = await client.message()
    await client.take(lambda event: event.get("id") == "stamp", "the answer")
    return message.find(".//{urn:xmpp:delay}delay").get("stamp")


@pytest.mark.parametrize("arguments, said", [
    ({"address": "nobody@{domain}"}, "no account"), ({"address": "nobody@elsewhere.example"}, "no account"),
    ({"address": "{domain}"}, "no address"), ({"address": ""}, "no address"), ({}, "address"),
    ({"address": "juliet@{domain}", "before": "yesterday"}, "no time"),
    ({"address": "juliet@{domain}", "before": ""}, "no time"),
    ({"address": "juliet@{domain}", "before": "2026-13-01T00:00:00Z"}, "no time"),
    ({"address": "' OR 1=1 --@{domain}"}, ""),
])
def test_a_purge_of_what_makes_no_sense_drops_nothing(own, arguments, said):
    arguments = {name: value.format(domain=own.domain) for name, value in arguments.items()}

    async def scene():
        await write(own, 2)
        answer = await asyncio.to_thread(control, own, "archive purge", **arguments)
        assert "error" in answer and said in answer["error"]["message"] and answer["error"]["exitCode"] != 0, answer
        for name in ("romeo", "juliet"):
            assert len(await everything(await reads(own, name))) == 2

    play(scene())


def test_a_large_archive_is_purged_while_others_write_and_page(own):
    """What was there is gone, what came meanwhile is not lost, and who pages gets each row once or not at all."""

    async def scene():
        change(own, "{page: 500}")
        romeo = await Client(own, "romeo", "desk", transport="plain").login(sm=True)
        juliet = await reads(own, "juliet", "a")
        await juliet.available()
        for number in range(1500):
            romeo.send(f"<message to='{juliet.bare}' type='chat' id='{number}'><body>{number}</body></message>")
        await romeo.acknowledged(30)
        pager = await reads(own, "juliet", "b")
        before = await show(own, juliet.bare)
        assert before[0][0] == "1500"

        async def page() -> list[str]:
            found, after = [], None
            while True:
                page = await ask(pager, query(max=50, after=after))
                if page.error == "item-not-found":
                    return found
                found += page.ids
                after = page.last
                if page.complete or after is None:
                    return found

        paging = asyncio.ensure_future(page())
        purging = asyncio.ensure_future(purge(own, juliet.bare, before="2099-01-01T00:00:00Z"))
        while not purging.done():
            number += 1
            romeo.send(f"<message to='{juliet.bare}' type='chat' id='{number}'><body>{number}</body></message>")
            await romeo.acknowledged()
        ids = await paging
        assert len(ids) == len(set(ids)) and ids == sorted(ids, key=int)
        dropped = int((await purging).split()[0])
        left = await everything(pager)
        assert dropped + len(left) == number + 1
        assert [row.body for row in left] == [str(each) for each in range(dropped, number + 1)]

    play(scene())


def test_a_purge_gives_its_space_to_what_comes_then(own):
    """The database grows no further when as much is written again."""

    async def scene():
        sizes = []
        for round in range(4):
            for name in ("romeo", "juliet"):
                await purge(own, f"{name}@{own.domain}")
            await write(own, 30, 30 * round, 100_000)
            juliet = await reads(own, "juliet", f"r{round}")
            await juliet.available()
            while (await juliet.message()).get("id") != str(30 * round + 29):
                pass
            await juliet.close()
            sizes.append(sum(each.stat().st_size for each in own.data.rglob("*.db")))
        # What the first round wrote may be in the log of the database yet.
        assert sizes[1] > 30 * 100_000 and sizes[-1] < 1.5 * sizes[1], sizes

    play(scene())


# -- reloads


def test_a_reload_changes_pages_and_the_default(own):
    async def scene():
        await write(own, 30)
        juliet = await reads(own, "juliet")
        assert len((await ask(juliet, query())).rows) == 30
        await asyncio.to_thread(change, own, "{page: 10, default: never, expiry: 2d, rows: 100}")
        page = await ask(juliet, query())
        assert len(page.rows) == 10 and not page.complete
        prefs = (await juliet.iq("get", "<prefs xmlns='urn:xmpp:mam:2'/>"))[0]
        assert prefs.get("default") == "never"
        await write(own, 1, 30)
        assert len(await everything(juliet)) == 30
        await asyncio.to_thread(change, own, "{}")
        assert len((await ask(juliet, query())).rows) == 30

    play(scene())


def test_an_archive_outlives_that_its_module_is_away(own):
    async def scene():
        await write(own, 3)
        juliet = await reads(own, "juliet")
        ids = (await ask(juliet, query())).ids
        await asyncio.to_thread(change, own, "false")
        answer = await juliet.iq("set", query())
        assert condition(answer.find(qname(CLIENT, "error"))) == "service-unavailable"
        await write(own, 1, 3)
        await asyncio.to_thread(change, own, "{}")
        assert (await ask(juliet, query())).ids == ids
        await write(own, 1, 4)
        assert [row.body for row in await everything(juliet)] == ["0 x", "1 x", "2 x", "4 x"]

    play(scene())


@pytest.mark.parametrize("options", ["{expiry: 1s}", "{expiry: never}", "{page: 5}", "{page: 501}", "{rows: 99}",
                                     "{default: sometimes}", "{unknown: 1}"])
def test_options_that_make_no_sense_change_nothing(own, options):
    text = own.config_file.read_text()
    own.config_file.write_text(text.replace("  mam: null", f"  mam: {options}"))
    assert own.config_file.read_text() != text
    assert run(own, "reload")[0] != 0 and run(own, "check")[0] != 0
    play(write(own, 1))


# -- accounts that go


def test_nothing_of_an_archive_is_left_for_the_next_owner_of_the_name(own):
    async def scene():
        await write(own, 3)
        romeo = await reads(own, "romeo")
        old = (await ask(await reads(own, "juliet"), query())).ids
        juliet = f"juliet@{own.domain}"
        assert (await asyncio.to_thread(run, own, "account", "remove", juliet))[0] == 0
        own.add_accounts({"juliet": "third"})
        client = await reads(own, "juliet", "next")
        assert (await ask(client, query())).rows == []
        assert (await ask(client, query(after=old[0]))).error == "item-not-found"
        await write(own, 1, 3)
        (new,) = (await ask(client, query())).rows
        assert new.body == "3 x" and new.id not in old
        assert len(await everything(romeo)) == 4
        await asyncio.to_thread(own.restart)
        assert len(await everything(await reads(own, "juliet", "later"))) == 1

    play(scene())
