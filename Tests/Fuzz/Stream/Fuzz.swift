import FuzzSupport
import StreamFraming
import XMPPCore
import XMPPStream

/// What a client sends, from its first byte on: through framing, parser, negotiation and the running session.
///
/// Choices: the setting, when somebody interferes, then what the server answers and where the bytes are cut. In a stream
/// of messages (RFC 7395) each line is one.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    var input = Input(start, count)
    let setting = Setting(input.choose(), interference: input.choose())
    if setting.isMessageBased {
        let messages = input.body.split(separator: UInt8(ascii: "\n"))
        _ = Recording(messages, setting)
        _ = Conversation(setting, answers: input.rest).hold(messages)
        return 0
    }
    let (whole, pieces) = (Recording([input.body[...]], setting), Recording(input.pieces, setting))
    pieces.checkIsLike(whole)

    let said = Conversation(setting, answers: input.rest).hold([input.body[...]])
    let saidToPieces = Conversation(setting, answers: input.rest).hold(input.pieces)
    check(said == saidToPieces, "pieces get the same answers: \(saidToPieces) is not \(said)")
    return 0
}

/// How the stream is set up.
struct Setting {
    let tls: TLSMode
    let isMessageBased: Bool
    let limits: XMLLimits
    /// The parser goes back to its pool after each piece, and another stream uses it.
    let sharesParser: Bool
    /// Answers come after the reading has been paused.
    let answersLate: Bool
    /// The client has shown a certificate of romeo's.
    let hasCertificate: Bool
    let allowsAnonymous: Bool
    /// What is done at which event.
    let interference: (event: Int, kind: UInt8)

    init(_ bits: UInt8, interference: UInt8) {
        isMessageBased = bits & 4 != 0
        tls = isMessageBased ? .direct : TLSMode.allCases[Int(bits & 3)]
        limits = bits & 8 == 0 ? .unauthenticated : Self.small
        sharesParser = bits & 16 != 0
        answersLate = bits & 32 != 0
        hasCertificate = bits & 64 != 0
        allowsAnonymous = bits & 128 != 0
        self.interference = (Int(interference >> 2), interference & 3)
    }

    /// What an input of libFuzzer can reach.
    private static let small = XMLLimits(
        maxElementBytes: 512, maxTokenBytes: 192, maxWhitespaceBytes: 32, maxDepth: 4, maxAttributes: 6, maxElements: 8)

    func framing(_ pool: ParserPool, limits: XMLLimits) -> any Framing {
        isMessageBased ? MessageFraming(pool: pool, limits: limits) : TCPStreamFraming(pool: pool, limits: limits)
    }
}
