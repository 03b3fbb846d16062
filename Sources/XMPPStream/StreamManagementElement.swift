public import XMPPCore

/// A client's request to go on with an earlier session (XEP-0198 §5).
public struct ResumeRequest: Hashable, Sendable {
    public var previd: String
    /// The stanzas of ours that the client has handled.
    public var h: UInt32

    public init(previd: String, h: UInt32) {
        self.previd = previd
        self.h = h
    }
}

/// The elements of `urn:xmpp:sm:3`: what a client may send, read strictly, and what we send.
public enum StreamManagementElement: Hashable, Sendable {
    /// `max` in seconds is what the client would like to be waited for.
    case enable(resume: Bool, max: UInt32?)
    case resume(ResumeRequest)
    /// `<r/>`
    case request
    /// `<a/>`
    case answer(UInt32)
    /// Of the namespace and wrong: no number where one belongs, or out of its range.
    case malformed(StanzaError.Condition)
    case unknown

    /// Longest id of a session that is read.
    public static let longestID = 256

    public init(_ element: ElementView) {
        if element.isNamed("r", .streamManagement) {
            self = .request
        } else if element.isNamed("a", .streamManagement) {
            self =
                element.attribute("h").flatMap { StrictNumber.uint32($0) }.map(Self.answer) ?? .malformed(.badRequest)
        } else if element.isNamed("enable", .streamManagement) {
            self = Self.enable(element)
        } else if element.isNamed("resume", .streamManagement) {
            self = Self.resume(element)
        } else {
            self = .unknown
        }
    }

    private static func enable(_ element: ElementView) -> Self {
        let resume: Bool
        switch element.attribute("resume") {
        case nil, "false", "0": resume = false
        case "true", "1": resume = true
        case .some: return .malformed(.badRequest)
        }
        guard let text = element.attribute("max") else { return .enable(resume: resume, max: nil) }
        guard let max = StrictNumber.uint32(text) else { return .malformed(.badRequest) }
        return .enable(resume: resume, max: max)
    }

    private static func resume(_ element: ElementView) -> Self {
        guard let previd = element.attribute("previd"), !previd.isEmpty, let text = element.attribute("h"),
            let h = StrictNumber.uint32(text)
        else { return .malformed(.badRequest) }
        // Not one of ours, whatever it is.
        guard previd.utf8.count <= longestID else { return .malformed(.itemNotFound) }
        return .resume(ResumeRequest(previd: previd, h: h))
    }

    /// `<r/>`
    public static var requestElement: Element { Element("r", .streamManagement) }

    /// `<a h='…'/>`
    public static func answerElement(h: UInt32) -> Element {
        var element = Element("a", .streamManagement)
        element[attribute: "h"] = String(h)
        return element
    }

    /// `<enabled/>`; an id means that the session can be resumed, for `max` seconds.
    public static func enabled(id: String?, max: UInt32?) -> Element {
        var element = Element("enabled", .streamManagement)
        if let id {
            element[attribute: "id"] = id
            element[attribute: "resume"] = "true"
            element[attribute: "max"] = max.map { String($0) }
        }
        return element
    }

    public static func resumed(previd: String, h: UInt32) -> Element {
        var element = Element("resumed", .streamManagement)
        element[attribute: "previd"] = previd
        element[attribute: "h"] = String(h)
        return element
    }

    public static func failed(_ condition: StanzaError.Condition, h: UInt32? = nil) -> Element {
        var element = Element("failed", .streamManagement)
        element[attribute: "h"] = h.map { String($0) }
        element.append(Element(condition.rawValue, .stanzaErrors))
        return element
    }
}
