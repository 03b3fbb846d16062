"""Servers for the tests, the collector of plays, and the marks that say where a server is known to differ."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.dont_write_bytecode = True

from support import martlet, play  # noqa: E402


def pytest_configure(config):
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", 143))
    if reason := martlet.missing():
        raise pytest.UsageError(f"no server to test: {reason}")


class Pool:
    """One server per configuration, started when first asked for."""

    def __init__(self):
        self.servers: dict[str, martlet.Server] = {}

    def get(self, options: dict) -> martlet.Server:
        key = json.dumps(options, sort_keys=True)
        if key not in self.servers:
            made = martlet.make(options)
            self.servers[key] = made
            made.start()
        server = self.servers[key]
        if not server.running:
            server.start()
        return server

    def close(self):
        problems = []
        for server in self.servers.values():
            try:
                server.stop()
            except martlet.ServerFailure as problem:
                problems.append(str(problem))
            server.remove()
        if problems:
            raise martlet.ServerFailure("\n".join(problems))


POOL = pytest.StashKey[Pool]()


@pytest.fixture(scope="session")
def pool(request):
    """The servers of this session; pytest_sessionfinish ends them."""
    return request.session.stash.setdefault(POOL, Pool())


def pytest_sessionfinish(session):
    if made := session.stash.get(POOL, None):
        made.close()


@pytest.fixture
def server(request, pool):
    """The server with the configuration of the test's `config` mark."""
    mark = request.node.get_closest_marker("config")
    found = pool.get(mark.args[0] if mark else {})
    yield found
    assert found.running, f"the server died:\n{found.tail()}"


def pytest_collection_modifyitems(items):
    for item in items:
        for mark in item.iter_markers("differs"):
            if mark.args[0] == martlet.KIND:
                item.add_marker(pytest.mark.xfail(reason=mark.args[1], strict=False))


# -- plays


def pytest_collect_file(parent, file_path):
    if file_path.suffix == ".play":
        return PlayFile.from_parent(parent, path=file_path)


class PlayFile(pytest.File):
    def collect(self):
        try:
            scenes = play.read(self.path)
        except play.ScriptError as error:
            raise self.CollectError(str(error)) from error
        for number, scene in enumerate(scenes):
            for transport in scene.over:
                item = PlayItem.from_parent(self, name=f"{scene.title} [{transport}]")
                item.scene, item.transport = scene, transport
                item.suffix = f".{self.path.stem}{number}{transport[0]}"
                if reason := scene.differs.get(martlet.KIND):
                    item.add_marker(pytest.mark.xfail(reason=reason, strict=False))
                yield item


class PlayItem(pytest.Item):
    """One scene over one transport."""

    def runtest(self):
        server = self.session.stash.setdefault(POOL, Pool()).get(self.scene.config)
        accounts = self.accounts(server)
        if accounts:
            server.add_accounts(accounts)
        performance = play.Play(self.scene, server, self.transport, self.suffix)
        asyncio.run(asyncio.wait_for(performance.perform(), play.SCENE_LIMIT))
        if not server.running:
            raise play.Failure(f"the server died:\n{server.tail()}")

    def accounts(self, server) -> dict[str, str]:
        """The accounts of all scenes with this configuration, unless the server has them already."""
        found = {}
        for item in self.session.items:
            if isinstance(item, PlayItem) and item.scene.config == self.scene.config:
                for actor in item.scene.actors - play.STRANGERS:
                    user = f"{actor}{item.suffix}"
                    if user not in server.passwords:
                        found[user] = f"pass-{user}"
        return found

    def repr_failure(self, excinfo):
        if isinstance(excinfo.value, (play.Failure, martlet.ServerFailure)):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, self.scene.line - 1, self.name
