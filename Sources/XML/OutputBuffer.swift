internal import Glibc

/// Bytes on their way out: grows at its end, is emptied as a whole. Confined to one event loop.
public final class OutputBuffer {
    struct Storage {
        var base: UnsafeMutableRawPointer
        var count: Int
        var capacity: Int
    }

    /// Behind a pointer, so that an append costs no check of exclusive access.
    let storage: UnsafeMutablePointer<Storage>

    public init(capacity: Int = 1024) {
        let capacity = max(capacity, 64)
        storage = .allocate(capacity: 1)
        let base = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
        storage.initialize(to: Storage(base: base, count: 0, capacity: capacity))
    }

    deinit {
        storage.pointee.base.deallocate()
        storage.deallocate()
    }

    public var count: Int { storage.pointee.count }
    public var isEmpty: Bool { storage.pointee.count == 0 }
    public var capacity: Int { storage.pointee.capacity }

    /// All bytes so far; the pointer is good within `body` only.
    public func withBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(UnsafeRawBufferPointer(start: storage.pointee.base, count: storage.pointee.count))
    }

    public func removeAll(keepingCapacity: Bool = true) {
        storage.pointee.count = 0
        guard !keepingCapacity, storage.pointee.capacity > 1024 else { return }
        storage.pointee.base.deallocate()
        storage.pointee.base = .allocate(byteCount: 1024, alignment: 16)
        storage.pointee.capacity = 1024
    }

    /// Forgets what was written after the buffer had that many bytes.
    public func truncate(to count: Int) {
        if count >= 0, count < storage.pointee.count { storage.pointee.count = count }
    }

    /// Makes room for that many more bytes.
    public func reserve(_ bytes: Int) {
        if storage.pointee.capacity - storage.pointee.count < bytes { grow(by: bytes) }
    }

    public func append(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        append(base, bytes.count)
    }

    public func append(_ bytes: UnsafeBufferPointer<UInt8>) {
        guard let base = bytes.baseAddress else { return }
        append(UnsafeRawPointer(base), bytes.count)
    }

    public func append(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { append($0) }
    }

    /// As it stands, nothing escaped.
    public func append(_ text: StaticString) {
        text.withUTF8Buffer { append($0) }
    }

    /// As it stands, nothing escaped.
    public func append(raw text: String) {
        var text = text
        text.withUTF8 { append($0) }
    }

    public func append(byte: UInt8) {
        put(byte)
    }

    @inline(__always)
    func put(_ byte: UInt8) {
        if storage.pointee.capacity == storage.pointee.count { grow(by: 1) }
        storage.pointee.base.storeBytes(of: byte, toByteOffset: storage.pointee.count, as: UInt8.self)
        storage.pointee.count += 1
    }

    @inline(__always)
    func append(_ bytes: UnsafeRawPointer, _ count: Int) {
        if storage.pointee.capacity - storage.pointee.count < count { grow(by: count) }
        memcpy(storage.pointee.base + storage.pointee.count, bytes, count)
        storage.pointee.count += count
    }

    @inline(never)
    private func grow(by bytes: Int) {
        let capacity = max(storage.pointee.capacity * 2, storage.pointee.count + bytes)
        let base = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
        memcpy(base, storage.pointee.base, storage.pointee.count)
        storage.pointee.base.deallocate()
        storage.pointee.base = base
        storage.pointee.capacity = capacity
    }
}

extension OutputBuffer: CustomStringConvertible {
    /// The bytes as text, for logs and tests.
    public var description: String { withBytes { String(decoding: $0, as: UTF8.self) } }
}
