"""What an operator does with a running server: reload with other ports, kick, back up and restore, check DNS."""

import asyncio
import contextlib
import json
import os
import pty
import shutil
import socket
import subprocess
import termios
import threading

import dns.message
import dns.rdatatype
import dns.rrset
import pytest
import yaml
from support import certificates, martlet
from support.rawclient import Client, Failure
from test_commands import logs_in, own, run  # noqa: F401

pytestmark = pytest.mark.skipif(martlet.KIND != "martlet", reason="about martlet's own commands")


def table(text: str) -> dict[str, str]:
    return dict(line.split("\t")[:2] for line in text.splitlines()[1:])


def edit(server, change) -> None:
    config = yaml.safe_load(server.config_file.read_text())
    change(config)
    server.config_file.write_text(yaml.safe_dump(config))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


# -- reload


def test_a_reload_opens_closes_and_restarts_ports_and_leaves_streams_alone(own):  # noqa: F811
    own.add_accounts({"romeo": "first", "juliet": "second"})
    own.start()
    (extra,) = martlet.free_ports(1)
    plain, starttls = own.ports["plain"], own.ports["starttls"]

    def change(config):
        # One port more, one gone, one with another kind of TLS.
        config["listen"] = [entry for entry in config["listen"] if entry["port"] != own.ports["direct"]]
        for entry in config["listen"]:
            if entry["port"] == starttls:
                entry["tls"] = "optional"
        config["listen"].append({"port": extra, "address": "127.0.0.1", "tls": "none"})

    async def scene():
        romeo = await Client(own, "romeo", "desk").login()
        edit(own, change)
        code, out, error = await asyncio.to_thread(run, own, "reload", "--dry-run")
        assert code == 0, error
        steps = table(out)
        assert steps[f"listen 127.0.0.1:{extra}"] == "applied"
        assert steps[f"listen 127.0.0.1:{starttls}"] == "needs listener restart"
        assert not listens(extra) and listens(own.ports["direct"])
        code, _, error = await asyncio.to_thread(run, own, "reload")
        assert code == 0, error
        assert listens(extra) and listens(plain) and listens(starttls) and not listens(own.ports["direct"])
        juliet = await Client(own, "juliet", "balcony").login()
        await juliet.available(0)
        romeo.send(f"<message to='{juliet.jid}' type='chat' id='1'><body>still here</body></message>")
        assert (await juliet.message()).get("id") == "1"

    asyncio.run(scene())


def test_a_reload_whose_port_is_taken_changes_nothing(own):  # noqa: F811
    own.start()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody else may have it
        taken.listen()
        port = taken.getsockname()[1]
        edit(own, lambda config: config["listen"].append({"port": port, "address": "127.0.0.1", "tls": "none"}))
        edit(own, lambda config: config["modules"].update({"offline": {"limit": 1}}))
        code, _, error = run(own, "reload")
        assert code == 1 and str(port) in error and "nothing was changed" in error
    assert run(own, "reload")[0] == 0
    assert listens(port)


def test_a_dry_run_refuses_what_the_reload_would(own):  # noqa: F811
    own.start()
    with socket.socket() as taken:
        taken.bind((own.address, 0))
        taken.listen()
        port = taken.getsockname()[1]
        edit(own, lambda config: config["listen"].append({"port": port, "address": own.address, "tls": "none"}))
        code, _, error = run(own, "reload", "--dry-run")
        assert code == 1 and "refused" in error and str(port) in error
    edit(own, lambda config: config.update({"speed": 1}))
    code, _, error = run(own, "reload", "--dry-run")
    assert code == 1 and "refused" in error and "speed: unknown key" in error


def test_a_port_that_cannot_move_to_its_new_address_stays(own):  # noqa: F811
    """The typing error of an address takes no server off the net."""
    own.start()
    port = own.ports["plain"]

    def move(address):
        return lambda config: [entry.update(address=address) for entry in config["listen"] if entry["port"] == port]

    edit(own, move("*"))
    assert run(own, "reload")[0] == 0 and listens(port)
    edit(own, move("192.0.2.1"))
    for arguments in (["reload", "--dry-run"], ["reload"]):
        code, _, error = run(own, *arguments)
        assert code == 1 and "192.0.2.1" in error and "nothing was changed" in error
        assert listens(port)
    edit(own, move(own.address))
    assert run(own, "reload")[0] == 0 and listens(port)


def test_reloads_at_the_same_time_do_not_get_in_each_other_s_way(own):  # noqa: F811
    own.start()
    ports = martlet.free_ports(3)
    edit(own, lambda config: config["listen"].extend(
        {"port": port, "address": own.address, "tls": "none"} for port in ports))
    command = [str(martlet.binary()), "reload", "-c", str(own.config_file)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(8)]
    answers = [(each.communicate(timeout=20), each.returncode) for each in running]
    assert all(code == 0 for _, code in answers), answers
    assert sum("applied" in out for (out, _), _ in answers) == 1
    assert all(listens(port) for port in ports)


def test_a_renewed_certificate_is_told_of_though_the_config_is_the_same(own):  # noqa: F811
    own.start()
    assert table(run(own, "reload", "--dry-run")[1]) == {"everything": "is as it was"}
    certificates.make(own.folder, [own.domain, "other.example", "localhost"])
    assert table(run(own, "reload", "--dry-run")[1]) == {"tls": "applied"}
    assert table(run(own, "reload")[1]) == {"tls": "applied"}
    own.logged("event=reloaded applied=tls")
    assert table(run(own, "reload")[1]) == {"everything": "is as it was"}


def test_too_few_descriptors_are_refused_in_words(own):  # noqa: F811
    limited = ["bash", "-c", 'ulimit -n 20 && exec "$@"', "bash", *own.command()]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=20)
    assert done.returncode == 69 and "descriptors" in done.stderr, (done.returncode, done.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_owner_of_the_data_directory(own):  # noqa: F811
    """The server could not open it, if root is the first to add an account."""
    os.chown(own.data, 65534, 65534)
    code, _, error = run(own, "account", "add", f"romeo@{own.domain}", input="first\n")
    assert code == 0, error
    owners = {path.name: path.stat().st_uid for path in own.data.iterdir()}
    assert set(owners) == {"martlet.db", "martlet.db.lock", "martlet.lock", "secret"} and set(owners.values()) == {65534}


def test_a_server_starts_while_somebody_thinks_of_a_password(own):  # noqa: F811
    keyboard, terminal = pty.openpty()
    command = [str(martlet.binary()), "account", "add", f"romeo@{own.domain}", "-c", str(own.config_file)]
    adding = subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(terminal)
    try:
        for prompt in (b"Password", b"Once more"):
            said = b""
            while prompt not in said:
                said += os.read(adding.stderr.fileno(), 1000) or pytest.fail(f"it ended: {said}")
            # Turned off before it asks: doing so drops what was typed.
            assert not termios.tcgetattr(keyboard)[3] & termios.ECHO
            if not own.running:
                own.start()
            os.write(keyboard, b"first\n")
        out, error = adding.communicate(timeout=20)
    finally:
        adding.kill()
        os.close(keyboard)
    assert adding.returncode == 0 and b"was added" in out, error
    assert logs_in(own, "romeo", "first")


def test_status_tells_of_the_process(own):  # noqa: F811
    own.start()
    status = table(run(own, "status")[1])
    assert status["pid"] == str(own.process.pid) and status["version"]
    assert int(status["uptime_seconds"]) < 60 and int(status["memory_bytes"]) > 1 << 20
    assert 0 < int(status["descriptors"]) < int(status["descriptors_allowed"])


def test_what_needs_a_new_process_is_said(own):  # noqa: F811
    own.start()
    edit(own, lambda config: config.update({"loops": 1, "limits": {"authenticated": {"sessions": 7}}}))
    for arguments in (["reload", "--dry-run"], ["reload"]):
        code, out, _ = run(own, *arguments)
        assert code == 0
        assert table(out) == {"limits": "applied", "loops": "needs process restart"}
    code, out, _ = run(own, "reload", "--json")
    assert code == 0 and ["loops", "needs process restart"] in json.loads(out)["table"]["rows"]


def test_other_limits_hold_for_those_who_come_later(own):  # noqa: F811
    own.add_accounts({"romeo": "first"})
    own.start()

    async def scene():
        first = await Client(own, "romeo", "one").login()
        edit(own, lambda config: config.update({"limits": {"authenticated": {"sessions": 1}}}))
        assert (await asyncio.to_thread(run, own, "reload"))[0] == 0
        with pytest.raises(Failure):
            await Client(own, "romeo", "two").login()
        await first.close()
        await Client(own, "romeo", "two").login()

    asyncio.run(scene())


# -- kick


def test_a_kick_ends_one_session_or_all_and_says_why(own):  # noqa: F811
    own.add_accounts({"romeo": "first"})
    own.start()

    async def scene():
        clients = [await Client(own, "romeo", name).login(sm=True) for name in ("one", "two", "three")]
        code, out, _ = await asyncio.to_thread(run, own, "kick", clients[0].jid, "--reason", "go to bed")
        assert code == 0 and "1 session" in out
        assert await clients[0].ended_by() == "policy-violation"
        assert (await asyncio.to_thread(run, own, "kick", clients[0].jid))[0] == 2
        code, out, _ = await asyncio.to_thread(run, own, "kick", clients[0].bare)
        assert code == 0 and "2 sessions" in out
        for client in clients[1:]:
            assert await client.ended_by() == "policy-violation"
        assert (await asyncio.to_thread(run, own, "kick", clients[0].bare))[0] == 2
        assert (await asyncio.to_thread(run, own, "kick", "not an address@"))[0] == 64

    asyncio.run(scene())


# -- backup


def test_a_backup_of_a_running_server_can_be_restored(own, tmp_path):  # noqa: F811
    own.add_accounts({"romeo": "first", "juliet": "second"})
    own.start()

    async def say(number: int):
        romeo = await Client(own, "romeo", "desk").login(sm=True)
        romeo.send(f"<message to='juliet@{own.domain}' type='chat' id='{number}'><body>{number}</body></message>")
        # Acknowledged messages are on disk; the answer to a ping may come before that.
        await romeo.acknowledged()
        await romeo.close()

    asyncio.run(say(1))
    copy = tmp_path / "copy"
    code, out, error = run(own, "backup", str(copy))
    assert code == 0, error
    assert sorted(path.name for path in copy.iterdir()) == ["martlet.db", "secret"]
    assert copy.stat().st_mode & 0o077 == 0
    assert run(own, "backup", str(copy))[0] == 3
    asyncio.run(say(2))
    own.stop()
    # As the manual says it.
    data = own.data
    assert run(own, "restore", str(copy))[0] == 3
    code, out, error = run(own, "restore", str(copy), "--force")
    assert code == 0 and "the one before is in" in out, error
    own.start()
    assert run(own, "restore", str(copy), "--force")[0] == 69

    async def hear():
        juliet = await Client(own, "juliet", "balcony").login()
        juliet.send("<presence/>")
        return (await juliet.message()).get("id")

    assert asyncio.run(hear()) == "1"
    own.stop()
    # What is lost or damaged is no backup.
    database = data / "martlet.db"
    kept = database.read_bytes()
    database.write_bytes(b"")
    code, out, error = run(own, "backup", str(tmp_path / "lost"))
    assert code == 69 and "martlet.db" in error and not out and not (tmp_path / "lost").exists()
    database.write_bytes(kept)
    second = tmp_path / "second"
    assert run(own, "backup", str(second))[0] == 0
    assert (second / "martlet.db").stat().st_size > 0


def test_status_names_the_certificate_that_expires_first(own):  # noqa: F811
    own.start()
    status = table(run(own, "status")[1])
    assert "days)" in status["certificate_expires_first"]


# -- one server for a database


@pytest.fixture(params=["hard link", "symbolic link", "bind mount"])
def twin(request, own, tmp_path):  # noqa: F811
    """A running server, and the config of another one whose database is the same file by another name."""
    own.add_accounts({"romeo": "first"})
    own.start()
    folder = tmp_path / "data"
    folder.mkdir(0o700)
    shutil.copy(own.data / "secret", folder)
    database = folder / "martlet.db"
    mounted = []
    if request.param == "hard link":
        try:
            database.hardlink_to(own.data / "martlet.db")
        except OSError as problem:
            pytest.skip(f"no link: {problem}")
    elif request.param == "symbolic link":
        database.symlink_to(own.data / "martlet.db")
    else:
        database.touch()
        if subprocess.run(["mount", "--bind", own.data / "martlet.db", database], capture_output=True).returncode:
            pytest.skip("no mounts here")
        mounted.append(database)
    config = tmp_path / "martlet.yml"
    shutil.copy(own.config_file, config)
    text = yaml.safe_load(config.read_text()) | {"data": str(folder)}
    text["listen"] = [{"port": 0, "address": own.address, "tls": "none"}]
    config.write_text(yaml.safe_dump(text))
    yield own, config
    for path in mounted:
        subprocess.run(["umount", path], check=True)


def test_a_database_has_one_writer_by_whatever_name(twin, tmp_path):
    server, config = twin
    backup = tmp_path / "backup"
    assert run(server, "backup", str(backup))[0] == 0
    commands = (
        ["serve"], ["account", "list"], ["account", "add", f"juliet@{server.domain}"], ["account", "import", "-"],
        ["restore", str(backup), "--force"],
    )
    for arguments in commands:
        done = subprocess.run(
            [str(martlet.binary()), *arguments, "-c", str(config)], input="second\n", capture_output=True, text=True,
            timeout=20,
        )
        assert done.returncode == 69, (arguments, done)
        assert f"another process is using {config.parent / 'data'}" in done.stderr, (arguments, done.stderr)
    assert logs_in(server, "romeo", "first")
    server.stop()
    done = subprocess.run([str(martlet.binary()), "account", "list", "-c", str(config)], capture_output=True, text=True)
    assert done.stdout.split() == [f"romeo@{server.domain}"], done


# -- DNS


class Zone:
    """A name server on loopback with these records."""

    def __init__(self, records: list[str]) -> None:
        self.records = [record.split(None, 4) for record in records]
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.answer, daemon=True)
        self.thread.start()

    def answer(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                bytes, peer = self.socket.recvfrom(4096)
                query = dns.message.from_wire(bytes)
                question = query.question[0]
                reply = dns.message.make_response(query, recursion_available=True)
                for name, lifetime, kind, kind_of, data in self.records:
                    wanted = dns.rdatatype.to_text(question.rdtype)
                    if name == question.name.to_text() and kind_of == wanted:
                        reply.answer.append(dns.rrset.from_text(name, int(lifetime), kind, kind_of, data))
                self.socket.sendto(reply.to_wire(), peer)

    def close(self) -> None:
        self.socket.close()


def check(server, zone: Zone | None) -> tuple[int, str]:
    port = zone.port if zone else 1
    done = subprocess.run(
        [str(martlet.binary()), "check", "-c", str(server.config_file)], capture_output=True, text=True, timeout=60,
        env={**os.environ, "MARTLET_TEST_DNS": f"127.0.0.1:{port}"},
    )
    return done.returncode, done.stderr


def test_check_looks_at_the_dns_records(own):  # noqa: F811
    domain, starttls, direct = own.domain, own.ports["starttls"], own.ports["direct"]
    right = Zone([
        f"_xmpp-client._tcp.{domain}. 60 IN SRV 5 1 {starttls} xmpp.{domain}.",
        f"_xmpps-client._tcp.{domain}. 60 IN SRV 5 1 {direct} xmpp.{domain}.",
        f"xmpp.{domain}. 60 IN A 192.0.2.1",
        "_xmpp-client._tcp.other.example. 60 IN SRV 5 1 1234 nowhere.example.",
    ])
    code, notes = check(own, right)
    right.close()
    assert code == 0
    assert f"{domain}: " not in notes and f".{domain} names" not in notes
    if "other.example" in own.config_file.read_text():
        assert "_xmpp-client._tcp.other.example names port 1234" in notes and "nowhere.example" in notes


def test_check_says_what_a_zone_lacks(own):  # noqa: F811
    empty = Zone([])
    code, notes = check(own, empty)
    empty.close()
    assert code == 0 and f"{own.domain}: no SRV record and no address" in notes


def test_check_without_a_resolver_says_so_and_goes_on(own):  # noqa: F811
    code, notes = check(own, None)
    assert code == 0 and "no resolver answers" in notes


# -- what a config leaves in the database


def test_check_says_what_a_config_leaves_waiting(own):  # noqa: F811
    own.add_accounts({"romeo": "first", "juliet": "second"})
    own.start()

    async def scene():
        romeo = await Client(own, "romeo", "desk").login(sm=True)
        romeo.send(f"<message to='juliet@{own.domain}' type='chat' id='1'><body>Hi</body></message>")
        await romeo.acknowledged()

    asyncio.run(scene())
    notes = check(own, None)[1]
    assert "keeps no messages" not in notes and "in the database" not in notes
    edit(own, lambda config: config["modules"].pop("offline"))
    waits = f"{own.domain} keeps no messages any more: 1 waits, and is delivered when its account logs in (warning)"
    code, notes = check(own, None)
    assert code == 0 and waits in notes.splitlines() and "in the database" not in notes
    edit(own, lambda config: config.update(hosts=["other.example"]))
    has = f"{own.domain} has 2 accounts in the database and is not in `hosts` (warning)"
    code, notes = check(own, None)
    assert code == 0 and has in notes.splitlines() and "keeps no messages" not in notes
    # Looking has changed nothing, and needs no server.
    own.stop()
    assert has in check(own, None)[1].splitlines()
    edit(own, lambda config: config.update(hosts=[own.domain]))
    assert waits in check(own, None)[1].splitlines()


# -- accounts


@pytest.mark.parametrize("when", ["while it runs", "before it starts"])
def test_accounts_are_shown_and_exported_for_another_server(own, when):  # noqa: F811
    own.add_accounts({"romeo": "first", "juliet": "second"})
    if when == "while it runs":
        own.start()
    romeo = f"romeo@{own.domain}"
    code, out, _ = run(own, "account", "show", romeo)
    assert code == 0 and "SCRAM-SHA-256" in table(out)["keys"] and table(out)["created"].endswith("Z")
    assert run(own, "account", "show", f"nobody@{own.domain}")[0] == 2
    shown = json.loads(run(own, "account", "show", romeo, "--json")[1])["table"]
    assert ["address", romeo] in shown["rows"]
    listed = json.loads(run(own, "account", "list", "--json")[1])["table"]["rows"]
    assert [romeo] in listed and len(listed) == 2
    exported = run(own, "account", "export")[1]
    assert sorted(line.split()[0] for line in exported.splitlines()) == [f"juliet@{own.domain}", romeo]
    own.stop()
    for user in ("romeo", "juliet"):
        assert run(own, "account", "remove", f"{user}@{own.domain}")[0] == 0
    code, out, error = run(own, "account", "import", "-", input=exported)
    assert code == 0, error
    own.start()
    assert logs_in(own, "romeo", "first") and logs_in(own, "juliet", "second")
