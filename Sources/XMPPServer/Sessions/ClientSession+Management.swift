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
        switch outstanding?.management?.received(element, behind: intake.held.count) ?? .unknown {
        case .answer(let h):
            transport?.sendAnswer(h: h)
            if let transport { checkUnread(transport) }
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
        let settings = shard.settings.streamManagement
        outstanding.enable(StreamManagement(openLimit: settings.queue))
        if resume, settings.resume > .zero {
            outstanding.resumeID = ResumeID.make(for: localAccount)
            let seconds = min(settings.resume.components.seconds, most.map(Int64.init) ?? .max)
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
        leaveConnection(outstanding)
        outstanding.resumeTimer = shard.loop.schedule(after: outstanding.resumeTime, self, tag: Tag.resumeEnds)
        spillDue()
        shard.detached.add(self)
    }

    /// What belonged to the connection that is gone.
    private func leaveConnection(_ outstanding: Outstanding) {
        // A resumption brings it, to a client that is not known to want to be left alone (XEP-0352 §5.2).
        holdBack(nil)
        localAccount.existingSpool?.stopDraining(self)
        outstanding.management?.detached()
        settleUnmanaged()
        dropHeld()
        outstanding.isResuming = false
        if let timer = outstanding.resumeTimer { shard.loop.cancel(timer) }
        outstanding.resumeTimer = nil
    }

    /// Why the session cannot be resumed with this `h`; nil: it can.
    func refusal(ofResumeAt h: UInt32) -> StreamError? {
        outstanding?.management?.check(resumeAt: h)
    }

    /// The client is back on another connection, with an `h` that is possible.
    func resume(over newTransport: any StreamTransport, h: UInt32) {
        guard let outstanding else { return }
        if let old = transport {
            // Half-dead, or a second resume at the same time: the newest connection has the session.
            transport = nil
            old.handler = nil
            old.close(.conflict.saying("resumed on another connection"))
        }
        leaveConnection(outstanding)
        shard.detached.remove(self)
        transport = newTransport
        shard.counts.resumed += 1
        if case .acked(let count) = outstanding.management?.resume(h: h) { arrived(count) }
        outstanding.isResuming = true
        if outstanding.management?.received.openCount == 0 {
            finishResuming()
        } else {
            // What is still on its way to the disk would be sent twice by the client: wait, but not for long.
            outstanding.resumeTimer = shard.loop.schedule(after: .seconds(5), self, tag: Tag.resumedAnyway)
        }
    }

    /// `<resumed/>`, then all that the client has not acknowledged, at its pace.
    func finishResuming() {
        guard let outstanding, outstanding.isResuming, let transport, !hasEnded, let id = outstanding.resumeID,
            let h = outstanding.management?.resumed()
        else { return }
        outstanding.isResuming = false
        if let timer = outstanding.resumeTimer { shard.loop.cancel(timer) }
        outstanding.resumeTimer = nil
        transport.send(StreamManagementElement.resumed(previd: id, h: h))
        outstanding.beginAgain()
        writeOn()
        pace()
        localAccount.drainToAnyone()
        goOn()
    }
}
