package core

import (
	"cmp"
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Raw is a JSON value as its text. It is valid JSON wherever it came through
// core/envelope.
type Raw []byte

// MarshalJSON writes the text as it is; an empty Raw is null.
func (r Raw) MarshalJSON() ([]byte, error) {
	if len(r) == 0 {
		return []byte("null"), nil
	}
	return r, nil
}

// UnmarshalJSON keeps a copy of the text.
func (r *Raw) UnmarshalJSON(text []byte) error {
	if r == nil {
		return errors.New("core: raw: nil pointer")
	}
	*r = append((*r)[:0], text...)
	return nil
}

// TimeFormat is how times are written on the wire: ISO 8601, UTC, milliseconds.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// FormatTime writes t for the wire.
func FormatTime(t time.Time) string { return t.UTC().Format(TimeFormat) }

// ParseTime reads a time from the wire: RFC 3339, any offset, any fraction.
func ParseTime(text string) (time.Time, error) { return time.Parse(time.RFC3339Nano, text) }

// Nonce names one envelope of one peer; it is a UUID in all envelopes of ours.
type Nonce string

// MaxNonceBytes bounds a nonce from outside.
const MaxNonceBytes = 128

// Sound reports whether a nonce from outside can name anything: it is not longer than
// MaxNonceBytes and is UTF-8 without control characters.
func (n Nonce) Sound() bool {
	return len(n) <= MaxNonceBytes && utf8.ValidString(string(n)) && !strings.ContainsFunc(string(n), unicode.IsControl)
}

// The built-in intents.
const (
	IntentMessage      = "message"
	IntentTaskRequest  = "task-request"
	IntentStatusUpdate = "status-update"
	IntentAgentComms   = "agent-comms"
)

// IntentStatus is the intent of the message that asks a peer whether it has us
// approved. It is reserved: never granted, offered or put into the card, so that no
// gateway does anything with it but refuse it, which tells what was asked.
//
// docs/protocol.md#confirmation
const IntentStatus = "federation.status"

// BuiltinIntents are the intents that every gateway knows, in the card's order.
var BuiltinIntents = []string{IntentMessage, IntentTaskRequest, IntentStatusUpdate, IntentAgentComms}

// Features that a card can name.
const (
	FeatureScopes   = "scope-negotiation"
	FeatureReplies  = "reply-callback"
	FeatureHealth   = "bidirectional-health"
	FeaturePersonas = "multi-agent-personas"
	FeatureV2       = "signature-v2"
)

// Message is what one agent says to another. The field order is the order on the
// wire. docs/protocol.md#messages
type Message struct {
	Intent         string `json:"intent"`
	From           string `json:"from"`
	To             string `json:"to"`
	ToAgent        string `json:"toAgent,omitempty"`
	Nonce          Nonce  `json:"nonce"`
	Timestamp      string `json:"timestamp"`
	ReplyTo        string `json:"replyTo,omitempty"`
	ConversationID string `json:"conversationId,omitempty"`
	ProjectID      string `json:"projectId,omitempty"`
	Payload        Raw    `json:"payload,omitempty"`

	// Hops are the marks of the gateways whose agents have brought this about, each known
	// to its own gateway alone, with dots between them. docs/protocol.md#hops
	Hops string `json:"hops,omitempty"`
}

// AgentComms is the payload of an agent-comms message.
type AgentComms struct {
	Topic    string `json:"topic"`
	Message  string `json:"message"`
	Priority string `json:"priority,omitempty"` // low, normal, high
}

// Plain is the payload of a plain text for a built-in intent; nil: the intent takes none.
// topic is agent-comms's; empty: general.
func Plain(intent, topic, text string) any {
	switch intent {
	case IntentMessage:
		return map[string]string{"text": text}
	case IntentTaskRequest:
		return struct {
			TaskType    string `json:"taskType"`
			Description string `json:"description"`
		}{"general", text}
	case IntentStatusUpdate:
		return map[string]string{"status": text}
	case IntentAgentComms:
		return AgentComms{Topic: cmp.Or(topic, "general"), Message: text, Priority: "normal"}
	}
	return nil
}

// Reply answers a message. docs/protocol.md#replies
type Reply struct {
	Nonce     Nonce  `json:"nonce"`
	Success   bool   `json:"success"`
	Data      Raw    `json:"data,omitempty"`
	Error     string `json:"error,omitempty"`
	Timestamp string `json:"timestamp"`
	From      string `json:"from,omitempty"`
	To        string `json:"to,omitempty"`
}

// PeerCard is the `peer` member of a federation request.
type PeerCard struct {
	ID           string `json:"id"`
	DisplayName  string `json:"displayName"`
	Email        string `json:"email"`
	GatewayURL   string `json:"gatewayUrl"`
	PublicKey    string `json:"publicKey"`
	HumanName    string `json:"humanName,omitempty"`
	AgentName    string `json:"agentName,omitempty"`
	Organization string `json:"organization,omitempty"`
}

// Names returns what the card says of its owner.
func (c PeerCard) Names() Names {
	return Names{c.DisplayName, c.Email, c.HumanName, c.AgentName, c.Organization}
}

// Request asks for federation. docs/protocol.md#request
type Request struct {
	Peer           PeerCard `json:"peer"`
	OfferedIntents []string `json:"offeredIntents,omitempty"`
	Timestamp      string   `json:"timestamp,omitempty"` // absent in the plain form
	Invite         *Invited `json:"invite,omitempty"`
}

// Invited shows that a request follows an invite that approves by itself: an
// HMAC over both keys under the invite's secret. docs/rendezvous.md#pre-approval
type Invited struct {
	Token string `json:"token"`
	Proof string `json:"proof"` // hex of HMAC-SHA256
}

// Approval tells the requester that it is approved, or updates grants; with
// Approved false it is a rejection. docs/protocol.md#approve
type Approval struct {
	PeerID          string  `json:"peerId,omitempty"`
	Approved        *bool   `json:"approved,omitempty"` // nil reads as true
	FromGatewayID   string  `json:"fromGatewayId,omitempty"`
	FromDisplayName string  `json:"fromDisplayName,omitempty"`
	FromGatewayURL  string  `json:"fromGatewayUrl,omitempty"`
	FromPublicKey   string  `json:"fromPublicKey,omitempty"`
	FromEmail       string  `json:"fromEmail,omitempty"`
	Timestamp       string  `json:"timestamp,omitempty"`
	Nonce           Nonce   `json:"nonce,omitempty"`
	ProtocolVersion string  `json:"protocolVersion,omitempty"`
	ScopeGrants     *Bundle `json:"scopeGrants,omitempty"`
}

// Rejects reports whether the envelope says no.
func (a *Approval) Rejects() bool { return a.Approved != nil && !*a.Approved }

// Removal is the notice that its sender has removed us. docs/protocol.md#removed
type Removal struct {
	PeerID    string `json:"peerId"`
	Timestamp string `json:"timestamp"`
}

// Identity is the `identity` member of update-identity.
type Identity struct {
	ID           string `json:"id"`
	DisplayName  string `json:"displayName"`
	HumanName    string `json:"humanName,omitempty"`
	AgentName    string `json:"agentName,omitempty"`
	Organization string `json:"organization,omitempty"`
	Email        string `json:"email"`
	GatewayURL   string `json:"gatewayUrl"`
	PublicKey    string `json:"publicKey"`
}

// Card is the answer of /.well-known/ogp. docs/protocol.md#card
type Card struct {
	Version      string       `json:"version"`
	DisplayName  string       `json:"displayName"`
	Email        string       `json:"email"`
	GatewayURL   string       `json:"gatewayUrl"`
	PublicKey    string       `json:"publicKey"`
	Capabilities Capabilities `json:"capabilities"`
	Endpoints    Endpoints    `json:"endpoints"`
	Agents       []Persona    `json:"agents"`
	PeerStatus   *PeerStatus  `json:"peerStatus,omitempty"`
}

// Capabilities says what a gateway can do.
type Capabilities struct {
	Intents  []string `json:"intents"`
	Features []string `json:"features"`
}

// Endpoints are absolute URLs.
type Endpoints struct {
	Request string `json:"request"`
	Approve string `json:"approve"`
	Message string `json:"message"`
	Reply   string `json:"reply"`
}

// PeerStatus is a gateway's view of the approved peer that asks for its card
// with a signed header.
type PeerStatus struct {
	PeerID              string  `json:"peerId"`
	Healthy             bool    `json:"healthy"`
	HealthState         *string `json:"healthState"`
	LastCheckedAt       *string `json:"lastCheckedAt"`
	LastCheckFailedAt   *string `json:"lastCheckFailedAt"`
	HealthCheckFailures int     `json:"healthCheckFailures"`
}

// Answer is an HTTP answer between gateways.
type Answer struct {
	Status     int
	Body       []byte        // JSON, if a gateway answers
	RetryAfter time.Duration // 0: none
	Server     string        // of an answer from outside: its header Server, else Via; unverified
	Date       time.Time     // of an answer from outside: its header Date; zero: none
}

// Pong is the answer of /federation/ping.
type Pong struct {
	Pong        bool   `json:"pong"`
	DisplayName string `json:"displayName"`
	GatewayURL  string `json:"gatewayUrl"`
	Timestamp   string `json:"timestamp"`
}
