internal import ModuleKit

/// The requests of clients to their archive (XEP-0313 §4 and §5).
struct ArchiveQueries {
    /// Most messages of one page.
    let page: Int
    /// Pages of one account that are under way at once.
    private static let most = 8

    func install(on host: inout HostBuilder) {
        let renderer = ResultRenderer()
        // A page is sent as its client takes it, which can be slow: what comes behind it does not wait.
        host.iqForAnybody(.set, .archive, "query", answering: .independent) { request, responder throws(StanzaError) in
            try query(request, responder, renderer)
        }
        host.iqForAnybody(.get, .archive, "query") { request, responder throws(StanzaError) in
            _ = try AccountArchive.of(request)
            responder.answer(.success(Element("query", .archive, [:], ArchiveFilter.form)))
        }
        host.iqForAnybody(.get, .archive, "metadata", answering: .independent) {
            request, responder throws(StanzaError) in
            try metadata(request, responder)
        }
    }

    private func query(
        _ request: IQRequest, _ responder: IQResponder, _ renderer: ResultRenderer
    ) throws(StanzaError) {
        let (account, owner, archive) = try AccountArchive.of(request)
        guard let session = request.session else { throw .serviceUnavailable }
        let wish = try ArchiveWish(request.payload, of: account.address, most: page)
        var pages = 0
        account.forEachSession { pages += $0.state[RunningPages.self]?.count ?? 0 }
        guard pages < Self.most else { throw .resourceConstraint.saying("wait for the answers to other queries") }
        let page = ArchivePage(
            wish, owner, to: session, as: renderer.results(of: account.address, queryID: wish.queryID)
        ) { [weak session] result in
            session?.state[RunningPages.self]?.count -= 1
            responder.answer(result)
        }
        try archive.whenSettled { page.read(upTo: $0) }
        session.state.obtain(RunningPages.self) { RunningPages() }.count += 1
    }

    /// XEP-0313 §5.
    private func metadata(_ request: IQRequest, _ responder: IQResponder) throws(StanzaError) {
        let (account, owner, archive) = try AccountArchive.of(request)
        let storage = account.kernel.storage
        try archive.whenSettled { _ in
            storage.read([owner]) { snapshot throws(StorageError) in
                try snapshot.archiveExtent(AccountArchive.store, owner)
            } then: { result in
                guard case .success(let extent) = result else {
                    return responder.answer(.failure(.resourceConstraint))
                }
                var metadata = Element("metadata", .archive)
                if let extent {
                    metadata.append(Self.end("start", extent.oldest))
                    metadata.append(Self.end("end", extent.newest))
                }
                responder.answer(.success(metadata))
            }
        }
    }

    private static func end(_ name: String, _ end: ArchiveExtent.End) -> Element {
        Element(name, .archive, ["id": String(end.id), "timestamp": end.stamp.description])
    }
}

/// Pages that a session is being sent.
final class RunningPages {
    var count = 0
}
