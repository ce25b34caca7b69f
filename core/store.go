package core

import (
	"context"
	"math"
	"strings"
	"time"
)

// Receipt is the memory that a peer has used a nonce, and what we answered. It
// makes the same bytes get the same answer, and other bytes a conflict.
//
// docs/threat-model.md#l6
type Receipt struct {
	Peer   PublicKey
	Nonce  Nonce
	Digest [32]byte // SHA-256 of the signed text
	At     time.Time
	Intent string // for messages that took a token of the rate limit; otherwise empty
	Bytes  int    // of a message's payload; EachReceipt gives it for those that were let in
	Status int    // of our answer
	Answer []byte // our answer's body
}

// InboxStatus says what became of a kept message.
type InboxStatus string

// The inbox states.
const (
	InboxNew     InboxStatus = "new"
	InboxHeld    InboxStatus = "held"    // a policy left it to the human; no notifier was told a word of it
	InboxDenied  InboxStatus = "denied"  // it was held, and the human turned it down
	InboxReplied InboxStatus = "replied" // we have answered it
)

// InboxMessage is an accepted message as it is kept.
type InboxMessage struct {
	ID      string      `json:"id"` // ULID; also the ID of its event
	Peer    PublicKey   `json:"peer"`
	At      time.Time   `json:"at"`
	Status  InboxStatus `json:"status"`
	Alias   string      `json:"alias,omitempty"`  // what we called the peer when the message came
	Level   string      `json:"level,omitempty"`  // agent-comms level or a policy's advice
	Reason  string      `json:"reason,omitempty"` // why it is held, or was
	Message Message     `json:"message"`
	Reply   *Reply      `json:"reply,omitempty"`   // our answer, once given
	Decided *Decided    `json:"decided,omitempty"` // what the operator made of a held one
}

// Decided is what the operator made of a held message.
type Decided struct {
	As     string    `json:"as"` // Released or Denied
	By     string    `json:"by"` // who asked for it, as the control API knows them
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
}

// What becomes of a held message.
const (
	Released = "released" // told to the agent after all
	Denied   = "denied"   // answered with a refusal
)

// Delivery is one event that one notifier has yet to be told. One that comes with
// its event and says no more (its Created is the event's At, its Group is empty or the
// event's own id, and all else is zero) costs a store nothing of its own: notifiers are
// told in the order in which events are kept, and a store remembers how far each one is.
type Delivery struct {
	EventID  string    `json:"eventId"`
	Notifier string    `json:"notifier"`
	Attempts int       `json:"attempts"`
	Next     time.Time `json:"next"`             // not before; zero: at once, whatever the clock says
	Error    string    `json:"error,omitempty"`  // of the last attempt
	Dead     bool      `json:"dead,omitempty"`   // set aside: kept for the operator to see and retry
	Event    Event     `json:"event"`            // filled by the store when read
	Created  time.Time `json:"created,omitzero"` // when it was queued
	// Group is set, before the first try, to the id of the first event of those that
	// were told in one call. They are told together again, under the same key and in
	// the same words, until that is done or each is on its own. Empty: it is alone.
	Group string `json:"group,omitempty"`
}

// OutboxKind says what an envelope in the outbox is.
type OutboxKind string

// The outbox kinds.
const (
	OutMessage OutboxKind = "message"
	OutReply   OutboxKind = "reply"
	OutApprove OutboxKind = "approve"
	OutReject  OutboxKind = "reject"
)

// OutboxState says where an envelope in the outbox stands.
type OutboxState string

// The outbox states.
const (
	OutWaiting OutboxState = "waiting"
	OutSent    OutboxState = "sent"
	OutRefused OutboxState = "refused" // the peer said no
	OutExpired OutboxState = "expired" // given up
)

// The errors of an envelope that was given up by order.
const (
	OutboxCancelled = "cancelled by the operator"
	OutboxTakenBack = "cancelled by the agent"
)

// OutboxItem is an envelope of ours until it is delivered, and for a while after,
// as its nonce is what allows a reply.
type OutboxItem struct {
	ID       string      `json:"id"` // ULID
	Peer     PublicKey   `json:"peer"`
	Kind     OutboxKind  `json:"kind"`
	State    OutboxState `json:"state"`
	Nonce    Nonce       `json:"nonce,omitempty"`
	URL      string      `json:"url,omitempty"`     // for replies: where to
	Message  *Message    `json:"message,omitempty"` // for OutMessage
	Reply    *Reply      `json:"reply,omitempty"`   // for OutReply
	Body     []byte      `json:"body,omitempty"`    // the signed body last sent, reused while it is fresh
	SignedAt time.Time   `json:"signedAt,omitzero"`
	Created  time.Time   `json:"created"`
	Next     time.Time   `json:"next,omitzero"` // for OutWaiting: not before
	GiveUp   time.Time   `json:"giveUp"`
	Attempts int         `json:"attempts"`
	Error    string      `json:"error,omitempty"`    // of the last attempt
	Hint     string      `json:"hint,omitempty"`     // what to do about Error
	Answer   Raw         `json:"answer,omitempty"`   // what the peer's gateway answered
	Answered bool        `json:"answered,omitempty"` // something answered, if not the peer's gateway
	Asked    bool        `json:"asked,omitzero"`     // Next is when the peer's gateway has asked us to try again
	Done     time.Time   `json:"done,omitzero"`

	// For OutApprove.
	Ordered    time.Time `json:"ordered,omitzero"`    // when an operator last had it tried again
	Spoke      bool      `json:"spoke,omitempty"`     // the peer's gateway has answered it
	NotPending int       `json:"notPending,omitzero"` // how often it said that it knows no request of ours
}

// StoredReply is a reply that came for a message of ours, or one of ours that
// waits to be polled. The two are kept apart, each by its peer and nonce, so that
// nobody's nonce shadows another's.
type StoredReply struct {
	Nonce   Nonce     `json:"nonce"`
	Peer    PublicKey `json:"peer"` // the other side
	Ours    bool      `json:"ours"` // we gave it
	Reply   Reply     `json:"reply"`
	Text    string    `json:"text,omitempty"`      // ours: the signed text
	Sig     string    `json:"signature,omitempty"` // ours: over Text
	V2      Raw       `json:"v2,omitempty"`        // ours: the v2 signature
	At      time.Time `json:"at"`
	Expires time.Time `json:"expires"`
}

// Expect is a condition of a change: that a peer still has the revision that the
// decision saw. Revision 0 holds for a peer that is not kept.
type Expect struct {
	Peer     PublicKey
	Revision uint64 // Peer.Revision
}

// Fence is a lease as its holder has it. It stands until the lease is released, or
// another node has taken it after its time.
type Fence struct {
	Name string // of the lease
	N    uint64 // is another for each holder in turn
}

// Limit bounds what a peer may send of one intent.
type Limit struct {
	Rate RateLimit
	Size ByteLimit
}

// Use is one of what only so much may be kept within a time, such as messages that the agent
// sends to a peer.
type Use struct {
	Peer  PublicKey // or a key that stands for a network
	Of    string    // what is counted together: one of the names below, which no intent can have
	At    time.Time
	Bytes int    // what is in it, or the tokens that it took
	Most  Limit  // with this one
	Over  string // what the refusal says
	Only  bool   // it is judged, and not counted
}

// What uses are counted as. Those that end with a slash go on with an intent.
const (
	UseNotified = "\x01notified/" // messages that reach the agent: counted with the receipt of one
	UseRan      = "\x01ran/"      // runs of the agent
	UseSent     = "\x01sent"      // messages and answers of the agent's
	UseChanged  = "\x01changed"
	UseAsked    = "\x01asked" // requests of strangers
)

// Unlimited bounds nothing within a time.
func Unlimited(within time.Duration) Limit {
	seconds := int(within / time.Second)
	return Limit{RateLimit{math.MaxInt32, seconds}, ByteLimit{math.MaxInt64, seconds}}
}

// Over is the cause of an error of kind RateLimited: a Use that is too many.
type Over struct{ Of string }

// Error names it.
func (o Over) Error() string { return "over the limit of " + strings.TrimPrefix(o.Of, "\x01") }

// News is what nodes have changed of what each of them holds in memory.
type News struct {
	Seen  uint64            // up to which change this goes
	Peers []*Peer           // as they are now
	Gone  []PublicKey       // of those that were forgotten
	Meta  map[string]string // as it is now
}

// Shared is a store that several nodes may have open at a time. Safe for concurrent use.
type Shared interface {
	// Shared reports whether they may.
	Shared() bool
	// Since is what was changed after the change that News.Seen named. 0 gives all there
	// is, of Meta and of peers.
	Since(ctx context.Context, seen uint64) (News, error)
	// Changed has a value when there may be news. It is a hint: nothing is lost for
	// whoever looks once a second, too.
	Changed() <-chan struct{}
	// Uses counts what a peer was let send of an intent since a time, or what was counted as
	// a Use of that name.
	Uses(ctx context.Context, peer PublicKey, intent string, since time.Time) (n int, bytes int64, err error)
}

// NodeRecord is a node of those that share a store, by the store's clock.
type NodeRecord struct {
	ID      string
	Key     PublicKey // the gateway's
	Started time.Time
	Seen    time.Time
	Ago     time.Duration // since Seen
	Data    string        // what it says of itself
	Leases  []string      // that it has
}

// ClockMargin is the most by which the clocks of two nodes that share a store may differ: what
// is counted within a time is read as much further back.
const ClockMargin = time.Minute

// NodeTable is where the nodes that share a store say that they are there. Safe for
// concurrent use.
type NodeTable interface {
	// Node is what this node is called there.
	Node() string
	// Beat says that this node is there, and what it says of itself. It returns what time it is
	// by the clock of the store.
	Beat(ctx context.Context, key PublicKey, data string) (time.Time, error)
	// Nodes are all that were heard of lately, the longest running first.
	Nodes(ctx context.Context) ([]NodeRecord, error)
	// Leave says that this node is gone.
	Leave(ctx context.Context) error
}

// Leases let one node at a time do a work that several could do. Safe for concurrent
// use. Where a store is one process's own, each lease is granted.
type Leases interface {
	// Lease takes a lease for a time, by the clock of the store, or renews the one that
	// this node has. The error is of kind Conflict while another node has it.
	Lease(ctx context.Context, name string, ttl time.Duration) (Fence, error)
	// Release gives a lease back before its time: nothing is kept under it any more.
	// One that does not stand is no error.
	Release(ctx context.Context, f Fence) error
	// Leased is the fence under which a node has a lease now, whichever does. The error is
	// of kind NotFound where none has.
	Leased(ctx context.Context, name string) (Fence, error)
}

// LazyWait is how long a lazy change waits at the most for another to ride on.
const LazyWait = 100 * time.Millisecond

// Change is what one decision leaves behind. A store keeps all of it or nothing,
// and Commit returns only when it is on disk.
type Change struct {
	// Expect are the conditions, judged against what was kept before this change and
	// in one step with it: once the commit that removes a peer has returned, no
	// change that expects an earlier revision of it is kept.
	Expect []Expect
	// Seen is the News.Seen that the decision rests on; 0: it is not judged, and a store
	// that is not Shared never does. A change of peers or Meta is kept only if nobody has
	// changed either since, any other only if nobody has changed a peer of Expect.
	Seen uint64
	// Limit bounds Receipt, with its Peer and Intent: refused as RateLimited, with
	// RetryAfter, and exact over all nodes. Nil: nothing does. A store that is not Shared
	// leaves it to its only gateway.
	Limit *Limit
	// Uses are counted, and bound the change like Limit, its error wrapping Over.
	Uses []Use
	// Fences are the leases under which the change was made, judged as Expect is: once
	// another node has taken one of them, the change is refused.
	Fences []Fence
	// Lazy says that nobody waits for this change: it rides on the next commit, or
	// waits up to LazyWait. Commit still returns only when it is on disk, and Close
	// writes those that wait. Until then no reader sees it.
	Lazy bool

	Peers      []*Peer         // put, by key
	Forget     []PublicKey     // peers to delete
	Receipt    *Receipt        // put once, by (peer, nonce)
	Inbox      []*InboxMessage // put, by id
	Events     []*Event        // put, by id; not for EventMessage, which is the inbox message itself
	Deliveries []*Delivery     // put, by (event, notifier)
	Delivered  []*Delivery     // delete, by (event, notifier)
	Outbox     []*OutboxItem   // put, by id
	Replies    []*StoredReply  // put, by (ours, peer, nonce)
	Meta       map[string]string
	KV         []KVPut
}

// KVPut writes one value of a plugin's own memory; a nil Value deletes.
type KVPut struct {
	Plugin, Key string
	Value       []byte
}

// InboxFilter selects messages. Zero fields select all.
type InboxFilter struct {
	Peer   PublicKey
	Status InboxStatus
	Intent string
	Since  time.Time
	Before string // those that stand before this id, or the next lower one, in time
	Limit  int    // 0: 100
	Oldest bool   // oldest first; otherwise newest first
}

// OutboxFilter selects envelopes. Zero fields select all.
type OutboxFilter struct {
	Peer   PublicKey
	State  OutboxState
	Before string // ids below this one
	After  string // ids above this one
	Oldest bool   // oldest first; otherwise newest first
	Limit  int    // 0: 100
}

// DeliveryFilter selects deliveries. Zero fields select all.
type DeliveryFilter struct {
	Notifier string
	EventID  string
	Dead     bool   // only those set aside
	After    string // those of events kept after this id, or the next lower one
	Limit    int    // 0: 100
}

// StoreStats says what a store's writer has done since it was opened.
type StoreStats struct {
	Commits     uint64        // changes kept
	Refused     uint64        // changes that could not be kept; those that were judged by what is kept are none of them
	Fenced      uint64        // changes under a lease that did not stand any more
	Batches     uint64        // transactions' worth of changes
	LastBatch   int           // changes in the last batch
	LastCommit  time.Duration // time that the last batch took, to disk
	TotalCommit time.Duration // time that all batches took
	Waiting     int           // changes that wait now
	RecordError string        // why the count of changes beside the store is not written; empty: it is
	Broken      bool          // a write was lost: nothing more is kept until the store is opened again
}

// Depths are the lengths of the queues.
type Depths struct {
	Inbox                int            `json:"inbox"`
	InboxHeld            int            `json:"inboxHeld"`
	Outbox               int            `json:"outbox"` // waiting
	Deliveries           int            `json:"deliveries"`
	DeadDeliveries       int            `json:"deadDeliveries"`
	OldestDelivery       time.Time      `json:"oldestDelivery,omitzero"` // when it was queued
	OldestOutbox         time.Time      `json:"oldestOutbox,omitzero"`   // when the first of those that wait was made
	Receipts             int            `json:"receipts"`
	DeliveriesByNotifier map[string]int `json:"deliveriesByNotifier"`
	DeadByName           map[string]int `json:"deadByNotifier"`
}

// ManyWait is up to where queues are counted for whoever must not wait for it: some tens of
// milliseconds of work, where all of a million messages take a second.
const ManyWait = 20_000

// OrMore says of what was counted no further than ManyWait that there may be more.
func OrMore(n int, words string) string {
	if n < ManyWait {
		return words
	}
	return "at least " + words
}

// UpTo bounds each length.
func (d *Depths) UpTo(most int) {
	for _, n := range []*int{&d.Inbox, &d.InboxHeld, &d.Outbox, &d.Deliveries, &d.DeadDeliveries, &d.Receipts} {
		*n = min(*n, most)
	}
	for _, by := range []map[string]int{d.DeliveriesByNotifier, d.DeadByName} {
		for name := range by {
			by[name] = min(by[name], most)
		}
	}
}

// Cutoffs say what Prune may forget: everything of that kind from before. A zero
// time keeps all of its kind.
type Cutoffs struct {
	Receipts, Inbox, Events, Outbox time.Time
	Replies                         time.Time // those that expired before
}

// Store keeps the gateway's state. All methods are safe for concurrent use. A
// method that finds nothing returns an error of kind NotFound.
//
// Commit is durable (docs/threat-model.md#s1): when it returns nil, the change
// survives a crash and a power loss. It returns an error of kind Moved, and keeps
// nothing, when a revision of Change.Expect or a lease of Change.Fences does not stand; of kind Replayed, and
// keeps nothing, when Change.Receipt's (peer, nonce) is taken; of kind RateLimited, and
// keeps nothing, when Change.Limit or one of Change.Uses is reached; of kind Full when
// there is no space; of kind Unavailable when the disk fails or the store is
// closed. Many commits that wait at the same time share one write to disk.
type Store interface {
	Leases
	Commit(ctx context.Context, c *Change) error

	Peers(ctx context.Context) ([]*Peer, error)
	Receipt(ctx context.Context, peer PublicKey, nonce Nonce) (*Receipt, error)
	// EachReceipt calls f for the receipts since a time, with Digest, Status and Answer
	// left out: of each peer and intent at least the newest ones, as many as most says
	// (0: all), and not always in order. One that changes meanwhile may come twice. f
	// may use the store.
	EachReceipt(ctx context.Context, since time.Time, most int, f func(Receipt)) error
	// EachNonce calls f with the NonceHash of every receipt there is.
	EachNonce(ctx context.Context, f func(hash uint64)) error

	// Inbox finds messages in the order of their At. What a filter does not let
	// through costs it nothing.
	Inbox(ctx context.Context, f InboxFilter) ([]*InboxMessage, error)
	InboxMessage(ctx context.Context, id string) (*InboxMessage, error)
	Events(ctx context.Context, after string, limit int) ([]*Event, error) // kept after that id, in the order in which they were kept; messages included
	// EachEvent calls f with what is counted of the events of some types since a time, in
	// the order in which they were kept. Without EventMessage among the types, messages
	// cost it nothing.
	EachEvent(ctx context.Context, since time.Time, types []EventType, f func(Counted)) error

	// DueDeliveries returns living deliveries of a notifier with Next <= now, in the
	// order in which their events were kept, each with its Event.
	DueDeliveries(ctx context.Context, notifier string, now time.Time, limit int) ([]*Delivery, error)
	// NextDelivery is when the notifier's earliest living delivery is due; zero: none.
	NextDelivery(ctx context.Context, notifier string) (time.Time, error)
	Deliveries(ctx context.Context, f DeliveryFilter) ([]*Delivery, error) // in the order of their events, then by notifier

	// Outbox finds a page of one peer's waiting envelopes, oldest or newest first, by
	// index: what waits for others and what has been sent cost it nothing.
	Outbox(ctx context.Context, f OutboxFilter) ([]*OutboxItem, error)
	// WaitingPeers are the peers that at least one envelope waits for, by key. It costs as
	// much as there are such peers, however many envelopes wait.
	WaitingPeers(ctx context.Context) ([]PublicKey, error)
	OutboxItem(ctx context.Context, id string) (*OutboxItem, error)
	OutboxByNonce(ctx context.Context, nonce Nonce) (*OutboxItem, error) // kind message

	Reply(ctx context.Context, peer PublicKey, nonce Nonce) (*StoredReply, error) // that came from a peer
	// OurReply finds what we have answered under a nonce, for whoever polls. Two
	// peers may have used the same nonce: the reply given first counts.
	OurReply(ctx context.Context, nonce Nonce) (*StoredReply, error)

	Meta(ctx context.Context, key string) (string, error)
	KV(ctx context.Context, plugin, key string) ([]byte, error)
	KVList(ctx context.Context, plugin, prefix string) (map[string]int, error) // sizes by key
	// Dump calls f, piece by piece, with the changes that put what no other method lists:
	// all replies, all of Meta and all of KV. f may use the store.
	Dump(ctx context.Context, f func(*Change) error) error

	// Health is nil while changes can be kept, and otherwise why they cannot, with
	// what to do as its Hint: no space, a disk that fails. A store looks by itself
	// whether it is over, and says so here. It takes no lock and reads no disk.
	Health() error
	// Lost says what was acknowledged, and was not there when the store was opened: an
	// error with how many changes; nil for nothing.
	Lost() error

	// Depths counts what there is, of each kind up to most, which then means so many or
	// more. Zero counts all, which takes a second or two for a million.
	Depths(ctx context.Context, most int) (Depths, error)
	Prune(ctx context.Context, c Cutoffs) error
	Close() error
}
