public import XML

/// What opens a stream in either direction: the attributes of `<stream:stream>` or `<open/>` (RFC 6120 §4.7, RFC 7395 §3.4).
public struct StreamHeader: Hashable, Sendable {
    public var to: String?
    public var from: String?
    public var id: String?
    public var version: String?
    public var language: String?
    public var contentNamespace: Namespace

    public init(
        to: String? = nil, from: String? = nil, id: String? = nil, version: String? = nil, language: String? = nil,
        contentNamespace: Namespace = .client
    ) {
        self.to = to
        self.from = from
        self.id = id
        self.version = version
        self.language = language
        self.contentNamespace = contentNamespace
    }
}
