// Whoever sees addresses and stanzas sees the elements that they are made of.
@_exported public import XML
