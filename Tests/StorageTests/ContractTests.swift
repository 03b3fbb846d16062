import ModuleTesting
import Testing

@Suite struct ContractTests {
    @Test(arguments: StorageContract.checks)
    func `the storage in memory keeps the contract`(_ check: StorageCheck) async throws {
        try await check.run(.memory)
    }

    @Test(arguments: StorageContract.checks)
    func `the storage in SQLite keeps the contract`(_ check: StorageCheck) async throws {
        try await check.run(.sql)
    }

    @Test(arguments: StorageContract.checks)
    func `the storage in SQLite keeps the contract over the file system of the crash trials`(
        _ check: StorageCheck
    ) async throws {
        try await check.run(.sqlOverTestFiles)
    }

    @Test(arguments: StorageContract.checks)
    func `the storage in memory keeps the contract through a faulty one at rest`(_ check: StorageCheck) async throws {
        try await check.run(StorageFactory.memory.throughFaults())
    }

    @Test(arguments: StorageContract.checks)
    func `the storage in SQLite keeps the contract through a faulty one at rest`(_ check: StorageCheck) async throws {
        try await check.run(StorageFactory.sql.throughFaults())
    }
}
