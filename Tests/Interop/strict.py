"""What strict clients (Smack, aioxmpp) check of every stanza, as a plug-in for slixmpp; breaches end the test."""

import xml.etree.ElementTree as ET
from collections import Counter

from slixmpp.plugins.base import BasePlugin, register_plugin
from support.namespaces import CLIENT, ROSTER, STANZA_ERRORS, qname
from support.stream import show

IQ, MESSAGE, PRESENCE = (qname(CLIENT, kind) for kind in ("iq", "message", "presence"))
ERROR_TYPES = {"auth", "cancel", "continue", "modify", "wait"}
CONDITIONS = {
    "bad-request", "conflict", "feature-not-implemented", "forbidden", "gone", "internal-server-error",
    "item-not-found", "jid-malformed", "not-acceptable", "not-allowed", "not-authorized", "policy-violation",
    "recipient-unavailable", "redirect", "registration-required", "remote-server-not-found", "remote-server-timeout",
    "resource-constraint", "service-unavailable", "subscription-required", "undefined-condition",
    "unexpected-request",
}


class Ledger:
    """The stanzas of one session from the server's side: who was asked, who answered, and what breaks the rules."""

    def __init__(self) -> None:
        self.own = ""
        self.asked: dict[str, str | None] = {}
        self.answers: Counter[str] = Counter()
        self.pushed: set[str] = set()
        self.breaches: list[str] = []

    def sent(self, stanza: ET.Element) -> None:
        if stanza.tag != IQ:
            return
        if stanza.get("type") in ("get", "set"):
            self.asked[stanza.get("id")] = stanza.get("to")
        elif stanza.get("id") in self.pushed:
            self.pushed.discard(stanza.get("id"))

    def received(self, stanza: ET.Element) -> None:
        bare = self.own.partition("/")[0]
        if self.own and stanza.get("to") not in (None, self.own, bare):
            self.breach("is for somebody else", stanza)
        if stanza.tag == IQ:
            self._received_iq(stanza, bare)
        elif not stanza.get("from"):
            self.breach("comes from nobody", stanza)
        if stanza.get("type") == "error":
            self._received_error(stanza)

    def _received_iq(self, stanza: ET.Element, bare: str) -> None:
        id, sender = stanza.get("id"), stanza.get("from")
        if not id:
            self.breach("has no id", stanza)
        if stanza.get("type") in ("result", "error"):
            self.answers[id] += 1
            if id not in self.asked:
                self.breach("answers no question", stanza)
            elif self.answers[id] > 1:
                self.breach("answers a second time", stanza)
            elif sender != self.asked[id] and (self.asked[id] or bare) != bare:
                self.breach(f"answers for {self.asked[id]}", stanza)
            elif self.asked[id] in (None, bare) and sender not in (None, bare):
                self.breach("answers for one's own account", stanza)
            return
        if stanza.get("type") not in ("get", "set") or len(stanza) != 1:
            self.breach("is no request with one payload", stanza)
        elif stanza[0].tag == qname(ROSTER, "query"):
            self.pushed.add(id)
            if sender not in (None, bare):
                self.breach("is a roster push of somebody else", stanza)
            if stanza.get("type") != "set" or len(stanza[0]) != 1:
                self.breach("is a roster push without its one item", stanza)

    def _received_error(self, stanza: ET.Element) -> None:
        errors = stanza.findall(qname(CLIENT, "error"))
        conditions = [
            child for error in errors for child in error
            if child.tag.startswith(f"{{{STANZA_ERRORS}}}") and child.tag != qname(STANZA_ERRORS, "text")
        ]
        if len(errors) != 1 or errors[0].get("type") not in ERROR_TYPES or len(conditions) != 1:
            self.breach("has not one error of a known type with one condition", stanza)
        elif conditions[0].tag.partition("}")[2] not in CONDITIONS:
            self.breach("has an unknown condition", stanza)

    def breach(self, what: str, stanza: ET.Element) -> None:
        self.breaches.append(f"{show(stanza)} {what}")

    def settle(self) -> None:
        """Raises what was wrong up to now, and if a request has no answer or a push was not acknowledged."""
        silent = [f"{id} to {to}" for id, to in self.asked.items() if not self.answers[id]]
        assert not self.breaches, "\n".join(self.breaches)
        assert not silent, f"no answer to {silent}"
        assert not self.pushed, f"pushes without an acknowledgement: {self.pushed}"


class StrictPlugin(BasePlugin):
    """Keeps a ledger of all stanzas of its client."""

    name = "strict"
    description = "strict"

    def plugin_init(self) -> None:
        self.ledger = Ledger()
        self.xmpp.add_event_handler("session_bind", self._bound)
        self.xmpp.add_filter("in", self._in)
        self.xmpp.add_filter("out_sync", self._out)

    def _bound(self, jid) -> None:
        self.ledger.own = str(jid)

    def _in(self, stanza):
        if getattr(stanza, "xml", None) is not None and stanza.xml.tag in (IQ, MESSAGE, PRESENCE):
            self.ledger.received(stanza.xml)
        return stanza

    def _out(self, stanza):
        if getattr(stanza, "xml", None) is not None:
            self.ledger.sent(stanza.xml)
        return stanza


register_plugin(StrictPlugin)
