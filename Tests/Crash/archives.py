"""The archives after a crash: what was promised is in the sender's and in the reader's, once, in order, and under the
id that its copies carried. An id is never given to two messages."""

import asyncio
import datetime

from ledger import Ledger
from support.archive import everything
from support.rawclient import Client

# Rows of a page, the most that the server gives.
PAGE = 500


def now() -> str:
    """As a query says from when on it asks."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def fetch(server, ledger: Ledger, user: str, since: str, trial: int, moment: str) -> None:
    """Files what the archive of one account has of a trial."""
    client = await Client(server, user, "archivist", transport="plain").login()
    rows = await everything(client, PAGE, {"start": since})
    for row in rows:
        if id := row.message.get("id"):
            ledger.file(client.bare, row.id, id, trial, moment)
    await client.close()


async def compare(server, ledger: Ledger, users: list[str], since: str, trial: int, moment: str) -> None:
    """Reads the archives of all accounts, and has the ledger compare them with what was promised."""
    await asyncio.gather(*(fetch(server, ledger, user, since, trial, moment) for user in users))
    ledger.compare_archives(server.domain, trial, moment)
