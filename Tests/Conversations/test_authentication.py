"""Mechanisms, hashes and anonymous accounts, as the config has them."""

import asyncio

import pytest
import yaml
from support import certificates, martlet
from support.rawclient import Client, Failure
from support.scram import b64, stored_keys

pytestmark = pytest.mark.differs("prosody", "it is configured by other means")
DOMAIN = martlet.DOMAIN


async def offered(server, transport="starttls") -> list[str]:
    client = await Client(server, "romeo", "x", transport=transport).connect()
    client.cut()
    return client.mechanisms


def test_everything_that_needs_no_config_is_offered_strongest_first(server):
    assert asyncio.run(offered(server)) == [
        "SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1",
        "PLAIN",
    ]
    assert asyncio.run(offered(server, "plain")) == ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"]


@pytest.mark.config({"auth": {"mechanisms": ["SCRAM-PLUS", "SCRAM"], "hashes": ["SHA-512", "SHA-1"]}})
def test_only_what_the_config_names_is_offered_and_taken(server):
    server.add_accounts({"romeo": "wherefore"})

    async def scene():
        assert await offered(server) == ["SCRAM-SHA-512-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-1"]
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "ANONYMOUS"):
            client = await Client(server, "romeo", "x").connect()
            with pytest.raises(Failure, match="invalid-mechanism"):
                await client.authenticate(mechanism)
            await client.authenticate("SCRAM-SHA-512-PLUS")
            await client.bind()
            await client.close()

    asyncio.run(scene())


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
def test_a_password_serves_every_mechanism(server, mechanism):
    server.add_accounts({f"user-{mechanism.lower()}": "wherefore"})

    async def scene():
        client = await Client(server, f"user-{mechanism.lower()}", "x").login(mechanism)
        await client.close()

    asyncio.run(scene())


def test_a_reload_changes_what_is_offered():
    with martlet.make({"auth": {"mechanisms": ["SCRAM", "PLAIN"]}}) as server:
        server.add_accounts({"romeo": "wherefore"})
        text = server.config_file.read_text()
        assert asyncio.run(offered(server))[0] == "SCRAM-SHA-512"
        config = yaml.safe_load(text) | {
            "auth": {"mechanisms": ["SCRAM-PLUS", "EXTERNAL"], "hashes": ["SHA-256"]},
        }
        config["tls"]["client_authorities"] = "../ca.pem"
        server.config_file.write_text(yaml.safe_dump(config))
        server.run("reload", "-c", str(server.config_file))
        assert asyncio.run(offered(server)) == ["SCRAM-SHA-256-PLUS"]

        async def scene():
            client = Client(server, "romeo", "x")
            client.certificate = certificates.client(server.folder, [certificates.address(f"romeo@{DOMAIN}")])
            await client.login("EXTERNAL")
            await client.close()

        asyncio.run(scene())
        # What is wrong changes nothing.
        server.config_file.write_text(text.replace("PLAIN", "DIGEST-MD5"))
        with pytest.raises(martlet.ServerFailure, match="auth.mechanisms"):
            server.run("reload", "-c", str(server.config_file))
        assert asyncio.run(offered(server)) == ["SCRAM-SHA-256-PLUS"]


def test_an_import_names_who_cannot_use_the_strongest_mechanism(server):
    stored, key = stored_keys("wherefore", b"saltsalt", 4096)
    listed = server.folder / "keys.txt"
    listed.write_text(f"paris@{DOMAIN} SCRAM-SHA-256$4096:{b64(b'saltsalt')}${b64(stored)}:{b64(key)}\n")
    said = server.run("account", "import", str(listed), "-c", str(server.config_file))
    assert f"paris@{DOMAIN} has no keys for SHA-512, SHA-1" in said
    assert "1 accounts imported" in said

    async def scene():
        with pytest.raises(Failure, match="not-authorized"):
            await Client(server, "paris", "x", password="wherefore").login("SCRAM-SHA-512")
        await Client(server, "paris", "x", password="wherefore").login("SCRAM-SHA-256")

    asyncio.run(scene())
    server.logged("event=keys_missing")


# -- anonymous

OPEN = {"auth": {"mechanisms": ["SCRAM-PLUS", "SCRAM", "PLAIN", "ANONYMOUS"]}}


@pytest.mark.config(OPEN)
@pytest.mark.parametrize("transport", ["starttls", "direct"])
def test_anybody_gets_a_name_that_lasts_as_long_as_the_session(server, transport):
    server.add_accounts({"juliet": "wherefore"})

    async def scene():
        juliet = await Client(server, "juliet", "balcony").login()
        await juliet.available()
        names = set()
        for _ in range(5):
            client = await Client(server, "anybody", "home", transport=transport).connect()
            await client.authenticate("ANONYMOUS")
            jid = await client.bind()
            names.add(jid)
            await client.available()
            client.send(f"<message to='{juliet.jid}' type='chat' id='hello'><body>Who am I?</body></message>")
            assert (await juliet.message()).get("from") == jid
            juliet.send(f"<message to='{jid}' type='chat'><body>Nobody</body></message>")
            assert (await client.message()).get("from") == juliet.jid
            await client.close()
            juliet.send(f"<message to='{jid.partition('/')[0]}' type='chat' id='gone'><body>Gone?</body></message>")
            answer = await juliet.message()
            assert answer.get("type") == "error" and answer.get("id") == "gone"
        assert len(names) == 5

    asyncio.run(scene())
    accounts = server.run("account", "list", "-c", str(server.config_file)).split()
    assert accounts == [f"juliet@{DOMAIN}"]


@pytest.mark.config(OPEN)
def test_an_anonymous_session_can_be_resumed(server):
    server.add_accounts({"benvolio": "wherefore"})

    async def scene():
        friend = await Client(server, "benvolio", "street").login()
        for _ in range(8):
            client = await Client(server, "anybody", "home").connect()
            await client.authenticate("ANONYMOUS")
            jid = await client.bind()
            await client.enable()
            await client.available()
            client.cut()
            friend.send(f"<message to='{jid}' type='chat'><body>Still there?</body></message>")
            await friend.ping()
            await client.connect()
            await client.authenticate("ANONYMOUS")
            answer = await client.ask_to_resume()
            assert answer.tag.endswith("}resumed"), answer.tag
            assert (await client.message()).get("to") == jid
            friend.send(f"<message to='{jid}' type='chat'><body>Back?</body></message>")
            assert (await client.message()).get("to") == jid
            await client.close()

    asyncio.run(scene())


@pytest.mark.config(OPEN)
def test_what_is_no_anonymous_session_cannot_be_resumed_anonymously(server):
    server.add_accounts({"tybalt": "wherefore"})

    async def scene():
        owner = await Client(server, "tybalt", "street").login(sm=True)
        other = await Client(server, "anybody", "home").connect()
        await other.authenticate("ANONYMOUS")
        name = (await other.bind()).partition("@")[0]
        for previd in (owner.sm.id, f"{owner.sm.id}.tybalt", "x", f"x.{name}", ".", f".{name}", "x." + "y" * 3000):
            client = await Client(server, "anybody", "home").connect()
            await client.authenticate("ANONYMOUS")
            answer = await client.ask_to_resume(id=previd, h=0)
            assert answer.tag.endswith("}failed"), answer.tag
            # And goes on as somebody new.
            assert (await client.bind()).partition("@")[0] != name
            await client.ping()
            await client.close()
        await owner.ping()
        await other.ping()

    asyncio.run(scene())
