import Testing
import XMPPStream

@Suite struct CryptoTests {
    static func hex(_ text: String) -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = text[...]
        while rest.count >= 2 {
            bytes.append(UInt8(rest.prefix(2), radix: 16) ?? 0)
            rest = rest.dropFirst(2)
        }
        return bytes
    }

    @Test func `hashes are those of FIPS 180`() {
        #expect(Crypto.hash(.sha1, Array("abc".utf8)) == Self.hex("a9993e364706816aba3e25717850c26c9cd0d89d"))
        #expect(
            Crypto.hash(.sha256, Array("abc".utf8))
                == Self.hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"))
        #expect(Crypto.hash(.sha1, []) == Self.hex("da39a3ee5e6b4b0d3255bfef95601890afd80709"))
    }

    @Test func `HMAC is that of RFC 2202 and RFC 4231`() {
        let message = Array("what do ya want for nothing?".utf8)
        #expect(
            Crypto.hmac(.sha1, key: Array("Jefe".utf8), message) == Self.hex("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79")
        )
        #expect(
            Crypto.hmac(.sha256, key: Array("Jefe".utf8), message)
                == Self.hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"))
    }

    @Test func `PBKDF2 is that of RFC 6070 and RFC 7914`() {
        #expect(
            Crypto.pbkdf2(.sha1, password: Array("password".utf8), salt: Array("salt".utf8), iterations: 4096)
                == Self.hex("4b007901b765489abead49d926f721d065a429c1"))
        #expect(
            Crypto.pbkdf2(.sha256, password: Array("passwd".utf8), salt: Array("salt".utf8), iterations: 1)
                == Self.hex("55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"))
    }

    @Test func `comparison needs the same bytes and the same length`() {
        #expect(Crypto.isEqual([1, 2, 3], [1, 2, 3]))
        #expect(Crypto.isEqual([], []))
        #expect(!Crypto.isEqual([1, 2, 3], [1, 2, 4]))
        #expect(!Crypto.isEqual([1, 2, 3], [1, 2]))
        #expect(!Crypto.isEqual([], [0]))
    }

    @Test func `random bytes are as many as asked and not the same twice`() {
        #expect(Crypto.random(0).isEmpty)
        #expect(Crypto.random(32).count == 32)
        #expect(Crypto.random(32) != Crypto.random(32))
    }

    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ])
    func `Base64 is that of RFC 4648 §10`(_ text: String, _ encoded: String) {
        #expect(Base64.encode(Array(text.utf8)) == encoded)
        #expect(Base64.decode(encoded) == Array(text.utf8))
    }

    @Test(arguments: [
        "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Zm 9v", "Zm9v\n", "\nZm9v", "Zm9v\r\nZm9v", "Zm9v====", "====", "=",
        "A===",
        "Zg==Zg==", "Zm-v", "Zm_v", "Zm9vé", "\0\0\0\0", "Z=9v",
    ])
    func `BAD-INPUTS 11: Base64 with anything else in it is refused`(_ text: String) {
        #expect(Base64.decode(text) == nil)
    }

    @Test func `Base64 of any bytes comes back`() {
        for count in 0..<100 {
            let bytes = Crypto.random(count)
            #expect(Base64.decode(Base64.encode(bytes)) == bytes)
        }
    }
}
