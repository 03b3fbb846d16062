"""Backups as an operator and as clients see them: what is not whole is refused, and a restore confuses no client."""

import asyncio
import re
import shutil
import sqlite3
import subprocess

import pytest
from support import martlet
from support.namespaces import local
from support.rawclient import Client
from test_commands import own, run  # noqa: F401

pytestmark = pytest.mark.skipif(martlet.KIND != "martlet", reason="about martlet's own commands")

ROSTER = "jabber:iq:roster"


def serve(server) -> tuple[int, str]:
    """The exit code and the words of a server that must not start."""
    done = subprocess.run(server.command(), capture_output=True, text=True, timeout=20)
    return done.returncode, done.stderr


def execute(path, sql: str) -> None:
    with sqlite3.connect(path) as database:
        database.executescript(sql)
    database.close()


@pytest.mark.parametrize("damage, reason", [
    ("empty", "is empty: its content is lost"),
    ("DROP TABLE spool", "the schema is damaged: spool is missing"),
    ("DROP TABLE lineage", "the schema is damaged: lineage is missing"),
    ("PRAGMA user_version = 0", "there is none, and so no tables"),
    ("PRAGMA user_version = 77", "written by a newer one"),
    ("secret", "secret is missing"),
])
def test_what_is_not_whole_is_refused_by_restore_serve_and_check(own, tmp_path, damage, reason):  # noqa: F811
    own.add_accounts({"romeo": "first"})
    copy = tmp_path / "copy"
    assert run(own, "backup", str(copy))[0] == 0
    for folder in (copy, own.data):
        if damage == "secret":
            (folder / "secret").unlink()
        elif damage == "empty":
            (folder / "martlet.db").write_bytes(b"")
        else:
            execute(folder / "martlet.db", damage)
    before = (own.data / "martlet.db").read_bytes()
    for code, error in (run(own, "check", "--no-dns")[::2], serve(own)):
        assert code == 69 and reason in error, error
    code, _, error = run(own, "restore", str(copy), "--force")
    assert code in (2, 69) and reason in error, error
    assert (own.data / "martlet.db").read_bytes() == before
    assert not list(own.data.glob("replaced-*")) and not list(own.data.glob("*.restored"))


def test_a_backup_that_was_killed_is_said_to_be_one_and_goes_with_the_next(own, tmp_path):  # noqa: F811
    copy = tmp_path / "monday"
    assert run(own, "backup", str(copy))[0] == 0
    left = tmp_path / "monday.martlet-partial"
    copy.rename(left)
    code, _, error = run(own, "restore", str(left), "--force")
    assert code == 1 and "is no backup: one that did not end has left it" in error
    code, out, error = run(own, "backup", str(tmp_path / "tuesday"))
    assert code == 0 and f"{left} was removed: a backup that did not end had left it" in error
    assert [path.name for path in tmp_path.iterdir()] == ["tuesday"]


def steps(server, log, *arguments: str) -> list[str]:
    """The syncs and renames of a command, in their order: `sync PATH`, `rename PATH`."""
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2"
    subprocess.run(
        ["strace", "-f", "-y", "-qq", "-e", calls, "-o", str(log), str(martlet.binary()), *arguments,
         "-c", str(server.config_file)], check=True, capture_output=True, timeout=60,
    )
    found = []
    for line in log.read_text().splitlines():
        if sync := re.search(r"sync\(\d+<(.*?)>\) += 0", line):
            found.append(f"sync {sync[1]}")
        elif rename := re.search(r'rename\w*\(.*"(.*?)".*\) += 0', line):
            found.append(f"rename {rename[1]}")
    return found


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_backup_and_a_restore_are_synced_before_they_get_their_names(own, tmp_path):  # noqa: F811
    copy, data = tmp_path / "copy", own.data
    partial = f"{copy}.martlet-partial"
    done = steps(own, tmp_path / "log", "backup", str(copy))
    named = done.index(f"rename {copy}")
    # SQLite syncs the directory as well, for its journal.
    assert done[named - 1] == f"sync {partial}" and done[named - 2] == f"rename {partial}/secret"
    assert {f"sync {partial}/martlet.db", f"sync {partial}/secret.new"} <= set(done[:named - 2])
    assert f"sync {tmp_path}" in done[named:]

    done = steps(own, tmp_path / "log", "restore", str(copy), "--force")
    named = done.index(f"rename {data}/martlet.db")
    assert done[named - 2:] == [
        f"rename {data}/secret", f"sync {data}", f"rename {data}/martlet.db", f"sync {data}"]
    assert {f"sync {data}/martlet.db.restored", f"sync {data}/secret.restored.new"} <= set(done[:named])
    aside = next(index for index, step in enumerate(done) if step.startswith(f"rename {data}/replaced-"))
    assert done[aside - 1].startswith(f"sync {data}/replaced-") and done[aside + 1] == f"sync {data}" and aside < named


def test_a_restore_that_was_killed_is_run_again(own, tmp_path):  # noqa: F811
    own.add_accounts({"romeo": "first"})
    copy = tmp_path / "copy"
    assert run(own, "backup", str(copy))[0] == 0
    # As a kill leaves it before the database gets its name.
    (own.data / "martlet.db").rename(own.data / "martlet.db.restored")
    for code, error in (run(own, "check", "--no-dns")[::2], serve(own), run(own, "setup", "--data")[::2]):
        assert code == 69 and "a restore did not end. Run it again: `martlet restore DIRECTORY`" in error, error
    assert run(own, "restore", str(copy))[0] == 0
    assert run(own, "account", "list")[1].split() == [f"romeo@{own.domain}"]


@pytest.mark.parametrize("way", ["restore", "copied over", "moved into its place"])
def test_a_roster_version_from_after_the_backup_brings_the_whole_roster(own, tmp_path, way):  # noqa: F811
    own.add_accounts({"romeo": "first"})
    own.start()
    copy = tmp_path / "copy"

    async def edit(names: list[str]) -> None:
        romeo = await Client(own, "romeo", "desk").login()
        for name in names:
            await romeo.iq("set", f"<query xmlns='{ROSTER}'><item jid='{name}@example.net'/></query>")
        await romeo.close()

    async def fetch(version: str) -> tuple[str | None, list[str] | None]:
        """Its version and contacts; nothing if the client is told that it has the last one."""
        romeo = await Client(own, "romeo", "desk").login()
        answer = await romeo.iq("get", f"<query xmlns='{ROSTER}' ver='{version}'/>")
        await romeo.close()
        if not len(answer):
            return None, None
        items = [item.get("jid", "").split("@")[0] for item in answer[0] if local(item.tag) == "item"]
        return answer[0].get("ver"), sorted(items)

    asyncio.run(edit(["a", "b", "c"]))
    assert run(own, "backup", str(copy))[0] == 0
    asyncio.run(edit([f"gone{n}" for n in range(5)]))
    version, names = asyncio.run(fetch(""))
    assert len(names) == 8 and asyncio.run(fetch(version)) == (None, None)
    own.stop()
    database = own.data / "martlet.db"
    if way == "restore":
        assert run(own, "restore", str(copy), "--force")[0] == 0
    elif way == "copied over":
        shutil.copyfile(copy / "martlet.db", database)
    else:
        (copy / "martlet.db").rename(database)
    own.start()
    asyncio.run(edit([f"new{n}" for n in range(5)]))
    newer, names = asyncio.run(fetch(version))
    assert names == ["a", "b", "c", "new0", "new1", "new2", "new3", "new4"]
    own.restart()
    assert asyncio.run(fetch(newer)) == (None, None)
