public import XML

extension BareJID {
    /// Appends the address as part of an attribute's value. Neither part can hold a character to escape.
    public func write(escaped output: OutputBuffer) {
        if !local.isEmpty {
            output.append(raw: local)
            output.append(byte: UInt8(ascii: "@"))
        }
        output.append(raw: domain)
    }
}

extension JID {
    /// Appends the address as part of an attribute's value; a resource may hold quotes and angle brackets.
    public func write(escaped output: OutputBuffer) {
        bare.write(escaped: output)
        guard !resource.isEmpty else { return }
        output.append(byte: UInt8(ascii: "/"))
        XMLWriter(output).escape(attribute: resource)
    }
}
