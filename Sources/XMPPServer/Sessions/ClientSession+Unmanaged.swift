extension ClientSession {
    /// The connection is lost. What was sent on it before stream management began, and the kernel has not taken, is in
    /// no count of the client's, so no resumption brings it again: it goes the way of what a dead session leaves.
    func settleUnmanaged() {
        guard let outstanding, outstanding.unmanaged != nil else { return }
        settle(outstanding.removeUnmanaged())
    }
}
