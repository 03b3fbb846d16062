/// Something that must hold whatever the input is: says which, and crashes, so that libFuzzer keeps the input.
@inline(__always)
public func check(_ holds: Bool, _ rule: @autoclosure () -> String) {
    if !holds { fail(rule()) }
}

@inline(never)
public func fail(_ rule: String) -> Never {
    fatalError("broken: \(rule)")
}
