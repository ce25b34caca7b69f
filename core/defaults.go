package core

import "time"

// What holds where nobody says otherwise. Each default stands here once: the
// settings (core/config) and the parts that can be built without them read it.
const (
	DefaultPort = 18790 // the port of every gateway in the field

	// docs/protocol.md#freshness
	DefaultWindow   = 5 * time.Minute
	DefaultRemember = 24 * time.Hour

	DefaultBodyBytes = 64 << 10

	// docs/threat-model.md#t6, #n4
	DefaultPendingTotal     = 200
	DefaultPendingPerHour   = 5 // from one network
	DefaultPendingLife      = 7 * day
	DefaultCardsPerMinute   = 120 // to one address
	DefaultStrangersPerMin  = 60  // from one address
	DefaultDigestInterval   = 10 * time.Minute
	DefaultInviteLife       = 10 * time.Minute
	DefaultRendezvousPort   = 3000
	DefaultOpenClawURL      = "http://localhost:18789"
	DefaultPrimaryAgentHook = "main"

	DefaultOutboxGiveUp = 24 * time.Hour
	DefaultOutboxFirst  = 2 * time.Second
	DefaultOutboxMost   = 15 * time.Minute

	DefaultInboxKeep = 90 * day
	DefaultReplyLife = 24 * time.Hour

	DefaultDeliveryGiveUp = 72 * time.Hour
	DefaultDeliveryFirst  = time.Second
	DefaultDeliveryMost   = 10 * time.Minute

	DefaultAgentMessages = 200 // that the agent may send to one peer in 24 hours
	DefaultAgentBytes    = 4 << 20

	// docs/agents.md#the-brake
	DefaultMaxTurns       = 20 // of a conversation in an hour
	DefaultBreakerRate    = 100
	DefaultBreakerRepeats = 20
	DefaultBudgetMessages = 1000 // of one peer and intent in 24 hours
	DefaultBudgetBytes    = 16 << 20
	DefaultBudgetRuns     = 400

	DefaultHealthInterval = 5 * time.Minute
	DefaultHealthTimeout  = 10 * time.Second
	DefaultHealthFailures = 3
)
