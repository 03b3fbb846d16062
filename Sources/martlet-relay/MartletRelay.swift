import ArgumentParser
import Glibc
import NIOCore
import NIOPosix

/// The plain byte relay that the server's cost is compared with: what arrives on one connection of a pair is written
/// to the other, and nothing else is done with it.
///
/// The first line of a connection is the number of its pair. When the second one of a pair has come, both are told
/// `<ready/>`, and from then on bytes are copied both ways until one of them closes.
@main
struct MartletRelay: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet-relay", abstract: "A byte relay on SwiftNIO: the floor for the server's cost.")

    @Option(help: "The address to listen on.")
    var address = "127.0.0.1"

    @Option(help: "The port; 0: any, it is printed.")
    var port: UInt16 = 5999

    @Option(help: "Event loops.")
    var loops = 2

    @Flag(help: "Every second pair has its ends on two loops, as accounts have by their hash.")
    var split = false

    func validate() throws {
        guard loops > 0 else { throw ValidationError("--loops must be positive") }
    }

    func run() throws {
        signal(SIGPIPE, SIG_IGN)
        let listener = try Listener(address: address, port: port)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: loops)
        let mailboxes = group.makeIterator().map { Mailbox(loop: $0) }
        print("listening on \(address):\(listener.port) loops=\(loops) split=\(split)")
        fflush(nil)

        var waiting: [Int: Int32] = [:]
        while true {
            guard let (descriptor, pair) = listener.accept() else { continue }
            guard let other = waiting.removeValue(forKey: pair) else {
                waiting[pair] = descriptor
                continue
            }
            let first = mailboxes[pair % loops]
            let second = split && pair / loops % 2 == 1 ? mailboxes[(pair + 1) % loops] : first
            let ends = (End(mailbox: first), End(mailbox: second))
            ends.0.partner = ends.1
            ends.1.partner = ends.0
            // The first end reads only when the second can be written to.
            attach(ends.1, descriptor).flatMap { self.attach(ends.0, other) }.whenComplete { result in
                switch result {
                case .success:
                    ends.0.announce()
                    ends.1.announce()
                case .failure(let error): print("a pair was not made: \(error)")
                }
            }
        }
    }

    private func attach(_ end: End, _ descriptor: Int32) -> EventLoopFuture<Void> {
        ClientBootstrap(group: end.mailbox.loop)
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelOption(.recvAllocator, value: LoopBuffers(mailbox: end.mailbox))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(end) }
            }
            .withConnectedSocket(NIOBSDSocket.Handle(descriptor))
            .map { _ in }
    }
}
