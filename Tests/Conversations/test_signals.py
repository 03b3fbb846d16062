"""Signals, while the config cannot be read and while the server stops."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess

import pytest
from support import martlet
from support.rawclient import Client
from test_commands import own, run  # noqa: F401

pytestmark = pytest.mark.skipif(martlet.KIND != "martlet", reason="about martlet's own process")


class Stalled:
    """The config on a file system that hangs: a pipe stands in its place. `text` is what it said."""

    def __init__(self, server) -> None:
        self.path = server.config_file
        self.text = self.path.read_text()
        self.aside = self.path.with_name("aside.yml")
        shutil.copy(self.path, self.aside)
        self.path.unlink()
        os.mkfifo(self.path)
        self.end = None

    def wait_for_reader(self) -> None:
        """Returns when the server waits for something to read."""
        while self.end is None:
            with contextlib.suppress(OSError):
                self.end = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)

    def mend(self) -> None:
        """Lets the reader go on, and whoever reads later too."""
        os.replace(self.aside, self.path)
        os.write(self.end, self.text.encode())
        os.close(self.end)

    def command(self, *arguments: str) -> int:
        done = subprocess.run(
            [str(martlet.binary()), *arguments, "-c", str(self.aside)], capture_output=True, text=True, timeout=20
        )
        return done.returncode


@pytest.fixture
def stalled(own):  # noqa: F811
    """A running server that waits for its config, and the config."""
    own.start()
    config = Stalled(own)
    own.process.send_signal(signal.SIGHUP)
    config.wait_for_reader()
    return own, config


def test_a_stop_does_not_wait_for_a_reload_that_hangs(stalled):
    server, config = stalled
    for _ in range(10):
        server.process.send_signal(signal.SIGHUP)
    assert config.command("status") == 0
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert "event=stopped" in server.log_since_start()


def test_commands_that_wait_for_a_reload_leave_room_for_others(stalled):
    server, config = stalled
    reload = [str(martlet.binary()), "reload", "-c", str(config.aside)]
    waiting = [subprocess.Popen(reload, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(40)]
    try:
        # Some are refused: so many have come.
        refused = 0
        while refused < 20:
            refused = sum(each.poll() is not None for each in waiting)
        assert config.command("status") == 0
        assert config.command("stop") == 0
        assert server.process.wait(30) == 0
    finally:
        for each in waiting:
            each.kill()
            each.communicate()


def test_hangups_during_a_reload_are_one_more_reload(stalled):
    server, config = stalled
    for _ in range(10):
        server.process.send_signal(signal.SIGHUP)
    assert config.command("status") == 0
    config.mend()
    server.logged(lambda log: log.count("event=reloaded") == 2, 30)
    assert run(server, "reload")[0] == 0
    server.logged(lambda log: log.count("event=reloaded") == 3)
    assert "event=reload_refused" not in server.log_since_start()


def test_a_second_signal_ends_the_server_at_once(own):  # noqa: F811
    """While it waits for a client that does not hear of the end."""
    own.add_accounts({"romeo": "first"})
    own.start()

    async def scene():
        client = await Client(own, "romeo", "desk").login()
        own.process.send_signal(signal.SIGTERM)
        while "event=stopping" not in own.log_since_start():
            assert own.running
        while own.running:
            own.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                own.process.wait(0.1)
        client.cut()

    asyncio.run(scene())
    assert own.process.returncode == 128 + signal.SIGTERM
    assert 'event=stopped_at_once reason="a second signal"' in own.log_since_start()
    # Nothing is lost by it.
    assert run(own, "account", "list")[1].split() == [f"romeo@{own.domain}"]


def test_two_signals_at_the_same_time_are_one(own):  # noqa: F811
    """A terminal and the script in it may both send theirs."""
    own.start()
    own.process.send_signal(signal.SIGINT)
    own.process.send_signal(signal.SIGTERM)
    assert own.process.wait(30) == 0
    assert "event=stopped\n" in own.log_since_start()
