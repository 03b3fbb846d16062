public import ModuleKit

/// What every storage must do, as checks that any test suite can run: the same ones for every backend, also through
/// wrappers.
///
///     @Test(arguments: StorageContract.checks)
///     func `the storage in memory keeps the contract`(_ check: StorageCheck) async throws {
///         try await check.run(.memory)
///     }
public enum StorageContract {
    public static let checks: [StorageCheck] =
        journalChecks + mapChecks + spoolChecks + archiveChecks + accountChecks + nameChecks + modelChecks
}

/// One rule of the contract and how it is checked.
public struct StorageCheck: Sendable, CustomStringConvertible {
    /// The rule, as a sentence.
    public let description: String
    private let body: @Sendable (StorageSubject) async throws -> Void

    init(_ description: String, _ body: @escaping @Sendable (StorageSubject) async throws -> Void) {
        self.description = description
        self.body = body
    }

    /// Runs the check on an empty storage of its own.
    ///
    /// - Throws: `ContractViolation`, or what the storage threw.
    public func run(_ factory: StorageFactory) async throws {
        let subject = try await factory.make()
        do {
            try await body(subject)
        } catch {
            subject.release()
            await subject.storage.close()
            throw error
        }
        await subject.storage.close()
    }
}

/// How a test suite makes the storages to be checked.
public struct StorageFactory: Sendable {
    /// The marks that the storages must be made with.
    public static let marks: StorageMarks = {
        var marks = StorageMarks()
        (marks.pressedRows, marks.mostRows, marks.mostReads) = (100, 3000, 1000)
        return marks
    }()

    public let make: @Sendable () async throws -> StorageSubject

    /// - Parameter make: Gives an empty storage, whose marks are `marks`.
    public init(make: @escaping @Sendable () async throws -> StorageSubject) {
        self.make = make
    }
}

/// A storage under test, and what the checks need beside it. Used by one check, in one task.
public final class StorageSubject: @unchecked Sendable {
    // Confined to the task of its check.
    public private(set) var storage: any StorageBackend
    private let opener: @Sendable () async throws -> any StorageBackend
    private let stopper: (@Sendable () -> Void)?
    private let releaser: @Sendable () -> Void

    /// - Parameters:
    ///   - reopen: Opens what the closed storage held.
    ///   - stall: From now on nothing is committed; nil: it cannot be done, and what needs it is not checked.
    ///   - release: Ends that.
    public init(
        _ storage: any StorageBackend, reopen: @escaping @Sendable () async throws -> any StorageBackend,
        stall: (@Sendable () -> Void)? = nil, release: @escaping @Sendable () -> Void = {}
    ) {
        self.storage = storage
        opener = reopen
        stopper = stall
        releaser = release
    }

    /// Closes the storage and opens it again.
    func reopen() async throws {
        await storage.close()
        storage = try await opener()
    }

    /// Opens what the closed storage held, for a wrapper around it.
    public func open() async throws -> any StorageBackend {
        try await opener()
    }

    var canStall: Bool { stopper != nil }
    func stall() { stopper?() }
    func release() { releaser() }
}

/// A storage did not do what the contract says.
public struct ContractViolation: Error, CustomStringConvertible {
    public let description: String
}

extension StorageContract {
    /// - Throws: `ContractViolation` unless the condition holds.
    static func expect(_ condition: Bool, _ text: @autoclosure () -> String, line: Int = #line) throws {
        guard condition else { throw ContractViolation(description: "\(text()) (line \(line))") }
    }

    /// - Throws: `ContractViolation` unless both are equal.
    static func expect<Value: Equatable>(
        _ found: Value, equals expected: Value, _ text: @autoclosure () -> String = "", line: Int = #line
    ) throws {
        try expect(found == expected, "\(text()) expected \(expected), found \(found)", line: line)
    }
}

extension StorageBackend {
    /// Submits without waiting; what came of it is asked later.
    func begin(_ batch: [Mutation]) -> StorageContract.Pending<[MutationOutcome]> {
        let pending = StorageContract.Pending<[MutationOutcome]>()
        submit(batch) { pending.fulfil($0) }
        return pending
    }

    /// Reads without waiting; what came of it is asked later.
    func beginRead<Value: Sendable>(
        _ owners: [OwnerID], _ body: @escaping @Sendable (any StorageSnapshot) throws(StorageError) -> Value
    ) -> StorageContract.Pending<Value> {
        let pending = StorageContract.Pending<Value>()
        read(owners, body) { pending.fulfil($0) }
        return pending
    }

    /// Makes an account and gives its number.
    func makeAccount(_ local: String, at host: String = "example.org") async throws -> OwnerID {
        let outcomes = try await submit(
            [.createAccount(host: host, local: local, created: Timestamp(milliseconds: 0), credentials: [])])
        guard case .owner(let owner) = outcomes.first else {
            throw ContractViolation(description: "createAccount yielded \(outcomes)")
        }
        return owner
    }
}
