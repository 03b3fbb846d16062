// A module imports ModuleKit and has with it all it may see: addresses, stanzas, elements, errors.
@_exported public import XML
@_exported public import XMPPCore
