import ModuleKit
import XMPPStream

/// XEP-0478: what a stream may send, told in its features.
enum StreamLimits {
    static let namespace: Namespace = "urn:xmpp:stream-limits:0"

    /// One feature until the client has logged in, another one from then on. Before that the whole negotiation has a
    /// deadline, and silence none of its own.
    static func features(_ limits: LimitsConfig, _ table: HostTable) -> [StreamFeature] {
        // Whoever is silent is cut, or asked by a module whether it is there (XEP-0478 §3.1).
        let idle = (table.silence.map(\.after) + [limits.authenticated.idle].compactMap(\.self)).min()
        return [
            StreamFeature(
                element(bytes: limits.unauthenticated.elements.bytes, idle: nil), requires: [], forbids: .authenticated),
            StreamFeature(element(bytes: limits.authenticated.elements.bytes, idle: idle), requires: .authenticated),
        ]
    }

    private static func element(bytes: Int, idle: Duration?) -> Element {
        var element = Element("limits", namespace)
        func append(_ name: String, _ number: Int64) {
            var child = Element(name, namespace)
            child.appendText(String(number))
            element.append(child)
        }
        append("max-bytes", Int64(bytes))
        if let idle { append("idle-seconds", max(1, idle.components.seconds)) }
        return element
    }
}
