"""Debian's ejabberd and Prosody, installed and run beside Martlet for comparison.

Both run as processes of this script, with only the modules that the rows need, no traffic shaping and no archive
(Martlet has none in these rows), Prosody with Lua's generational collector, everything else as it comes. Their
accounts are written in bulk, with SCRAM-SHA-1 keys of one salt.
"""

import base64
import glob
import hashlib
import hmac
import os
import shutil
import subprocess

from servers import ACCOUNT_PREFIX, HOST, PASSWORD, BenchError, Server, is_listening, make_certificate, run

PACKAGES = ["ejabberd", "prosody"]
SALT = b"martlet-load-salt"
POLICY = "/usr/sbin/policy-rc.d"


def version(package):
    """The installed version of a Debian package; None: it is not installed."""
    result = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    status, _, number = result.stdout.partition(" ")
    return number if status == "installed" else None


def install():
    """Installs what is missing, without ever starting the system's services."""
    missing = [package for package in PACKAGES if version(package) is None]
    if not missing:
        return
    ours = not os.path.exists(POLICY)
    if ours:
        with open(POLICY, "w") as policy:
            policy.write("#!/bin/sh\nexit 101\n")
        os.chmod(POLICY, 0o755)
    try:
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        run(["apt-get", "update"], env=environment)
        run(["apt-get", "install", "-y", "--no-install-recommends", *missing], env=environment)
    finally:
        if ours:
            os.remove(POLICY)
    if shutil.which("systemctl"):
        subprocess.run(["systemctl", "disable", *missing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def scram_sha1(iterations):
    """Stored key and server key of PASSWORD."""
    salted = hashlib.pbkdf2_hmac("sha1", PASSWORD.encode(), SALT, iterations)
    stored = hashlib.sha1(hmac.digest(salted, b"Client Key", "sha1")).digest()
    return stored, hmac.digest(salted, b"Server Key", "sha1")


PROSODY_CONFIG = """\
run_as_root = true
daemonize = false
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
plugin_paths = {{}}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
c2s_direct_tls_ports = {{ {tls_port} }}
s2s_ports = {{}}
http_ports = {{}}
https_ports = {{}}
modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "ping"; "offline"; "smacks"; "posix"; }}
modules_disabled = {{ "s2s"; }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_hashed"
storage = "internal"
network_backend = "epoll"
gc = {{ mode = "{collector}" }}
log = {{ info = "{folder}/server.log" }}
ssl = {{ certificate = "{certificate}"; key = "{key}" }}
VirtualHost "{host}"
"""


class Prosody(Server):
    name = "prosody"
    collector = "generational"

    def prepare(self):
        certificate, key = make_certificate(self.folder)
        self.config = os.path.join(self.folder, "prosody.cfg.lua")
        with open(self.config, "w") as config:
            config.write(PROSODY_CONFIG.format(folder=self.folder, port=self.port, tls_port=self.tls_port, host=HOST,
                                               collector=self.collector, certificate=certificate, key=key))
        accounts = os.path.join(self.folder, "data", HOST, "accounts")
        os.makedirs(accounts)
        stored, server = scram_sha1(10000)
        record = (f'return {{ ["iteration_count"] = 10000; ["salt"] = "{SALT.decode()}"; '
                  f'["stored_key"] = "{stored.hex()}"; ["server_key"] = "{server.hex()}"; }};\n')
        for number in range(self.accounts):
            with open(os.path.join(accounts, f"{ACCOUNT_PREFIX}{number}.dat"), "w") as account:
                account.write(record)

    def command(self):
        return ["prosody", "--config", self.config, "-F"]


EJABBERD_CONFIG = """\
hosts: ["{host}"]
loglevel: info
log_rotate_count: 0
certfiles: ["{folder}/both.pem"]
listen:
  - {{port: {port}, ip: "127.0.0.1", module: ejabberd_c2s, max_stanza_size: 262144, access: all,
     backlog: 4096, starttls: true}}
  - {{port: {tls_port}, ip: "127.0.0.1", module: ejabberd_c2s, max_stanza_size: 262144, access: all,
     backlog: 4096, tls: true}}
disable_sasl_mechanisms: ["digest-md5", "X-OAUTH2"]
auth_password_format: scram
shaper_rules:
  max_user_sessions: 10
  max_user_offline_messages: 5000
modules:
  mod_disco: {{}}
  mod_ping: {{}}
  mod_offline: {{access_max_user_messages: max_user_offline_messages}}
  mod_roster: {{versioning: true}}
  mod_stream_mgmt: {{resend_on_timeout: if_offline}}
"""

# Waits for the table of accounts, fills it, and says that it has.
EJABBERD_FILL = """\
Key = {{scram, <<"{stored}">>, <<"{server}">>, <<"{salt}">>, sha, 4096}},
case mnesia:table_info(passwd, size) of
  {count} -> ok;
  _ -> [mnesia:dirty_write({{passwd, {{<<"{prefix}", (integer_to_binary(N))/binary>>, <<"{host}">>}}, Key}})
        || N <- lists:seq(0, {count} - 1)], mnesia:dump_tables([passwd])
end, file:write_file("{folder}/ready", <<>>).
"""


class Ejabberd(Server):
    name = "ejabberd"

    def prepare(self):
        libraries = glob.glob("/usr/lib/*/ejabberd-*/ebin")
        if not libraries:
            raise BenchError("ejabberd's files are not where Debian's package has them")
        self.libraries = os.path.dirname(os.path.dirname(libraries[0]))
        certificate, key = make_certificate(self.folder)
        with open(os.path.join(self.folder, "both.pem"), "w") as both:
            for part in (certificate, key):
                with open(part) as text:
                    both.write(text.read())
        self.config = os.path.join(self.folder, "ejabberd.yml")
        with open(self.config, "w") as config:
            config.write(EJABBERD_CONFIG.format(host=HOST, folder=self.folder, port=self.port,
                                                tls_port=self.tls_port))
        stored, server = scram_sha1(4096)
        encode = lambda raw: base64.b64encode(raw).decode()
        self.fill = EJABBERD_FILL.format(stored=encode(stored), server=encode(server), salt=encode(SALT), host=HOST,
                                         prefix=ACCOUNT_PREFIX, count=self.accounts, folder=self.folder)

    def command(self):
        # As ejabberdctl would, without a node name: so there is no daemon for names.
        return ["erl", "+K", "true", "+P", "250000", "-env", "ERL_CRASH_DUMP_BYTES", "0", "-noinput",
                "-mnesia", "dir", f'"{self.folder}/spool"', "-ejabberd", "log_rotate_count", "0",
                "-s", "ejabberd", "-eval", self.fill]

    def environment(self):
        return dict(os.environ, EJABBERD_CONFIG_PATH=self.config, ERL_LIBS=self.libraries, ERL_MAX_PORTS="32000",
                    ERL_MAX_ETS_TABLES="1400", EJABBERD_LOG_PATH=os.path.join(self.folder, "server.log"),
                    HOME=self.folder)

    def is_ready(self):
        return os.path.exists(os.path.join(self.folder, "ready")) and is_listening(self.port)

    def start(self, patience=120):
        marker = os.path.join(self.folder, "ready")
        if os.path.exists(marker):
            os.remove(marker)
        return super().start(patience)
