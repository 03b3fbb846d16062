import FuzzSupport
import Glibc
import ModuleKit

@testable import ProxyReading

/// What a proxy sends before the bytes of its client.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Input.bytes(start, count)
    // The answer is made of what it needs: fewer bytes leave it open, more change nothing.
    var answer = ProxyHeader.Result.incomplete
    for length in 0...min(bytes.count, ProxyHeader.mostBinary + 1) {
        let next = read(bytes[..<length])
        switch answer {
        case .incomplete:
            if case .complete(let used, _) = next {
                check(used == length, "a header is read when its last byte is there")
            }
        case .refused, .complete: check(next == answer, "what follows changes \(answer) to \(next)")
        }
        answer = next
    }
    check(read(bytes[...]) == answer, "the whole is what its pieces are")
    switch answer {
    case .incomplete: check(bytes.count < ProxyHeader.mostBinary, "what never ends is refused")
    case .refused: break
    case .complete(let used, let peer):
        check(used <= (bytes.first == UInt8(ascii: "P") ? ProxyHeader.mostText : ProxyHeader.mostBinary), "long")
        if let peer { examine(peer) }
    }
    return 0
}

private func read(_ bytes: ArraySlice<UInt8>) -> ProxyHeader.Result {
    // A buffer of its own, so that the sanitizer sees a byte read past it.
    let copy = Array(bytes)
    return copy.withUnsafeBytes { ProxyHeader.check($0) }
}

/// Both versions say the same of this peer again.
private func examine(_ peer: PeerInfo) {
    check((0...65_535).contains(peer.port), "\(peer.port) is a port")
    var (four, six) = ([UInt8](repeating: 0, count: 4), [UInt8](repeating: 0, count: 16))
    let isFour = inet_pton(AF_INET, peer.address, &four) == 1
    check(isFour || inet_pton(AF_INET6, peer.address, &six) == 1, "\(peer.address) is an address")
    check(isFour || !peer.address.hasPrefix("::ffff:") || !peer.address.contains("."), "one client has one address")

    let (family, address) = (isFour ? "TCP4" : "TCP6", isFour ? four : six)
    let text = Array("PROXY \(family) \(peer.address) \(peer.address) \(peer.port) \(peer.port)\r\n".utf8)
    check(read(text[...]) == .complete(text.count, peer), "\(peer) as text")
    let port = [UInt8(peer.port >> 8), UInt8(peer.port & 0xff)]
    let body = address + address + port + port
    let binary =
        [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A, 0x21, isFour ? 0x11 : 0x21, 0]
        + [UInt8(body.count)] + body
    check(read(binary[...]) == .complete(binary.count, peer), "\(peer) in binary")
}
