import CIDN2

/// The two PRECIS profiles that addresses use (RFC 8264, RFC 8265), over code points.
enum PRECIS {
    /// RFC 8265 §3.3: for names that people type, in one case only.
    static func usernameCaseMapped(_ points: [UInt32]) -> [UInt32]? {
        stable(points) { points in
            let narrow = points.map(Unistring.withoutWidth)
            guard isAllowed(narrow, freeform: false) else { return nil }
            // Lower-casing, not folding: ß stays ß (RFC 8265 §3.3.2).
            guard let lower = Unistring.lowercased(narrow), let result = Unistring.nfc(lower),
                Bidi.isAllowed(result)
            else { return nil }
            return isAllowed(result, freeform: false) ? result : nil
        }
    }

    /// RFC 8265 §4.2: for passwords, resources and everything else that nobody should change.
    static func opaqueString(_ points: [UInt32]) -> [UInt32]? {
        stable(points) { points in
            guard isAllowed(points, freeform: true) else { return nil }
            let spaced = points.map { $0 >= 0x80 && Unistring.isCategory($0, UC_CATEGORY_MASK_Zs) ? 0x20 : $0 }
            guard let result = Unistring.nfc(spaced) else { return nil }
            return isAllowed(result, freeform: true) ? result : nil
        }
    }

    /// Applies the rules until nothing changes any more: four times at most (RFC 8264 §7).
    private static func stable(_ points: [UInt32], _ rules: ([UInt32]) -> [UInt32]?) -> [UInt32]? {
        var current = points
        for _ in 0..<4 {
            guard !current.isEmpty, let next = rules(current) else { return nil }
            if next == current { return next }
            current = next
        }
        return nil
    }

    /// Every character is allowed where it stands.
    private static func isAllowed(_ points: [UInt32], freeform: Bool) -> Bool {
        points.indices.allSatisfy { index in
            switch property(of: points[index]) {
            case .valid: true
            case .freeformOnly: freeform
            case .inContext: CharacterContext.isAllowed(points, at: index)
            case .disallowed: false
            }
        }
    }

    private enum Property {
        case valid
        /// Allowed in the FreeformClass, not in the IdentifierClass.
        case freeformOnly
        case inContext
        case disallowed
    }

    /// The derived property of RFC 8264 §8, in its order.
    private static func property(of point: UInt32) -> Property {
        switch point {
        // Exceptions (RFC 5892 §2.6).
        case 0xDF, 0x3C2, 0x6FD, 0x6FE, 0xF0B, 0x3007: return .valid
        case 0xB7, 0x375, 0x5F3, 0x5F4, 0x30FB, 0x660...0x669, 0x6F0...0x6F9: return .inContext
        case 0x640, 0x7FA, 0x302E, 0x302F, 0x3031...0x3035, 0x303B: return .disallowed
        case 0x21...0x7E: return .valid
        case 0x200C, 0x200D: return .inContext
        // Old Hangul jamo.
        case 0x1100...0x11FF, 0xA960...0xA97C, 0xD7B0...0xD7FB: return .disallowed
        default: break
        }
        if Unistring.isCategory(point, UC_CATEGORY_MASK_Cn) || Unistring.isIgnorable(point) { return .disallowed }
        if hasCompatibilityForm(point) {
            return Unistring.isCategory(point, UC_CATEGORY_MASK_C) ? .disallowed : .freeformOnly
        }
        if Unistring.isCategory(point, letterDigits) { return .valid }
        return Unistring.isCategory(point, freeform) ? .freeformOnly : .disallowed
    }

    private static let letterDigits =
        UC_CATEGORY_MASK_Ll | UC_CATEGORY_MASK_Lu | UC_CATEGORY_MASK_Lo | UC_CATEGORY_MASK_Nd | UC_CATEGORY_MASK_Lm
        | UC_CATEGORY_MASK_Mn | UC_CATEGORY_MASK_Mc

    /// Other letters, digits and marks, spaces, symbols, punctuation.
    private static let freeform =
        UC_CATEGORY_MASK_Lt | UC_CATEGORY_MASK_Nl | UC_CATEGORY_MASK_No | UC_CATEGORY_MASK_Me | UC_CATEGORY_MASK_Zs
        | UC_CATEGORY_MASK_S | UC_CATEGORY_MASK_P

    private static func hasCompatibilityForm(_ point: UInt32) -> Bool {
        guard let normal = Unistring.nfkc([point]) else { return true }
        return normal != [point]
    }
}

/// The characters that are allowed only beside certain others (RFC 5892 appendix A).
enum CharacterContext {
    static func isAllowed(_ points: [UInt32], at index: Int) -> Bool {
        let before = index > 0 ? points[index - 1] : nil
        let after = index + 1 < points.count ? points[index + 1] : nil
        switch points[index] {
        case 0x200C: return before.map(Unistring.isVirama) == true || isBetweenJoining(points, index)
        case 0x200D: return before.map(Unistring.isVirama) == true
        case 0xB7: return before == 0x6C && after == 0x6C
        case 0x375: return after.map { Unistring.isScript($0, "Greek") } == true
        case 0x5F3, 0x5F4: return before.map { Unistring.isScript($0, "Hebrew") } == true
        case 0x30FB: return points.contains(where: isJapanese)
        case 0x660...0x669: return !points.contains { (0x6F0...0x6F9).contains($0) }
        case 0x6F0...0x6F9: return !points.contains { (0x660...0x669).contains($0) }
        default: return false
        }
    }

    private static func isJapanese(_ point: UInt32) -> Bool {
        Unistring.isScript(point, "Hiragana") || Unistring.isScript(point, "Katakana")
            || Unistring.isScript(point, "Han")
    }

    /// A zero-width non-joiner may part two letters that would join: (L or D) T* ZWNJ T* (R or D).
    private static func isBetweenJoining(_ points: [UInt32], _ index: Int) -> Bool {
        var left = index - 1
        while left >= 0, Unistring.joiningType(points[left]) == transparent { left -= 1 }
        var right = index + 1
        while right < points.count, Unistring.joiningType(points[right]) == transparent { right += 1 }
        guard left >= 0, right < points.count else { return false }
        let first = Unistring.joiningType(points[left])
        let second = Unistring.joiningType(points[right])
        return (first == leftJoining || first == dual) && (second == rightJoining || second == dual)
    }

    private static let transparent = Int32(UC_JOINING_TYPE_T)
    private static let leftJoining = Int32(UC_JOINING_TYPE_L)
    private static let rightJoining = Int32(UC_JOINING_TYPE_R)
    private static let dual = Int32(UC_JOINING_TYPE_D)
}

/// The bidi rule of RFC 5893 §2, which RFC 8265 also asks of user names.
enum Bidi {
    /// True when nothing runs from right to left, or the six conditions hold.
    static func isAllowed(_ points: [UInt32]) -> Bool {
        !hasRightToLeft(points) || followsRule(points)
    }

    static func hasRightToLeft(_ points: [UInt32]) -> Bool {
        points.contains { point in
            guard point >= 0x590 else { return false }
            return Unistring.bidiClass(point).isOne(of: UC_BIDI_R, UC_BIDI_AL, UC_BIDI_AN)
        }
    }

    /// The six conditions, for a label of a name in which something runs from right to left.
    static func followsRule(_ points: [UInt32]) -> Bool {
        let classes = points.map(Unistring.bidiClass)
        guard let first = classes.first,
            let last = classes.last(where: { !$0.isOne(of: UC_BIDI_NSM) })
        else { return false }
        if first.isOne(of: UC_BIDI_R, UC_BIDI_AL) {
            let allowed = classes.allSatisfy {
                $0.isOne(
                    of: UC_BIDI_R, UC_BIDI_AL, UC_BIDI_AN, UC_BIDI_EN, UC_BIDI_ES, UC_BIDI_CS, UC_BIDI_ET,
                    UC_BIDI_ON, UC_BIDI_BN, UC_BIDI_NSM)
            }
            let ends = last.isOne(of: UC_BIDI_R, UC_BIDI_AL, UC_BIDI_EN, UC_BIDI_AN)
            let mixed =
                classes.contains { $0.isOne(of: UC_BIDI_EN) } && classes.contains { $0.isOne(of: UC_BIDI_AN) }
            return allowed && ends && !mixed
        }
        guard first.isOne(of: UC_BIDI_L) else { return false }
        let allowed = classes.allSatisfy {
            $0.isOne(
                of: UC_BIDI_L, UC_BIDI_EN, UC_BIDI_ES, UC_BIDI_CS, UC_BIDI_ET, UC_BIDI_ON, UC_BIDI_BN, UC_BIDI_NSM)
        }
        return allowed && last.isOne(of: UC_BIDI_L, UC_BIDI_EN)
    }
}

extension Int32 {
    /// Compares a bidi class with the constants of the C header.
    fileprivate func isOne(of classes: Int...) -> Bool {
        classes.contains(Int(self))
    }
}
