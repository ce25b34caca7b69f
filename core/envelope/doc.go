// Package envelope is the one way from bytes to a verified thing, and back: Open
// takes a body of one of the Kinds and gives its content only when a signature
// holds over the exact bytes that the content was decoded from; a Sealer writes
// the bodies that every gateway version in the field accepts. OpenHints and
// OpenRecord are the same for what a rendezvous is told and hands on.
//
// Every signed shape of the wire is named in shapes.go. A text that was signed
// as one shape is refused as any other: each shape has a member that only it
// has, and a text carries exactly one of these. The only two that look alike are
// the removal notice and the signed card request of old gateways; the gateway
// does not believe the former by itself (docs/threat-model.md#t5). What we sign
// in the v2 form holds nowhere else at all (docs/threat-model.md#t11).
//
// JSON is read strictly: names are case-sensitive, a duplicate name, invalid
// UTF-8 and nesting beyond MaxDepth are errors.
//
// docs/protocol.md#envelopes
package envelope
