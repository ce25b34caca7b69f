// Package federation is the wire between gateways, both ends: a fiber server
// that hands envelopes to a Gateway, and a client that carries ours out through
// the dial guard. It decides nothing; it knows paths, bodies and statuses.
//
// docs/protocol.md#endpoints
package federation

import "github.com/opengatewayprotocol/ogp/core"

// The paths of the protocol, as core has them.
const (
	PathCard     = core.PathCard
	PathPing     = core.PathPing
	PathRequest  = core.PathRequest
	PathApprove  = core.PathApprove
	PathRemoved  = core.PathRemoved
	PathMessage  = core.PathMessage
	PathReply    = core.PathReply
	PathIdentity = core.PathIdentity
)

// The headers of a signed card request.
const (
	HeaderPeerID    = "X-OGP-Peer-ID"
	HeaderTimestamp = "X-OGP-Timestamp"
	HeaderSignature = "X-OGP-Signature"
)
