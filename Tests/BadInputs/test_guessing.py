"""Line 15: guessing passwords is slow for who does it, and for nobody else. Line 12: what is refused is counted."""

import asyncio
import base64
import time

import pytest
from support.namespaces import SASL
from support.rawclient import Client, Failure, encode

pytestmark = pytest.mark.differs("prosody", "it has other limits")

STRANGER, OWNER = "127.0.0.2", "127.0.0.3"
LIMITS = {"free": 3, "free_per_address": 1000, "refuse": 8, "refuse_per_address": 1000, "delay": "2s"}


def limits(**changes):
    return pytest.mark.config({"limits": {"failed_logins": LIMITS | changes, "unauthenticated": {"attempts": 100}}})


async def attempt(server, password: str, *, user="mallory", source=STRANGER, mechanism="PLAIN",
                  transport="starttls") -> tuple[str, float]:
    """How a login on a connection of its own is answered, and after how long."""
    client = Client(server, user, "lair", password=password, source=source, transport=transport)
    await client.connect()
    started = time.monotonic()
    try:
        await client.authenticate(mechanism)
        return "success", time.monotonic() - started
    except Failure as failure:
        return str(failure).removeprefix("authentication refused: "), time.monotonic() - started
    finally:
        client.cut()


def plain(password: str) -> str:
    initial = encode(b"\0mallory\0" + password.encode())
    return f"<auth xmlns='{SASL}' mechanism='PLAIN'>{initial}</auth>"


def counts(server) -> dict[str, int]:
    lines = [line.split() for line in server.run("status", "-c", str(server.config_file)).splitlines()]
    return {fields[0]: int(fields[1]) for fields in lines if len(fields) == 2 and fields[1].isdigit()}


@limits()
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_line_15_each_guess_takes_longer_until_none_is_looked_at(server, mechanism):
    user = "mallory" if mechanism == "PLAIN" else "bob"
    before = counts(server)

    async def scene():
        times = []
        for number in range(8):
            answer, seconds = await attempt(server, f"guess {number}", user=user, mechanism=mechanism)
            assert answer == "not-authorized"
            times.append(seconds)
        assert all(seconds < 0.4 for seconds in times[:3]), times
        assert 0.45 < times[3] < 1.0, times
        assert 0.95 < times[4] < 1.6, times
        assert all(1.9 < seconds < 3.0 for seconds in times[5:]), times
        # Not even the right one.
        answer, seconds = await attempt(server, server.password(user), user=user, mechanism=mechanism)
        assert answer == "temporary-auth-failure" and seconds < 0.4
        server.logged(lambda log: f"account={user}@" in log.splitlines()[-1])
        # The owner, elsewhere, notices nothing; nor does another account at the same address.
        answer, seconds = await attempt(server, server.password(user), user=user, source=OWNER, mechanism=mechanism)
        assert answer == "success" and seconds < 0.4
        answer, seconds = await attempt(server, server.password("alice"), user="alice", mechanism=mechanism)
        assert answer == "success" and seconds < 0.4

    asyncio.run(scene())
    after = counts(server)
    assert after["logins_delayed"] - before["logins_delayed"] == 5
    assert after["logins_throttled"] - before["logins_throttled"] == 1
    assert after["logins_rejected"] - before["logins_rejected"] == 9


@limits(free=2, delay="1s")
def test_line_15_guesses_at_the_same_time_are_no_faster(server):
    async def scene():
        started = time.monotonic()
        answers = await asyncio.gather(*(attempt(server, f"guess {n}", source="127.0.0.4") for n in range(20)))
        assert sum(answer == "not-authorized" for answer, _ in answers) <= 8
        assert sum(seconds < 0.4 and answer == "not-authorized" for answer, seconds in answers) <= 2
        assert time.monotonic() - started < 8

    asyncio.run(scene())


@limits(free=2, delay="1s")
def test_line_15_an_account_that_does_not_exist_is_guarded_like_one_that_does(server):
    async def scene():
        found = {}
        for user, source in (("mallory", "127.0.0.5"), ("nobody", "127.0.0.6")):
            answers = [await attempt(server, "wrong", user=user, source=source) for _ in range(4)]
            found[user] = [answer for answer, _ in answers]
            assert all(seconds < 0.4 for _, seconds in answers[:2]), answers
            assert all(seconds > 0.45 for _, seconds in answers[2:]), answers
        assert found["mallory"] == found["nobody"]

    asyncio.run(scene())


@limits(free=100, refuse=100, free_per_address=5, refuse_per_address=8, delay="1s")
def test_line_15_one_address_that_tries_many_accounts(server):
    async def scene():
        answers = [await attempt(server, "wrong", user=f"user{n}", source="127.0.0.7") for n in range(9)]
        assert all(seconds < 0.4 for _, seconds in answers[:5]), answers
        assert all(seconds > 0.45 for _, seconds in answers[5:8]), answers
        assert answers[8][0] == "temporary-auth-failure"
        answer, seconds = await attempt(server, server.password("alice"), user="alice", source=OWNER)
        assert answer == "success" and seconds < 0.4

    asyncio.run(scene())


@limits(free=2, delay="1s")
def test_line_15_the_right_password_ends_the_delays(server):
    async def scene():
        for _ in range(3):
            await attempt(server, "wrong", source="127.0.0.8")
        answer, seconds = await attempt(server, server.password("mallory"), source="127.0.0.8")
        assert answer == "success" and seconds > 0.45
        answer, seconds = await attempt(server, server.password("mallory"), source="127.0.0.8")
        assert answer == "success" and seconds < 0.4

    asyncio.run(scene())


@limits(free=1, delay="2s")
def test_line_15_what_waits_can_be_cut_and_sends_nothing_past_the_delay(server):
    """A client that goes on talking while it waits is not heard before its turn."""

    async def scene():
        await attempt(server, "wrong", source="127.0.0.9")
        client = await Client(server, "mallory", "lair", source="127.0.0.9").connect()
        wrong = plain("wrong")
        started = time.monotonic()
        client.stream.write(wrong * 3)
        for number in range(3):
            assert (await client.next("a failure", 8)).find(f"{{{SASL}}}not-authorized") is not None
            # Each waits for itself: half a second, one, two.
            assert time.monotonic() - started > 0.45 * (2 ** (number + 1) - 1)
        gone = await Client(server, "mallory", "lair", source="127.0.0.9").connect()
        gone.stream.write(wrong)
        gone.cut()

    asyncio.run(scene())


# -- line 12


def test_line_12_what_was_not_offered_or_came_out_of_turn_is_counted(server):
    async def scene():
        before = counts(server)
        client = await Client(server, "mallory", "lair").connect()
        for mechanism in ("ANONYMOUS", "EXTERNAL", "DIGEST-MD5"):
            with pytest.raises(Failure, match="invalid-mechanism"):
                answer = await client.sasl(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>=</auth>")
                raise Failure(answer[0].tag)
        answer = await client.sasl(f"<response xmlns='{SASL}'/>")
        assert answer.tag == f"{{{SASL}}}failure"
        client.cut()
        after = counts(server)
        assert after["logins_not_offered"] - before["logins_not_offered"] == 3
        assert after["logins_out_of_turn"] - before["logins_out_of_turn"] == 1
        assert after["logins_rejected"] - before["logins_rejected"] == 4

        # Within an exchange, after success, and on a session.
        client = await Client(server, "mallory", "lair").connect()
        scram = client.scram("SCRAM-SHA-512")
        await client.sasl(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-512'>{encode(scram.first())}</auth>")
        again = plain("x")
        assert (await client.sasl(again)).tag == f"{{{SASL}}}failure"
        await client.authenticate("SCRAM-SHA-512")
        client.stream.write(again)
        await client.stream.ends()
        client = await Client(server, "mallory", "lair").login()
        client.stream.write(again)
        await client.stream.ends()
        assert counts(server)["logins_out_of_turn"] - before["logins_out_of_turn"] == 4

    asyncio.run(scene())


def test_line_12_the_log_has_one_line_for_each_failure(server):
    def failures(log):
        return [line for line in log.splitlines()
                if "event=authentication_failed" in line and "address=127.0.0.10" in line]

    async def scene():
        before = len(failures(server.log_since_start()))
        for mechanism in ("PLAIN", "SCRAM-SHA-512-PLUS"):
            assert (await attempt(server, "wrong", source="127.0.0.10", mechanism=mechanism))[0] == "not-authorized"
        lines = failures(server.logged(lambda log: len(failures(log)) >= before + 2))
        assert len(lines) - before == 2
        for line in lines[-2:]:
            assert "account=mallory@" in line
            assert line.count("wrong") == line.count("reason=wrong-password")

    asyncio.run(scene())


def test_line_13_a_changed_offer_is_seen_by_the_client(server):
    """XEP-0474: the challenge has the hash of what the features listed."""
    import hashlib

    async def scene():
        for mechanism, digest in (("SCRAM-SHA-512-PLUS", "sha512"), ("SCRAM-SHA-256", "sha256"), ("SCRAM-SHA-1", "sha1")):
            client = await Client(server, "mallory", "lair").connect()
            types = [each.get("type") for each in client.features.iter("{urn:xmpp:sasl-cb:0}channel-binding")]
            text = "\x1e".join(sorted(client.mechanisms)) + "\x1f" + "\x1e".join(sorted(types))
            first = client.scram(mechanism).first()
            answer = await client.sasl(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{encode(first)}</auth>")
            fields = dict(part.split("=", 1) for part in base64.b64decode(answer.text).decode().split(","))
            assert base64.b64decode(fields["h"]) == hashlib.new(digest, text.encode()).digest()
            client.cut()

    asyncio.run(scene())
