internal import ModuleKit

/// One query, read and checked (XEP-0313 §4.1, §4.3).
struct ArchiveWish: Sendable {
    let queryID: String?
    let filter: ArchiveFilter
    let set: ResultSetRequest
    /// Messages of the page; 0: the client only asks how many there are.
    let limit: Int
    let isFlipped: Bool

    private static let longestQueryID = 1024

    init(_ query: ElementView, of archive: BareJID, most: Int) throws(StanzaError) {
        queryID = query.attribute("queryid")
        guard queryID.map({ $0.utf8.count <= Self.longestQueryID }) ?? true else {
            throw .badRequest.saying("the queryid is too long")
        }
        filter = try ArchiveFilter(DataForm(in: query), of: archive, most: most)
        set = try ResultSetRequest(in: query) ?? ResultSetRequest()
        guard set.index == nil else { throw .featureNotImplemented.saying("pages are by id, not by index") }
        limit = min(set.max ?? most, most)
        isFlipped = query.first("flip-page", .archive) != nil
    }
}

/// Which messages a query is about (XEP-0313 §4.1).
struct ArchiveFilter: Sendable {
    var query = ArchiveQuery()
    /// Nil: not by id.
    var ids: [String]?
    var after: String?
    var before: String?

    private static let fields = ["with", "start", "end", "before-id", "after-id", "ids", "include-groupchat"]

    /// - Throws: `feature-not-implemented` for a field that is none of ours (XEP-0313 §4.1.6), `jid-malformed` and
    ///   `bad-request` for values that are none.
    init(_ form: DataForm?, of archive: BareJID, most: Int) throws(StanzaError) {
        guard let form else { return }
        guard form.kind == .submit, form[DataForm.typeField] == nil || form.type == Namespace.archive.uri else {
            throw .badRequest.saying("not a form of \(Namespace.archive.uri)")
        }
        for name in form.fields.compactMap(\.name) where name != DataForm.typeField && !Self.fields.contains(name) {
            throw .featureNotImplemented.saying("there is no field \(name.prefix(100))")
        }
        if let text = try Self.text("with", form) {
            guard let with = JID(text) else { throw .jidMalformed }
            // §4.1.1: with itself means with all of its resources.
            query.with = with.bare == archive ? archive.description : with.description
        }
        query.start = try Self.time("start", form)
        query.end = try Self.time("end", form)
        after = try Self.text("after-id", form)
        before = try Self.text("before-id", form)
        // There are none of group chats here, so both answers are right.
        _ = try form.flag("include-groupchat")
        let ids = form.texts("ids")
        guard ids.count <= most else { throw .notAcceptable.saying("more than \(most) ids") }
        if !ids.isEmpty { self.ids = ids }
    }

    /// Nil also for an empty one.
    private static func text(_ name: String, _ form: DataForm) throws(StanzaError) -> String? {
        guard let text = try form.text(name), !text.isEmpty else { return nil }
        return text
    }

    private static func time(_ name: String, _ form: DataForm) throws(StanzaError) -> Timestamp? {
        guard let text = try text(name, form) else { return nil }
        guard let time = Timestamp(text) else { throw .badRequest.saying("\(name) is no time") }
        return time
    }

    /// XEP-0313 §4.1.5.
    static let form: Element = {
        var ids = DataForm.Field("ids", .listMulti)
        ids.isOpen = true
        return DataForm(
            .form, type: Namespace.archive.uri,
            fields: [
                DataForm.Field("with", .jidSingle), DataForm.Field("start", .textSingle),
                DataForm.Field("end", .textSingle), DataForm.Field("before-id", .textSingle),
                DataForm.Field("after-id", .textSingle), ids, DataForm.Field("include-groupchat", .boolean),
            ]
        ).element
    }()
}
