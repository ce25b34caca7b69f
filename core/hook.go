package core

import (
	"context"
	"time"
)

// Decision is a policy's word. sdk/ABI.md#policy
type Decision string

// The decisions.
const (
	Allow   Decision = "allow"
	Deny    Decision = "deny"
	Hold    Decision = "hold"    // leave it to the human
	Abstain Decision = "abstain" // no opinion: the next policy, or the default
)

// Question is what a policy is asked.
type Question struct {
	Kind    string // "request" or "message"
	Now     time.Time
	Peer    *Peer
	Message *Message // for kind message
	Topic   string   // agent-comms topic, for kind message
	Bytes   int      // size of the signed text, for kind message
	Request *Request // for kind request
	// URLVerified, for kind request, says that the asker's key answers at the
	// gateway URL that it claims.
	URLVerified bool
}

// Verdict is what a policy answers.
type Verdict struct {
	Decision Decision
	Reason   string  // for people
	Code     string  // for machines: goes to the peer with a denial
	Grants   []Grant // for kind request with Allow; empty: the configured defaults
	Level    string  // advice for the agent: full, summary, escalate, deny
	Policy   string  // who said it
}

// Policy decides over requests and messages. An error means that it could not
// say, and counts as "not now". Safe for concurrent use.
//
// docs/threat-model.md#p3
type Policy interface {
	Name() string
	Decide(ctx context.Context, q Question) (Verdict, error)
}

// HandlerAnswer is what an intent handler answers a message with.
type HandlerAnswer struct {
	OK    bool
	Data  Raw
	Error string
}

// Handler answers the messages of the intents it owns. Safe for concurrent use.
type Handler interface {
	Name() string
	Intents() []string
	Handle(ctx context.Context, p *Peer, m *Message) (HandlerAnswer, error)
}
