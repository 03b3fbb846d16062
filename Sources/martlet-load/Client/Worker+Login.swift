/// From a connected socket to a session that may send and receive (RFC 6120 §4 to §7, XEP-0198).
extension Worker {
    /// Logs every connection in that is not yet; false: one failed, or the patience ended.
    func login() -> Bool {
        let waiting = connections.filter { $0.state == .unused }
        let target = readyCount + waiting.count
        var next = 0
        var underway = readyCount
        let deadline = Clock.now() + UInt64(seconds: settings.patience)
        while readyCount < target {
            while next < waiting.count, underway - readyCount < settings.concurrency {
                connect(waiting[next])
                next += 1
                underway += 1
            }
            if failureCount > 0 || Clock.now() > deadline { return false }
            turn(atMost: 100_000_000)
        }
        return failureCount == 0
    }

    /// The socket stands, and its TLS where there is one.
    func opened(_ connection: Connection) {
        if settings.relay {
            connection.scanner = StanzaScanner(opened: true)
            connection.address = settings.fullAddress(connection.user)
            connection.step = .pairing
            connection.append("\(connection.user / 2)\n")
        } else {
            openStream(connection, expecting: .features)
        }
    }

    private func openStream(_ connection: Connection, expecting step: Connection.Step) {
        connection.step = step
        connection.append(
            "<?xml version='1.0'?><stream:stream to='\(settings.host)' version='1.0' xml:lang='en' "
                + "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")
    }

    /// One element while the login is not complete.
    func negotiate(_ element: Slice, on connection: Connection, at now: UInt64) {
        switch connection.step {
        case .features where element.isNamed("stream:features"): chooseFeature(element, connection)
        case .proceed where element.isNamed("proceed"):
            connection.restarts = true
            startTLS(connection)
        case .challenge where element.isNamed("challenge"): solve(element, connection)
        case .challenge where element.isNamed("success"), .success where element.isNamed("success"):
            succeed(element, connection)
        case .success where element.isNamed("challenge"):
            // The server's proof in a message of its own (RFC 6120 §6.3.10).
            guard isProved(element, "challenge", connection) else { return }
            connection.append("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        case .bindFeatures where element.isNamed("stream:features"):
            connection.step = .bound
            connection.append(
                "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                    + "<resource>\(settings.resource)</resource></bind></iq>")
        case .bound where element.isNamed("iq"):
            guard element.attribute("type") == "result", let address = element.text(of: "<jid") else {
                return refuse(element, connection)
            }
            connection.address = address
            if settings.streamManagement {
                connection.step = .enabled
                connection.append("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
            } else {
                appear(connection, at: now)
            }
        case .enabled where element.isNamed("enabled"):
            connection.isManaged = true
            appear(connection, at: now)
        case .roster where element.isNamed("iq"):
            guard element.attribute("type") == "result" else { return refuse(element, connection) }
            connection.step = .presence
            sendPresence(connection)
        case .presence where element.isNamed("presence"):
            if element.attribute("from") == connection.address { ready(connection, at: now) }
        case .pairing where element.isNamed("ready"): ready(connection, at: now)
        case _ where element.isNamed("failure"), _ where element.isNamed("failed"),
            _ where element.isNamed("stream:error"):
            refuse(element, connection)
        default: break
        }
    }

    private func chooseFeature(_ features: Slice, _ connection: Connection) {
        if settings.security == .starttls && connection.tls == nil {
            guard features.contains("<starttls") else { return fail(connection, "no STARTTLS is offered") }
            connection.step = .proceed
            return connection.append("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        }
        let user = settings.user(connection.user)
        if settings.plain {
            guard features.contains(">PLAIN<") else { return fail(connection, "PLAIN is not offered") }
            return authenticate(connection, "PLAIN", Array("\0\(user)\0\(settings.password)".utf8), expecting: .success)
        }
        let mechanism: SCRAM.Mechanism
        if features.contains(">SCRAM-SHA-256<") {
            mechanism = .sha256
        } else if features.contains(">SCRAM-SHA-1<") {
            mechanism = .sha1
        } else {
            return fail(connection, "no SCRAM is offered: \(features.string)")
        }
        let scram = SCRAM(mechanism, user: user, nonce: String(UInt64.random(in: .min ... .max), radix: 36))
        connection.scram = scram
        authenticate(connection, mechanism.rawValue, scram.first, expecting: .challenge)
    }

    private func authenticate(
        _ connection: Connection, _ mechanism: String, _ first: [UInt8], expecting step: Connection.Step
    ) {
        connection.step = step
        connection.append(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='\(mechanism)'>\(Base64.encode(first))</auth>")
    }

    private func solve(_ element: Slice, _ connection: Connection) {
        let challenge = Base64.decode(element.text(of: "<challenge") ?? "")
        guard let final = connection.scram?.final(challenge, password: settings.password, cache: &scramCache) else {
            return fail(connection, "a bad challenge")
        }
        connection.step = .success
        connection.append(
            "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\(Base64.encode(final))</response>")
    }

    private func succeed(_ element: Slice, _ connection: Connection) {
        if connection.scram != nil, !isProved(element, "success", connection) { return }
        connection.scram = nil
        connection.restarts = true
        openStream(connection, expecting: .bindFeatures)
    }

    private func isProved(_ element: Slice, _ name: StaticString, _ connection: Connection) -> Bool {
        let proof = name.description == "success" ? element.text(of: "<success") : element.text(of: "<challenge")
        // Without data here the proof came in a challenge before.
        guard let proof else { return true }
        if connection.scram?.isProof(Base64.decode(proof)) == true { return true }
        fail(connection, "the server has not proved that it knows the password")
        return false
    }

    private func appear(_ connection: Connection, at now: UInt64) {
        guard settings.presence else { return ready(connection, at: now) }
        if settings.roster {
            connection.step = .roster
            connection.sent &+= 1
            return connection.append("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
        }
        connection.step = .presence
        sendPresence(connection)
    }

    /// Queues the initial presence.
    func sendPresence(_ connection: Connection) {
        connection.append("<presence/>")
        connection.sent &+= 1
    }

    private func ready(_ connection: Connection, at now: UInt64) {
        connection.step = .done
        readyCount += 1
        loginLatencies.record(now &- connection.began)
    }

    private func refuse(_ element: Slice, _ connection: Connection) {
        fail(connection, "refused at \(connection.step): \(element.string)")
    }

    // MARK: - Going

    /// Ends the streams and waits for the server's end of each, a few seconds at most.
    func leave() {
        for connection in connections {
            switch connection.state {
            case .open:
                connection.state = .closing
                if settings.relay {
                    close(connection)
                } else {
                    connection.append("</stream:stream>")
                    flush(connection)
                }
            case .connecting, .handshaking: close(connection)
            case .unused, .closing, .closed: break
            }
        }
        turn(until: Clock.now() + 5_000_000_000) {
            self.connections.allSatisfy { $0.state == .closed || $0.state == .unused }
        }
        for connection in connections where connection.state != .unused { close(connection) }
    }
}
