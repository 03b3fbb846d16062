internal import XMPPCore

extension C2SNegotiation.Facts {
    mutating func secured(_ bindings: ChannelBindings) {
        reached.insert(.secure)
        self.bindings = bindings
    }

    /// Checks a stream header; nil: all right.
    mutating func accept(_ header: StreamHeader, _ serving: (String) -> HostPolicy?) -> StreamError? {
        if tls == .direct, !reached.contains(.secure) { return .policyViolation }
        guard let to = header.to, !to.isEmpty else { return .improperAddressing }
        guard let name = JID.prepared(domain: to) else { return .hostUnknown }
        if let host {
            // Another host would get what this one gave: a certificate, an authentication.
            guard name == host else { return isAuthenticated ? .notAuthorized : .policyViolation }
        }
        guard let policy = serving(name) else { return .hostUnknown }
        host = name
        self.policy = policy
        guard Self.isSupported(header.version) else { return .unsupportedVersion }
        // RFC 6120 §6.4.6: after authentication `from` is who authenticated, if it is there.
        if let account, let from = header.from, JID(from)?.bare != account { return .invalidFrom }
        if reached.contains(.secure), !isAuthenticated { claimed = Self.account(named: header.from) }
        return nil
    }

    /// The account that the `from` of a header names; nil: none.
    private static func account(named from: String?) -> BareJID? {
        guard let address = from.flatMap({ JID($0) }), !address.local.isEmpty else { return nil }
        return address.bare
    }

    /// Whether the client said on its secured stream that it is somebody else (RFC 6120 §6.4.6). Who logs in without a
    /// name cannot know which one it will get.
    func belies(_ account: BareJID, _ mechanism: SASLMechanism) -> Bool {
        claimed != nil && claimed != account && mechanism != .anonymous
    }

    /// The accounts that EXTERNAL may choose from: of several in a certificate the one that the header named, if it is
    /// there (RFC 6120 §13.7.2.2.1).
    var eligible: [BareJID] {
        guard let claimed, certified.contains(claimed) else { return certified }
        return [claimed]
    }

    /// Asks who the client's certificate names, where that is of use: once TLS is up and the host is known.
    mutating func readCertificate(_ addresses: (String) -> [String]) {
        guard let host, reached.contains(.secure), !isAuthenticated,
            policy?.authentication.allows(.external) == true
        else { return }
        certified = []
        for text in addresses(host) {
            guard let address = BareJID(text), address.domain == host, !address.local.isEmpty,
                !certified.contains(address)
            else { continue }
            certified.append(address)
        }
    }

    private var isAuthenticated: Bool { reached.contains(.authenticated) }

    /// RFC 6120 §4.7.5: 1.0 or more; none means 0.9.
    private static func isSupported(_ version: String?) -> Bool {
        guard let numbers = numbers(version) else { return false }
        return numbers.major >= 1
    }

    private static func numbers(_ version: String?) -> (major: UInt32, minor: UInt32)? {
        guard let parts = version?.split(separator: ".", omittingEmptySubsequences: false), parts.count == 2,
            let major = StrictNumber.uint32(parts[0]), let minor = StrictNumber.uint32(parts[1])
        else { return nil }
        return (major, minor)
    }

    /// The lower one of both sides' versions, none for none (RFC 6120 §4.7.5).
    private static func version(answering version: String?) -> String? {
        guard version != nil else { return nil }
        guard let numbers = numbers(version), numbers.major < 1 else { return "1.0" }
        return "\(numbers.major).\(numbers.minor)"
    }

    func response(to header: StreamHeader) -> StreamHeader {
        StreamHeader(
            to: header.from.flatMap { JID($0) }?.bare.description, from: host ?? name, id: random.token(),
            version: Self.version(answering: header.version), language: "en",
            contentNamespace: header.contentNamespace)
    }

    /// What can be chosen now, strongest first.
    var mechanisms: [SASLMechanism] {
        guard let policy = policy?.authentication, authenticationFeature.isOffered(reached) else { return [] }
        return SASLMechanism.allCases.filter { mechanism in
            guard policy.allows(mechanism) else { return false }
            if mechanism.bindsChannel { return !bindings.isEmpty }
            switch mechanism {
            case .plain: return reached.contains(.secure) || (tls == .none && policy.allowsPlainInClear)
            // RFC 6120 §6.3.4: only to who has shown a certificate that can be believed.
            case .external: return !certified.isEmpty
            default: return true
            }
        }
    }

    /// Whether this is a request that may be made now. Under TLS only: it may hold a password.
    func answers(_ element: ElementView) -> Bool {
        guard reached.contains(.secure), !isAuthenticated, element.isNamed("iq", .client) else { return false }
        guard element.attribute("type", is: "get") || element.attribute("type", is: "set") else { return false }
        return policy?.requests.contains { $0.isPayload(of: element) } ?? false
    }

    var offersTLS: Bool { tls == .required || tls == .optional }

    var tlsFeature: StreamFeature {
        var element = Element("starttls", .tls)
        if tls == .required { element.append(Element("required", .tls)) }
        return StreamFeature(element, requires: [], forbids: [.secure, .authenticated])
    }

    /// Only the conditions; the list of mechanisms is filled in by `features`.
    private var authenticationFeature: StreamFeature {
        StreamFeature(
            Element("mechanisms", .sasl), requires: tls == .required || tls == .direct ? .secure : [],
            forbids: .authenticated)
    }

    /// The `<stream:features/>` of this moment.
    var features: Element {
        var features = Element("features", .streams)
        if offersTLS, tlsFeature.isOffered(reached) { features.append(tlsFeature.element) }
        if authenticationFeature.isOffered(reached) { appendAuthentication(to: &features) }
        var offered = policy?.features ?? []
        offered.insert(Bind.feature, at: 0)
        if policy?.streamManagement == true {
            offered.insert(StreamFeature(Element("sm", .streamManagement), requires: .authenticated), at: 1)
        }
        for feature in offered where feature.isOffered(reached) { features.append(feature.element) }
        return features
    }

    private func appendAuthentication(to features: inout Element) {
        var list = Element("mechanisms", .sasl)
        for mechanism in mechanisms {
            var child = Element("mechanism", .sasl)
            child.appendText(mechanism.rawValue)
            list.append(child)
        }
        features.append(list)
        guard mechanisms.contains(where: \.bindsChannel) else { return }
        // XEP-0440 §2.
        var types = Element("sasl-channel-binding", .saslChannelBinding)
        for type in bindings.types {
            var child = Element("channel-binding", .saslChannelBinding)
            child[attribute: "type"] = type
            types.append(child)
        }
        features.append(types)
    }
}
