import FuzzSupport
import StreamFraming
import XMPPCore

/// The client's ear: all that the server says is a stream.
final class Reader {
    private let framing: any Framing
    private let isMessageBased: Bool
    private var isOpen = false

    init(_ setting: Setting) {
        framing = setting.framing(ParserPool(), limits: .stored)
        isMessageBased = setting.isMessageBased
    }

    /// Whether a header of the server has come, or is about to.
    func isOpen(behind output: OutputBuffer) -> Bool { isOpen || output.description.contains(" id='SERVER'") }

    func restart() {
        framing.restart()
        isOpen = false
    }

    func read(_ output: OutputBuffer, isOver: Bool) {
        // Messages have no ends in a buffer; each would be one of its own.
        guard !isMessageBased else { return }
        output.withBytes { bytes in
            framing.feed(bytes) { event in
                switch event {
                case .opened: isOpen = true
                case .element: check(isOpen, "a header comes first")
                case .closed: check(isOver, "the server closes at the end")
                case .failed(let error): fail("the server says \(output): \(error)")
                }
                return .proceed
            }
        }
    }
}
