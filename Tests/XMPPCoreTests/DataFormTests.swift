import Testing
import XML
import XMPPCore

@Suite struct DataFormTests {
    private func read(
        _ content: String, type: String = "submit", limits: DataForm.Limits = .usual
    ) throws(StanzaError) -> DataForm {
        let text = "<x xmlns='jabber:x:data' type='\(type)'>\(content)</x>"
        guard let tree = try? XMLTree(parsing: text, limits: .authenticated) else { throw .internalServerError }
        return try DataForm(tree.root, limits: limits)
    }

    private func condition(_ content: String, limits: DataForm.Limits = .usual) -> StanzaError.Condition? {
        do throws(StanzaError) {
            _ = try read(content, limits: limits)
            return nil
        } catch {
            return error.condition
        }
    }

    @Test func `a form is read as it was written`() throws {
        var form = DataForm(.form, type: "urn:test")
        form.title = "Title"
        form.instructions = ["One.", "Two."]
        var choice = DataForm.Field("choice", .listSingle, label: "Choose", values: ["b"])
        choice.options = [.init("a", label: "A"), .init("b")]
        choice.isRequired = true
        choice.description = "Some <markup> & more"
        form.fields += [
            choice, .init("lines", .textMulti, values: ["x", "", "z"]), .init(nil, .fixed, values: ["Text"]),
        ]
        form.reported = [.init("name", .textSingle)]
        form.items = [[.init("name", values: ["1"])], [.init("name", values: ["2"])]]
        #expect(try DataForm(XMLTree(form.element).root) == form)
    }

    @Test func `its type is the value of the hidden field, of one only`() throws {
        func type(_ fields: String, _ kind: String = "result") throws -> String? {
            try read(fields, type: kind).type
        }
        let hidden = "<field var='FORM_TYPE' type='hidden'><value>urn:a</value></field>"
        #expect(try type(hidden) == "urn:a")
        #expect(try type("<field var='FORM_TYPE'><value>urn:a</value></field>") == nil)
        #expect(try type("<field var='FORM_TYPE'><value>urn:a</value></field>", "submit") == "urn:a")
        #expect(try type("<field var='FORM_TYPE' type='text-single'><value>urn:a</value></field>", "submit") == nil)
        #expect(try type(hidden + hidden) == nil)
        #expect(try type("<field var='FORM_TYPE' type='hidden'><value>a</value><value>b</value></field>") == nil)
        #expect(try type("<field var='FORM_TYPE' type='hidden'/>") == nil)
        #expect(try type("") == nil)
    }

    @Test(arguments: [
        "<x xmlns='jabber:x:data'/>", "<x xmlns='jabber:x:data' type='other'/>", "<x xmlns='jabber:x:data' type=''/>",
        "<y xmlns='jabber:x:data' type='form'/>", "<x xmlns='urn:other' type='form'/>",
    ])
    func `what is no form is a bad request`(_ text: String) throws {
        let tree = try XMLTree(parsing: text)
        #expect(throws: StanzaError.badRequest.saying("not a data form")) { try DataForm(tree.root) }
    }

    @Test func `a field needs a name, unless it is fixed text`() {
        #expect(condition("<field><value>1</value></field>") == .badRequest)
        #expect(condition("<field var=''/>") == .badRequest)
        #expect(condition("<field type='fixed'><value>1</value></field>") == nil)
    }

    @Test func `several values stand only where several may`() {
        let values = "<value>1</value><value>2</value>"
        for type in DataForm.FieldType.allCases {
            let refused = condition("<field var='a' type='\(type.rawValue)'>\(values)</field>")
            #expect(refused == (type.isMultiple ? nil : .notAcceptable), "\(type)")
        }
        #expect(condition("<field var='a'>\(values)</field>") == nil)
    }

    @Test func `a field is sent in once, and shown as often as somebody likes`() throws {
        let twice = "<field var='a'><value>1</value></field><field var='b'/><field var='a' type='list-multi'/>"
        #expect(condition(twice) == .notAcceptable)
        #expect(condition("<field type='fixed'/><field type='fixed'/><field var='a'/><field var='A'/>") == nil)
        for type in ["form", "result", "cancel"] { #expect(try read(twice, type: type).fields.count == 3) }
        #expect(try read("<item><field var='a'/></item><item><field var='a'/></item>").items.count == 2)
    }

    @Test func `a field of an unknown type is text`() throws {
        let form = try read("<field var='a' type='urn:new'><value>1</value></field><other xmlns='urn:x'/>")
        #expect(form["a"]?.type == .textSingle)
        #expect(form.fields.count == 1)
    }

    @Test func `an option has a value`() {
        #expect(condition("<field var='a' type='list-single'><option label='A'/></field>") == .badRequest)
    }

    @Test func `values are read as what they should be, or refused`() throws {
        let form = try read(
            """
            <field var='yes'><value>1</value></field><field var='no'><value>false</value></field>
            <field var='number'><value>-42</value></field><field var='empty'/><field var='word'><value>maybe</value></field>
            <field var='two'><value>a</value><value>b</value></field>
            <field var='jid'><value>Romeo@Example.org</value></field><field var='bad'><value>@</value></field>
            <field var='jids'><value>a@b</value><value>A@B</value><value>c@b</value></field>
            """)
        #expect(try form.flag("yes") == true)
        #expect(try form.flag("no") == false)
        #expect(try form.flag("none") == nil)
        #expect(try form.flag("empty") == nil)
        #expect(try form.number("number", in: -100...0) == -42)
        #expect(try form.address("jid") == JID("romeo@example.org"))
        #expect(try form.addresses("jids") == [JID("a@b"), JID("c@b")])
        #expect(form.texts("two") == ["a", "b"])
        let wrong: [() throws -> Void] = [
            { _ = try form.flag("word") }, { _ = try form.number("word", in: 0...1) },
            { _ = try form.number("number", in: 0...1) }, { _ = try form.text("two") }, { _ = try form.flag("two") },
            { _ = try form.address("bad") }, { _ = try form.addresses("bad") },
        ]
        for read in wrong {
            #expect { try read() } throws: { ($0 as? StanzaError)?.condition == .notAcceptable }
        }
    }

    @Test(arguments: ["", "-", "+1", "1.0", " 1", "1e3", "0x10", "99999999999999999999", "١"])
    func `what is no number is refused`(_ text: String) throws {
        let form = try read("<field var='n'><value>\(text)</value></field>")
        #expect { try form.number("n", in: .min ... .max) } throws: {
            ($0 as? StanzaError)?.condition == .notAcceptable
        }
    }

    @Test func `line 30: a form of 100,000 fields, values, options or items is refused`() throws {
        func times(_ text: String) -> String { String(repeating: text, count: 1000) }
        let fields = (0..<1000).map { "<field var='\($0)'/>" }
        #expect(condition(fields.joined()) == .notAcceptable)
        #expect(condition(fields.prefix(256).joined()) == nil)
        #expect(
            condition("<field var='a'>\(times("<value/>"))\(times("<value/>"))\(times("<value/>"))</field>")
                == .notAcceptable)
        #expect(condition(times("<item/>") + times("<item/>") + times("<item/>")) == .notAcceptable)
        #expect(
            condition(times("<instructions/>") + times("<instructions/>") + times("<instructions/>")) == .notAcceptable)
        let option = "<option><value/></option>"
        #expect(condition("<field var='a'>\(times(option) + times(option) + times(option))</field>") == .notAcceptable)
        let long = String(repeating: "x", count: 1000)
        func named(_ count: Int) -> String { (0..<count).map { "<field var='\(long)\($0)'/>" }.joined() }
        #expect(condition(named(200)) == .notAcceptable)
        #expect(condition(named(100)) == nil)
        #expect(condition("<field var='a'/><field var='b'/>", limits: .init(fields: 1)) == .notAcceptable)
    }

    @Test func `an element has one form or none`() throws {
        let none = try XMLTree(parsing: "<q xmlns='urn:q'/>")
        #expect(try DataForm(in: none.root) == nil)
        let x = "<x xmlns='jabber:x:data' type='cancel'/>"
        let one = try XMLTree(parsing: "<q xmlns='urn:q'><a/>\(x)</q>")
        #expect(try DataForm(in: one.root)?.kind == .cancel)
        let two = try XMLTree(parsing: "<q xmlns='urn:q'>\(x)\(x)</q>")
        #expect { try DataForm(in: two.root) } throws: { ($0 as? StanzaError)?.condition == .badRequest }
    }
}

@Suite struct NameScriptsTests {
    @Test(arguments: ["romeo", "r-2_%.x", "0"])
    func `ASCII is ASCII`(_ name: String) {
        #expect(NameScripts(of: name) == .ascii)
    }

    @Test(arguments: ["ромео", "jürgen", "ロミオ", "山田たろう", "로미오", "e\u{301}1", "روميو", "ромео-2"])
    func `names of one script are so as their writers mix them`(_ name: String) {
        #expect(NameScripts(of: name) == .one)
    }

    @Test(arguments: ["rоmeo", "αdmin", "ромеo", "로미お"])
    func `a foreign letter shows`(_ name: String) {
        #expect(NameScripts(of: name) == .several)
    }
}
