import ModuleKit

/// Bulk, at the client's pace.
extension ClientSession {
    func paced(_ next: @escaping () -> Bool) {
        while !hasEnded, next() {}
    }
}
