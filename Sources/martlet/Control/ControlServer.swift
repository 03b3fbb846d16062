import Foundation
import Logging
import ModuleKit
import NIOCore
import NIOPosix

/// The socket by which commands reach the running server. Whoever can open it (the owner of the data directory) may
/// do everything, so nobody else can; still, size, number and time of what comes in and goes out are bounded, and
/// whoever is silent or does not read gives way to a newer command.
final class ControlServer: Sendable {
    /// Runs one command.
    typealias Dispatch = @Sendable (ControlRequest) async -> ControlReply

    struct Limits: Sendable {
        var connections = 32
        /// Commands that run at once, those included whose connection has gone. More are refused, all but `stop`.
        var commands = 64
        /// Bytes of requests that are not carried out yet, of all connections.
        var requestBytes = 4 * ControlRequest.longest
        /// From connecting until the request is whole.
        var timeout = TimeAmount.seconds(10)
        /// For taking a piece of the answer. The answer itself may take as long as the command does.
        var readTimeout = TimeAmount.seconds(30)
        /// Commands with long answers that run or are being read at once; more wait for their turn.
        var bulky = 4
        /// For taking a piece of a long answer while others wait for their turn.
        var hurriedReadTimeout = TimeAmount.seconds(1)
    }

    private let channel: any Channel
    private let address: SocketAddressPath
    private let socketPath: String

    private init(channel: any Channel, address: SocketAddressPath, socketPath: String) {
        self.channel = channel
        self.address = address
        self.socketPath = socketPath
    }

    /// Opens the socket, in place of one that a dead server left behind: the caller holds the directory's lock.
    ///
    /// - Throws: `CommandError` if the socket cannot be opened.
    static func start(
        in directory: DataDirectory, on group: any EventLoopGroup, limits: Limits = Limits(), log: Logger,
        dispatch: @escaping Dispatch
    ) async throws(CommandError) -> ControlServer {
        let address = try directory.socketAddress()
        unlink(address.path)
        // One loop for all, so that they can give way to one another.
        let loop = group.next()
        do {
            let connections = try await loop.submit {
                NIOLoopBound(ControlConnections(limits, log: log, dispatch), eventLoop: loop)
            }.get()
            let channel = try await ServerBootstrap(group: loop)
                .serverChannelOption(.backlog, value: 16)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let handler = ControlHandler(connections.value, channel)
                        try channel.pipeline.syncOperations.addHandler(handler)
                    }
                }
                .bind(unixDomainSocketPath: address.path).get()
            // The directory is closed to others already; this is for one that its owner has opened.
            chmod(address.path, 0o600)
            return ControlServer(channel: channel, address: address, socketPath: directory.socketPath)
        } catch {
            throw .unavailable("the control socket \(directory.socketPath) cannot be opened: \(error)")
        }
    }

    /// Closes and removes the socket. Requests that are being answered still get their answers.
    func stop() async {
        unlink(address.path)
        try? await channel.close()
    }
}
