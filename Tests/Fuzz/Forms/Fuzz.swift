import FuzzSupport
import XML
import XMPPCore

/// An element that may be a data form, or else a text that may be a moment.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Input.bytes(start, count)
    guard let text = String(validating: bytes, as: UTF8.self) else { return 0 }
    if bytes.first == UInt8(ascii: "<") {
        guard let tree = try? XMLTree(parsing: text, limits: .authenticated) else { return 0 }
        read(tree.root)
        for child in tree.root.children { read(child) }
        _ = try? DataForm(in: tree.root)
    } else if let moment = Timestamp(text) {
        check(Timestamp(moment.description) == moment, "\(moment) reads as itself")
        check(moment.description.utf8.last == UInt8(ascii: "Z"), "\(moment) is in UTC")
    }
    return 0
}

private func read(_ element: ElementView) {
    let small = DataForm.Limits(fields: 8, values: 16, bytes: 256)
    for limits in [small, .usual] {
        guard let form = try? DataForm(element, limits: limits) else { continue }
        let all = form.fields + form.reported + form.items.joined()
        let values = all.map { $0.values.count + $0.options.count }.reduce(0, +)
        let bytes = all.map(bytes(of:)).reduce(form.title?.utf8.count ?? 0, +)
        check(all.count <= limits.fields, "fields have a bound")
        check(values + form.items.count + form.instructions.count <= limits.values, "values and items have a bound")
        check(bytes <= limits.bytes, "texts have a bound")
        // An unknown type is written as a known one, which may be longer.
        let wide = DataForm.Limits(fields: limits.fields, values: limits.values, bytes: 1 << 20)
        check((try? DataForm(XMLTree(form.element).root, limits: wide)) == form, "\(form.element) reads as itself")
        guard let again = try? XMLTree(parsing: form.element.description, limits: .stored) else {
            fail("\(form.element) is an element")
        }
        check((try? DataForm(again.root, limits: wide)) == form, "\(form.element) reads as itself")
        look(form)
    }
}

private func look(_ form: DataForm) {
    for field in form.fields {
        guard let name = field.name else { continue }
        _ = try? form.text(name)
        _ = try? form.flag(name)
        if let number = try? form.number(name, in: -5...5000) {
            check((-5...5000).contains(number), "numbers are in range")
        }
        if let number = try? form.number(name, in: .min ... .max) {
            check(Int(form.texts(name).first ?? "") == number, "a number is what the text says")
        }
        if let address = try? form.address(name) {
            check(JID(address.description) == address, "addresses are canonical")
        }
        if let addresses = try? form.addresses(name) {
            check(Set(addresses).count == addresses.count, "each address once")
        }
    }
    if let type = form.type { check(form[DataForm.typeField]?.values == [type], "the type is its field's value") }
}

private func bytes(of field: DataForm.Field) -> Int {
    var texts = field.values + field.options.map(\.value)
    texts += ([field.name, field.label, field.description] + field.options.map(\.label)).compactMap(\.self)
    return texts.map(\.utf8.count).reduce(0, +)
}
