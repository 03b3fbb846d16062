internal import ModuleKit

/// Name and password as clients send them: as elements, or as a data form, which counts if there are both
/// (XEP-0077 §6).
struct RegistrationFields {
    /// Nil: not said, or empty.
    var name: String?
    var password: String?

    private static let limits = DataForm.Limits(fields: 50, values: 50, bytes: 16 << 10)

    /// - Throws: `bad-request` for a data form that is another one or is not filled in, `not-acceptable` for one that
    ///   says something twice.
    init(_ query: ElementView) throws(StanzaError) {
        if let form = try DataForm(in: query, limits: Self.limits) {
            guard form.kind == .submit else { throw .badRequest.saying("the form is not filled in") }
            guard form.type.map(Self.isOurs) ?? true else { throw .badRequest.saying("this is another form") }
            name = try form.text("username")
            password = try form.text("password")
        } else {
            name = try Self.only("username", in: query)
            password = try Self.only("password", in: query)
        }
        if name?.isEmpty == true { name = nil }
        if password?.isEmpty == true { password = nil }
    }

    private static func only(_ name: StaticString, in query: ElementView) throws(StanzaError) -> String? {
        var text: String?
        for child in query.children where child.isNamed(name, .register) {
            guard text == nil else { throw .notAcceptable.saying("the \(name) stands there twice") }
            text = child.text
        }
        return text
    }

    /// XEP-0077 §13.4 (XEP-0068): to make an account, or to change its password.
    private static func isOurs(_ type: String) -> Bool {
        type == Namespace.register.uri || type == "\(Namespace.register.uri):changepassword"
    }

    /// The form to be filled in.
    static func form(_ instructions: String) -> Element {
        var name = DataForm.Field("username", .textSingle, label: "Username")
        name.isRequired = true
        var password = DataForm.Field("password", .textPrivate, label: "Password")
        password.isRequired = true
        var form = DataForm(.form, type: Namespace.register.uri, fields: [name, password])
        form.title = "Registration"
        form.instructions = [instructions]
        return form.element
    }
}
