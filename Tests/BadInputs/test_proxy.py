"""Headers of the PROXY protocol that lie, stop, or are none; line 32's untrusted peer below XMPP."""

import os
import random
import socket
import struct
import time

import pytest
import yaml
from support import martlet
from support.attack import header

pytestmark = pytest.mark.skipif(martlet.KIND != "martlet", reason="about martlet's own option")

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
GOOD = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 5222\r\n"


@pytest.fixture
def behind(fresh):
    """A server whose clear port is for a proxy."""
    config = yaml.safe_load(fresh.config_file.read_text())
    for entry in config["listen"]:
        if entry["port"] == fresh.ports["plain"]:
            entry["proxy"] = ["127.0.0.1"]
    config["limits"]["unauthenticated"] = {"timeout": "3s", "connections_per_address": 5}
    fresh.config_file.write_text(yaml.safe_dump(config))
    return fresh.start()


def connect(server) -> socket.socket:
    made = socket.create_connection((server.address, server.ports["plain"]), 8)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def answer(connection: socket.socket, wanted: bytes = b"") -> bytes:
    """All that comes until the end, or until what is wanted."""
    got = b""
    try:
        while not wanted or wanted not in got:
            data = connection.recv(65536)
            if not data:
                break
            got += data
    except ConnectionError:
        pass
    return got


def is_served(server, prefix: bytes = GOOD) -> bool:
    with connect(server) as connection:
        connection.sendall(prefix + header(server).encode())
        return b"</stream:features>" in answer(connection, b"</stream:features>")


@pytest.mark.parametrize("kind, data", {
    "no header": b"<?xml version='1.0'?>", "a line without an end": b"PROXY UNKNOWN " + b"x" * 100_000,
    "a bare line feed": GOOD.replace(b"\r", b""), "a port too large": GOOD.replace(b"4711", b"70000"),
    "a name": GOOD.replace(b"192.0.2.7", b"localhost"), "zeros in front": GOOD.replace(b"192.0.2.7", b"192.0.2.007"),
    "another family": GOOD.replace(b"TCP4", b"TCP6"), "NUL": GOOD.replace(b"7 ", b"7\0 "),
    "two spaces": GOOD.replace(b" 4711", b"  4711"), "HTTP": b"GET / HTTP/1.1\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n",
    "version 3": SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12), "command 7": SIGNATURE + b"\x27\x11\x00\x0c" + bytes(12),
    "datagrams": SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12), "too short": SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
    "64 KiB": SIGNATURE + b"\x21\x11\xff\xff" + bytes(65535), "a wrong signature": SIGNATURE[:-1] + b"\r" + bytes(50),
    "TLS": b"\x16\x03\x01\x00\x05hello",
}.items())
def test_what_is_no_header_is_cut_without_an_answer(behind, kind, data):
    with connect(behind) as connection:
        try:
            connection.sendall(data)
        except ConnectionError:
            pass
        assert answer(connection) == b"", kind
    assert is_served(behind)


@pytest.mark.parametrize("good", [
    GOOD, b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\x00\x00\x00",
    SIGNATURE + b"\x21\x21\x00\x24" + bytes(15) + b"\x01" + bytes(15) + b"\x01" + struct.pack("!HH", 1, 2),
])
def test_a_header_may_come_byte_by_byte_or_with_all_that_follows(behind, good):
    assert is_served(behind, good)
    with connect(behind) as connection:
        for byte in good + header(behind).encode():
            connection.sendall(bytes([byte]))
        assert b"</stream:features>" in answer(connection, b"</stream:features>")


def test_half_a_header_costs_its_time_and_no_more(behind):
    """Slow loris before the first byte of XMPP: each is cut when its time is over, and the port serves meanwhile."""
    waiting = [connect(behind) for _ in range(200)]
    for number, connection in enumerate(waiting):
        connection.sendall(GOOD[: number % len(GOOD)])
    assert is_served(behind)
    begin = time.monotonic()
    for connection in waiting:
        assert answer(connection) == b""
        connection.close()
    assert time.monotonic() - begin < 8


def test_limits_count_the_announced_address(behind):
    """Five without a session are allowed: of one client, not of the whole proxy."""
    open_ones = []
    for number in range(20):
        connection = connect(behind)
        connection.sendall(b"PROXY TCP4 192.0.2.%d 127.0.0.1 1 2\r\n" % number + header(behind).encode())
        assert b"features" in answer(connection, b"</stream:features>"), number
        open_ones.append(connection)
    for number in range(6):
        connection = connect(behind)
        connection.sendall(b"PROXY TCP6 2001:db8::%d ::1 1 2\r\n" % number + header(behind).encode())
        assert (b"features" in answer(connection, b"</stream:features>")) == (number < 5), number
        open_ones.append(connection)
    for connection in open_ones:
        connection.close()


def test_random_bytes_before_the_stream_do_no_harm(behind):
    seeds = [GOOD, SIGNATURE + b"\x21\x11\x00\x0c" + bytes(12)]
    chance = random.Random(7)
    for number in range(400):
        data = bytearray(seeds[number % 2] if number % 4 < 2 else os.urandom(40))
        data[chance.randrange(len(data))] = chance.randrange(256)
        with connect(behind) as connection:
            connection.sendall(bytes(data))
            try:
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # The server was faster.
            answer(connection)
    assert behind.running and is_served(behind)
