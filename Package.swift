// swift-tools-version: 6.2
import Foundation
import PackageDescription

let isStrict = ProcessInfo.processInfo.environment["MARTLET_STRICT"] == "1"
let settings: [SwiftSetting] =
    [
        .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
    ] + (isStrict ? [.treatAllWarnings(as: .error)] : [])

func nio(_ name: String) -> Target.Dependency { .product(name: name, package: "swift-nio") }
let grdb = ["GRDB", "GRDBSQLite"].map { Target.Dependency.product(name: $0, package: "GRDB.swift") }
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "CoreMetrics", package: "swift-metrics")

func target(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// One folder of Modules/, one target, one module: it sees ModuleKit and nothing else of ours.
let moduleNames = [
    "Archive", "Blocking", "Carbons", "ClientState", "Disco", "Last", "Messages", "Offline", "Ping", "Presence",
    "Privacy", "Private", "Register", "Reports", "Roster", "Time", "VCard", "Version",
]
let modules = moduleNames.map {
    Target.target(name: $0, dependencies: ["ModuleKit"], path: "Modules/\($0)", swiftSettings: settings)
}

/// What tests of modules and of the kernel see.
let inProcess: [Target.Dependency] =
    ["ModuleTesting", "XMPPServer", "StorageMemory", "ModuleKit", "XMPPStream", "XMPPCore", "XML", logging]
    + moduleNames.map { .target(name: $0) }

func test(_ name: String, _ dependencies: [Target.Dependency], path: String? = nil) -> Target {
    .testTarget(name: name, dependencies: dependencies, path: path, swiftSettings: settings)
}

let package = Package(
    name: "martlet",
    products: [
        .executable(name: "martlet", targets: ["martlet"]),
        .executable(name: "martlet-load", targets: ["martlet-load"]),
        .executable(name: "martlet-relay", targets: ["martlet-relay"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", exact: "2.13.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
    ],
    targets: [
        .systemLibrary(name: "CExpat", pkgConfig: "expat", providers: [.apt(["libexpat1-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CIDN2", pkgConfig: "libidn2", providers: [.apt(["libidn2-dev", "libunistring-dev"])]),
        .systemLibrary(name: "CResolv"),
        .target(name: "CLoadShims"),
        .target(name: "CSQLiteVFS", linkerSettings: [.linkedLibrary("sqlite3")]),

        target("XML", ["CExpat"]),
        target("XMPPCore", ["XML", "CIDN2"]),
        target("XMPPStream", ["XMPPCore", "XML", "COpenSSL", "CIDN2"]),
        target("ModuleKit", ["XMPPCore", "XML", logging]),
        target("XMPPServer", ["ModuleKit", "XMPPStream", "XMPPCore", "XML", logging, metrics]),
        target(
            "XMPPTransport",
            [
                "XMPPServer", "XMPPCore", "XML", "ModuleKit", "COpenSSL", nio("NIOCore"), nio("NIOPosix"),
                nio("NIOConcurrencyHelpers"),
            ]),
        target("StorageSQL", ["ModuleKit", "CSQLiteVFS"] + grdb),
        target("StorageMemory", ["ModuleKit"]),
        target(
            "ModuleTesting",
            ["XMPPServer", "StorageMemory", "ModuleKit", "XMPPStream", "XMPPTransport", logging, metrics]),

        .executableTarget(
            name: "martlet",
            dependencies: [
                "XMPPServer", "XMPPTransport", "StorageSQL", "ModuleKit", "XMPPStream", "COpenSSL", "CIDN2", "CResolv",
                logging, nio("NIOCore"), nio("NIOPosix"), .product(name: "Yams", package: "Yams"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ] + moduleNames.map { .target(name: $0) }, swiftSettings: settings),
        .executableTarget(
            name: "martlet-load",
            dependencies: [
                "CLoadShims", "COpenSSL", "XMPPServer", "XMPPTransport", "XMPPStream", "XMPPCore", "XML", "ModuleKit",
                "StorageMemory", logging, .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ] + moduleNames.map { .target(name: $0) }, swiftSettings: settings),
        .executableTarget(
            name: "martlet-relay",
            dependencies: [
                nio("NIOCore"), nio("NIOPosix"), nio("NIOConcurrencyHelpers"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: settings),

        test("ConfigTests", ["martlet", "ModuleKit", "XMPPServer", "XMPPStream"]),
        test(
            "CommandLineTests",
            [
                "martlet", "ModuleKit", "XMPPServer", "XMPPStream", "StorageMemory", "StorageSQL", logging,
                nio("NIOCore"), nio("NIOPosix"),
            ] + grdb),
        test(
            "XMPPTransportTests",
            [
                "XMPPTransport", "XMPPServer", "XMPPStream", "ModuleTesting", "StorageMemory", "ModuleKit", "XMPPCore",
                "XML",
                "COpenSSL",
                logging, nio("NIOCore"), nio("NIOPosix"), nio("NIOConcurrencyHelpers"),
            ]),
        test("ModulesTests", inProcess),
        test(
            "XMPPServerTests", inProcess + [metrics, .product(name: "MetricsTestKit", package: "swift-metrics")]),
        test("StorageTests", ["StorageSQL", "StorageMemory", "ModuleTesting", "ModuleKit", "CSQLiteVFS"] + grdb),
        test("XMLTests", ["XML"]),
        test("XMPPCoreTests", ["XMPPCore", "XML"]),
        test("FramingTests", ["XMPPTransport", "XMPPCore", "XML"]),
        test("XMPPStreamTests", ["XMPPTransport", "XMPPStream", "XMPPCore", "XML"]),
    ] + modules,
    swiftLanguageModes: [.v6]
)

// MARK: Fuzzing

/// With MARTLET_FUZZ=1 the package is the fuzz targets and what they need of the rest, which keeps their build short:
/// neither sockets nor databases. `scripts/fuzz` builds it, with the sanitizers, into a folder of its own.
if ProcessInfo.processInfo.environment["MARTLET_FUZZ"] == "1" {
    /// One folder of Tests/Fuzz; libFuzzer has the `main`.
    func fuzz(_ folder: String, _ dependencies: [Target.Dependency]) -> Target {
        .executableTarget(
            name: "fuzz-\(folder.lowercased())", dependencies: ["FuzzSupport"] + dependencies,
            path: "Tests/Fuzz/\(folder)", swiftSettings: settings + [.unsafeFlags(["-parse-as-library"])])
    }

    /// A part of a target that otherwise comes with more.
    func part(_ name: String, _ path: String, _ sources: [String]?, _ dependencies: [Target.Dependency]) -> Target {
        .target(name: name, dependencies: dependencies, path: path, sources: sources, swiftSettings: settings)
    }

    let needed: Set<String> = [
        "CExpat", "COpenSSL", "CIDN2", "XML", "XMPPCore", "XMPPStream", "ModuleKit", "XMPPServer",
    ]
    package.products = []
    package.targets.removeAll { !needed.union(moduleNames).contains($0.name) }
    package.targets += [
        part("FuzzSupport", "Tests/Fuzz/Support", nil, ["XML"]),
        part("StreamFraming", "Sources/XMPPTransport/Framing", nil, ["XMPPCore", "XML"]),
        part("ProxyReading", "Sources/XMPPTransport", ["ProxyHeader.swift"], ["ModuleKit"]),
        part(
            "ConfigReading", "Sources/martlet", ["Config", "DataDirectory.swift", "StandardModules.swift"],
            ["XMPPServer", "ModuleKit", "XMPPCore", .product(name: "Yams", package: "Yams")]
                + moduleNames.map { .target(name: $0) }),
        fuzz("Stream", ["StreamFraming", "XMPPStream", "XMPPCore", "XML"]),
        fuzz("XML", ["XMPPCore", "XML"]),
        fuzz("Address", ["XMPPCore", "XML"]),
        fuzz("SASL", ["XMPPStream", "XMPPCore", "XML"]),
        fuzz("Base64", ["XMPPStream"]),
        fuzz("Config", ["ConfigReading", "XMPPServer", "ModuleKit"]),
        fuzz("Forms", ["XMPPCore", "XML"]),
        fuzz("Proxy", ["ProxyReading", "ModuleKit"]),
        fuzz("Privacy", ["Privacy", "ModuleKit", "XMPPCore", "XML"]),
    ]
}
