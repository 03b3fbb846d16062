internal import ModuleKit

/// One account's private elements. Sets of one account are made one after the other, so that two of them cannot pass
/// the limits together.
final class PrivateStore {
    static let store: StoreName = "private"

    struct Limits: Hashable, Sendable {
        var elements: Int
        var element: Int
        var bytes: Int
    }

    /// Sets that wait for the one under way. All together they have at most the bytes that may be kept.
    private var waiting: [(work: () -> Void, bytes: Int)] = []
    private var waitingBytes = 0
    private var isBusy = false

    static func of(_ account: any Account) -> PrivateStore {
        account.state.obtain(PrivateStore.self) { PrivateStore() }
    }

    /// Bytes of the longest key.
    private static let longestKey = 2048

    /// `{namespace}name`: no name holds a brace, so no two elements share a key.
    static func key(_ element: Element) -> String { "{\(element.namespace)}\(element.name)" }

    // MARK: Get

    /// What was never kept comes back as it was asked for, empty (XEP-0049 §2.3).
    static func get(_ wanted: [Element], of account: any Account, _ responder: IQResponder) {
        // Of an account that is not stored nothing is kept.
        guard let owner = account.owner else { return responder.answer(answer(wanted, [])) }
        account.kernel.storage.read([owner]) { snapshot throws(StorageError) in
            var found: [[UInt8]?] = []
            for element in wanted { found.append(try snapshot.value(store, owner, key: key(element))) }
            return found
        } then: { result in
            switch result {
            case .success(let found): responder.answer(answer(wanted, found))
            case .failure: responder.answer(.failure(.resourceConstraint))
            }
        }
    }

    /// An element that cannot be read is an error: a client that took it for none would write over it.
    private static func answer(_ wanted: [Element], _ found: [[UInt8]?]) -> Result<Element?, StanzaError> {
        var query = Element("query", .privateStorage)
        for (index, element) in wanted.enumerated() {
            guard index < found.count, let bytes = found[index] else {
                query.append(Element(name: element.name, namespace: element.namespace))
                continue
            }
            guard let stored = read(bytes) else { return .failure(.internalServerError) }
            query.append(stored)
        }
        return .success(query)
    }

    private static func read(_ bytes: [UInt8]) -> Element? {
        (try? XMLTree(parsing: String(decoding: bytes, as: UTF8.self)))?.root.element
    }

    // MARK: Set

    /// - Parameter bytes: the cost of the request while it waits.
    func set(
        _ elements: [Element], bytes: Int, _ limits: Limits, _ account: any Account, _ responder: IQResponder
    ) {
        let work: () -> Void = { [self] in change(elements, limits, account, responder) }
        guard isBusy else {
            isBusy = true
            return work()
        }
        guard waitingBytes + bytes <= limits.bytes else { return responder.answer(.failure(.resourceConstraint)) }
        waiting.append((work, bytes))
        waitingBytes += bytes
    }

    private func next() {
        guard !waiting.isEmpty else {
            isBusy = false
            return
        }
        let (work, bytes) = waiting.removeFirst()
        waitingBytes -= bytes
        work()
    }

    private func change(_ elements: [Element], _ limits: Limits, _ account: any Account, _ responder: IQResponder) {
        guard let owner = account.owner else {
            responder.answer(.failure(.itemNotFound))
            return next()
        }
        // The account is kept with its store until both are done.
        let (kernel, home, held) = (account.kernel, account.kernel.home, Confined((self, account)))
        kernel.storage.read([owner]) { snapshot throws(StorageError) in
            try snapshot.entries(Self.store, owner).map { (key: $0.key, count: $0.value.count) }
        } then: { result in
            home.perform { kernel in
                let (store, _) = held.value
                guard case .success(let entries) = result else {
                    responder.answer(.failure(.resourceConstraint))
                    return store.next()
                }
                let mutations: [Mutation]
                do throws(StanzaError) {
                    mutations = try Self.mutations(elements, over: entries, limits, owner)
                } catch {
                    responder.answer(.failure(error))
                    return store.next()
                }
                kernel.storage.submit(mutations) { result in
                    // RFC 6120 §8.2.3: the result says that it is kept.
                    responder.answer(result.map { _ in nil }.mapError { _ in .resourceConstraint })
                    home.perform { _ in held.value.0.next() }
                }
            }
        }
    }

    /// All of them or none. An element that says nothing takes the kept one away, which is the same to who gets it.
    private static func mutations(
        _ elements: [Element], over entries: [(key: String, count: Int)], _ limits: Limits, _ owner: OwnerID
    ) throws(StanzaError) -> [Mutation] {
        var sizes = Dictionary(entries.map { ($0.key, $0.count) }) { first, _ in first }
        var mutations: [Mutation] = []
        for element in elements {
            let key = key(element)
            guard key.utf8.count <= longestKey else { throw .notAcceptable.saying("the names are too long") }
            if element.children.isEmpty, element.attributes.isEmpty {
                sizes[key] = nil
                mutations.append(.delete(store, owner, key: key))
                continue
            }
            let value = Array(element.description.utf8)
            guard value.count <= limits.element else { throw .policyViolation.saying("the element is too large") }
            sizes[key] = value.count
            mutations.append(.put(store, owner, key: key, value: value))
        }
        // What makes it smaller is always allowed, even after the limits were lowered.
        let (before, after) = (entries.reduce(0) { $0 + $1.count }, sizes.values.reduce(0, +))
        guard sizes.count <= limits.elements || sizes.count <= entries.count,
            after <= limits.bytes || after <= before
        else { throw .resourceConstraint.saying("too much is kept") }
        return mutations
    }
}
