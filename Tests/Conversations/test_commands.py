"""The command line beside a running server, as an administrator uses it."""

import asyncio
import os
import signal
import subprocess

import pytest
from support import martlet
from support.rawclient import Client, Failure
from support.scram import b64, stored_keys

pytestmark = pytest.mark.skipif(martlet.KIND != "martlet", reason="about martlet's own commands")


@pytest.fixture
def own():
    """A server of the test's own, not started."""
    made = martlet.make()
    yield made
    made.remove()


def run(server, *arguments: str, input: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        [str(martlet.binary()), *arguments, "-c", str(server.config_file)], input=input, capture_output=True, text=True,
        timeout=20,
    )
    return done.returncode, done.stdout, done.stderr


def logs_in(server, user: str, password: str, mechanism: str = "SCRAM-SHA-256") -> bool:
    async def scene():
        client = Client(server, user, "desk", password=password)
        await client.connect()
        await client.authenticate(mechanism)
        await client.bind()
        await client.close()

    try:
        asyncio.run(scene())
    except Failure as failure:
        assert "not-authorized" in str(failure), failure
        return False
    return True


@pytest.mark.parametrize("when", ["while it runs", "before it starts"])
def test_accounts_are_added_changed_and_removed(own, when):
    if when == "while it runs":
        own.start()
    romeo = f"romeo@{own.domain}"
    assert run(own, "account", "add", romeo, input="first\n")[0] == 0
    code, _, error = run(own, "account", "add", romeo, input="other\n")
    assert code != 0 and romeo in error
    assert run(own, "account", "list")[1].split() == [romeo]
    if not own.running:
        own.start()
    assert logs_in(own, "romeo", "first") and not logs_in(own, "romeo", "other")
    assert run(own, "account", "password", romeo, input="second\n")[0] == 0
    assert logs_in(own, "romeo", "second") and not logs_in(own, "romeo", "first")
    assert run(own, "account", "remove", romeo)[0] == 0
    assert not logs_in(own, "romeo", "second")
    assert run(own, "account", "remove", romeo)[0] != 0


@pytest.mark.parametrize("when", ["while it runs", "before it starts"])
def test_an_import_takes_passwords_and_ready_keys(own, when):
    if when == "while it runs":
        own.start()
    salt = os.urandom(16)
    stored, server_key = stored_keys("julias secret", salt, 5000)
    own.import_lines([
        "# two kinds of lines", "", f"romeo@{own.domain} romeos secret with spaces",
        f"juliet@{own.domain} SCRAM-SHA-256$5000:{b64(salt)}${b64(stored)}:{b64(server_key)}",
    ])
    if not own.running:
        own.start()
    assert logs_in(own, "romeo", "romeos secret with spaces")
    assert logs_in(own, "romeo", "romeos secret with spaces", "SCRAM-SHA-1")
    assert logs_in(own, "juliet", "julias secret") and logs_in(own, "juliet", "julias secret", "PLAIN")
    assert not logs_in(own, "juliet", "another secret")


@pytest.mark.parametrize("change", ["password", "remove"])
def test_a_session_ends_with_its_password_or_account(own, change):
    own.add_accounts({"romeo": "first"})
    own.start()

    async def scene():
        client = await Client(own, "romeo", "desk").login()
        code, *_ = await asyncio.to_thread(run, own, "account", change, client.bare, input="second\n")
        assert code == 0
        return await client.ended_by()

    assert asyncio.run(scene()) in {"not-authorized", "reset", "conflict"}


def test_sessions_and_status_tell_who_is_there(own):
    own.add_accounts({"romeo": "first"})
    own.start()

    async def scene():
        client = await Client(own, "romeo", "desk").login(sm=True)
        await client.available(7)
        code, listed, _ = await asyncio.to_thread(run, own, "sessions")
        assert code == 0 and client.jid in listed and "7" in listed
        code, status, _ = await asyncio.to_thread(run, own, "status")
        assert code == 0 and dict(line.split("\t") for line in status.splitlines()[1:])["sessions"] == "1"

    asyncio.run(scene())


def test_no_module_is_listed_twice(own):
    own.start()
    code, listed, _ = run(own, "modules")
    lines = listed.splitlines()[1:]
    assert code == 0 and lines and len(lines) == len(set(lines))
    assert run(own, "modules", "--pipeline")[0] == 0


def test_a_config_with_mistakes_is_refused_with_all_of_them(own):
    own.start()
    assert run(own, "check")[0] == 0
    right = own.config_file.read_text()
    own.config_file.write_text(right.replace("tls: direct", "tls: sideways") + "\nnonsense: 1\n")
    for command in (["check"], ["reload"], ["reload", "--dry-run"]):
        code, out, error = run(own, *command)
        assert code != 0 and "nonsense" in out + error and "sideways" in out + error
        assert f"{own.config_file}:" in out + error
    assert own.running
    own.config_file.write_text(right)
    assert run(own, "reload")[0] == 0


def test_a_reload_changes_options_and_leaves_sessions_alone(own):
    own.add_accounts({"romeo": "first", "juliet": "second"})
    own.start()

    async def scene():
        romeo = await Client(own, "romeo", "desk").login()
        text = own.config_file.read_text()
        own.config_file.write_text(text.replace("offline: null", "offline: {limit: 1}"))
        assert own.config_file.read_text() != text
        code, out, error = await asyncio.to_thread(run, own, "reload")
        assert code == 0, error
        for number in range(2):
            romeo.send(f"<message to='juliet@{own.domain}' type='chat' id='{number}'><body>x</body></message>")
        refused = await romeo.message()
        assert refused.get("type") == "error" and refused.get("id") == "1"

    asyncio.run(scene())


def test_setup_overwrites_nothing(own):
    before = own.config_file.read_text()
    done = subprocess.run(
        [str(martlet.binary()), "setup", "other.example", "--dir", str(own.home)], capture_output=True, text=True
    )
    assert done.returncode != 0 and done.stderr
    assert own.config_file.read_text() == before


@pytest.mark.parametrize("way", ["stop", "SIGTERM", "SIGINT"])
def test_it_stops_in_order(own, way):
    own.start()
    process = own.process
    if way == "stop":
        assert run(own, "stop")[0] == 0
    else:
        process.send_signal(getattr(signal, way))
    assert process.wait(15) == 0
    assert run(own, "status")[0] != 0


def test_a_stop_acknowledges_what_arrived(own):
    """The session ends with the server, so the client would send all of it again, to be read twice."""
    own.add_accounts({"romeo": "first", "juliet": "second"})
    own.start()

    async def scene():
        romeo = await Client(own, "romeo", "desk").login(sm=True)
        juliet = await Client(own, "juliet", "balcony").login()
        await juliet.available()
        for number in range(5):
            romeo.send(f"<message to='{juliet.jid}' type='chat' id='m{number}'><body>{number}</body></message>")
        while (await juliet.message()).get("id") != "m4":
            pass
        assert romeo.sm.waiting
        own.process.send_signal(signal.SIGTERM)
        assert await romeo.ended_by() == "system-shutdown"
        assert not romeo.sm.waiting

    asyncio.run(scene())
    assert own.process.wait(50) == 0


def test_a_signal_at_the_very_moment_it_is_ready_stops_it_in_order(own):
    for _ in range(10):
        own.start()
        own.process.send_signal(signal.SIGTERM)
        assert own.process.wait(30) == 0, own.tail()


def test_no_password_is_logged(own):
    own.add_accounts({"romeo": "unmistakable"})
    own.start()
    assert logs_in(own, "romeo", "unmistakable", "PLAIN")
    assert not logs_in(own, "romeo", "unmistakable too", "PLAIN")
    own.stop()
    assert "unmistakable" not in own.log.read_text()


@pytest.mark.parametrize("when", ["while it runs", "before it starts"])
def test_every_name_survives_an_export_and_an_import(own, tmp_path, when):
    names = ["#alice", "#", "\\#alice", "a;b,c=d", "{x}|y", "jürgen", "#語", "#" + "ü" * 511, "z" * 1023]
    lines = [f'"{name}@{own.domain}" secret of {number}' for number, name in enumerate(names)]
    if when == "while it runs":
        own.start()
    own.import_lines(lines)
    code, exported, error = run(own, "account", "export")
    assert code == 0 and len(exported.splitlines()) == len(names), error
    listed = run(own, "account", "list")[1]
    assert sorted(listed.splitlines()) == sorted(f"{name}@{own.domain}" for name in names)
    other = martlet.make()
    try:
        if when == "while it runs":
            other.start()
        file = tmp_path / "exported"
        file.write_text(exported)
        code, out, error = run(other, "account", "import", str(file))
        assert code == 0 and out.startswith(f"{len(names)} accounts imported"), error
        assert run(other, "account", "list")[1] == listed
        assert run(other, "account", "export")[1] == exported
        if not other.running:
            other.start()
        assert logs_in(other, "#alice", "secret of 0")
        # As it was written before there were quotes.
        file.write_text(exported.replace('"', ""))
        code, out, error = run(other, "account", "import", str(file))
        hidden = sum(name.startswith("#") for name in names)
        assert code == 1 and f"{hidden} lines are wrong" in out
        assert error.count("it may be a comment or the account #") == hidden
        line = 1 + exported.splitlines().index(next(line for line in exported.splitlines() if line.startswith('"#alice@')))
        assert f"{file}:{line}: it may be a comment or the account #alice@" in error
    finally:
        other.remove()


@pytest.mark.parametrize("when", ["while it runs", "before it starts"])
def test_the_own_name_is_no_password(own, when):
    if when == "while it runs":
        own.start()
    benvolio = f"benvolio@{own.domain}"
    for password in ("benvolio", "BENVOLIO", benvolio, benvolio.upper()):
        code, out, error = run(own, "account", "add", benvolio, input=f"{password}\n")
        assert code == 64 and "the password is the account's own name" in error and not out
    assert run(own, "account", "add", benvolio, input="another one\n")[0] == 0
    assert run(own, "account", "password", benvolio, input="Benvolio\n")[0] == 64
    # Accounts from another server are not locked out, and the operator hears of it.
    file = own.folder / "moved"
    file.write_text(f"tybalt@{own.domain} tybalt\nparis@{own.domain} a better one\n")
    code, out, error = run(own, "account", "import", str(file))
    assert code == 0 and "1 have their own name as the password" in out
    assert f"{file}:1: tybalt@{own.domain} has its own name as the password" in error
    if not own.running:
        own.start()
    assert logs_in(own, "benvolio", "another one") and logs_in(own, "tybalt", "tybalt")
