"""Who was promised what, and who got what: the accounts of a crash test.

A pair is a sender and an address that it writes to, bare or full. A message is *promised* from the moment the server
acknowledged it to its sender (XEP-0198, <a h>) unless it was answered by an error. A promised message that its reader
never gets is a loss.

Readers without stream management cannot say what they got, so the server's promise to them ends when the kernel took
the bytes. Each such reader reads its socket to the very end after the kill, and what it reads counts as got. Killing a
process makes the kernel send what it still holds and then a FIN, so nothing that was written is missed, with one
exception: if bytes from the reader lay unread in the server's socket, the kernel answers with a reset and drops the
rest. These readers send nothing while there is load, so that this does not happen; if a connection of theirs ends by a
reset all the same, what is missing from it is counted as "unclear" and not as lost. It is printed and never left out.
"""

import collections
from dataclasses import dataclass, field

COUNTS = ["sent", "promised", "refused", "got", "late", "lost", "unclear", "duplicates", "wrong_duplicates", "disorder",
          "archived", "unarchived", "misfiled"]

# Messages of so many trials back are still known when they arrive.
REMEMBERED = 12


@dataclass
class Receipt:
    """One arrival of a message on one connection of its reader."""

    generation: int
    stream: int
    acknowledged: bool = False


@dataclass
class Message:
    id: str
    trial: int
    sender: str
    address: str
    reader: str
    kind: str
    number: int
    promised: bool = False
    refused: bool = False
    # Its sender sent it again in another session, so that it may come twice.
    repeats: bool = False
    receipts: list[Receipt] = field(default_factory=list)
    # Its rows: the address of an archive, and the ids there.
    rows: dict[str, list[str]] = field(default_factory=dict)
    # The ids that its copies carried.
    marks: set[str] = field(default_factory=set)


@dataclass
class Problem:
    """A promise that was broken, with where to look."""

    what: str
    message: str
    trial: int
    moment: str
    detail: str = ""


class Ledger:
    """The messages of this trial and of those before. `generation` counts the server's processes.

    What was not promised may arrive whenever the server gets to it: "late" counts what came in a later trial.
    """

    def __init__(self) -> None:
        self.generation = 0
        # The server is being ended: it may refuse what it took before.
        self.is_ending = False
        self.messages: dict[str, Message] = {}
        self.earlier: collections.deque[dict[str, Message]] = collections.deque(maxlen=REMEMBERED)
        self.totals: dict[str, dict[str, int]] = {}
        self.problems: list[Problem] = []
        self.strangers = 0
        self.slowest_stop = 0.0
        self.slowest_promise = 0.0
        # What shows that the trials did what they are for.
        self.resumptions = 0
        self.repeated = 0
        self.refusals = 0
        self.pairs = 0
        self.largest = 0
        self.bytes_to: dict[str, int] = {}
        self._streams = 0
        self._last: dict[tuple[int, tuple], int] = {}
        self._first: dict[tuple, int] = {}
        # Which message has an id of an archive: (trial, message).
        self._owners: dict[tuple[str, str], tuple[int, str]] = {}
        # The last number of a pair in an archive.
        self._filed: dict[tuple, int] = {}

    def new_stream(self) -> int:
        self._streams += 1
        return self._streams

    def count(self, kind: str, what: str, by: int = 1) -> None:
        self.totals.setdefault(kind, dict.fromkeys(COUNTS, 0))[what] += by

    def sent(self, message: Message, size: int) -> None:
        self.messages[message.id] = message
        self.bytes_to[message.reader] = self.bytes_to.get(message.reader, 0) + size
        self.pairs += message.number == 0
        self.count(message.kind, "sent")

    def promise(self, id: str) -> None:
        if message := self.messages.get(id):
            message.promised = True

    def refuse(self, id: str) -> None:
        if message := self.messages.get(id):
            message.refused = True

    def may_repeat(self, id: str) -> None:
        if message := self.messages.get(id):
            message.repeats = True

    def complain(self, what: str, whom: str, trial: int, moment: str, detail: str) -> None:
        """Notes a fault that is no message's."""
        self.problems.append(Problem(what, whom, trial, moment, detail))

    def complaints(self, what: str) -> int:
        return sum(problem.what == what for problem in self.problems)

    def receive(self, id: str, stream: int, trial: int, moment: str) -> Receipt | None:
        """Notes an arrival and looks at order and repetition.

        On one connection the numbers of a pair must rise. Over all connections, what comes for the first time must
        come in order too. A repetition is right after the server's end, or if the reader had not acknowledged the
        first arrival and had a new connection since, or if the sender repeated it in another session.
        """
        message = self.messages.get(id) or next((old[id] for old in self.earlier if id in old), None)
        if message is None:
            self.strangers += 1
            return None
        receipt = Receipt(self.generation, stream)
        pair = message.trial, message.sender, message.address
        if message.repeats and message.receipts:
            self.count(message.kind, "duplicates")
            message.receipts.append(receipt)
            return receipt
        last = self._last.get((stream, pair), -1)
        if message.number <= last:
            self._problem("disorder", message, trial, moment, f"after {last} on one connection")
        self._last[stream, pair] = message.number
        if message.receipts:
            before = message.receipts[-1]
            if before.generation == receipt.generation and (before.acknowledged or before.stream == stream):
                self._problem("wrong_duplicates", message, trial, moment, "acknowledged before, without a crash")
            self.count(message.kind, "duplicates")
        else:
            if message.number < self._first.get(pair, -1):
                self._problem("disorder", message, trial, moment, f"first seen after {self._first[pair]}")
            self._first[pair] = max(self._first.get(pair, -1), message.number)
            self.count(message.kind, "got")
            if message.trial != trial:
                self.count(message.kind, "late")
        message.receipts.append(receipt)
        return receipt

    # -- archives

    def mark(self, archive: str, archive_id: str, id: str, trial: int, moment: str) -> None:
        """Notes the id of an archive that a copy of a message carried."""
        if message := self.messages.get(id):
            message.marks.add(archive_id)
            self._claim(archive, archive_id, message, trial, moment)

    def file(self, archive: str, archive_id: str, id: str, trial: int, moment: str) -> None:
        """Notes a row, in the order of the archive."""
        if (message := self.messages.get(id)) is None:
            return
        self._claim(archive, archive_id, message, trial, moment)
        rows = message.rows.setdefault(archive, [])
        rows.append(archive_id)
        if message.repeats:
            return
        if len(rows) > 1:
            self._problem("misfiled", message, trial, moment, f"{len(rows)} times in the archive of {archive}: {rows}")
        pair = archive, message.sender, message.address
        if message.number < self._filed.get(pair, -1):
            self._problem("misfiled", message, trial, moment, f"behind {self._filed[pair]} in the archive of {archive}")
        self._filed[pair] = message.number

    def _claim(self, archive: str, archive_id: str, message: Message, trial: int, moment: str) -> None:
        _, first = self._owners.setdefault((archive, archive_id), (trial, message.id))
        if first != message.id:
            self._problem("misfiled", message, trial, moment, f"its id {archive_id} of {archive} is that of {first}")

    def compare_archives(self, domain: str, trial: int, moment: str) -> None:
        """Every promised message must be in both archives, its copies must have carried the id in the reader's."""
        for message in self.messages.values():
            if message.refused:
                continue
            own, theirs = (f"{user}@{domain}" for user in (message.sender, message.reader))
            for archive in (own, theirs):
                if message.rows.get(archive):
                    self.count(message.kind, "archived")
                elif message.promised:
                    self._problem("unarchived", message, trial, moment, f"not in the archive of {archive}")
            filed = message.rows.get(theirs)
            if filed and not message.marks <= set(filed):
                detail = f"its copies carried {message.marks}, its rows are {filed}"
                self._problem("misfiled", message, trial, moment, detail)
        self._filed = {}

    def _problem(self, what: str, message: Message, trial: int, moment: str, detail: str = "") -> None:
        self.count(message.kind, what)
        self.problems.append(Problem(what, f"{message.id} for {message.kind}", trial, moment, detail))

    def is_owed(self, message: Message) -> bool:
        """Promised, and nobody has got it."""
        return message.promised and not message.refused and not message.receipts

    def owed(self, reader: str) -> set[str]:
        """What a reader was promised and has not got."""
        return {
            message.id for message in self.messages.values() if message.reader == reader and self.is_owed(message)
        }

    def settle(self, trial: int, moment: str, unclear: set[str]) -> None:
        """Closes a trial: every promised message must have arrived. `unclear`: readers whose connection was reset."""
        for message in self.messages.values():
            if message.promised:
                self.count(message.kind, "promised")
            if message.refused:
                self.count(message.kind, "refused")
            if self.is_owed(message):
                if message.reader in unclear:
                    self.count(message.kind, "unclear")
                else:
                    self._problem("lost", message, trial, moment)
        self.earlier.append(self.messages)
        self.messages = {}
        self.bytes_to = {}
        self._last = {key: number for key, number in self._last.items() if key[1][0] > trial - REMEMBERED}
        self._first = {pair: number for pair, number in self._first.items() if pair[0] > trial - REMEMBERED}
        self._owners = {key: owner for key, owner in self._owners.items() if owner[0] > trial - REMEMBERED}

    def total(self, what: str) -> int:
        return sum(counts[what] for counts in self.totals.values())
