import Testing
import XMPPCore
import XMPPTransport

@Suite struct ClassificationTests {
    private func classify(_ content: String, type: String = "chat") -> Classification {
        let text = "<message xmlns='jabber:client' type='\(type)'>\(content)</message>"
        return Stanza(trusted: tree(text)).classification
    }

    @Test(arguments: [
        "<body>x</body>", "<subject>x</subject>", "<received xmlns='urn:xmpp:receipts' id='1'/>",
        "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", "<encrypted xmlns='eu.siacs.conversations.axolotl'/>",
        "<encrypted xmlns='urn:xmpp:omemo:2'/>", "<openpgp xmlns='urn:xmpp:openpgp:0'/>",
        "<x xmlns='jabber:x:conference' jid='room@example.org'/>",
        "<x xmlns='http://jabber.org/protocol/muc#user'><invite to='a@b'/></x>",
        "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>", "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>",
        "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>", "<unknown xmlns='urn:unknown:x'/>",
        "<composing xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='urn:xmpp:hints'/>",
    ])
    func `a message that somebody would miss is kept`(content: String) {
        for type in ["chat", "normal"] {
            #expect(classify(content, type: type).storage == .keep)
            #expect(classify(content, type: type).isStorable)
            #expect(classify(content, type: type).isArchivable)
        }
        for (type, storage) in [
            ("groupchat", Classification.Storage.bounce), ("headline", .vanish), ("error", .vanish),
        ] {
            #expect(classify(content, type: type).storage == storage)
            #expect(!classify(content, type: type).isStorable)
        }
    }

    @Test(arguments: [
        "", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", "<thread>x</thread>",
        "<active xmlns='http://jabber.org/protocol/chatstates'/><thread>x</thread><no-store xmlns='urn:xmpp:hints'/>",
        "<origin-id xmlns='urn:xmpp:sid:0' id='1'/>", "<markable xmlns='urn:xmpp:chat-markers:0'/>",
        "<request xmlns='urn:xmpp:receipts'/>",
        "<received xmlns='urn:xmpp:receipts'/><no-store xmlns='urn:xmpp:hints'/>",
        "<gone xmlns='http://jabber.org/protocol/chatstates'/><delay xmlns='urn:xmpp:delay'/>",
    ])
    func `a message that nobody would miss vanishes`(content: String) {
        #expect(classify(content).storage == .vanish)
        #expect(!classify(content).isStorable)
    }

    @Test func `hints are obeyed, and a body that may not be kept vanishes`() {
        let hint = { (name: String) in "<\(name) xmlns='urn:xmpp:hints'/>" }
        #expect(classify("<body/>" + hint("no-store")).storage == .vanish)
        #expect(classify("<body/>" + hint("no-store")).forbidsStore)
        let brief = classify("<body/>" + hint("no-permanent-store"))
        #expect(brief.storage == .keep)
        #expect(brief.isStorable)
        #expect(!brief.isArchivable)
        #expect(classify("<body/>" + hint("no-copy")).forbidsCopies)
        #expect(classify("<body/>" + hint("store")).asksForStore)
        #expect(!classify("<body/>" + hint("unknown")).forbidsStore)
    }

    @Test func `facts are told apart`() {
        #expect(classify("<composing xmlns='http://jabber.org/protocol/chatstates'/>").isChatStateOnly)
        #expect(!classify("<body/><composing xmlns='http://jabber.org/protocol/chatstates'/>").isChatStateOnly)
        #expect(classify("<body/>").hasBody)
        #expect(!classify("<body xmlns='urn:x'/>").hasBody)
        #expect(classify("<received xmlns='urn:xmpp:receipts'/>").isReceipt)
        #expect(classify("<displayed xmlns='urn:xmpp:chat-markers:0'/>").isMarker)
        #expect(classify("<encrypted xmlns='urn:xmpp:omemo:2'/>").isEncrypted)
        for content in [
            "<body/>", "<encrypted xmlns='urn:xmpp:omemo:2'/>", "<propose xmlns='urn:xmpp:jingle-message:0'/>",
        ] {
            #expect(classify(content).isUrgent)
        }
        #expect(!classify("<received xmlns='urn:xmpp:receipts'/>").isUrgent)
        #expect(!classify("<composing xmlns='http://jabber.org/protocol/chatstates'/>").isUrgent)
    }

    @Test func `other kinds have their own fate`() {
        let fate = { (text: String) in Stanza(trusted: tree(text)).classification }
        #expect(fate("<presence xmlns='jabber:client'/>").storage == .vanish)
        #expect(!fate("<presence xmlns='jabber:client'/>").isUrgent)
        #expect(fate("<presence xmlns='jabber:client' type='subscribe'/>").isUrgent)
        #expect(fate("<iq xmlns='jabber:client' type='get' id='1'><a/></iq>").storage == .bounce)
        #expect(fate("<iq xmlns='jabber:client' type='result' id='1'/>").storage == .vanish)
    }

    @Test func `what is appended counts, and what was worked out stays with the copy`() {
        let stanza = Stanza(Element("message", .client, ["type": "chat"], Element("body", .client, [:], "x")))
        #expect(stanza.classification.storage == .keep)
        #expect(stanza.with(to: JID("a@b")).classification == stanza.classification)
        #expect(stanza.appending(Element("no-store", .hints)).classification.storage == .vanish)
    }

    @Test func `what the server says of its own accord is nobody's to keep, archive or copy (BUGS-NEXT A1)`() {
        var message = Element("message", .client, ["type": "chat"])
        message.append(Element("body", .client))
        message.append(Element("store", .hints))
        let said = Stanza(message)
        for notice in [said.asNotice(), said.asNotice(.urgent)] {
            for stanza in [notice, notice.with(to: JID("a@b.c")), notice.appending(Element("x", "urn:x"))] {
                #expect(stanza.classification.storage == .vanish)
                #expect(!stanza.classification.isStorable && !stanza.classification.isArchivable)
                #expect(stanza.classification.forbidsCopies)
                #expect(stanza.classification.isUrgent == (notice.notice == .urgent))
            }
        }
        #expect(said.classification.isArchivable && said.notice == nil)
    }
}
