"""What the tests of bad inputs share: getting to a stage of a stream, sending bytes, and seeing how it ends."""

import asyncio
import os
import time
from pathlib import Path
from xml.sax.saxutils import quoteattr

from .namespaces import CLIENT, STREAMS
from .rawclient import Client, Failure, Stream

HEADER = f"<stream:stream to='{{to}}' version='1.0' xmlns='{CLIENT}' xmlns:stream='{STREAMS}'>"

NOT_XML = {"not-well-formed", "bad-format", "invalid-xml", "restricted-xml", "bad-namespace-prefix"}
RESTRICTED = {"restricted-xml"}
TOO_MUCH = {"policy-violation", "resource-constraint", "reset"}


def header(server, **changes) -> str:
    """A stream header; changes replace attributes, None removes them."""
    attributes = {"to": server.domain, "version": "1.0", "xmlns": CLIENT, "xmlns:stream": STREAMS}
    attributes |= {name.replace("_", ":"): value for name, value in changes.items()}
    return "<stream:stream " + " ".join(f"{k}={quoteattr(v)}" for k, v in attributes.items() if v is not None) + ">"


async def at(server, stage: str, user: str = "mallory") -> Client:
    """A client at a stage: "connected" (TCP only), "opened", "authenticated" (not bound) or "bound"."""
    client = Client(server, user, "lair", transport="plain")
    if stage == "connected":
        client.stream = await Stream.connect(server.address, server.ports["plain"])
        client.stream.restart()
    elif stage == "opened":
        await client.connect()
    else:
        await client.connect()
        await client.authenticate()
        if stage == "bound":
            await client.bind()
    return client


async def how_it_ends(client: Client, timeout: float = 8.0) -> str:
    """The condition of the stream error, "closed" for a close without one, "reset" for a reset, "open" if it lives."""
    try:
        condition = await client.ended_by(timeout)
    except Failure as failure:
        if "timed out" in str(failure):
            return "open"
        raise
    return "closed" if condition == "no error" else condition


async def ending(server, stage: str, data: bytes | str, *, timeout: float = 8.0, pieces: int = 0) -> str:
    """How a stream ends after the bytes, sent at once or in pieces."""
    client = await at(server, stage)
    try:
        return await outcome(client, data, timeout=timeout, pieces=pieces)
    finally:
        client.cut()


async def outcome(client: Client, data: bytes | str, *, timeout: float = 8.0, pieces: int = 0) -> str:
    """How the client's stream ends after the bytes. A reset may overtake the error when much was still on its way."""
    data = data.encode() if isinstance(data, str) else data
    size = pieces or max(len(data), 1)
    for start in range(0, len(data), size):
        if client.stream.over:
            break
        client.stream.write(data[start:start + size])
        try:
            await client.stream.drain()
        except asyncio.TimeoutError:
            break
        if pieces:
            await asyncio.sleep(0)
    ended = await how_it_ends(client, timeout)
    return "reset" if ended == "closed" and len(data) > 10_000 else ended


class Watch:
    """Peak memory and processor time of a server's process over a block."""

    def __init__(self, server) -> None:
        self.pid = server.process.pid
        self.server = server

    def __enter__(self) -> "Watch":
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        self.before = self._status("VmRSS")
        self.started = self._cpu()
        self.clock = time.monotonic()
        return self

    def __exit__(self, *_) -> None:
        if not self.server.running:
            return
        self.peak = self._status("VmHWM")
        self.after = self._status("VmRSS")
        self.cpu = self._cpu() - self.started
        self.wall = time.monotonic() - self.clock

    @property
    def growth(self) -> int:
        """Bytes that the peak lay over the start."""
        return self.peak - self.before

    def _status(self, key: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
        raise KeyError(key)

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
