import ModuleKit
public import XMPPStream

/// The keys of one password for one hash, as they stand in an account's row: whose device has that password, and how
/// many passwords there were before.
public struct Credential: Hashable, Sendable {
    /// Empty: the account's own password.
    public var device: String
    /// Rises with each change of the password: what an older one gave, nothing new believes.
    public var generation: UInt32
    public var keys: ScramCredential

    public init(device: String = "", generation: UInt32 = 0, keys: ScramCredential) {
        self.device = device
        self.generation = generation
        self.keys = keys
    }

    /// Bytes of the longest name of a device.
    public static let longestDevice = 256
    /// More of one account are not looked at.
    public static let most = 64

    /// `1 GENERATION DEVICE KEYS`: the device in Base64 with `=` for none, the keys as `ScramCredential.text`.
    public var stored: [UInt8] {
        let name = device.isEmpty ? "=" : Base64.encode(Array(device.utf8))
        return Array("1 \(generation) \(name) \(keys.text)".utf8)
    }

    /// Nil: written by a later version, or damaged. What stands there without a device and a generation is from before
    /// there were any.
    public init?(stored: [UInt8]) {
        let fields = stored.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        if fields.count == 1, let keys = ScramCredential(utf8: fields[0]) {
            self.init(keys: keys)
            return
        }
        guard fields.count == 4, fields[0].elementsEqual([UInt8(ascii: "1")]),
            let generation = UInt32(String(decoding: fields[1], as: UTF8.self)),
            let keys = ScramCredential(utf8: fields[3])
        else { return nil }
        var device = ""
        if !fields[2].elementsEqual([UInt8(ascii: "=")]) {
            guard let bytes = Base64.decode(fields[2]), (1...Self.longestDevice).contains(bytes.count),
                let name = String(validating: bytes, as: UTF8.self)
            else { return nil }
            device = name
        }
        self.init(device: device, generation: generation, keys: keys)
    }
}

/// All credentials of an account.
public struct CredentialList: Hashable, Sendable {
    public private(set) var credentials: [Credential]

    public init(_ credentials: [Credential] = []) {
        self.credentials = credentials
    }

    /// Of an account's row. What cannot be read counts for nothing.
    public init(stored: [[UInt8]]) {
        credentials = stored.prefix(Credential.most).compactMap { Credential(stored: $0) }
    }

    public var stored: [[UInt8]] { credentials.map(\.stored) }

    /// As an account of the usual kind has them, and good for no password.
    static let nobody: [[UInt8]] = HashFunction.allCases.map { hash in
        let zeros = [UInt8](repeating: 0, count: hash.length)
        let keys = ScramCredential(
            hash: hash, iterations: 10_000, salt: Array(zeros.prefix(16)), storedKey: zeros, serverKey: zeros)
        return Credential(keys: keys).stored
    }

    /// Of the last password; 0 when there is none.
    public var generation: UInt32 { credentials.map(\.generation).max() ?? 0 }

    /// The keys for the first of these hashes that there are any for; the account's own password before those of
    /// devices.
    public func keys(_ hashes: [HashFunction]) -> [ScramCredential] {
        for hash in hashes {
            let found = credentials.filter { $0.keys.hash == hash }
            guard !found.isEmpty else { continue }
            return found.filter(\.device.isEmpty).map(\.keys) + found.filter { !$0.device.isEmpty }.map(\.keys)
        }
        return []
    }

    /// Those of these hashes that the account's own password has no keys for; nothing where there is no such password.
    public func missing(_ hashes: [HashFunction]) -> [HashFunction] {
        let own = credentials.filter(\.device.isEmpty)
        return own.isEmpty ? [] : hashes.filter { hash in !own.contains { $0.keys.hash == hash } }
    }

    /// Another password: of the next generation, and everything before it is gone, that of devices as well.
    public func replaced(by keys: [ScramCredential]) -> CredentialList {
        let next = credentials.isEmpty ? 0 : generation == .max ? .max : generation + 1
        return CredentialList(keys.map { Credential(generation: next, keys: $0) })
    }

    /// Further keys of the same password.
    public func adding(_ keys: [ScramCredential]) -> CredentialList {
        CredentialList(credentials + keys.map { Credential(generation: generation, keys: $0) })
    }
}

/// Which account a client has shown to be, and by which of its passwords. An account that was removed and made again is
/// another one.
struct CredentialStamp: Hashable, Sendable {
    let owner: OwnerID
    let generation: UInt32

    init(owner: OwnerID, generation: UInt32) {
        self.owner = owner
        self.generation = generation
    }

    init(_ record: AccountRecord) {
        self.init(owner: record.owner, generation: CredentialList(stored: record.credentials).generation)
    }

    /// Whether it still opens an account whose last password is that of `current`. A newer one than the account's loop
    /// has heard of does.
    func isValid(for current: CredentialStamp) -> Bool {
        owner == current.owner && generation >= current.generation
    }
}

/// An account that a client with its password can log in to, and one that takes the strongest mechanism cannot: it has
/// no keys for some hash that is offered, being older than that or imported. When somebody brings the password itself
/// there is the chance to make them.
struct IncompleteCredentials: Sendable {
    private let owner: OwnerID
    private let stored: [[UInt8]]
    private let list: CredentialList
    private let missing: [HashFunction]
    private let iterations: Int

    /// Nil: nothing is missing, or it is not known whose password it would be.
    init?(_ record: AccountRecord, _ list: CredentialList, _ auth: AuthConfig) {
        let missing = list.missing(auth.hashes)
        // The password of a device is not the account's.
        guard !missing.isEmpty, list.credentials.allSatisfy(\.device.isEmpty) else { return nil }
        (owner, stored) = (record.owner, record.credentials)
        (self.list, self.missing, iterations) = (list, missing, auth.iterations)
    }

    /// Makes the keys of the password that was just found to be right. Slow on purpose: not for an event loop. If the
    /// password was changed meanwhile, nothing happens.
    func complete(by check: PasswordCheck, in storage: any StorageBackend) {
        let completed = list.adding(check.derive(missing, iterations: iterations))
        storage.submit([.replaceCredentials(owner, stored, with: completed.stored)]) { _ in }
    }
}
