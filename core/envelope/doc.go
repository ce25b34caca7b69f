// Package envelope is the one way from bytes to a verified thing, and back: Open
// functions take a request's body and give its content only when a signature
// holds over the exact bytes that the content was decoded from; Seal functions
// write the bodies that every gateway version in the field accepts.
//
// Every signed shape of the wire is named in shapes.go. A text that was signed
// as one shape is refused as any other: each shape has a member that only it
// has, and a text carries exactly one of these. The only two that look alike are
// the removal notice and the signed card request of old gateways; the gateway
// asks back before it believes the former (docs/threat-model.md#t5).
//
// JSON is read strictly: names are case-sensitive, a duplicate name, invalid
// UTF-8 and nesting beyond MaxDepth are errors.
//
// docs/protocol.md#envelopes
package envelope
