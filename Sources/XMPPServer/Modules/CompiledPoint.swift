import ModuleKit

/// One hot point of one host on one loop, in its final order.
struct CompiledPoint<Event> {
    typealias Registration = HotPoint<Event>.Registration

    /// What runs for each stanza: no more than that takes, so that a step is read with one reference count.
    private struct Step {
        let interest: Interest
        let handler: (inout Event) -> Verdict
    }

    let steps: [Registration]
    private let program: ContiguousArray<Step>
    private let union: Interest

    init(_ steps: [Registration]) {
        self.steps = steps
        program = ContiguousArray(steps.map { Step(interest: $0.interest, handler: $0.handler) })
        union = steps.reduce(Interest(kinds: 0, types: 0, namespaces: 0)) {
            Interest(
                kinds: $0.kinds | $1.interest.kinds, types: $0.types | $1.interest.types,
                namespaces: $0.namespaces | $1.interest.namespaces)
        }
    }

    /// False: no step cares, and the event need not be made.
    @inline(__always)
    func wants(_ stanza: Stanza) -> Bool { union.wants(stanza) }

    /// Runs the interested steps until one takes or rejects the stanza.
    @inline(__always)
    func run(_ event: inout Event, _ stanza: Stanza) -> Verdict {
        for index in program.indices where program[index].interest.wants(stanza) {
            let verdict = program[index].handler(&event)
            if case .next = verdict { continue }
            return verdict
        }
        return .next
    }

    func runs(module: String) -> Bool { steps.contains { $0.module == module } }
}

extension CompiledPoint {
    /// Orders by stage, then by `after`; a tie between overlapping steps that nobody decided is an error.
    static func compile(_ point: HotPoint<Event>, named name: String, problems: inout [String]) -> CompiledPoint {
        var ordered: [Registration] = []
        for stage in Stage.allCases {
            var waiting = point.registrations.filter { $0.stage == stage }
            for (index, left) in waiting.enumerated() {
                for right in waiting[(index + 1)...] where left.module != right.module {
                    let decided = left.after.contains(right.module) || right.after.contains(left.module)
                    if left.interest.overlaps(right.interest), !decided {
                        problems.append(
                            "\(name), stage \(stage): nothing says whether \(left.module) or \(right.module) goes first"
                        )
                    }
                }
            }
            while !waiting.isEmpty {
                let free = waiting.firstIndex { step in
                    !waiting.contains { $0.module != step.module && step.after.contains($0.module) }
                }
                guard let free else {
                    let names = waiting.map(\.module).joined(separator: ", ")
                    problems.append("\(name), stage \(stage): these come after one another in a circle: \(names)")
                    break
                }
                ordered.append(waiting.remove(at: free))
            }
        }
        return CompiledPoint(ordered)
    }
}
