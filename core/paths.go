package core

// The paths of the protocol. docs/protocol.md#endpoints
const (
	PathCard     = "/.well-known/ogp"
	PathPing     = "/federation/ping"
	PathRequest  = "/federation/request"
	PathApprove  = "/federation/approve"
	PathRemoved  = "/federation/removed"
	PathMessage  = "/federation/message"
	PathReply    = "/federation/reply/" // and the nonce
	PathIdentity = "/federation/update-identity"
)
