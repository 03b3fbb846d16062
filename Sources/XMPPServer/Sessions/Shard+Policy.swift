import XMPPStream

extension Shard {
    /// What a host offers on its clients' streams; nil: it is not served. Made once until a reload.
    func policy(of host: String, secret: [UInt8]) -> HostPolicy? {
        if let policy = policies[host] { return policy }
        guard let table = world.hosts[host] else { return nil }
        let auth = settings.auth[host] ?? AuthConfig()
        let policy = HostPolicy(
            authentication: AuthenticationPolicy(
                mechanisms: Set(auth.mechanisms.flatMap(\.mechanisms)), hashes: auth.hashes,
                iterations: auth.iterations, secret: secret,
                attempts: settings.limits.unauthenticated.attempts),
            streamManagement: true,
            features: StreamLimits.features(settings.limits, table) + table.streamFeatures.map(StreamFeature.init),
            requests: table.streamRequests.requests)
        policies[host] = policy
        return policy
    }
}
