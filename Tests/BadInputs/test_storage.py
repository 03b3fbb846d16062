"""Line 37: what a disk and a kill can do, from outside."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from support import martlet
from support.archive import everything
from support.rawclient import Client, Failure, condition, show

pytestmark = pytest.mark.skipif(martlet.KIND != "martlet", reason="about martlet's own database")


def database(server) -> Path:
    found = [path for path in server.data.iterdir() if path.is_file() and path.read_bytes()[:15] == b"SQLite format 3"]
    assert len(found) == 1, f"databases: {found}"
    return found[0]


def refusal(server) -> str:
    """What the server says when it refuses to start."""
    done = subprocess.run(server.command(), cwd=server.folder, capture_output=True, text=True, timeout=20)
    assert done.returncode != 0, "it started"
    output = done.stdout + done.stderr
    assert "Fatal error" not in output and done.returncode > 0, f"it crashed ({done.returncode}): {output[-500:]}"
    assert output.strip(), "it says nothing"
    return output


async def send(server, first: int, count: int) -> None:
    """Alice leaves messages for Bob, who is offline, and waits until they are acknowledged."""
    alice = await Client(server, "alice", "home", transport="plain").login(sm=True)
    for number in range(first, first + count):
        alice.send(f"<message to='bob@{server.domain}' type='chat' id='{number}'><body>{number}</body></message>")
    await alice.acknowledged()
    await alice.close()


async def fetch(server) -> list[int]:
    """What waits for Bob, in the order it comes."""
    bob = await Client(server, "bob", "desk", transport="plain").login()
    await bob.available()
    await bob.ping()
    await asyncio.sleep(0.3)
    await bob.ping()
    got = [int(e.get("id")) for e in bob.stream.events if e.tag.endswith("}message")]
    await bob.close()
    return got


async def archived(server, user: str) -> list[int]:
    """The numbers of the messages in an archive."""
    client = await Client(server, user, "archivist", transport="plain").login()
    numbers = [int(row.message.get("id")) for row in await everything(client)]
    await client.close()
    return numbers


def test_line_37_killed_while_writing_ten_times(fresh):
    """What was acknowledged is there, once, in order."""
    fresh.start()
    for round in range(10):
        asyncio.run(send(fresh, round * 10, 10))
        fresh.crash()
    assert asyncio.run(fetch(fresh)) == list(range(100))


@pytest.mark.parametrize("trap", ["SIGILL", "SIGSEGV", "SIGABRT"])
def test_line_39_a_trap_ends_the_process_and_loses_nothing_acknowledged(fresh, trap):
    """No input is known to cause one; systemd starts the process again."""
    fresh.start()
    asyncio.run(send(fresh, 0, 20))
    fresh.process.send_signal(getattr(signal, trap))
    assert fresh.process.wait(20) == -getattr(signal, trap)
    fresh.start()
    assert asyncio.run(fetch(fresh)) == list(range(20))


DAMAGE = {
    "an empty file": lambda path: path.write_bytes(b""),
    "another file": lambda path: path.write_bytes(b"This is a letter, not a database.\n" * 1000),
    "a broken header": lambda path: _patch(path, 16, b"\xff" * 40),
    "half of it": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a database of somebody else": lambda path: _foreign(path),
    "a newer database": lambda path: _newer(path),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


def _patch(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def _foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE prosody (host TEXT, user TEXT, value BLOB)")


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone()[0] > 0, "where is the version kept?"
        database.execute("PRAGMA user_version = 99999")


@pytest.mark.parametrize("kind", DAMAGE)
def test_line_37_a_damaged_or_foreign_database_is_refused_and_left_alone(fresh, kind):
    """Never an empty database in place of the lost one (processone/ejabberd#4366)."""
    fresh.start()
    asyncio.run(send(fresh, 0, 20))
    fresh.stop()
    path = database(fresh)
    for side in ("-wal", "-shm"):
        Path(f"{path}{side}").unlink(missing_ok=True)
    DAMAGE[kind](path)
    before = path.read_bytes() if path.is_file() else None
    said = refusal(fresh)
    assert path.name in said, said
    assert (path.read_bytes() if path.is_file() else None) == before, "it changed the file"


def test_line_37_a_corrupt_page_ends_no_process(fresh):
    """Rows that cannot be read cost their owner an error, not everybody the server."""
    fresh.start()
    asyncio.run(send(fresh, 0, 60))
    fresh.stop()
    path = database(fresh)
    size = path.stat().st_size
    _patch(path, size - 4096 * 2, os.urandom(4096))
    try:
        fresh.start()
    except martlet.ServerFailure as failure:
        assert "Fatal error" not in str(failure)
        assert path.name in str(failure)
        return

    async def scene():
        try:
            await fetch(fresh)
        except Failure:
            pass
        alice = await Client(fresh, "alice", "home", transport="plain").login()
        await alice.ping()

    try:
        asyncio.run(scene())
    except Failure:
        pass
    assert fresh.running, f"it died:\n{fresh.tail()}"
    assert "Fatal error" not in fresh.tail()


def test_line_37_half_of_the_last_log_frame_is_no_loss(fresh):
    """A kill within a write leaves such a log; what was acknowledged lies before it."""
    fresh.start()
    asyncio.run(send(fresh, 0, 20))
    fresh.kill()
    path = database(fresh)
    log = Path(f"{path}-wal")
    if not log.exists() or log.stat().st_size < 4096:
        pytest.skip("no log was left")
    with open(log, "ab") as file:
        file.write(os.urandom(2000))
    fresh.start()
    assert asyncio.run(fetch(fresh)) == list(range(20))


@pytest.mark.parametrize("stamp", [0, 86_400_000, 1_700_000_000_000, 9_000_000_000_000_000])
def test_line_37_a_stay_that_a_wrong_clock_has_stamped_is_no_answer(fresh, stamp):
    """Of such a stamp a client would hear that somebody was away for 56 years."""
    fresh.start()

    async def ask() -> str:
        alice = await Client(fresh, "alice", "home", transport="plain").login()
        answer = await alice.iq("get", "<query xmlns='jabber:iq:last'/>", to=f"bob@{fresh.domain}")
        await alice.close()
        error = answer.find("{jabber:client}error")
        return condition(error) if error is not None else answer[0].get("seconds")

    async def befriend() -> None:
        alice, bob = [await Client(fresh, user, "home", transport="plain").login() for user in ("alice", "bob")]
        await alice.available()
        await bob.available()
        alice.send(f"<presence to='{bob.bare}' type='subscribe'/>")
        await bob.take(lambda event: event.get("type") == "subscribe", "the request")
        bob.send(f"<presence to='{alice.bare}' type='subscribed'/>")
        await alice.take(lambda event: event.get("from") == bob.jid, "what the approval lets her see")
        await bob.close()
        await alice.close()

    asyncio.run(befriend())
    assert int(asyncio.run(ask())) < 60
    fresh.stop()
    with closing(sqlite3.connect(database(fresh))) as connection, connection:
        changed = connection.execute("UPDATE map SET value = ? WHERE key = 'seen'", (f"{stamp}\0bye".encode(),))
        assert changed.rowcount == 2
    fresh.start()
    assert asyncio.run(ask()) == "item-not-found"


def test_line_37_two_servers_on_one_directory_are_refused(fresh):
    fresh.start()
    config = fresh.config_file.read_text()
    other = fresh.home / "other.yml"
    text = config
    for port in fresh.ports.values():
        text = text.replace(str(port), str(martlet.free_ports(1)[0]))
    other.write_text(text)
    done = subprocess.run(
        [str(martlet.binary()), "serve", "-c", str(other)], capture_output=True, text=True, timeout=20, cwd=fresh.folder
    )
    assert done.returncode > 0 and (done.stderr + done.stdout).strip()
    asyncio.run(send(fresh, 0, 5))
    assert asyncio.run(fetch(fresh)) == list(range(5))


def mount(path: Path, *options: str) -> None:
    """A tmpfs, if this user may."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    path.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(path)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(fresh):
    """The server's data directory on a disk of 3 MB."""
    data, aside = fresh.data, fresh.home / "aside"
    shutil.move(data, aside)
    mount(data, "-o", "size=3m,mode=700")
    for path in aside.iterdir():
        shutil.copy2(path, data / path.name)
    yield fresh
    fresh.kill()
    subprocess.run(["umount", str(data)], check=False)


def fill(server) -> Path:
    """Takes the rest of the disk."""
    filler = server.data / "filler"
    with open(filler, "wb", buffering=0) as file:
        for block in (65536, 4096, 512):
            try:
                while True:
                    file.write(b"\0" * block)
            except OSError:
                pass
    return filler


def test_line_37_a_full_disk_refuses_what_it_cannot_keep_and_recovers(small_disk):
    """No acknowledged message is lost, refused ones are answered with resource-constraint or not acknowledged."""
    server = small_disk.start()
    asyncio.run(send(server, 0, 10))
    filler = fill(server)
    accepted: set[int] = set(range(10))

    async def against_the_wall() -> dict[int, str]:
        alice = await Client(server, "alice", "home", transport="plain").login(sm=True)
        numbers = list(range(100, 400))
        for number in numbers:
            body = f"{number} " + "x" * 4000
            alice.send(f"<message to='bob@{server.domain}' type='chat' id='{number}'><body>{body}</body></message>")
        try:
            await alice.acknowledged(10)
        except Failure:
            pass
        done = alice.sm.acknowledged
        refused = {int(e.get("id")): show(e) for e in alice.stream.events
                   if getattr(e, "attrib", {}).get("type") == "error"}
        accepted.update(n for n in numbers[:done] if n not in refused)
        alice.cut()
        return refused

    refused = asyncio.run(against_the_wall())
    assert server.running, f"it died:\n{server.tail()}"
    assert len(accepted) < 310, "the disk was not full"
    assert all("resource-constraint" in error for error in refused.values()), list(refused.values())[:3]

    async def still_talks():
        """Online to online needs no disk."""
        alice = await Client(server, "alice", "home", transport="plain").login()
        await alice.ping()

    asyncio.run(still_talks())
    filler.unlink()
    deadline = time.monotonic() + 20
    while True:
        try:
            asyncio.run(send(server, 1000, 1))
            break
        except (Failure, OSError):
            assert time.monotonic() < deadline, "it does not recover"
            time.sleep(0.5)
    server.crash()
    got = asyncio.run(fetch(server))
    missing = accepted - set(got)
    assert not missing, f"{len(missing)} acknowledged messages are lost, e.g. {sorted(missing)[:5]}"
    assert 1000 in got
    assert [n for n in got if n < 1000] == sorted(n for n in got if n < 1000)
    for user in ("alice", "bob"):
        kept = asyncio.run(archived(server, user))
        assert not accepted - set(kept), f"the archive of {user} lacks {sorted(accepted - set(kept))[:5]}"
        assert not set(refused) & set(kept), f"the archive of {user} has what was refused"
        assert kept == sorted(set(kept))


def test_line_37_a_read_only_disk_is_refused_with_a_reason(small_disk):
    server = small_disk
    server.start()
    asyncio.run(send(server, 0, 5))
    server.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(server.data)], check=True)
    try:
        assert "read-only" in refusal(server).lower().replace("readonly", "read-only")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(server.data)], check=True)
    server.start()
    assert asyncio.run(fetch(server)) == list(range(5))


@pytest.mark.skip(reason="the database lies in the process: it cannot be gone for 60 s; the storage suite stalls it")
def test_line_37_the_database_is_gone_for_a_minute():
    pass


@pytest.mark.skip(reason="the machine's clock is not ours to move; the unit tests jump the injected clock")
def test_line_37_the_clock_jumps():
    pass
