/// The namespaces the core itself speaks of. Those of one module only are declared beside the module.
///
/// Order is identity: the first 64 have a bit of their own, so what messages carry every day stands among them.
extension Namespace {
    /// No namespace.
    @inlinable public static var empty: Namespace { Namespace(id: 0) }
    /// RFC 6120.
    @inlinable public static var client: Namespace { Namespace(id: 1) }
    /// RFC 6120.
    @inlinable public static var server: Namespace { Namespace(id: 2) }
    /// XEP-0114.
    @inlinable public static var component: Namespace { Namespace(id: 3) }
    /// Namespaces in XML.
    @inlinable public static var xml: Namespace { Namespace(id: 4) }
    /// RFC 6120.
    @inlinable public static var streams: Namespace { Namespace(id: 5) }
    /// RFC 7395.
    @inlinable public static var framing: Namespace { Namespace(id: 6) }
    /// RFC 6120.
    @inlinable public static var tls: Namespace { Namespace(id: 7) }
    /// RFC 6120.
    @inlinable public static var sasl: Namespace { Namespace(id: 8) }
    /// RFC 6120.
    @inlinable public static var bind: Namespace { Namespace(id: 9) }
    /// RFC 3921.
    @inlinable public static var session: Namespace { Namespace(id: 10) }
    /// RFC 6120.
    @inlinable public static var stanzaErrors: Namespace { Namespace(id: 11) }
    /// RFC 6120.
    @inlinable public static var streamErrors: Namespace { Namespace(id: 12) }
    /// XEP-0198.
    @inlinable public static var streamManagement: Namespace { Namespace(id: 13) }
    /// XEP-0440.
    @inlinable public static var saslChannelBinding: Namespace { Namespace(id: 14) }
    /// RFC 6121.
    @inlinable public static var rosterVersioning: Namespace { Namespace(id: 15) }
    /// RFC 6121.
    @inlinable public static var preApproval: Namespace { Namespace(id: 16) }
    /// XEP-0203.
    @inlinable public static var delay: Namespace { Namespace(id: 17) }
    /// RFC 6121.
    @inlinable public static var roster: Namespace { Namespace(id: 18) }
    /// XEP-0030.
    @inlinable public static var discoInfo: Namespace { Namespace(id: 19) }
    /// XEP-0030.
    @inlinable public static var discoItems: Namespace { Namespace(id: 20) }
    /// XEP-0199.
    @inlinable public static var ping: Namespace { Namespace(id: 21) }
    /// XEP-0085.
    @inlinable public static var chatStates: Namespace { Namespace(id: 22) }
    /// XEP-0184.
    @inlinable public static var receipts: Namespace { Namespace(id: 23) }
    /// XEP-0333.
    @inlinable public static var chatMarkers: Namespace { Namespace(id: 24) }
    /// XEP-0334.
    @inlinable public static var hints: Namespace { Namespace(id: 25) }
    /// XEP-0280.
    @inlinable public static var carbons: Namespace { Namespace(id: 26) }
    /// XEP-0297.
    @inlinable public static var forwarded: Namespace { Namespace(id: 27) }
    /// XEP-0359.
    @inlinable public static var stanzaID: Namespace { Namespace(id: 28) }
    /// XEP-0045.
    @inlinable public static var muc: Namespace { Namespace(id: 29) }
    /// XEP-0045.
    @inlinable public static var mucUser: Namespace { Namespace(id: 30) }
    /// XEP-0045.
    @inlinable public static var mucAdmin: Namespace { Namespace(id: 31) }
    /// XEP-0045.
    @inlinable public static var mucOwner: Namespace { Namespace(id: 32) }
    /// XEP-0249.
    @inlinable public static var conference: Namespace { Namespace(id: 33) }
    /// XEP-0060.
    @inlinable public static var pubsub: Namespace { Namespace(id: 34) }
    /// XEP-0060.
    @inlinable public static var pubsubEvent: Namespace { Namespace(id: 35) }
    /// XEP-0060.
    @inlinable public static var pubsubOwner: Namespace { Namespace(id: 36) }
    /// XEP-0313.
    @inlinable public static var archive: Namespace { Namespace(id: 37) }
    /// XEP-0059.
    @inlinable public static var resultSets: Namespace { Namespace(id: 38) }
    /// XEP-0004.
    @inlinable public static var dataForms: Namespace { Namespace(id: 39) }
    /// XEP-0115.
    @inlinable public static var caps: Namespace { Namespace(id: 40) }
    /// XEP-0054.
    @inlinable public static var vcard: Namespace { Namespace(id: 41) }
    /// XEP-0153.
    @inlinable public static var vcardUpdate: Namespace { Namespace(id: 42) }
    /// XEP-0191.
    @inlinable public static var blocking: Namespace { Namespace(id: 43) }
    /// XEP-0352.
    @inlinable public static var clientState: Namespace { Namespace(id: 44) }
    /// XEP-0357.
    @inlinable public static var push: Namespace { Namespace(id: 45) }
    /// XEP-0092.
    @inlinable public static var version: Namespace { Namespace(id: 46) }
    /// XEP-0012.
    @inlinable public static var lastActivity: Namespace { Namespace(id: 47) }
    /// XEP-0202.
    @inlinable public static var time: Namespace { Namespace(id: 48) }
    /// XEP-0049.
    @inlinable public static var privateStorage: Namespace { Namespace(id: 49) }
    /// XEP-0050.
    @inlinable public static var commands: Namespace { Namespace(id: 50) }
    /// XEP-0077.
    @inlinable public static var register: Namespace { Namespace(id: 51) }
    /// XEP-0384, as deployed.
    @inlinable public static var axolotl: Namespace { Namespace(id: 52) }
    /// XEP-0384.
    @inlinable public static var omemo: Namespace { Namespace(id: 53) }
    /// XEP-0373.
    @inlinable public static var openPGP: Namespace { Namespace(id: 54) }
    /// XEP-0380.
    @inlinable public static var encryption: Namespace { Namespace(id: 55) }
    /// XEP-0308.
    @inlinable public static var correction: Namespace { Namespace(id: 56) }
    /// XEP-0424.
    @inlinable public static var retraction: Namespace { Namespace(id: 57) }
    /// XEP-0444.
    @inlinable public static var reactions: Namespace { Namespace(id: 58) }
    /// XEP-0461.
    @inlinable public static var reply: Namespace { Namespace(id: 59) }
    /// XEP-0428.
    @inlinable public static var fallback: Namespace { Namespace(id: 60) }
    /// XEP-0353.
    @inlinable public static var jingleMessage: Namespace { Namespace(id: 61) }
    /// XEP-0166.
    @inlinable public static var jingle: Namespace { Namespace(id: 62) }
    /// XEP-0033.
    @inlinable public static var addresses: Namespace { Namespace(id: 63) }

    // From here on the bit is shared with an earlier namespace.
    /// XEP-0172.
    @inlinable public static var nick: Namespace { Namespace(id: 64) }
    /// XEP-0421.
    @inlinable public static var occupantID: Namespace { Namespace(id: 65) }
    /// XEP-0319.
    @inlinable public static var idle: Namespace { Namespace(id: 66) }
    /// XEP-0066.
    @inlinable public static var outOfBand: Namespace { Namespace(id: 67) }
    /// XEP-0363.
    @inlinable public static var upload: Namespace { Namespace(id: 68) }
    /// XEP-0402.
    @inlinable public static var bookmarks: Namespace { Namespace(id: 69) }
    /// XEP-0224.
    @inlinable public static var attention: Namespace { Namespace(id: 70) }
    /// XEP-0220.
    @inlinable public static var dialback: Namespace { Namespace(id: 71) }
    /// XEP-0220.
    @inlinable public static var dialbackFeature: Namespace { Namespace(id: 72) }
    /// XEP-0388.
    @inlinable public static var sasl2: Namespace { Namespace(id: 73) }
    /// XEP-0386.
    @inlinable public static var bind2: Namespace { Namespace(id: 74) }
    /// XEP-0091.
    @inlinable public static var legacyDelay: Namespace { Namespace(id: 75) }

    /// Their names, in the order of their numbers.
    static let wellKnown: [String] = [
        "",
        "jabber:client",
        "jabber:server",
        "jabber:component:accept",
        "http://www.w3.org/XML/1998/namespace",
        "http://etherx.jabber.org/streams",
        "urn:ietf:params:xml:ns:xmpp-framing",
        "urn:ietf:params:xml:ns:xmpp-tls",
        "urn:ietf:params:xml:ns:xmpp-sasl",
        "urn:ietf:params:xml:ns:xmpp-bind",
        "urn:ietf:params:xml:ns:xmpp-session",
        "urn:ietf:params:xml:ns:xmpp-stanzas",
        "urn:ietf:params:xml:ns:xmpp-streams",
        "urn:xmpp:sm:3",
        "urn:xmpp:sasl-cb:0",
        "urn:xmpp:features:rosterver",
        "urn:xmpp:features:pre-approval",
        "urn:xmpp:delay",
        "jabber:iq:roster",
        "http://jabber.org/protocol/disco#info",
        "http://jabber.org/protocol/disco#items",
        "urn:xmpp:ping",
        "http://jabber.org/protocol/chatstates",
        "urn:xmpp:receipts",
        "urn:xmpp:chat-markers:0",
        "urn:xmpp:hints",
        "urn:xmpp:carbons:2",
        "urn:xmpp:forward:0",
        "urn:xmpp:sid:0",
        "http://jabber.org/protocol/muc",
        "http://jabber.org/protocol/muc#user",
        "http://jabber.org/protocol/muc#admin",
        "http://jabber.org/protocol/muc#owner",
        "jabber:x:conference",
        "http://jabber.org/protocol/pubsub",
        "http://jabber.org/protocol/pubsub#event",
        "http://jabber.org/protocol/pubsub#owner",
        "urn:xmpp:mam:2",
        "http://jabber.org/protocol/rsm",
        "jabber:x:data",
        "http://jabber.org/protocol/caps",
        "vcard-temp",
        "vcard-temp:x:update",
        "urn:xmpp:blocking",
        "urn:xmpp:csi:0",
        "urn:xmpp:push:0",
        "jabber:iq:version",
        "jabber:iq:last",
        "urn:xmpp:time",
        "jabber:iq:private",
        "http://jabber.org/protocol/commands",
        "jabber:iq:register",
        "eu.siacs.conversations.axolotl",
        "urn:xmpp:omemo:2",
        "urn:xmpp:openpgp:0",
        "urn:xmpp:eme:0",
        "urn:xmpp:message-correct:0",
        "urn:xmpp:message-retract:1",
        "urn:xmpp:reactions:0",
        "urn:xmpp:reply:0",
        "urn:xmpp:fallback:0",
        "urn:xmpp:jingle-message:0",
        "urn:xmpp:jingle:1",
        "http://jabber.org/protocol/address",
        "http://jabber.org/protocol/nick",
        "urn:xmpp:occupant-id:0",
        "urn:xmpp:idle:1",
        "jabber:x:oob",
        "urn:xmpp:http:upload:0",
        "urn:xmpp:bookmarks:1",
        "urn:xmpp:attention:0",
        "jabber:server:dialback",
        "urn:xmpp:features:dialback",
        "urn:xmpp:sasl:2",
        "urn:xmpp:bind:0",
        "jabber:x:delay",
    ]
}
