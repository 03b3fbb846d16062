public import ModuleKit
internal import StorageMemory
internal import XMPPCore
internal import XMPPServer

/// One random run of a server: clients of a few accounts on several loops log in, chat, change priorities, lose their
/// connections, resume, leave and come back, while commits fail and time jumps; compared with `SimulationModel`.
///
/// The same seed is the same run, within one process; in another one only if `SWIFT_DETERMINISTIC_HASHING=1` is set,
/// because Swift seeds its hashes and the home loop of an account depends on them.
public final class Simulation {
    public struct Result: Sendable {
        public let seed: UInt64
        public let violations: [String]
        public let messages: Int
        public let deliveries: Int
        /// What happened, step by step, if it was asked for.
        public let trace: [String]
    }

    final class Actor {
        let client: TestClient
        var session: SimulatedSession
        /// As it said last; it may not have arrived.
        var priority = 0
        /// Its presence came back in this session.
        var isAnnounced = false
        init(_ client: TestClient, _ session: SimulatedSession) {
            self.client = client
            self.session = session
        }
    }

    static let accounts = ["romeo", "juliet", "mercutio"]
    let seed: UInt64
    private(set) var server: TestServer
    private let modules: [any Module.Type]
    var random: SeededGenerator
    let model: SimulationModel
    private(set) var actors: [Actor] = []
    private(set) var step = 0
    private var sessions = 0
    private var numbers = 0
    private var trace: [String]?
    /// Until then an account may have a detached session that its client knows nothing of.
    private var unknownUntil: [BareJID: Instant] = [:]

    /// The modules for several devices are there.
    private var hasDevices = false

    /// - Parameter modules: those of chat: roster, presence, messages, offline; and those for several devices or not.
    public static func run(seed: UInt64, modules: [any Module.Type], traced: Bool = false) async throws -> Result {
        var random = SeededGenerator(seed: seed)
        let server = try await start(seed, modules, &random)
        let simulation = Simulation(seed, server, modules, random, traced: traced)
        simulation.hasDevices = modules.contains { $0.info.name == "carbons" }
        if isUnsettled(seed) { simulation.changes = try await SimulatedChanges(server, modules) }
        simulation.begin()
        if isRestored(seed) { try await simulation.goBack() }
        simulation.live(for: 150 + simulation.random.below(450))
        if simulation.model.violations.isEmpty { simulation.finish() }
        simulation.server.storage.failCommits(0)
        simulation.server.storage.set(.none)
        await simulation.server.stop()
        return Result(
            seed: seed, violations: simulation.model.violations, messages: simulation.model.messages.count,
            deliveries: simulation.model.deliveries, trace: simulation.trace ?? [])
    }

    /// - Parameter memory: what an earlier one has left.
    private static func start(
        _ seed: UInt64, _ modules: [any Module.Type], _ random: inout SeededGenerator, memory: MemoryStorage? = nil
    ) async throws -> TestServer {
        let loops = 1 + random.below(3)
        return try await TestServer(
            modules, accounts: accounts, loops: loops, seed: random.next(), memory: memory
        ) { config in
            guard isNarrow(seed) else { return }
            config.streamManagement.queue = 20
            config.streamManagement.queueBytes = 8 << 10
            config.streamManagement.detachedBytes = 16 << 10
        }
    }

    /// In which a backup is put back.
    private static func isRestored(_ seed: UInt64) -> Bool { seed % 6 == 4 }

    /// A backup is made, the clients go on, and then it is put back: what happened meanwhile has not happened.
    private func goBack() async throws {
        live(for: 20 + random.below(200))
        guard model.violations.isEmpty else { return }
        note("a backup is made")
        let backup = server.memory.restored()
        live(for: random.below(100))
        guard model.violations.isEmpty else { return }
        note("the backup is put back")
        for actor in actors {
            disturb(actor)
            actor.session.wasCut = true
            if actor.client.phase != .offline { actor.client.cut() }
        }
        server.storage.failCommits(0)
        server.storage.set(.none)
        if random.oneIn(2) { await server.stop() } else { server.crash() }
        server = try await Self.start(seed, modules, &random, memory: backup)
        if changes != nil { changes = try await SimulatedChanges(server, modules) }
        // Those that a removal had taken when the backup was made.
        for account in Self.accounts { server.addAccount("\(account)@example.org") }
        for actor in actors { server.adopt(actor.client) }
        model.restored()
        unknownUntil = [:]
        traceLoops()
    }

    /// With bounds that are soon reached.
    private static func isNarrow(_ seed: UInt64) -> Bool { seed % 4 == 1 }
    private var isNarrow: Bool { Self.isNarrow(seed) }
    /// In which accounts, modules and hosts come and go.
    private static func isUnsettled(_ seed: UInt64) -> Bool { seed % 5 == 2 }
    var changes: SimulatedChanges?

    private init(
        _ seed: UInt64, _ server: TestServer, _ modules: [any Module.Type], _ random: SeededGenerator, traced: Bool
    ) {
        self.seed = seed
        self.server = server
        self.modules = modules
        self.random = random
        trace = traced ? [] : nil
        model = SimulationModel(hasFaults: seed % 3 == 0)
        traceLoops()
    }

    private func traceLoops() {
        guard trace != nil else { return }
        server.simulation.trace = { [unowned self] in trace?.append("\(step)    \($0)") }
    }

    func note(_ text: @autoclosure () -> String) {
        if trace != nil { trace?.append("\(step) \(text())") }
    }

    private func begin() {
        for account in Self.accounts {
            for resource in ["a", "b", "c"] where resource != "c" || random.oneIn(3) { makeActor(account, resource) }
        }
    }

    private func live(for steps: Int) {
        let end = step + steps
        while step < end, model.violations.isEmpty {
            step += 1
            act()
        }
    }

    private func makeActor(_ account: String, _ resource: String, collects: Bool = false) {
        var options = TestClient.Options()
        options.management = !collects && !random.oneIn(3)
        options.framing = random.oneIn(4) ? .messages : .stream
        options.priority = collects ? 100 : [-1, 0, 0, 0, 1, 5][random.below(6)]
        let client = server.client("\(account)@example.org/\(resource)", options)
        let actor = Actor(client, makeSession(client))
        actor.priority = options.priority ?? 0
        client.onStanza = { [unowned self, unowned actor] element, isGhost in
            if isGhost { return model.lostInFlight(element) }
            note(
                "  \(account)/\(resource) (\(actor.session.number)) got \(element.name) \(element[attribute: "id"] ?? "")"
            )
            noteDetached(actor.client.account)
            if element.name == "presence", element[attribute: "from"] == actor.client.address?.description {
                actor.isAnnounced = true
            }
            // What was sent to it alone passes what waits for the account, if it wants nothing of that or does not say
            // for long whether it does.
            if actor.priority < 0 || !actor.isAnnounced { disturb(actor) }
            model.received(element, by: actor.session, index: index(actor), at: step)
        }
        client.onArrived = { [unowned self] element in
            if let id = element[attribute: "id"] { model.messages[id]?.isAccepted = true }
        }
        listen(actor)
        client.onResent = { [unowned self] element, isResumed in
            note("  \(account)/\(resource) sends again \(element[attribute: "id"] ?? element.name)")
            // After a resumption the server recognises it; and what it had not read is no second one.
            guard !isResumed, let id = element[attribute: "id"], let message = model.messages[id] else { return }
            if message.isAccepted { message.isResent = true }
        }
        client.onServerEnded = { [unowned self, unowned actor] isManaged in
            disturb(actor)
            actor.session.wasCut = true
            if !isManaged { model.lastPlainEnd[actor.client.account] = step }
        }
        client.onSessionLost = { [unowned self, unowned actor] in
            note("  \(account)/\(resource) has lost its session")
            actor.session.isLost = true
            disturb(actor)
            actor.session = makeSession(actor.client)
            actor.isAnnounced = false
            listen(actor)
        }
        actors.append(actor)
    }

    private func index(_ actor: Actor) -> UInt32 {
        if actor.session.hasSaidGoodbye { return .max }
        guard actor.session.isManaged else { return 0 }
        return actor.client.isManaged ? actor.client.handled : .max
    }

    private func end(_ actor: Actor) {
        disturb(actor)
        actor.session.hasSaidGoodbye = true
        actor.client.end()
    }

    private func listen(_ actor: Actor) {
        let session = actor.session
        actor.client.onAcknowledged = { h in session.acknowledged = max(session.acknowledged, h) }
    }

    private func makeSession(_ client: TestClient) -> SimulatedSession {
        sessions += 1
        return SimulatedSession(sessions, of: client.account, isManaged: client.options.management, at: step)
    }

    /// A detached session may end at any moment, without its client.
    private func noteDetached(_ account: BareJID) {
        if let deadline = unknownUntil[account], server.simulation.clock.now < deadline {
            model.lastDisturbance[account] = step
        }
        for other in actors where other.client.account == account {
            if other.session.isManaged, other.client.phase != .ready, other.client.resumeID != nil { disturb(other) }
        }
    }

    func disturb(_ actor: Actor) {
        model.lastDisturbance[actor.client.account] = step
    }

    // MARK: One step

    private func act() {
        let actor = actors[random.below(actors.count)]
        let name = "\(actor.client.account.local)/\(actor.client.resource)"
        switch random.below(hasDevices ? 106 : 100) {
        case 0..<55: for _ in 0...random.below(12) { move() }
        case 55..<75: send(actor, name)
        case 75..<84:
            guard actor.client.phase == .offline || random.oneIn(20) else { return move() }
            note("\(name) connects")
            if actor.client.phase != .offline { cutOff(actor) }
            logIn(actor)
        case 84..<88:
            guard actor.client.phase != .offline else { return move() }
            cutOff(actor)
            let lost = random.below(actor.client.piecesInFlight + 1)
            note("\(name) is cut off, \(lost) pieces are lost")
            actor.client.cut(losing: random.oneIn(2) ? 0 : lost)
        case 88:
            guard actor.client.phase == .ready else { return move() }
            note("\(name) ends")
            end(actor)
        case 89, 90:
            guard actor.client.phase == .ready else { return move() }
            let priority = random.below(5) - 1
            note("\(name) has priority \(priority)")
            actor.priority = min(actor.priority, priority)
            actor.client.sendPresence(priority)
        case 91: actor.client.answersRequests.toggle()
        case 92: actor.client.acknowledge()
        case 93: actor.client.requestAcknowledgement()
        case 94: actor.client.isReading.toggle()
        case 95: breakStorage()
        case 96: if changes != nil { change() } else { breakStorage() }
        case 100...: sayOfDevice(actor, name)
        default: pass([50, 300, 2500, 6000, 6000, 30_000, 700_000][random.below(7)])
        }
    }

    private func cutOff(_ actor: Actor) {
        disturb(actor)
        actor.session.wasCut = true
        let client = actor.client
        // It may have a session that can be resumed and not know it yet.
        if client.options.management, client.resumeID == nil {
            unknownUntil[client.account] = server.simulation.clock.now.advanced(by: .seconds(1000))
        }
    }

    private func logIn(_ actor: Actor) {
        actor.client.logIn()
        if actor.client.resumeID == nil { actor.session.beganAt = step }
    }

    func move() {
        if !server.simulation.step(&server.generator) { pass(1 + Int64(random.below(700))) }
    }

    private func pass(_ milliseconds: Int64) {
        note("\(milliseconds) ms pass")
        server.simulation.advance(by: .milliseconds(milliseconds))
    }

    private func send(_ actor: Actor, _ name: String) {
        guard actor.client.phase == .ready else { return move() }
        for _ in 0...random.below(4) {
            let other = actors[random.below(actors.count)].client
            guard other.account != actor.client.account else { continue }
            let to = random.oneIn(3) ? "\(other.account)/\(other.resource)" : "\(other.account)"
            numbers += 1
            if random.oneIn(4) { sendAside(actor, to: "\(other.account)/\(other.resource)") }
            let id = "m\(numbers)"
            model.sent(
                SimulatedMessage(id, number: numbers, from: actor.session, to: to, recipient: other.account, at: step))
            note("\(name) sends \(id) to \(to)")
            actor.client.send("<message to='\(to)' id='\(id)' type='chat'><body>\(id)</body></message>")
        }
    }

    /// What nobody is owed the keeping of.
    private func sendAside(_ actor: Actor, to: String) {
        let stanzas = [
            "<iq type='result' to='\(to)' id='x\(numbers)'/>",
            "<iq type='get' to='\(to)' id='x\(numbers)'><q xmlns='urn:example'/></iq>",
            "<message to='\(to)' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
            "<message to='\(to)' type='headline'><body>news</body></message>", "<presence to='\(to)'/>",
            "<message to='\(to)' type='chat'><body>x</body><no-store xmlns='urn:xmpp:hints'/></message>",
            "<message to='\(to)' id='y\(numbers)'><received xmlns='urn:xmpp:receipts' id='z'/></message>",
        ]
        actor.client.send(stanzas[random.below(stanzas.count)])
    }

    private func breakStorage() {
        guard model.hasFaults else { return move() }
        switch random.below(4) {
        case 0: server.storage.set(.stalled)
        case 1: server.storage.failCommits(1 + random.below(3))
        case 2: server.storage.set(.failing)
        default: server.storage.set(.none)
        }
        note("the storage changes")
    }

    // MARK: The end

    /// Everybody comes to rest; then a last session of each account takes what waits.
    private func finish() {
        note("the end begins")
        server.storage.failCommits(0)
        server.storage.set(.none)
        if changes != nil { endChanges() }
        for actor in actors {
            actor.client.isReading = true
            if actor.client.phase == .offline, random.oneIn(2) { logIn(actor) }
        }
        server.advance(by: .seconds(30))
        // Whatever their peers do, senders know by now.
        for actor in actors { actor.client.requestAcknowledgement() }
        server.advance(by: .seconds(5))
        for actor in actors where actor.client.phase == .ready && actor.client.isManaged {
            let waiting = actor.client.unacknowledged.count
            if waiting > 0 { model.violate("\(waiting) stanzas of \(actor.client.account) are not acknowledged") }
        }
        for actor in actors where actor.client.phase != .offline {
            end(actor)
        }
        server.advance(by: .seconds(700))
        let collectors = actors.count
        for account in Self.accounts { makeActor(account, "collector", collects: true) }
        for actor in actors[collectors...] { logIn(actor) }
        server.advance(by: .seconds(30))
        // What a client was not told to be safe it would send again if it came back.
        for actor in actors { model.stillKept(by: actor.client) }
        model.checkLosses()
        if modules.contains(where: { $0.info.name == "mam" }) { checkArchives() }
        for account in server.server.accountDescriptions { note(account) }
        for actor in actors {
            var allowed: Set<String> = ["conflict", "connection-timeout"]
            if isNarrow { allowed.insert("resource-constraint") }
            if changes != nil { allowed.formUnion(SimulatedChanges.errors) }
            for error in actor.client.errors {
                let conditions = error.elements + error.elements.flatMap(\.elements)
                guard !conditions.contains(where: { allowed.contains($0.name) }) else { continue }
                model.violate("\(actor.client.account.local)/\(actor.client.resource) was told \(error)")
            }
        }
    }
}
