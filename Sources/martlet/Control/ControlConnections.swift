import Logging
import ModuleKit
import NIOCore

/// The open connections of the control socket, and who of them has to wait or give way. Confined to the socket's loop.
final class ControlConnections {
    let limits: ControlServer.Limits
    let log: Logger
    let dispatch: ControlServer.Dispatch

    private var open: [ObjectIdentifier: ControlHandler] = [:]
    private var commands = 0
    private var requestBytes = 0
    /// Those with a long answer that have their turn, and those that wait for it, in order.
    private var bulky: [ObjectIdentifier: ControlHandler] = [:]
    private var waiting: [ControlHandler] = []

    /// Commands whose answer is large and not made in pieces.
    private static let bulkyCommands: Set<String> = ["sessions", "account import"]

    init(_ limits: ControlServer.Limits, log: Logger, _ dispatch: @escaping ControlServer.Dispatch) {
        self.limits = limits
        self.log = log
        self.dispatch = dispatch
    }

    // MARK: Connections

    /// Takes a connection in. If there are too many, one that waits for its other end goes; if all are being served,
    /// the one that has been for longest.
    func enter(_ handler: ControlHandler) {
        if open.count >= limits.connections {
            let others = open.values
            let victim = others.filter(\.isPeersTurn).min { $0.since < $1.since } ?? others.min { $0.since < $1.since }
            victim?.giveWay("too many connections")
        }
        open[ObjectIdentifier(handler)] = handler
    }

    /// Harmless if called again.
    func leave(_ handler: ControlHandler) {
        open[ObjectIdentifier(handler)] = nil
        waiting.removeAll { $0 === handler }
    }

    // MARK: Requests

    /// Makes room for so many more bytes of a request, if need be at the cost of requests that came to a halt.
    ///
    /// - Returns: Whether there is room.
    func collect(_ count: Int, for handler: ControlHandler) -> Bool {
        while requestBytes + count > limits.requestBytes {
            let others = open.values.filter { $0 !== handler && $0.isCollecting && $0.requestBytes > 0 }
            guard let victim = others.min(by: { $0.since < $1.since }) else { return false }
            victim.giveWay("too much is being asked")
        }
        requestBytes += count
        return true
    }

    func release(_ count: Int) {
        requestBytes -= count
    }

    /// Whether one more command may run now. If so, `end` is to be called when it has ended.
    func begin(_ request: ControlRequest) -> Bool {
        // A server with too much to do can still be stopped.
        guard commands < limits.commands || request.command == "stop" else { return false }
        commands += 1
        return true
    }

    func end() {
        commands -= 1
    }

    /// Whether the command may run now. If not, `takeTurn` is called later.
    func mayBegin(_ request: ControlRequest, _ handler: ControlHandler) -> Bool {
        guard Self.bulkyCommands.contains(request.command) else { return true }
        guard bulky.count >= limits.bulky else {
            bulky[ObjectIdentifier(handler)] = handler
            return true
        }
        waiting.append(handler)
        for other in bulky.values { other.hurry() }
        return false
    }

    /// Gives the turn of a connection to the next one. Harmless if it has none.
    func endTurn(_ handler: ControlHandler) {
        guard bulky.removeValue(forKey: ObjectIdentifier(handler)) != nil, !waiting.isEmpty else { return }
        let next = waiting.removeFirst()
        bulky[ObjectIdentifier(next)] = next
        next.takeTurn()
    }

    /// How long a connection may take for a piece of its answer.
    func readTimeout(_ handler: ControlHandler) -> TimeAmount {
        let isAwaited = !waiting.isEmpty && bulky[ObjectIdentifier(handler)] != nil
        return isAwaited ? limits.hurriedReadTimeout : limits.readTimeout
    }
}
