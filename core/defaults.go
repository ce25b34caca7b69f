package core

import "time"

// The defaults that several rooms need. Any other stands beside its setting: in Default
// of core/config, or in Defaults of the room whose table it is.
const (
	DefaultPort = 18790 // the port of every gateway in the field

	// docs/protocol.md#freshness
	DefaultWindow   = 5 * time.Minute
	DefaultRemember = 24 * time.Hour

	DefaultBodyBytes  = 64 << 10
	DefaultInviteLife = 10 * time.Minute

	// docs/threat-model.md#t6, #n4
	DefaultCardsPerMinute  = 120 // to one address
	DefaultStrangersPerMin = 60  // from one address
)
