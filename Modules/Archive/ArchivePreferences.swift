internal import ModuleKit

/// Whose messages an account wants in its archive (XEP-0441).
struct ArchivePreferences: Hashable, Sendable {
    /// What holds for addresses in neither list (XEP-0441 §2.1.1).
    enum Habit: String, CaseIterable, Sendable {
        case always, roster, never
    }

    /// Most addresses of one list.
    static let most = 500
    private static let store: StoreName = "archive-preferences"
    private static let key = "preferences"

    var habit: Habit
    var always: Set<JID> = []
    var never: Set<JID> = []

    init(_ habit: Habit) {
        self.habit = habit
    }

    var byteCount: Int {
        (always.count + never.count) * 64 + (always.union(never)).reduce(0) { $0 + $1.description.utf8.count }
    }

    /// XEP-0441 §2.3: an address without a resource stands for all of its resources. What is in both lists is not
    /// archived.
    func wants(_ peer: JID, isContact: () -> Bool) -> Bool {
        let bare = JID(peer.bare)
        if never.contains(peer) || never.contains(bare) { return false }
        if always.contains(peer) || always.contains(bare) { return true }
        switch habit {
        case .always: return true
        case .never: return false
        case .roster: return isContact()
        }
    }

    // MARK: On the wire

    /// - Throws: `bad-request` for an unknown habit, `jid-malformed` for an address that is none, `resource-constraint`
    ///   for too many of them.
    init(_ element: ElementView) throws(StanzaError) {
        guard let habit = element.attribute("default").flatMap(Habit.init(rawValue:)) else {
            throw .badRequest.saying("default is always, roster or never")
        }
        self.init(habit)
        always = try Self.addresses("always", element)
        never = try Self.addresses("never", element)
    }

    private static func addresses(_ name: StaticString, _ element: ElementView) throws(StanzaError) -> Set<JID> {
        var found: Set<JID> = []
        guard let list = element.first(name, .archive) else { return found }
        for child in list.children where child.isNamed("jid", .archive) {
            guard let address = JID(child.text) else { throw .jidMalformed }
            found.insert(address)
            guard found.count <= most else { throw .resourceConstraint.saying("more than \(most) addresses") }
        }
        return found
    }

    var element: Element {
        Element(
            "prefs", .archive, ["default": habit.rawValue], Self.list("always", always), Self.list("never", never))
    }

    private static func list(_ name: String, _ addresses: Set<JID>) -> Element {
        var list = Element(name, .archive)
        for address in addresses.map(\.description).sorted() {
            var item = Element("jid", .archive)
            item.appendText(address)
            list.append(item)
        }
        return list
    }

    // MARK: In the store

    /// Nil: nothing is kept, or nothing that can be read.
    static func load(_ owner: OwnerID, _ snapshot: any StorageSnapshot) throws(StorageError) -> ArchivePreferences? {
        guard let bytes = try snapshot.value(store, owner, key: key),
            let tree = try? XMLTree(parsing: String(decoding: bytes, as: UTF8.self))
        else { return nil }
        return try? ArchivePreferences(tree.root)
    }

    func stored(for owner: OwnerID) -> Mutation {
        let output = OutputBuffer(capacity: 256)
        XMLWriter(output).write(element)
        return .put(Self.store, owner, key: Self.key, value: output.withBytes { Array($0) })
    }
}

/// Clients read and change them.
struct PreferenceRequests {
    let habit: ArchivePreferences.Habit

    func install(on host: inout HostBuilder) {
        host.iqForAnybody(.get, .archive, "prefs") { request, responder throws(StanzaError) in
            let (_, _, archive) = try AccountArchive.of(request)
            responder.answer(.success((archive.preferences ?? ArchivePreferences(habit)).element))
        }
        host.iqForAnybody(.set, .archive, "prefs") { request, responder throws(StanzaError) in
            try set(request, responder)
        }
    }

    /// They hold as soon as they are on disk.
    private func set(_ request: IQRequest, _ responder: IQResponder) throws(StanzaError) {
        let (account, owner, archive) = try AccountArchive.of(request)
        let preferences = try ArchivePreferences(request.payload)
        account.kernel.submit(
            [preferences.stored(for: owner)], bytes: preferences.byteCount, chargedTo: account.address
        ) { result in
            guard case .success = result else { return responder.answer(.failure(.resourceConstraint)) }
            archive.preferences = preferences
            responder.answer(.success(preferences.element))
        }
    }
}
