"""The log of a server whose reader does not read, is gone, or was never there."""

import fcntl
import os
import signal
import subprocess

import pytest
from support import martlet
from test_commands import logs_in, own, run  # noqa: F401
from test_operation import table

pytestmark = pytest.mark.skipif(martlet.KIND != "martlet", reason="about martlet's own log")


@pytest.fixture
def piped(own):  # noqa: F811
    """A running server whose log goes into a pipe of four kilobytes, and the end to read from."""
    own.add_accounts({"romeo": "first"})
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    own.process = subprocess.Popen(own.command(), stdin=subprocess.DEVNULL, stderr=writer)
    os.close(writer)
    said = b""
    while b"event=ready" not in said:
        said += os.read(reader, 4096) or pytest.fail(f"it ended: {said}")
    yield own, reader
    own.kill()
    os.close(reader)


def test_a_reader_of_the_log_that_stops_stops_nobody(piped):
    server, reader = piped
    for _ in range(60):
        assert not logs_in(server, "romeo", "wrong")
    assert logs_in(server, "romeo", "first")
    assert run(server, "status")[0] == 0
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    # The lines that there was room for.
    assert b"event=authentication_failed" in os.read(reader, 4096)


def test_no_line_is_lost_on_a_reader_that_is_only_late(piped):
    server, reader = piped
    for _ in range(60):
        assert not logs_in(server, "romeo", "wrong")
    assert table(run(server, "status")[1])["log_lines_dropped"] == "0"
    server.process.send_signal(signal.SIGTERM)
    said = b""
    while chunk := os.read(reader, 4096):
        said += chunk
    assert server.process.wait(30) == 0
    assert said.count(b"event=authentication_failed") == 60 and said.endswith(b"event=stopped\n")


def test_a_reader_of_the_log_that_is_gone_is_counted(piped):
    server, reader = piped
    placeholder = os.open("/dev/null", os.O_RDONLY)
    os.dup2(placeholder, reader)
    os.close(placeholder)
    assert not logs_in(server, "romeo", "wrong") and logs_in(server, "romeo", "first")
    assert int(table(run(server, "status")[1])["log_lines_dropped"]) > 0
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0


def test_descriptors_that_the_caller_has_closed_go_to_no_file_of_the_server(own):  # noqa: F811
    """The log must not be written into the database."""
    own.add_accounts({"romeo": "first"})
    closed = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", *own.command()]
    own.process = subprocess.Popen(closed)
    try:
        while run(own, "status")[0] != 0:
            assert own.running
        folder = f"/proc/{own.process.pid}/fd"
        assert [os.readlink(f"{folder}/{number}") for number in range(3)] == ["/dev/null"] * 3
        assert not logs_in(own, "romeo", "wrong") and logs_in(own, "romeo", "first")
        own.process.send_signal(signal.SIGTERM)
        assert own.process.wait(30) == 0
    finally:
        own.kill()
    assert run(own, "account", "list")[0] == 0


def test_why_a_server_does_not_start_is_said_after_its_log(own):  # noqa: F811
    own.start()
    second = subprocess.run(own.command(), capture_output=True, text=True, timeout=20)
    assert second.returncode == 69
    assert second.stderr.splitlines()[-1].startswith("martlet: another process is using")
