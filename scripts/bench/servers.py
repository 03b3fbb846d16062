"""The servers that are measured: each runs in a folder of its own, on free high ports of 127.0.0.1."""

import ctypes
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HOST = "localhost"
ACCOUNT_PREFIX = "u"
PASSWORD = "martlet-load"


def free_port():
    """A port nobody listens on, below those that the system gives to connections."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as listener:
            try:
                listener.bind(("", port))
            except OSError:
                continue
            return port


def raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def child_set_up():
    """In a server's process before it runs: all descriptors, and an end when this script ends without stopping it."""
    raise_descriptor_limit()
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class BenchError(Exception):
    """A server or a run that did not do what was asked of it."""


class Server:
    """One process that is started, measured and ended; nothing else is ever ended."""

    name = "?"
    is_relay = False

    def __init__(self, accounts):
        self.accounts = accounts
        self.folder = tempfile.mkdtemp(prefix=f"bench-{self.name}-")
        self.port = free_port()
        self.tls_port = free_port()
        self.process = None
        self.variables = {}
        self.log = os.path.join(self.folder, f"{self.name}.log")
        self.prepare()

    def prepare(self):
        """Makes the folder's contents: config, certificate, accounts."""

    def command(self):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ, **self.variables)

    def is_ready(self):
        return is_listening(self.port)

    @property
    def pid(self):
        return self.process.pid

    def start(self, patience=120):
        """Starts the process and waits until it listens; returns the seconds that took."""
        began = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env=self.environment(), preexec_fn=child_set_up)
        while not self.is_ready():
            if self.process.poll() is not None:
                raise BenchError(f"{self.name} ended at its start:\n{self.log_tail()}")
            if time.monotonic() - began > patience:
                raise BenchError(f"{self.name} was not ready after {patience} s:\n{self.log_tail()}")
            time.sleep(0.005)
        return time.monotonic() - began

    def stop(self):
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self):
        self.stop()
        return self.start()

    def discard(self):
        self.stop()
        if os.environ.get("BENCH_KEEP"):
            print(f"kept: {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self, lines=20):
        try:
            with open(self.log, errors="replace") as log:
                return "".join(log.readlines()[-lines:])
        except OSError:
            return "(no log)"


def is_listening(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run(command, **options):
    """Runs a command to its end; its output is in the error if it fails."""
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, errors="replace", **options)
    if result.returncode != 0:
        raise BenchError(f"{' '.join(map(str, command))} failed ({result.returncode}):\n{result.stdout[-2000:]}")
    return result.stdout


def make_certificate(folder):
    """A self-signed certificate for HOST: the same kind of key for every server."""
    certificate, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={HOST}",
         "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", key, "-out", certificate])
    return certificate, key


class Relay(Server):
    """The byte relay: the floor of what the same network library can do."""

    name = "relay"
    is_relay = True

    def __init__(self, binaries, loops, split):
        self.binary = os.path.join(binaries, "martlet-relay")
        self.loops = loops
        self.split = split
        super().__init__(0)

    def command(self):
        return [self.binary, "--port", str(self.port), "--loops", str(self.loops), *["--split"] * self.split]


MARTLET_CONFIG = """\
hosts: [{host}]
data: data
log: {{level: info, format: logfmt}}
loops: {loops}
tls: {{certificate: {certificate}, key: {key}}}
listen:
  - {{port: {port}, address: 127.0.0.1, tls: none}}
  - {{port: {tls_port}, address: 127.0.0.1, tls: direct}}
# All clients come from one address.
limits: {{authenticated: {{connections_per_address: 1000000}}}}
modules:
  messages: {{}}
  offline: {{}}
  presence: {{}}
  roster: {{}}
  disco: {{}}
  ping: {{}}
  version: {{}}
  time: {{}}
  last: {{}}
  private: {{}}
  vcard: {{}}
  register: {{}}
"""


class Martlet(Server):
    """The release binary, its database on disk: all modules but those that change what is delivered, unless a run has
    them."""

    name = "martlet"

    def __init__(self, binaries, accounts, loops):
        self.binaries = binaries
        self.binary = os.path.join(binaries, "martlet")
        self.loops = loops
        super().__init__(accounts)

    def prepare(self):
        site = os.path.join(self.folder, "site")
        run([self.binary, "setup", HOST, "--dir", site, "--port", str(self.port), "--tls-port", str(self.tls_port)])
        certificate, key = make_certificate(self.folder)
        self.config = os.path.join(site, "martlet.yml")
        with open(self.config, "w") as config:
            config.write(MARTLET_CONFIG.format(host=HOST, loops=self.loops, port=self.port, tls_port=self.tls_port,
                                               certificate=certificate, key=key))
        run([self.binary, "check", "-c", self.config])
        accounts = os.path.join(self.folder, "accounts")
        run([os.path.join(self.binaries, "martlet-load"), "accounts", "--host", HOST, "--prefix", ACCOUNT_PREFIX,
             "--password", PASSWORD, "--users", str(self.accounts), "--scram", "--write-accounts", accounts])
        began = time.monotonic()
        run([self.binary, "account", "import", accounts, "-c", self.config])
        self.import_seconds = time.monotonic() - began

    def command(self):
        return [self.binary, "serve", "-c", self.config]

    def enable(self, modules):
        """Has these modules as well from its next start on; true: they are others than before."""
        with open(self.config) as config:
            text = config.read()
        start = text.index("modules:\n")
        base = MARTLET_CONFIG[MARTLET_CONFIG.index("modules:\n"):].format()
        changed = text[:start] + base + "".join(f"  {module}: {{}}\n" for module in modules)
        with open(self.config, "w") as config:
            config.write(changed)
        return changed != text

    def serve_hosts(self, count):
        """Goes over to so many hosts, all of one config."""
        self.stop()
        names = ", ".join([HOST] + [f"h{number}.{HOST}" for number in range(1, count)])
        self.configure(f"hosts: [{HOST}]", f"hosts: [{names}]")

    def configure(self, line, other):
        """Writes another line into the config; the next start reads it."""
        with open(self.config) as config:
            text = config.read()
        with open(self.config, "w") as config:
            config.write(text.replace(line, other, 1))

    def anonymous_memory(self):
        """Bytes that are the process's own, once it has been quiet for a while."""
        time.sleep(2)
        with open(f"/proc/{self.process.pid}/smaps_rollup") as rollup:
            for line in rollup:
                if line.startswith("Anonymous:"):
                    return int(line.split()[1]) * 1024
        raise BenchError("the kernel does not tell")

    def start_to_ready(self):
        """Seconds from the start to the log line that says every listener is open."""
        self.stop()
        ready = threading.Event()
        began = time.monotonic()
        finish = []
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            cwd=self.folder, preexec_fn=child_set_up, text=True, errors="replace")
        errors = self.process.stderr

        def follow():
            with open(self.log, "a") as log:
                for line in errors:
                    if not finish and "event=ready" in line:
                        finish.append(time.monotonic())
                        ready.set()
                    log.write(line)
            ready.set()

        threading.Thread(target=follow, daemon=True).start()
        ready.wait(60)
        if not finish:
            raise BenchError(f"martlet did not say that it is ready:\n{self.log_tail()}")
        return finish[0] - began
