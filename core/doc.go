// Package core holds the words of the gateway: the types and small interfaces
// that every other room speaks in. It does no I/O and imports the standard
// library alone, so that importing it costs nothing and binds nobody.
//
// The values here are meant to be valid once they exist: bytes from outside are
// parsed by core/keys and core/envelope, and past those rooms a PublicKey is a
// sound Ed25519 key and a Message was verified.
package core
