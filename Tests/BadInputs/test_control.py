"""The control socket with clients that say nothing, say half of it, or do not read what they asked for."""

import contextlib
import json
import os
import socket
import subprocess

import pytest
from support import martlet
from support.scram import b64, stored_keys

pytestmark = pytest.mark.skipif(martlet.KIND != "martlet", reason="about martlet's own commands")

ACCOUNTS = 20_000


def command(server, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(martlet.binary()), *arguments, "-c", str(server.config_file)], capture_output=True, text=True, timeout=60
    )


def connect(server) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(server.data / "martlet.sock"))
    return peer


def ask(server, name: str) -> socket.socket:
    peer = connect(server)
    peer.sendall(json.dumps({"command": name, "arguments": {}}).encode() + b"\n")
    return peer


@pytest.fixture
def many(fresh):
    """A running server with accounts whose export is ten megabytes long."""
    salt = os.urandom(16)
    stored, server_key = stored_keys("secret", salt, 4096)
    keys = f"SCRAM-SHA-256$4096:{b64(salt)}${b64(stored)}:{b64(server_key)}"
    filler = "x" * 300
    fresh.import_lines([f"{filler}{number:05}@{fresh.domain} {keys}" for number in range(ACCOUNTS)])
    fresh.start()
    assert command(fresh, "status").returncode == 0
    return fresh


def test_readers_that_do_not_read_cost_little_and_lock_nobody_out(many):
    before = many.memory()
    peers = [ask(many, "account export") for _ in range(32)]
    # Each has something to read: all of them are being answered.
    for peer in peers:
        assert peer.recv(1, socket.MSG_PEEK)
    assert command(many, "status").returncode == 0
    assert many.memory() - before < 64 << 20
    listed = command(many, "account", "list")
    assert listed.returncode == 0 and len(listed.stdout.splitlines()) == ACCOUNTS + 3
    for peer in peers:
        peer.close()
    exported = command(many, "account", "export")
    assert exported.returncode == 0 and len(exported.stdout) > 8_000_000
    assert many.memory() - before < 64 << 20


def test_a_session_list_that_nobody_reads_holds_up_no_other(many):
    peers = [ask(many, "sessions") for _ in range(32)]
    assert command(many, "sessions").returncode == 0
    for peer in peers:
        peer.close()


def test_silent_connections_lock_nobody_out(fresh):
    fresh.start()
    peers = []
    for number in range(64):
        peers.append(connect(fresh))
        if number % 2:
            peers[-1].sendall(b'{"command":')
    for _ in range(5):
        assert command(fresh, "status").returncode == 0
    # The oldest had to go.
    assert peers[0].recv(100) == peers[1].recv(100) == b""
    for peer in peers:
        peer.close()


def test_requests_that_never_end_cost_little(fresh):
    fresh.start()
    assert command(fresh, "status").returncode == 0
    before = fresh.memory()
    peers = []
    for _ in range(32):
        peers.append(connect(fresh))
        with contextlib.suppress(OSError):
            peers[-1].sendall(b"x" * 4_000_000)
    assert command(fresh, "status").returncode == 0
    assert fresh.memory() - before < 64 << 20
    for peer in peers:
        peer.close()
