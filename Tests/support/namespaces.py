"""The namespaces the tests speak, and the short names that scripts may use for them."""

CLIENT = "jabber:client"
STREAMS = "http://etherx.jabber.org/streams"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
SASL_CB = "urn:xmpp:sasl-cb:0"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
SM = "urn:xmpp:sm:3"
PING = "urn:xmpp:ping"
ROSTER = "jabber:iq:roster"
DELAY = "urn:xmpp:delay"
XML = "http://www.w3.org/XML/1998/namespace"

STANZAS = {f"{{{CLIENT}}}{kind}" for kind in ("message", "presence", "iq")}


def qname(namespace: str, name: str) -> str:
    """The name as xml.etree writes it."""
    return f"{{{namespace}}}{name}"


def local(tag: str) -> str:
    """The name without its namespace."""
    return tag.rpartition("}")[2]


def namespace_of(tag: str) -> str:
    """The namespace without the name."""
    return tag[1:].partition("}")[0] if tag.startswith("{") else ""
