internal import Glibc
internal import ModuleKit
internal import Synchronization

/// Batches, their order, and who sees them when.
extension StorageContract {
    static let journalChecks: [StorageCheck] = [
        StorageCheck("a batch is applied in the order given") { subject in
            let outcomes = try await subject.storage.submit([
                .put("a", OwnerID(1), key: "k", value: [1]), .delete("a", OwnerID(1), key: "k"),
                .put("a", OwnerID(1), key: "k", value: [2]),
            ])
            try expect(outcomes, equals: [.done, .removed(1), .done])
            try expect(try await subject.value("a", 1, "k"), equals: [2])
        },
        StorageCheck("an empty batch succeeds") { subject in
            try expect(try await subject.storage.submit([]), equals: [])
        },
        StorageCheck("a batch that fails leaves nothing and takes no other with it") { subject in
            let storage = subject.storage
            let before = storage.begin([.put("a", OwnerID(1), key: "before", value: [1])])
            let row = SpoolRow(id: 7, stamp: Timestamp(milliseconds: 1), stanza: [1])
            let first = storage.begin([.spool("s", OwnerID(1), row, limit: 10)])
            var other = row
            other.stanza = [2]
            let failing = storage.begin([
                .put("a", OwnerID(1), key: "k", value: [1]),
                .createAccount(
                    host: "example.org", local: "ghost", created: Timestamp(milliseconds: 0), credentials: []),
                .spool("new-store", OwnerID(1), row, limit: 10),
                .archive(
                    "x", [(owner: OwnerID(1), id: 1, with: "w")], stamp: Timestamp(milliseconds: 0), stanza: [1]),
                .unspoolAll("s", OwnerID(2)), .spool("s", OwnerID(1), other, limit: 10),
            ])
            let after = storage.begin([.put("a", OwnerID(1), key: "after", value: [1])])
            try expect(try await before.value, equals: [.done])
            try expect(try await first.value, equals: [.done])
            try expect(try await after.value, equals: [.done])
            guard case .failure(.failed) = await failing.result else {
                throw ContractViolation(description: "an id used twice did not fail its batch")
            }
            try expect(try await subject.keys("a", 1), equals: ["after", "before"])
            let ghost = try await storage.read { snapshot throws(StorageError) in
                try snapshot.account(host: "example.org", local: "ghost")
            }
            try expect(ghost == nil, "an account of a failed batch is there")
            try expect(try await subject.spoolIDs("new-store", 1), equals: [])
            try expect(try await subject.archiveIDs("x", 1), equals: [])
            // What was remembered of the failed batch must not come through either.
            try expect(
                try await storage.submit([.spool("new-store", OwnerID(1), row, limit: 1)]), equals: [.done])
            try expect(try await subject.spoolIDs("new-store", 1), equals: [7])
        },
        StorageCheck("batches are applied and told in the order of submit, each once") { subject in
            let order = Mutex<[Int]>([])
            let count = 500
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                for number in 0..<count {
                    let batch: [Mutation] = [.put("a", OwnerID(1), key: "k", value: [UInt8(number % 256)])]
                    subject.storage.submit(batch) { _ in
                        let isLast = order.withLock { order in
                            order.append(number)
                            return order.count == count
                        }
                        if isLast { continuation.resume() }
                    }
                }
            }
            try expect(order.withLock { $0 }, equals: Array(0..<count))
            try expect(try await subject.value("a", 1, "k"), equals: [UInt8((count - 1) % 256)])
        },
        StorageCheck("a completion never comes from within the call") { subject in
            let caller = pthread_self()
            let isInside = Atomic(true)
            let wasInside = Atomic(false)
            let note: @Sendable () -> Void = {
                let isCaller = pthread_equal(caller, pthread_self()) != 0
                if isCaller, isInside.load(ordering: .relaxed) { wasInside.store(true, ordering: .relaxed) }
            }
            subject.storage.submit([]) { _ in note() }
            subject.storage.read([], { (_) throws(StorageError) in 1 }) { _ in note() }
            isInside.store(false, ordering: .relaxed)
            await subject.storage.close()
            try expect(!wasInside.load(ordering: .relaxed), "a completion was called from within the call")
        },
        StorageCheck("a read sees what was submitted for its owner before it") { subject in
            for round in 0..<50 {
                let owner = OwnerID(Int64(round % 3 + 1))
                let pending = subject.storage.begin([.put("a", owner, key: "k", value: [UInt8(round)])])
                let value = try await subject.storage.read([owner]) { snapshot throws(StorageError) in
                    try snapshot.value("a", owner, key: "k")
                }
                try expect(value, equals: [UInt8(round)])
                _ = try await pending.value
            }
        },
        StorageCheck("a read waits for the writes of its owners, and for no others") { subject in
            guard subject.canStall else { return }
            let storage = subject.storage
            subject.stall()
            let write = storage.begin([.put("a", OwnerID(1), key: "k", value: [1])])
            let archive = storage.begin([
                .archive(
                    "x", [(owner: OwnerID(3), id: 1, with: "w"), (owner: OwnerID(4), id: 1, with: "w")],
                    stamp: Timestamp(milliseconds: 0), stanza: [1])
            ])
            let waiting = [OwnerID(1), OwnerID(4)].map { owner in
                storage.beginRead([OwnerID(2), owner]) { (_) throws(StorageError) in true }
            }
            let absent = try await storage.read([OwnerID(2)]) { snapshot throws(StorageError) in
                try snapshot.value("a", OwnerID(1), key: "k") == nil
            }
            try expect(absent, "what is not committed was seen")
            try expect([write.count, archive.count], equals: [0, 0])
            try expect(waiting.map(\.count), equals: [0, 0])
            subject.release()
            for read in waiting { try expect(try await read.value, "") }
            try expect([try await write.value, try await archive.value], equals: [[.done], [.done]])
        },
        StorageCheck("a snapshot is of one moment") { subject in
            let storage = subject.storage
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for round in 0..<200 {
                        _ = try await storage.submit([
                            .put("a", OwnerID(1), key: "x", value: [UInt8(round)]),
                            .put("a", OwnerID(2), key: "y", value: [UInt8(round)]),
                        ])
                    }
                }
                group.addTask {
                    for _ in 0..<200 {
                        let same = try await storage.read { snapshot throws(StorageError) in
                            let first = try snapshot.value("a", OwnerID(1), key: "x")
                            let second = try snapshot.value("a", OwnerID(2), key: "y")
                            return first == second
                        }
                        try expect(same, "two rows of one batch were seen apart")
                    }
                }
                try await group.waitForAll()
            }
        },
        StorageCheck("what a read throws is what its completion gets") { subject in
            let result = await subject.storage.beginRead([]) { (_) throws(StorageError) -> Int in throw .timeout }
                .result
            try expect(result, equals: .failure(.timeout))
        },
        StorageCheck("more than the mark in the queue presses, until it is gone") { subject in
            guard subject.canStall else { return }
            try expect(!subject.storage.isPressed, "an idle storage is pressed")
            subject.stall()
            var pending: [Pending<[MutationOutcome]>] = []
            for number in 0...StorageFactory.marks.pressedRows {
                try expect(!subject.storage.isPressed, "pressed at \(number) mutations")
                pending.append(subject.storage.begin([.put("a", OwnerID(1), key: "\(number)", value: [1])]))
            }
            try expect(subject.storage.isPressed, "not pressed above the mark")
            // Taken all the same.
            pending.append(subject.storage.begin([.put("a", OwnerID(1), key: "more", value: [1])]))
            subject.release()
            for pending in pending { try expect(try await pending.value, equals: [.done]) }
            try expect(!subject.storage.isPressed, "pressed with nothing queued")
        },
        StorageCheck("what would lead over the upper mark is refused, and what only removes is not") { subject in
            guard subject.canStall else { return }
            let (storage, marks) = (subject.storage, StorageFactory.marks)
            subject.stall()
            func put(_ number: Int) -> Mutation { .put("a", OwnerID(1), key: "\(number)", value: [1]) }
            var pending = (0..<marks.mostRows).map { storage.begin([put($0)]) }
            // Told at once: it does not wait for its turn.
            try expect(await storage.begin([put(-1)]).result, equals: .failure(.busy))
            try expect(
                await storage.begin([.delete("a", OwnerID(1), key: "0"), put(-1)]).result, equals: .failure(.busy))
            pending.append(storage.begin([.delete("a", OwnerID(1), key: "0"), .unspoolAll("s", OwnerID(1))]))
            // Even that has an end.
            for number in 0..<marks.mostRows * 2 {
                let delete = storage.begin([.delete("a", OwnerID(2), key: "\(number)")])
                if number < marks.mostRows / 2 { pending.append(delete) }
            }
            try expect(
                await storage.begin([.delete("a", OwnerID(2), key: "x")]).result, equals: .failure(.busy))
            subject.release()
            for pending in pending { _ = try await pending.value }
            try expect(try await storage.submit([put(-2)]), equals: [.done])
            try expect(try await subject.keys("a", 1).count, equals: marks.mostRows)
        },
        StorageCheck("a batch larger than the upper mark is taken when nothing is before it") { subject in
            let count = StorageFactory.marks.mostRows + 1
            let batch = (0..<count).map { Mutation.put("a", OwnerID(1), key: "\($0)", value: [1]) }
            try expect(try await subject.storage.submit(batch).count, equals: count)
        },
        StorageCheck("reads that wait have a bound too") { subject in
            guard subject.canStall else { return }
            let (storage, most) = (subject.storage, StorageFactory.marks.mostReads)
            subject.stall()
            let write = storage.begin([.put("a", OwnerID(1), key: "k", value: [1])])
            func read() -> Pending<[UInt8]?> {
                storage.beginRead([OwnerID(1)]) { snapshot throws(StorageError) in
                    try snapshot.value("a", OwnerID(1), key: "k")
                }
            }
            let reads = (0..<most).map { _ in read() }
            try expect(await read().result, equals: .failure(.busy))
            subject.release()
            try expect(try await write.value, equals: [.done])
            for read in reads { try expect(try await read.value, equals: [1]) }
            try expect(try await read().value, equals: [1])
        },
        StorageCheck("what was committed is there after closing and opening") { subject in
            _ = try await subject.storage.submit([.put("a", OwnerID(1), key: "k", value: [1, 2])])
            let row = SpoolRow(id: 3, stamp: Timestamp(milliseconds: 4), stanza: [5])
            _ = try await subject.storage.submit([.spool("s", OwnerID(1), row, limit: 9)])
            let owner = try await subject.storage.makeAccount("juliet")
            try await subject.reopen()
            try expect(try await subject.value("a", 1, "k"), equals: [1, 2])
            try expect(try await subject.spoolIDs("s", 1), equals: [3])
            let account = try await subject.storage.read { snapshot throws(StorageError) in
                try snapshot.account(host: "example.org", local: "juliet")
            }
            try expect(account?.owner, equals: owner)
        },
        StorageCheck("close commits the queue and answers the reads; later calls fail") { subject in
            let storage = subject.storage
            let writes = (0..<200).map { storage.begin([.put("a", OwnerID(1), key: "\($0)", value: [1])]) }
            let read = storage.beginRead([OwnerID(1)]) { snapshot throws(StorageError) in
                try snapshot.entries("a", OwnerID(1)).count
            }
            async let second: Void = storage.close()
            await storage.close()
            await second
            for write in writes { try expect(try await write.value, equals: [.done]) }
            try expect(try await read.value, equals: 200)
            try expect(await storage.begin([]).result, equals: .failure(.closed))
            let late = storage.beginRead([]) { (_) throws(StorageError) in 1 }
            try expect(await late.result, equals: .failure(.closed))
            await storage.close()
            try await subject.reopen()
            try expect(try await subject.keys("a", 1).count, equals: 200)
        },
    ]
}

// What the checks ask for most.
extension StorageSubject {
    func value(_ store: StoreName, _ owner: Int64, _ key: String) async throws -> [UInt8]? {
        try await storage.read([OwnerID(owner)]) { snapshot throws(StorageError) in
            try snapshot.value(store, OwnerID(owner), key: key)
        }
    }

    func keys(_ store: StoreName, _ owner: Int64) async throws -> [String] {
        try await storage.read([OwnerID(owner)]) { snapshot throws(StorageError) in
            try snapshot.entries(store, OwnerID(owner)).map(\.key)
        }
    }

    func spoolIDs(_ store: StoreName, _ owner: Int64) async throws -> [Int64] {
        try await storage.read([OwnerID(owner)]) { snapshot throws(StorageError) in
            try snapshot.spool(store, OwnerID(owner), after: .min, limit: .max).map(\.id)
        }
    }

    func archiveIDs(
        _ store: StoreName, _ owner: Int64, _ query: ArchiveQuery = ArchiveQuery(limit: 1_000)
    ) async throws -> [Int64] {
        try await storage.read([OwnerID(owner)]) { snapshot throws(StorageError) in
            try snapshot.archive(store, OwnerID(owner), query).map(\.id)
        }
    }
}
