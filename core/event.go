package core

import (
	"context"
	"time"
)

// EventType names what happened, for notifiers and watchers.
type EventType string

// The event types. docs/plugins.md#events
const (
	EventMessage        EventType = "message"
	EventRequest        EventType = "federation.request"
	EventRequestDigest  EventType = "federation.digest" // several requests from strangers, summed up
	EventApproved       EventType = "federation.approved"
	EventRejected       EventType = "federation.rejected"
	EventRemoved        EventType = "federation.removed"
	EventReply          EventType = "reply"
	EventHeld           EventType = "message.held" // a policy left a message to the human; no word of it goes along
	EventDeliveryFailed EventType = "delivery.failed"
	EventWarning        EventType = "warning" // something that the operator should look at

	// What the agent did through its own socket. Notifiers hear of proposals alone: the
	// agent is not told what it did itself.
	EventAgentSent      EventType = "agent.sent"
	EventAgentReplied   EventType = "agent.replied"
	EventAgentCancelled EventType = "agent.cancelled" // a message of its own that still waited
	EventAgentProposed  EventType = "agent.proposed"  // it proposes to approve somebody; only the human can
)

// Event is one thing that happened, kept until every notifier has been told.
type Event struct {
	ID   string    `json:"id"` // ULID
	Type EventType `json:"type"`
	At   time.Time `json:"at"`
	Peer PublicKey `json:"peer"`           // zero: about no peer
	By   string    `json:"by,omitempty"`   // Us or Them, where a side acted
	Text string    `json:"text,omitempty"` // a line for people, written by us, free of a stranger's words
	Data Raw       `json:"data,omitempty"` // an object, by type

	// Then is the peer as it was when it happened. nil: about no peer, or kept before
	// this was written down.
	Then *PeerThen `json:"then,omitempty"`

	Quiet   bool          `json:"-"` // kept and shown, and no notifier is told: our operator has just done it
	Message *InboxMessage `json:"-"` // for EventMessage: the kept message, which has the alias of then
}

// Counted is what is counted of an event, where many are read for it.
type Counted struct {
	Type EventType
	At   time.Time
	Peer PublicKey
	Data Raw // as of the Event; none of a message

	// Of a message:
	Status                     InboxStatus // InboxHeld for one that was held, whatever our operator has decided since
	Intent, Conversation, Hops string
	Bytes                      int // of its payload
}

// Counted is what is counted of it.
func (e *Event) Counted() Counted {
	c := Counted{Type: e.Type, At: e.At, Peer: e.Peer, Data: e.Data}
	if m := e.Message; m != nil {
		c.Status, c.Intent, c.Conversation, c.Hops, c.Bytes = m.Status, m.Message.Intent, m.Message.ConversationID, m.Message.Hops, len(m.Message.Payload)
		if m.Decided != nil {
			c.Status = InboxHeld
		}
	}
	return c
}

// PeerThen is what we knew of a peer when something happened. A notice tells of the
// peer in these words, however late it is told and however often.
type PeerThen struct {
	Alias string `json:"alias,omitempty"`
	Trust Trust  `json:"trust,omitempty"`
	Names Names  `json:"names,omitzero"` // unverified
	URL   string `json:"url,omitempty"`
}

// Then is what we know of the peer now, for an event that happens now.
func (p *Peer) Then() *PeerThen {
	return &PeerThen{Alias: p.Alias, Trust: p.Trust, Names: p.Names, URL: p.URL}
}

// Notice is an event on its way to a notifier.
type Notice struct {
	Event   Event
	Peer    *Peer // nil: about no peer
	Attempt int   // from 1
}

// Outcome is what came of telling a notifier.
type Outcome struct {
	Status     OutcomeStatus
	RetryAfter time.Duration // for OutcomeRetry and OutcomeWorking: 0 leaves it to the backoff
	Detail     string        // for the operator; no secrets
	Tokens     int64         // of the agent's model, where its backend says; 0: it does not
	Reply      *Reply        // with OutcomeDelivered: the answer to the one message of the notice; only Success, Data and Error are set
	// Notified are, by id, those of several events that the notifier has been notified of
	// although the status is that of the others.
	Notified []string
}

// OutcomeStatus is the word of an Outcome.
type OutcomeStatus string

// The outcomes.
const (
	OutcomeDelivered OutcomeStatus = "delivered"
	OutcomeRetry     OutcomeStatus = "retry"
	OutcomeWorking   OutcomeStatus = "working" // taken, and not over yet: to be asked again after RetryAfter. No failure of the notifier's
	OutcomeFailed    OutcomeStatus = "failed"  // this notice itself is to blame: trying it again unchanged cannot help
	OutcomeSetup     OutcomeStatus = "setup"   // the notifier's set-up is to blame, not the notice: Detail says what to change
)

// Notifier tells somebody: an agent, a phone, a log. Notify is called with up to
// Batch notices of one recipient, in order, one call at a time; it may be called
// again with the same event, whose ID is then the same. It returns one outcome
// for all of them.
type Notifier interface {
	Name() string
	Batch() int // how many notices one call may carry; at least 1
	Notify(ctx context.Context, notices []Notice) Outcome
}
