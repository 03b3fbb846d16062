import ModuleTesting
import Testing

/// Devices of one account come, go, ask for copies and change their priorities while messages come and go; a small
/// model says who gets which message itself, and who a copy (RFC 6121 §8.5, XEP-0280 §7 and §8).
@Suite struct CarbonPropertyTests {
    /// One of Romeo's devices as the model knows it.
    private struct Device {
        let resource: String
        let client: TestClient
        /// Nil: no presence yet.
        var priority: Int?
        var wantsCopies = false
        var expected: [String] = []

        var isInterested: Bool { (priority ?? -1) >= 0 }
    }

    private struct World {
        let server: TestServer
        let juliet: TestClient
        var random: SeededGenerator
        var devices: [Device] = []
        var kept: [String] = []
        var forJuliet: [String] = []
        var number = 0

        init(_ seed: UInt64) async throws {
            server = try await TestServer(standardModules, seed: seed)
            juliet = try server.login("juliet@example.org/balcony")
            random = SeededGenerator(seed: seed)
        }

        mutating func act() throws {
            switch random.below(10) {
            case 0, 1: try logIn()
            case 2:
                change { world, index in
                    world.devices[index].client.end()
                    world.server.settle()
                    world.devices.remove(at: index)
                }
            case 3: try ask("enable", true)
            case 4: try ask("disable", false)
            case 5: change { world, index in world.setPriority(of: index, [-1, 0, 0, 5][world.random.below(4)]) }
            case 6, 7: receive(from: nil)
            default: change { world, index in world.send(from: index) }
            }
        }

        private mutating func change(_ body: (inout World, Int) throws -> Void) rethrows {
            if !devices.isEmpty { try body(&self, random.below(devices.count)) }
        }

        private mutating func logIn() throws {
            let resource = ["a", "b", "c", "d"][random.below(4)]
            guard !devices.contains(where: { $0.resource == resource }) else { return }
            let client = try server.login("romeo@example.org/\(resource)", priority: nil)
            devices.append(Device(resource: resource, client: client))
        }

        private mutating func ask(_ what: String, _ wants: Bool) throws {
            try change { world, index in
                try world.devices[index].client.ask(world.server, "set", "<\(what) xmlns='urn:xmpp:carbons:2'/>")
                world.devices[index].wantsCopies = wants
            }
        }

        private mutating func setPriority(of index: Int, _ priority: Int) {
            devices[index].client.sendPresence(priority)
            server.settle()
            devices[index].priority = priority
            guard devices[index].isInterested else { return }
            devices[index].expected += kept
            kept = []
        }

        private mutating func makeMessage(to address: String, _ type: String) -> (xml: String, body: String) {
            number += 1
            return (message(to: address, "\(number)", type: type, id: "\(number)"), "\(number)")
        }

        private mutating func send(from index: Int) {
            guard random.oneIn(2) else { return receive(from: index) }
            let (xml, body) = makeMessage(to: "juliet@example.org", "chat")
            devices[index].client.send(xml)
            server.settle()
            forJuliet.append(body)
            for other in devices.indices where other != index && devices[other].wantsCopies {
                devices[other].expected.append("sent \(body)")
            }
        }

        /// - Parameter sender: nil: Juliet.
        private mutating func receive(from sender: Int?) {
            let resource = ["", "", "a", "b", "x"][random.below(5)]
            let type = random.oneIn(3) ? "normal" : "chat"
            let (xml, body) = makeMessage(to: "romeo@example.org" + (resource.isEmpty ? "" : "/\(resource)"), type)
            (sender.map { devices[$0].client } ?? juliet).send(xml)
            server.settle()
            let named = devices.firstIndex { $0.resource == resource }
            if type == "normal", !resource.isEmpty, named == nil {
                if let sender { devices[sender].expected.append("error") } else { forJuliet.append("error") }
                return
            }
            let best = devices.filter(\.isInterested).compactMap(\.priority).max()
            // What waits goes first, also to a device that has not said yet whether it takes messages.
            let waits = named.map { devices[$0].priority == nil && !kept.isEmpty } ?? (best == nil)
            if waits { kept.append(body) }
            for index in devices.indices {
                let device = devices[index]
                let isMeant = named.map { $0 == index } ?? (device.isInterested && device.priority == best)
                if isMeant, !waits {
                    devices[index].expected.append(body)
                } else if device.wantsCopies, index != sender {
                    if waits, device.priority == nil { continue }
                    devices[index].expected.append("received \(body)")
                }
            }
        }

        mutating func check() {
            for index in devices.indices {
                let device = devices[index]
                let got = device.client.takeMessages()
                #expect(got == device.expected, "\(device.resource), step \(number)")
                devices[index].expected = []
            }
            #expect(juliet.takeMessages() == forJuliet)
            forJuliet = []
        }
    }

    @Test(arguments: 1...60) func `each device gets each message once, itself or as a copy`(_ seed: UInt64) async throws
    {
        var world = try await World(seed)
        for _ in 0..<80 {
            try world.act()
            world.check()
        }
        #expect(world.number > 10)
        await world.server.stop()
    }
}
