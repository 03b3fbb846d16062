import ModuleKit

/// One keyed entity of a module's domain on its home loop, with the inbox in front of it (DESIGN: confined by key).
final class EntityBox {
    enum Phase {
        case loading
        case resident(EntityContext, AnyObject)
        /// Its state is on the way to the disk.
        case saving(EntityContext, AnyObject)
    }

    let kind: EntityKind
    var phase = Phase.loading
    var inbox = Inbox<Envelope>()
    var lastUsed: Instant

    init(_ kind: EntityKind, now: Instant) {
        self.kind = kind
        lastUsed = now
    }
}

extension Shard {
    func arriveAtEntity(_ address: BareJID, _ envelope: Envelope, _ domain: DomainTable) {
        guard let kind = domain.entities else { return bounce(envelope, .itemNotFound) }
        let box: EntityBox
        if let existing = entities[address] {
            box = existing
        } else {
            guard loadBudget.take(envelope.stanza.from?.bare) else { return bounce(envelope, .resourceConstraint) }
            box = EntityBox(kind, now: loop.now)
            entities[address] = box
            loadEntity(address, box)
        }
        box.lastUsed = loop.now
        switch box.phase {
        case .resident(let context, let state): box.kind.receive(context, state, envelope)
        case .loading, .saving:
            let isTaken = box.inbox.append(envelope, envelope.stanza.byteCount, in: self)
            if !isTaken { bounce(envelope, .resourceConstraint) }
        }
    }

    private func loadEntity(_ address: BareJID, _ box: EntityBox) {
        let (loop, load, link) = (loop, box.kind.load, link)
        storage.read([]) { snapshot throws(StorageError) -> (OwnerID, Moved<AnyObject>)? in
            guard let record = try snapshot.account(host: address.domain, local: address.local) else { return nil }
            return (record.owner, try load(snapshot, record.owner))
        } then: { result in
            loop.post(
                .work {
                    switch result {
                    case .success(let found?): link.shard?.entityLoaded(address, found.0, found.1)
                    case .success(nil): link.shard?.makeEntity(address)
                    case .failure: link.shard?.entityFailed(address)
                    }
                })
        }
    }

    /// Its first stanza ever: it gets a number in the stores.
    private func makeEntity(_ address: BareJID) {
        let (loop, link) = (loop, link)
        let creation = Mutation.createAccount(
            host: address.domain, local: address.local, created: wallClock, credentials: [])
        storage.submit([creation]) { result in
            loop.post(
                .work {
                    guard let shard = link.shard, let box = shard.entities[address] else { return }
                    if case .success = result { shard.loadEntity(address, box) } else { shard.entityFailed(address) }
                })
        }
    }

    private func entityLoaded(_ address: BareJID, _ owner: OwnerID, _ state: Moved<AnyObject>) {
        guard let box = entities[address] else { return }
        box.phase = .resident(EntityContext(address: address, owner: owner, kernel: self), state.value)
        deliverInbox(box)
    }

    private func deliverInbox(_ box: EntityBox) {
        guard case .resident(let context, let state) = box.phase else { return }
        for envelope in box.inbox.takeAll(in: self) { box.kind.receive(context, state, envelope) }
    }

    private func entityFailed(_ address: BareJID) {
        guard let box = entities.removeValue(forKey: address) else { return }
        for envelope in box.inbox.takeAll(in: self) { bounce(envelope, .resourceConstraint) }
    }

    /// Entities that have been silent write their state and are forgotten.
    func hibernate(all: Bool = false) {
        for (address, box) in entities {
            guard case .resident(let context, let state) = box.phase else { continue }
            guard all || box.lastUsed.advanced(by: box.kind.idle) < loop.now else { continue }
            let changes = box.kind.save(context, state)
            guard !changes.isEmpty else {
                entities[address] = nil
                continue
            }
            box.phase = .saving(context, state)
            let (loop, link) = (loop, link)
            storage.submit(changes) { result in
                loop.post(.work { link.shard?.hibernated(address, result) })
            }
        }
    }

    private func hibernated(_ address: BareJID, _ result: Result<[MutationOutcome], StorageError>) {
        guard let box = entities[address], case .saving(let context, let state) = box.phase else { return }
        if case .success = result, box.inbox.isEmpty {
            entities[address] = nil
        } else {
            box.phase = .resident(context, state)
            box.lastUsed = loop.now
            deliverInbox(box)
        }
    }
}
