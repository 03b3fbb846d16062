import ModuleKit
import XMPPStream

/// Requests of the server that wait for their client's answer.
struct ServerRequests {
    struct Request {
        let answer: (Stanza?) -> Void
        let timer: TimerToken
    }

    static let most = 100
    private var waiting: [String: (number: Int, request: Request)] = [:]
    private var ids: [Int: String] = [:]
    private var last = 0

    var isFull: Bool { waiting.count >= Self.most }
    var isEmpty: Bool { waiting.isEmpty }

    mutating func makeNumber() -> Int {
        last += 1
        return last
    }

    mutating func add(_ number: Int, id: String, _ request: Request) {
        waiting[id] = (number, request)
        ids[number] = id
    }

    mutating func remove(id: String) -> Request? {
        guard let (number, request) = waiting.removeValue(forKey: id) else { return nil }
        ids[number] = nil
        return request
    }

    mutating func remove(number: Int) -> Request? {
        ids[number].flatMap { remove(id: $0) }
    }

    mutating func removeAll() -> [Request] {
        defer { (waiting, ids) = ([:], [:]) }
        return waiting.values.map(\.request)
    }
}

extension ClientSession {
    func request(_ payload: Element, within limit: Duration, then answer: @escaping (Stanza?) -> Void) {
        guard !hasEnded, !requests.isFull else { return answer(nil) }
        let number = requests.makeNumber()
        let id = "m\(ref.id)-\(number)"
        let timer = shard.loop.schedule(after: limit, self, tag: number)
        requests.add(number, id: id, ServerRequests.Request(answer: answer, timer: timer))
        send(payload, type: "get", id: id)
    }

    /// The answer, if one comes, is dropped like every other to no request.
    func push(_ payload: Element) {
        send(payload, type: "set", id: "m\(ref.id)-\(requests.makeNumber())")
    }

    private func send(_ payload: Element, type: String, id: String) {
        var iq = Element("iq", .client)
        iq[attribute: "type"] = type
        iq[attribute: "id"] = id
        iq.append(payload)
        send(Envelope(Stanza(iq).with(from: JID(address.bare), to: address)))
    }

    /// Whether the stanza answers a request of ours.
    func isAnswer(_ stanza: Stanza) -> Bool {
        if let to = stanza.to, to.bare != address.bare, to.bare.description != address.domain { return false }
        guard !requests.isEmpty, let id = stanza.id, let request = requests.remove(id: id) else { return false }
        shard.loop.cancel(request.timer)
        request.answer(stanza)
        return true
    }
}
