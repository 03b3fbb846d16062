import ModuleKit

/// The chores of the modules of one world, on one loop. They end with the world.
///
/// Confined to the loop.
final class Chores: TimerTarget {
    private unowned let shard: Shard
    private let chores: [Chore]
    private var timers: [TimerToken?]

    init(_ world: World, of shard: Shard) {
        self.shard = shard
        chores = world.chores
        timers = chores.map { _ in nil }
        // Behind the start, or the reload, that is under way.
        for index in chores.indices { wait(index, .seconds(1)) }
    }

    func end() {
        for timer in timers { timer.map(shard.loop.cancel) }
        timers = []
    }

    func timerFired(_ tag: Int) {
        guard timers.indices.contains(tag), !shard.isStopping else { return }
        wait(tag, chores[tag].step(shard))
    }

    private func wait(_ index: Int, _ delay: Duration) {
        timers[index] = shard.loop.schedule(after: max(delay, .milliseconds(1)), self, tag: index)
    }
}
