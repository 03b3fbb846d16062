import FuzzSupport
import XML
import XMPPCore

/// Addresses, as bytes that should be UTF-8.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Input.bytes(start, count)
    let address = bytes.withUnsafeBufferPointer { JID(utf8: $0) }
    let text = String(validating: bytes, as: UTF8.self)
    check(address == nil || text != nil, "an address is UTF-8")
    guard let text else { return 0 }
    check(JID(text) == address, "bytes and text give the same address")
    checkParts(text)
    _ = NameScripts(of: text)
    if let address { check(address, text) }
    return 0
}

private func check(_ address: JID, _ text: String) {
    let canonical = address.description
    check(JID(canonical) == address, "\(canonical.debugDescription) reads as itself")
    check(JID(canonical)?.description == canonical, "\(canonical.debugDescription) is canonical")
    for part in [address.local, address.domain, address.resource] {
        check(part.utf8.count <= 1023, "a part has 1,023 bytes at most")
        check(!part.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7F }, "no control characters")
    }
    check(!address.domain.isEmpty, "there is a domain")
    check(!address.local.utf8.contains(where: "\"&'/:<>@ ".utf8.contains), "RFC 7622 §3.3.1 forbids some characters")
    check(!address.domain.utf8.contains(where: "/@ ".utf8.contains), "no domain has a separator in it")
    check(address.domain.utf8.last != UInt8(ascii: "."), "a domain ends without a dot")

    check(JID.prepared(domain: address.domain) == address.domain, "the domain is prepared")
    check(address.local.isEmpty || JID.prepared(local: address.local) == address.local, "the local part is prepared")
    check(
        address.resource.isEmpty || JID.prepared(resource: address.resource) == address.resource,
        "the resource is prepared")
    check(BareJID(local: address.local, domain: address.domain) == address.bare, "its parts make the bare address")
    check(BareJID(address.bare.description) == address.bare, "the bare address reads as itself")
    check((BareJID(text) == nil) == text.utf8.contains(UInt8(ascii: "/")), "a bare address has no slash")

    // As a session and a database see it.
    let output = OutputBuffer()
    output.append("<a to='")
    address.write(escaped: output)
    output.append("'/>")
    guard let tree = try? XMLTree(parsing: output.description) else { fail("\(output) is an element") }
    check(tree.root.attribute("to") == canonical, "\(output) has the address")
    let cache = AddressCache()
    for _ in 0..<2 {
        let cached = Array(text.utf8).withUnsafeBufferPointer { cache.address($0) }
        check(cached == address, "the cache knows the same address")
    }
}

/// Each preparation changes nothing the second time.
private func checkParts(_ text: String) {
    let preparations = [JID.prepared(local:), JID.prepared(domain:), JID.prepared(resource:)]
    for (index, prepare) in preparations.enumerated() {
        guard let once = prepare(text) else { continue }
        check(prepare(once) == once, "part \(index): \(once.debugDescription) stays as it is")
        check((1...1023).contains(once.utf8.count), "part \(index) has its bounds")
    }
}
