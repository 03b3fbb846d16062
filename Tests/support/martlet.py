"""Servers to test against: the martlet binary, or Debian's prosody to see that the tests test the protocol.

Environment: MARTLET_BIN chooses the binary, TEST_SERVER=prosody the other server. Everything is on 127.0.0.1.
"""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import yaml

from . import certificates

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = "martlet.example"
OTHER_DOMAIN = "other.example"
KIND = os.environ.get("TEST_SERVER", "martlet")


class ServerFailure(AssertionError):
    """The server did not start, stop or obey."""


def binary() -> Path:
    return Path(os.environ.get("MARTLET_BIN") or ROOT / ".build/release/martlet").resolve()


def missing() -> str | None:
    """Why no server can be started here, if so."""
    if KIND == "prosody":
        return None if shutil.which("prosody") else "prosody is not installed"
    return None if binary().exists() else f"{binary()} is not built"


_alive: set[subprocess.Popen] = set()


@atexit.register
def _end_all() -> None:
    """Servers do not outlive the process that started them."""
    for process in _alive:
        if process.poll() is None:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, below the range of outgoing connections; each is given once."""
    found: list[int] = []
    while len(found) < count:
        candidate = next(_ports)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
        found.append(candidate)
    return found


def _own_ports():
    """Ports that no other run of these tests is given, however many run at once: a hundred at a time are this process's
    while a socket of their name is."""
    claims = []
    for first in range(15000, 31000, 100):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0martlet-test-ports-{first}")
        except OSError:
            claim.close()
            continue
        claims.append(claim)
        yield from range(first, first + 100)
    raise ServerFailure("every port for tests was given to some run of them")


_ports = _own_ports()


def merged(base: dict, over: dict) -> dict:
    """The base with another one's keys over it, level by level."""
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            value = merged(result[key], value)
        result[key] = value
    return result


class Server:
    """One server process with its folder. Subclasses know one program."""

    address = "127.0.0.1"
    domain = DOMAIN
    name = ""

    def __init__(self, config: dict | None = None, folder: Path | None = None) -> None:
        self.config = config or {}
        self.folder = folder or Path(tempfile.mkdtemp(prefix="martlet-test-"))
        self._owns_folder = folder is None
        self.passwords: dict[str, str] = {}
        self.process: subprocess.Popen | None = None
        certificates.make(self.folder, [DOMAIN, OTHER_DOMAIN, "localhost"])
        self.authority = str(self.folder / "ca.pem")
        starttls, direct, plain = free_ports(3)
        self.ports = {"starttls": starttls, "direct": direct, "plain": plain}
        self.log = self.folder / "server.log"
        self.prepare()

    # -- what a program must know

    def prepare(self) -> None:
        """Writes the configuration."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """What to run; it must stay in the foreground."""
        raise NotImplementedError

    def ready(self) -> bool:
        """True when all listeners are open."""
        raise NotImplementedError

    def add_accounts(self, accounts: dict[str, str]) -> None:
        """Makes accounts of the domain, user to password, whether the server runs or not."""
        raise NotImplementedError

    # -- life

    def start(self, timeout: float = 20.0) -> "Server":
        """Starts the process and waits until it listens."""
        with open(self.log, "ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                self.command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        _alive.add(self.process)
        deadline = time.monotonic() + timeout
        while not self.ready():
            if self.process.poll() is not None:
                raise ServerFailure(f"{self.name} ended with {self.process.returncode} at its start:\n{self.tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailure(f"{self.name} was not ready after {timeout} s:\n{self.tail()}")
            time.sleep(0.01)
        return self

    def stop(self, timeout: float = 50.0) -> None:
        """Stops in the orderly way; a server that does not stop in time is killed and that is a failure.

        The server gives itself 45 s, for disks that are slow.
        """
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailure(f"{self.name} did not stop within {timeout} s:\n{self.tail()}") from None
        finally:
            self.process = None

    def kill(self) -> None:
        """SIGKILL, at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def crash(self) -> None:
        """SIGKILL and start again."""
        self.kill()
        self.start()

    def remove(self) -> None:
        """Ends the process and removes the folder, or keeps it if TEST_KEEP is set."""
        self.kill()
        if self._owns_folder and not os.environ.get("TEST_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_) -> None:
        self.remove()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    # -- looking at it

    def tail(self, lines: int = 40) -> str:
        """The end of the log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"

    def log_since_start(self) -> str:
        """What this run of the process has logged."""
        with open(self.log, "rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def logged(self, wanted, timeout: float = 10) -> str:
        """The log of this run as soon as `wanted` is in it, a text or a condition of the log: the server writes its log
        a moment after what it tells of."""
        is_there = wanted if callable(wanted) else lambda log: wanted in log
        deadline = time.monotonic() + timeout
        while not is_there(log := self.log_since_start()):
            assert time.monotonic() < deadline, f"the log never had {wanted!r}:\n{self.tail()}"
            time.sleep(0.01)
        return log

    def memory(self) -> int:
        """Resident bytes of the process."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise ServerFailure("no VmRSS")

    def descriptors(self) -> int:
        """Open descriptors of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def password(self, user: str) -> str:
        return self.passwords.get(user, "secret")


class Martlet(Server):
    """The binary under test, set up by its own commands."""

    name = "martlet"

    @property
    def config_file(self) -> Path:
        return self.home / "martlet.yml"

    @property
    def data(self) -> Path:
        return self.home / "data"

    def prepare(self) -> None:
        self.home = self.folder / "home"
        self.run("setup", DOMAIN, "--dir", str(self.home))
        base = yaml.safe_load(self.config_file.read_text())
        base |= {
            "hosts": [DOMAIN, OTHER_DOMAIN],
            "tls": {"certificate": str(self.folder / "cert.pem"), "key": str(self.folder / "key.pem")},
            "listen": [
                {"port": self.ports["starttls"], "address": self.address, "tls": "required"},
                {"port": self.ports["direct"], "address": self.address, "tls": "direct"},
                {"port": self.ports["plain"], "address": self.address, "tls": "none"},
            ],
            # All tests come from one address, and many of them fail to log in.
            "limits": {"failed_logins": {
                "free": 1000000, "free_per_address": 1000000, "refuse": 1000000, "refuse_per_address": 1000000,
            }},
        }
        self.config_file.write_text(yaml.safe_dump(merged(base, self.config), sort_keys=False))

    def command(self) -> list[str]:
        return [str(binary()), "serve", "-c", str(self.config_file)]

    def ready(self) -> bool:
        return "event=ready" in self.log_since_start()

    def run(self, *arguments: str, input: str = "", check: bool = True, timeout: float = 60) -> str:
        """Runs one command of the binary and returns what it printed."""
        done = subprocess.run(
            [str(binary()), *arguments], input=input, capture_output=True, text=True, timeout=timeout, cwd=self.folder
        )
        if check and done.returncode != 0:
            raise ServerFailure(f"martlet {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def add_accounts(self, accounts: dict[str, str]) -> None:
        self.passwords |= accounts
        self.import_lines([f"{user}@{DOMAIN} {password}" for user, password in accounts.items()])

    def import_lines(self, lines: list[str]) -> None:
        """Imports accounts from ready lines."""
        listed = self.folder / "accounts.txt"
        listed.write_text("".join(f"{line}\n" for line in lines))
        listed.chmod(0o600)
        self.run("account", "import", str(listed), "-c", str(self.config_file))
        listed.unlink()


PROSODY = """
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
log = {{ {{ levels = {{ min = "info" }}, to = "console" }} }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {starttls}, {plain} }}
c2s_direct_tls_ports = {{ {direct} }}
c2s_direct_tls_ssl = {{ certificate = "{folder}/cert.pem", key = "{folder}/key.pem", protocol = "tlsv1_2+" }}
s2s_ports = {{ }}
http_ports = {{ }}
https_ports = {{ }}
component_ports = {{ }}
modules_enabled = {{ "disco", "roster", "saslauth", "tls", "ping", "smacks", "posix" }}
modules_disabled = {{ "s2s" }}
authentication = "internal_plain"
c2s_require_encryption = false
c2s_timeout = {unauthenticated}
smacks_hibernation_time = {resume}
smacks_max_queue_size = 2000
certificates = "{folder}"
ssl = {{ certificate = "{folder}/cert.pem", key = "{folder}/key.pem", protocol = "tlsv1_2+" }}
VirtualHost "{domain}"
VirtualHost "{other}"
"""


def seconds(text: str | int) -> int:
    """A duration of the configuration: 30s, 10m, or a number."""
    text = str(text)
    return int(float(text.rstrip("smhd")) * {"m": 60, "h": 3600, "d": 86400}.get(text[-1], 1))


class Prosody(Server):
    """Debian's prosody with the modules that the tests need."""

    name = "prosody"

    def prepare(self) -> None:
        management = self.config.get("stream_management", {})
        limits = self.config.get("limits", {}).get("unauthenticated", {})
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / "prosody.cfg.lua").write_text(PROSODY.format(
            folder=self.folder, domain=DOMAIN, other=OTHER_DOMAIN, resume=seconds(management.get("resume", "10m")),
            unauthenticated=seconds(limits.get("timeout", "30s")), **self.ports,
        ))

    def command(self) -> list[str]:
        return ["prosody", "-F", "--config", str(self.folder / "prosody.cfg.lua")]

    def ready(self) -> bool:
        for port in self.ports.values():
            with socket.socket() as probe:
                if probe.connect_ex((self.address, port)) != 0:
                    return False
        return True

    def add_accounts(self, accounts: dict[str, str]) -> None:
        self.passwords |= accounts
        where = self.folder / "data" / DOMAIN.replace(".", "%2e") / "accounts"
        where.mkdir(parents=True, exist_ok=True)
        for user, password in accounts.items():
            name = "".join(each if each.isalnum() else f"%{ord(each):02x}" for each in user)
            (where / f"{name}.dat").write_text(f'return {{ ["password"] = "{password}"; }};\n')


def make(config: dict | None = None) -> Server:
    """The server that the environment asks for, not started yet."""
    return (Prosody if KIND == "prosody" else Martlet)(config)
