import Testing
import XMPPCore
import XMPPStream

@Suite struct NegotiationTests {
    @Test(arguments: FramingKind.allCases)
    func `a client goes from the first header to a bound session`(_ framing: FramingKind) throws {
        let stream = Stream(framing)
        let opened = stream.open(Client.header(from: "Romeo@example.net"))
        #expect(opened.features?.outline == ["starttls"])
        #expect(opened.features?.elements.first?.first("required", .tls) != nil)
        guard case .respond(let header, _) = opened else { return }
        #expect(header.from == "example.net")
        #expect(header.to == "romeo@example.net")
        #expect(header.version == "1.0")
        #expect(header.id?.isEmpty == false)

        #expect(stream.send(Element("starttls", .tls)) == .startTLS(Element("proceed", .tls)))
        stream.tlsEstablished(Host.bindings)
        #expect(stream.isSecure)
        #expect(
            stream.open().features?.outline == [
                "mechanisms[SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS "
                    + "SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN]",
                "sasl-channel-binding[tls-exporter tls-server-end-point]",
            ])

        let client = ScramClient(gs2: "p=tls-exporter,,", binding: [1, 2, 3])
        let result = stream.send(Client.auth("SCRAM-SHA-256-PLUS", client.first))
        guard case .authentication(.lookUp(let request)) = result else {
            Issue.record("no lookup")
            return
        }
        guard case .challenge(let challenge) = stream.found(Host.find(request)) else {
            Issue.record("no challenge")
            return
        }
        #expect(challenge.isNamed("challenge", .sasl))
        let text = String(decoding: Base64.decode(challenge.text) ?? [], as: UTF8.self)
        let final = try client.final(for: text)
        guard case .authentication(.authenticated(let done)) = stream.send(Client.response(final.message)) else {
            Issue.record("not authenticated")
            return
        }
        #expect(done.account == Host.romeo)
        #expect(done.mechanism == .scramSHA256Plus)
        #expect(done.success.isNamed("success", .sasl))
        #expect(done.success.text == Base64.encode(Array(final.signature.utf8)))
        #expect(stream.account == Host.romeo)

        #expect(stream.open(Client.header(from: "romeo@example.net")).features?.outline == ["bind", "sm"])
        #expect(stream.send(Client.bind("balcony")) == .bind(BindRequest(id: "b1", resource: "balcony")))
        let answer = stream.bound(as: JID(Host.romeo, resource: "balcony"))
        #expect(answer?[attribute: "type"] == "result")
        #expect(answer?[attribute: "id"] == "b1")
        #expect(answer?.first("bind", .bind)?.first("jid", .bind)?.text == "romeo@example.net/balcony")
        #expect(stream.isEnded)
    }

    @Test(
        arguments: [
            (TLSMode.required, false, ["starttls"]),
            (.optional, false, ["starttls", "mechanisms[SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1]"]),
            (.none, false, ["mechanisms[SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1]"]),
            (.none, true, ["mechanisms[SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN]"]),
            (.optional, true, ["starttls", "mechanisms[SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1]"]),
        ], FramingKind.allCases)
    func `what is offered in clear follows from the listener`(
        _ offer: (tls: TLSMode, plain: Bool, features: [String]), _ framing: FramingKind
    ) {
        var authentication = Host.policy
        authentication.allowsPlainInClear = offer.plain
        let stream = Stream(framing, offer.tls, policy: HostPolicy(authentication: authentication))
        let offered = stream.open().features
        #expect(offered?.outline == offer.features)
        #expect((offered?.first("starttls", .tls)?.first("required", .tls) != nil) == (offer.tls == .required))
    }

    @Test(arguments: FramingKind.allCases)
    func `direct TLS needs no STARTTLS, and nothing happens before it`(_ framing: FramingKind) {
        let stream = Stream(framing, .direct)
        stream.tlsEstablished(ChannelBindings(serverEndPoint: [4]))
        #expect(stream.open().features?.outline.last == "sasl-channel-binding[tls-server-end-point]")
        #expect(stream.send(Element("starttls", .tls)) == .refuseTLS(Element("failure", .tls)))
        let clear = Stream(framing, .direct)
        #expect(clear.open().error == .policyViolation)
    }

    @Test(arguments: FramingKind.allCases)
    func `without channel bindings there is no -PLUS and no list of types`(_ framing: FramingKind) {
        let stream = Stream(framing)
        #expect(stream.secure(.none).features?.outline == ["mechanisms[SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN]"])
    }

    @Test(arguments: FramingKind.allCases)
    func `features of modules appear when their conditions are met`(_ framing: FramingKind) {
        let features = [
            StreamFeature(Element("ver", .rosterVersioning)),
            StreamFeature(Element("early", Namespace("urn:example:early")), requires: [], forbids: .authenticated),
        ]
        let policy = HostPolicy(authentication: Host.policy, streamManagement: false, features: features)
        let stream = Stream(framing, policy: policy)
        #expect(stream.open().features?.outline == ["starttls", "early"])
        let later = Stream(framing, policy: policy)
        #expect(later.authenticate().features?.outline == ["bind", "ver"])
    }

    // MARK: Headers

    @Test(arguments: FramingKind.allCases)
    func `a missing, malformed or foreign host ends the stream`(_ framing: FramingKind) {
        for (to, error) in [
            (nil, StreamError.Condition.improperAddressing), ("", .improperAddressing), ("example.com", .hostUnknown),
            ("romeo@example.net", .hostUnknown), ("exa mple.net", .hostUnknown), ("example.net/x", .hostUnknown),
        ] {
            let stream = Stream(framing)
            #expect(stream.open(Client.header(to)).error == error)
            #expect(stream.isEnded)
            #expect(stream.send(Element("starttls", .tls)).error != nil)
        }
    }

    @Test(arguments: FramingKind.allCases)
    func `a host is known by any form of its name`(_ framing: FramingKind) {
        for name in ["EXAMPLE.net", "example.net.", "\u{FF45}xample.net"] {
            let stream = Stream(framing)
            #expect(stream.open(Client.header(name)).features != nil)
            #expect(stream.host == "example.net")
        }
    }

    @Test(
        arguments: [nil, "", "0.9", "1", "x", "1.x", "-1.0", "1.0.0", "99999999999.0"] as [String?],
        FramingKind.allCases)
    func `a version that is not 1_0 or later is not supported`(_ version: String?, _ framing: FramingKind) {
        let stream = Stream(framing)
        #expect(stream.open(Client.header(version: version)).error == .unsupportedVersion)
    }

    @Test(arguments: ["1.0", "1.1", "2.0"], FramingKind.allCases)
    func `later versions are answered with ours`(_ version: String, _ framing: FramingKind) {
        let stream = Stream(framing)
        guard case .respond(let header, _) = stream.open(Client.header(version: version)) else {
            Issue.record("refused")
            return
        }
        #expect(header.version == "1.0")
    }

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 7: the host is the one of the first header for good`(_ framing: FramingKind) {
        let afterTLS = Stream(framing)
        _ = afterTLS.open()
        _ = afterTLS.send(Element("starttls", .tls))
        afterTLS.tlsEstablished(Host.bindings)
        #expect(afterTLS.open(Client.header("example.org")).error == .policyViolation)
        let afterSASL = Stream(framing)
        _ = afterSASL.secure()
        _ = afterSASL.plain()
        #expect(afterSASL.open(Client.header("example.org")).error == .notAuthorized)
    }

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 17: after authentication the from of a header is the own account or nothing`(
        _ framing: FramingKind
    ) {
        for (from, error) in [
            (nil, nil), ("romeo@example.net", nil), ("ROMEO@example.net/x", nil),
            ("juliet@example.net", StreamError.Condition.invalidFrom), ("example.net", .invalidFrom),
            ("@", .invalidFrom),
        ] {
            let stream = Stream(framing)
            _ = stream.secure()
            _ = stream.plain()
            #expect(stream.open(Client.header(from: from)).error == error)
        }
    }

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 7: a second header at the wrong time ends the stream`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.open()
        // Behind the first one an XML declaration is a fault of its own.
        let fault: StreamError.Condition = framing == .stream ? .restrictedXML : .badFormat
        #expect(stream.open().error == fault)
        #expect(stream.isEnded)
        #expect(stream.hand(Client.header()).error == .badFormat)
        let bound = Stream(framing)
        _ = bound.authenticate()
        #expect(bound.open().error == fault)
        #expect(bound.hand(Client.header()).error == .badFormat)
    }

    // MARK: Order

    @Test(arguments: FramingKind.allCases)
    func `elements before a header, or while one is due, end the stream`(_ framing: FramingKind) {
        let early = Stream(framing)
        #expect(early.send(Element("starttls", .tls)).error == .policyViolation)
        let handshake = Stream(framing)
        _ = handshake.open()
        _ = handshake.send(Element("starttls", .tls))
        #expect(handshake.send(Client.auth("PLAIN", "\0romeo\0wherefore")).error == .policyViolation)
        let restart = Stream(framing)
        _ = restart.secure()
        _ = restart.plain()
        #expect(restart.send(Client.bind()).error == .policyViolation)
    }

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 12: authentication before the required TLS is refused and counted`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.open()
        for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
            let rejection = stream.send(Client.auth(mechanism, "\0romeo\0wherefore")).rejection
            #expect(rejection?.failure.condition == .encryptionRequired)
            #expect(rejection?.closing == nil)
        }
        let last = stream.send(Client.auth("PLAIN", "\0romeo\0wherefore")).rejection
        #expect(last?.closing?.condition == .policyViolation)
    }

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 12: PLAIN in clear is refused where TLS is optional or absent`(_ framing: FramingKind) {
        for tls in [TLSMode.optional, .none] {
            let stream = Stream(framing, tls)
            _ = stream.open()
            let rejection = stream.send(Client.auth("PLAIN", "\0romeo\0wherefore")).rejection
            #expect(rejection?.failure.condition == .encryptionRequired)
        }
    }

    @Test(arguments: FramingKind.allCases)
    func `STARTTLS is refused where it is not offered`(_ framing: FramingKind) {
        for tls in [TLSMode.none, .required] {
            let stream = Stream(framing, tls)
            _ = tls == .none ? stream.open() : stream.secure()
            #expect(stream.send(Element("starttls", .tls)) == .refuseTLS(Element("failure", .tls)))
            #expect(stream.isEnded)
        }
        let bound = Stream(framing)
        _ = bound.authenticate()
        #expect(bound.send(Element("starttls", .tls)) == .refuseTLS(Element("failure", .tls)))
    }

    @Test(arguments: FramingKind.allCases)
    func `STARTTLS with something in it fails`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.open()
        var command = Element("starttls", .tls)
        command.append(Element("x", Namespace("urn:example:x")))
        #expect(stream.send(command) == .refuseTLS(Element("failure", .tls)))
        #expect(stream.isEnded)
    }

    @Test(arguments: ["iq", "message", "presence"], FramingKind.allCases)
    func `a stanza before its time is not authorized`(_ name: String, _ framing: FramingKind) {
        let clear = Stream(framing)
        _ = clear.open()
        #expect(clear.send(Element(name, .client)).error == .notAuthorized)
        let secure = Stream(framing)
        _ = secure.secure()
        #expect(secure.send(Element(name, .client)).error == .notAuthorized)
        let unbound = Stream(framing)
        _ = unbound.authenticate()
        #expect(unbound.send(Element(name, .client)).error == .notAuthorized)
    }

    @Test(
        arguments: [
            Element("starttls", .sasl), Element("auth", .tls), Element("features", .streams),
            Element("x", Namespace("urn:example:x")), Element("iq", Namespace("urn:example:x")),
        ], FramingKind.allCases)
    func `an element that nobody knows ends the stream`(_ element: Element, _ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.open()
        #expect(stream.send(element).error == .unsupportedStanzaType)
        #expect(stream.isEnded)
    }

    @Test(arguments: [Namespace.server, .component], FramingKind.allCases)
    func `a content namespace that is not spoken here ends the stream`(_ namespace: Namespace, _ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.open()
        #expect(stream.send(Element("iq", namespace)).error == .invalidNamespace)
        #expect(stream.isEnded)
    }

    @Test(arguments: FramingKind.allCases)
    func `a stream within the stream ends it`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.open()
        let error = stream.send(Element("stream", .streams)).error
        #expect(error == .badFormat)
        #expect(stream.isEnded)
    }

    @Test(arguments: FramingKind.allCases)
    func `a stream error of the client closes the stream`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.open()
        #expect(stream.send(StreamError.undefinedCondition.element) == .close)
        #expect(stream.isEnded)
    }

    // MARK: Authentication

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 12: a second authentication after success ends the stream`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.authenticate()
        #expect(stream.send(Client.auth("PLAIN", "\0juliet\0x")).error == .policyViolation)
        let between = Stream(framing)
        _ = between.secure()
        _ = between.plain()
        #expect(between.send(Client.auth("PLAIN", "\0juliet\0x")).error == .policyViolation)
    }

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 12: a second exchange takes the place of the first, and counts`(_ framing: FramingKind) throws {
        let stream = Stream(framing)
        _ = stream.secure()
        _ = stream.send(Client.auth("SCRAM-SHA-256", nil))
        let client = ScramClient()
        guard case .authentication(.lookUp(let request)) = stream.send(Client.auth("SCRAM-SHA-256", client.first)),
            case .challenge(let challenge) = stream.found(Host.find(request))
        else {
            Issue.record("no second exchange")
            return
        }
        #expect(stream.outOfTurn == 1)
        let text = String(decoding: Base64.decode(challenge.text) ?? [], as: UTF8.self)
        let final = try client.final(for: text)
        // The second one is gone as well: what would have ended it ends nothing.
        #expect(stream.send(Client.auth("PLAIN", nil)) == .authentication(.challenge(Element("challenge", .sasl))))
        #expect(stream.send(Client.response(final.message)).rejection?.failure.condition == .malformedRequest)
        #expect(stream.isEnded, "each of them was an attempt")
    }

    @Test(arguments: FramingKind.allCases)
    func `exchanges that give way to others are as many as attempts`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.secure()
        for _ in 0..<3 {
            let begun = stream.send(Client.auth("PLAIN", nil))
            #expect(begun == .authentication(.challenge(Element("challenge", .sasl))))
        }
        #expect(stream.send(Client.auth("PLAIN", nil)).rejection?.closing?.condition == .policyViolation)
        #expect(stream.isEnded)
    }

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 12: response and abort with nothing under way fail and are counted`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.secure()
        #expect(stream.send(Element("response", .sasl)).rejection?.failure.condition == .malformedRequest)
        #expect(stream.send(Element("abort", .sasl)).rejection?.failure.condition == .aborted)
        #expect(stream.send(Element("response", .sasl)).rejection?.closing?.condition == .policyViolation)
        #expect(stream.isEnded)
    }

    @Test(arguments: FramingKind.allCases)
    func `authentication works after an abort and after failures, up to the last attempt`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.secure()
        _ = stream.send(Client.auth("SCRAM-SHA-256", nil))
        #expect(stream.send(Element("abort", .sasl)).rejection?.failure.condition == .aborted)
        guard case .rejected(let rejection) = stream.plain("therefore") else {
            Issue.record("not rejected")
            return
        }
        #expect(rejection.failure == .notAuthorized)
        #expect(rejection.account == Host.romeo)
        #expect(rejection.element.first("not-authorized", .sasl) != nil)
        #expect(rejection.closing == nil)
        guard case .authenticated = stream.plain() else {
            Issue.record("not authenticated")
            return
        }
    }

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 15: attempts on one stream are bounded`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.secure()
        var closings: [StreamError.Condition?] = []
        for _ in 0..<3 {
            guard case .rejected(let rejection) = stream.plain("therefore") else { break }
            closings.append(rejection.closing?.condition)
        }
        #expect(closings == [nil, nil, .policyViolation])
        #expect(stream.plain() == nil)
    }

    @Test(arguments: ["Zg", "Z g=", "Zm9v\n", "\n", "===="], FramingKind.allCases)
    func `BAD-INPUTS 11: what is not Base64 has its own failure`(_ text: String, _ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.secure()
        var auth = Element("auth", .sasl, ["mechanism": "PLAIN"])
        auth.appendText(text)
        #expect(stream.send(auth).rejection?.failure.condition == .incorrectEncoding)
        _ = stream.send(Client.auth("SCRAM-SHA-256", nil))
        var response = Element("response", .sasl)
        response.appendText(text)
        #expect(stream.send(response).rejection?.failure.condition == .incorrectEncoding)
    }

    @Test(arguments: FramingKind.allCases)
    func `an equals sign is data of no bytes, nothing is no data`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.secure()
        #expect(stream.send(Client.auth("SCRAM-SHA-256", "")).rejection?.failure.condition == .malformedRequest)
        #expect(
            stream.send(Client.auth("SCRAM-SHA-256", nil)) == .authentication(.challenge(Element("challenge", .sasl))))
        #expect(stream.send(Element("response", .sasl)).rejection?.failure.condition == .malformedRequest)
    }

    @Test(arguments: FramingKind.allCases)
    func `an element while the owner is looking something up ends the stream`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.secure()
        _ = stream.send(Client.auth("SCRAM-SHA-256", ScramClient().first))
        #expect(stream.send(Element("abort", .sasl)).error == .policyViolation)
        #expect(stream.found([Host.credential()]) == nil)
    }

    @Test(arguments: FramingKind.allCases)
    func `a store that does not answer is a temporary failure`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.secure()
        #expect(stream.authenticationFailed() == nil)
        _ = stream.send(Client.auth("SCRAM-SHA-256", ScramClient().first))
        guard case .rejected(let rejection) = stream.authenticationFailed() else {
            Issue.record("not rejected")
            return
        }
        #expect(rejection.failure == .temporary)
        guard case .authenticated = stream.plain() else {
            Issue.record("not authenticated")
            return
        }
    }

    @Test(arguments: FramingKind.allCases)
    func `whom the owner does not let in has failed, and may be somebody else next`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.secure()
        #expect(stream.refuseAuthenticated(.accountDisabled) == nil)
        guard case .authenticated = stream.plain() else {
            Issue.record("not authenticated")
            return
        }
        let rejection = stream.refuseAuthenticated(.accountDisabled)
        #expect(rejection?.account == Host.romeo)
        #expect(rejection?.element.first("account-disabled", .sasl) != nil)
        #expect(rejection?.closing == nil)
        #expect(stream.account == nil)
        #expect(stream.refuseAuthenticated(.accountDisabled) == nil)
        guard case .authenticated = stream.plain() else {
            Issue.record("not authenticated")
            return
        }
        #expect(stream.open().features?.outline == ["bind", "sm"])
        #expect(stream.refuseAuthenticated(.accountDisabled) == nil)
    }

    @Test(arguments: FramingKind.allCases)
    func `being refused counts as a failure`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.secure()
        for isLast in [false, false, true] {
            _ = stream.plain()
            #expect((stream.refuseAuthenticated(.temporary)?.closing != nil) == isLast)
        }
        #expect(stream.isEnded)
    }

    @Test(arguments: FramingKind.allCases)
    func `TLS that was not asked for changes nothing`(_ framing: FramingKind) {
        let stream = Stream(framing, .optional)
        _ = stream.open()
        stream.tlsEstablished(Host.bindings)
        #expect(!stream.isSecure)
        #expect(stream.plain() == nil)
    }
}
