// Package federation is the wire between gateways, both ends: a fiber server
// that hands envelopes to a Gateway, and a client that carries ours out through
// the dial guard. It decides nothing; it knows paths, bodies and statuses.
//
// docs/protocol.md#endpoints
package federation

// The paths of the protocol.
const (
	PathCard     = "/.well-known/ogp"
	PathPing     = "/federation/ping"
	PathRequest  = "/federation/request"
	PathApprove  = "/federation/approve"
	PathRemoved  = "/federation/removed"
	PathMessage  = "/federation/message"
	PathReply    = "/federation/reply/"
	PathIdentity = "/federation/update-identity"
)

// The headers of a signed card request.
const (
	HeaderPeerID    = "X-OGP-Peer-ID"
	HeaderTimestamp = "X-OGP-Timestamp"
	HeaderSignature = "X-OGP-Signature"
)
