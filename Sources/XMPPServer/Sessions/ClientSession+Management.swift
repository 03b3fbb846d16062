import ModuleKit
import XMPPStream

/// Stream management of the running session (XEP-0198).
extension ClientSession {
    /// The id under which the session can be resumed, and what it has counted as handled.
    var resumption: (id: String, h: UInt32)? {
        guard let outstanding, let id = outstanding.resumeID, let management = outstanding.management else {
            return nil
        }
        return (id, management.received.durableH)
    }

    func manage(_ element: ElementView) -> Directive {
        if outstanding?.management == nil {
            if case .enable(let resume, let most) = StreamManagementElement(element) { return enable(resume, most) }
            if case .malformed(let condition) = StreamManagementElement(element) {
                transport?.send(StreamManagementElement.failed(condition))
                return directive
            }
            if element.isNamed("resume") {
                transport?.send(StreamManagementElement.failed(.unexpectedRequest))
                return directive
            }
            close(.policyViolation.saying("stream management is not enabled"))
            return .stop
        }
        switch outstanding?.management?.received(element) ?? .unknown {
        case .answer(let h): transport?.sendAnswer(h: h)
        case .answerSoon: answerSoon()
        case .acked(let count): arrived(count)
        case .ignore: break
        case .reply(let reply): transport?.send(reply)
        case .streamError(let error):
            close(error)
            return .stop
        case .unknown:
            close(.unsupportedStanzaType)
            return .stop
        }
        return directive
    }

    /// `<enable/>`: from here on stanzas count in both directions (XEP-0198 §3).
    private func enable(_ resume: Bool, _ most: UInt32?) -> Directive {
        let outstanding = obtainOutstanding()
        outstanding.enable(StreamManagement())
        let limit = shard.settings.streamManagement.resume
        if resume, limit > .zero {
            outstanding.resumeID = ResumeID.make(for: localAccount)
            let seconds = min(limit.components.seconds, most.map(Int64.init) ?? .max)
            outstanding.resumeTime = .seconds(max(1, seconds))
        }
        transport?.send(
            StreamManagementElement.enabled(
                id: outstanding.resumeID,
                max: outstanding.resumeID == nil ? nil : UInt32(clamping: outstanding.resumeTime.components.seconds)))
        return directive
    }

    /// The client asked behind stanzas whose way is not over. Mostly it is within milliseconds, and the answer to the
    /// question is then also the news: one write instead of two (docs/decisions/0006).
    private func answerSoon() {
        guard let outstanding, outstanding.answerTimer == nil else { return }
        outstanding.answerTimer = shard.loop.schedule(after: .milliseconds(100), self, tag: Tag.answer)
    }

    func answerDue() {
        outstanding?.answerTimer = nil
        guard let transport, let h = outstanding?.management?.dueAnswer() else { return }
        transport.sendAnswer(h: h)
    }

    func speakAtEndOfTurn() {
        guard !isSpeaking else { return }
        isSpeaking = true
        shard.atEndOfTurn(self)
    }

    /// One `<r/>` behind a burst of ours, one `<a/>` when more of the client's stanzas are safe.
    func turnEnded() {
        isSpeaking = false
        guard let outstanding, let transport, !hasEnded, !outstanding.isResuming else { return }
        if let h = outstanding.management?.owedAnswer() {
            transport.sendAnswer(h: h)
        }
        let policy = outstanding.management?.policy ?? AckRequestPolicy()
        if outstanding.management?.sent.burstEnded(policy) == true {
            transport.sendRequest()
        }
    }

    // MARK: Losing and finding the connection

    /// The connection is gone; the client may resume for a while.
    func detach() {
        guard let outstanding else { return end(.closed) }
        localAccount.existingSpool?.stopDraining(self)
        outstanding.management?.detached()
        settleUnmanaged()
        outstanding.isResuming = false
        if let timer = outstanding.resumeTimer { shard.loop.cancel(timer) }
        outstanding.resumeTimer = shard.loop.schedule(after: outstanding.resumeTime, self, tag: Tag.resumeEnds)
        spillAll()
    }

    /// The client is back on another connection. False: its `h` is impossible, and the new stream has been closed.
    func resume(over newTransport: any StreamTransport, h: UInt32) -> Bool {
        guard let outstanding else { return false }
        if let old = transport {
            // Half-dead, or a second resume at the same time: the newest connection has the session.
            transport = nil
            old.handler = nil
            old.close(.conflict.saying("resumed on another connection"))
            outstanding.management?.detached()
            settleUnmanaged()
        }
        switch outstanding.management?.resume(h: h) {
        case .acked(let count): arrived(count)
        case .ignore: break
        case .streamError(let error):
            // The session stays as it is, for a client that knows better.
            newTransport.handler = nil
            newTransport.close(error)
            return false
        case nil: return false
        }
        if let timer = outstanding.resumeTimer { shard.loop.cancel(timer) }
        outstanding.resumeTimer = nil
        transport = newTransport
        shard.counts.resumed += 1
        if outstanding.management?.received.openCount == 0 {
            outstanding.isResuming = true
            finishResuming()
        } else {
            // What is still on its way to the disk would be sent twice by the client: wait, but not for long.
            outstanding.isResuming = true
            outstanding.resumeTimer = shard.loop.schedule(after: .seconds(5), self, tag: Tag.resumedAnyway)
        }
        return true
    }

    /// `<resumed/>`, then all that the client has not acknowledged.
    func finishResuming() {
        guard let outstanding, outstanding.isResuming, let transport, !hasEnded, let resumption else { return }
        outstanding.isResuming = false
        if let timer = outstanding.resumeTimer { shard.loop.cancel(timer) }
        outstanding.resumeTimer = nil
        outstanding.management?.received.rewind()
        transport.send(StreamManagementElement.resumed(previd: resumption.id, h: resumption.h))
        for delivery in outstanding.queue { write(delivery.stanza, receipt: nil) }
        if !outstanding.queue.isEmpty {
            outstanding.management?.sent.requested()
            transport.sendRequest()
        }
        localAccount.drainToAnyone()
        resumeIfPossible()
    }
}
