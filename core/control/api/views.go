package api

import (
	"cmp"
	"strconv"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/history"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// PeerView is a peer as commands show it, with stable names for --json.
type PeerView struct {
	Name         string            `json:"name"` // how we call it: alias, else fingerprint
	Alias        string            `json:"alias,omitempty"`
	Tags         []string          `json:"tags,omitempty"`
	Fingerprint  string            `json:"fingerprint"`
	ID           string            `json:"id"`
	PublicKey    core.PublicKey    `json:"publicKey"`
	State        core.Trust        `json:"state"`
	Standing     string            `json:"standing"` // State for people: a removal may be unconfirmed, a request perhaps withdrawn
	By           string            `json:"by,omitempty"`
	Since        time.Time         `json:"since,omitzero"`
	URL          string            `json:"gatewayUrl"`
	Unverified   core.Names        `json:"unverified"` // what it says of itself
	Warning      string            `json:"warning,omitempty"`
	RequestedAt  time.Time         `json:"requestedAt,omitzero"`
	ApprovedAt   time.Time         `json:"approvedAt,omitzero"`
	RejectedAt   time.Time         `json:"rejectedAt,omitzero"`
	RemovedAt    time.Time         `json:"removedAt,omitzero"`
	Offered      []string          `json:"offeredIntents,omitempty"`
	Granted      []GrantView       `json:"granted,omitempty"`
	Received     []core.Grant      `json:"received,omitempty"`
	Levels       map[string]string `json:"levels,omitempty"`
	DefaultLevel string            `json:"defaultLevel,omitempty"`
	Signature    string            `json:"signature"` // v2 or legacy
	Version      string            `json:"version,omitempty"`
	Features     []string          `json:"features,omitempty"`
	Health       HealthView        `json:"health"`
	Paused       *brake.Pause      `json:"paused,omitempty"` // why nothing that it sends reaches the agent
	Budgets      []BudgetView      `json:"budgets,omitempty"`
	History      []core.Transition `json:"history,omitempty"`
}

// GrantView is a grant, with how much of its rate is used.
type GrantView struct {
	core.Grant `json:",inline"`
	Used       int   `json:"used"`      // of the rate, in its window, now
	UsedBytes  int64 `json:"usedBytes"` // of the size, in its window, now
}

// BudgetView is what a peer's messages of an intent have cost within 24 hours, and may cost.
type BudgetView struct {
	Intent string    `json:"intent"`
	Used   brake.Use `json:"used"`
	Most   brake.Use `json:"most"` // zero members: no bound
}

// HealthView is how well we reach a peer, and it us.
type HealthView struct {
	Word           string `json:"word,omitempty"`
	peering.Health `json:",inline"`
	LastContact    time.Time `json:"lastContact,omitzero"` // either way
}

// OutgoingView is what came of a message of ours.
type OutgoingView struct {
	Peer     PeerView          `json:"peer"`
	ID       string            `json:"id,omitempty"`
	Nonce    core.Nonce        `json:"nonce,omitempty"`
	State    string            `json:"state"` // sent, waiting, refused, expired, none
	Attempts int               `json:"attempts"`
	Error    *ErrorView        `json:"error,omitempty"`
	Next     time.Time         `json:"next,omitzero"`
	GiveUp   time.Time         `json:"giveUp,omitzero"`
	Answer   core.Raw          `json:"answer,omitempty"`
	Reply    *core.StoredReply `json:"reply,omitempty"`
	Answered *InboxView        `json:"answered,omitempty"` // the message that this is our reply to
}

// InboxView is a message that came.
type InboxView struct {
	core.InboxMessage `json:",inline"`
	From              string `json:"from"` // our name for the peer
	Fingerprint       string `json:"fingerprint"`
	Text              string `json:"text"` // one line of the payload
}

// OutboxView is a message of ours, with its reply.
type OutboxView struct {
	core.OutboxItem `json:",inline"`
	To              string            `json:"to"`
	Reply           *core.StoredReply `json:"theirReply,omitempty"`
}

// InboxPageView is a page of messages that came, and where it ended.
type InboxPageView struct {
	Messages []InboxView `json:"messages"`
	Next     string      `json:"next,omitempty"` // Before of the next page; empty: there is no more
	Looked   int         `json:"looked"`         // how many were looked at for it
}

// OutboxPageView is a page of messages of ours, and where it ended.
type OutboxPageView struct {
	Messages []OutboxView `json:"messages"`
	Next     string       `json:"next,omitempty"` // Before of the next page; empty: there is no more
	Looked   int          `json:"looked"`         // how many were looked at for it
}

// ThreadView is a page of what passed between us and a peer, the newest first.
type ThreadView struct {
	Entries []ThreadEntry `json:"entries"`
	Next    string        `json:"next,omitempty"` // Before of the next page; empty: there is no more
	Looked  int           `json:"looked"`         // how many were looked at for it
}

// ThreadEntry is one thing that was said: In by them, or Out by us.
type ThreadEntry struct {
	At       time.Time   `json:"at"`
	In       *InboxView  `json:"in,omitempty"`
	Answer   *OutboxView `json:"answer,omitempty"`   // the envelope of our answer to In, where there is one
	ToNotify []string    `json:"toNotify,omitempty"` // notifiers that wait for In
	GivenUp  []string    `json:"givenUp,omitempty"`  // notifiers for which In was set aside
	Out      *OutboxView `json:"out,omitempty"`
}

// PeersPageView is a page of peers.
type PeersPageView struct {
	Peers  []PeerView     `json:"peers"`
	Next   string         `json:"next,omitempty"` // After of the next page; empty: there is no more
	Total  int            `json:"total"`          // how many there are on all pages
	States map[string]int `json:"states"`         // of all peers, by state; a request that waits is pending
}

// HistoryView is what has happened within a day, and the peers that have said the most.
type HistoryView struct {
	history.View `json:",inline"`
	Busiest      []BusyView `json:"busiest"`
}

// BusyView is a peer, and what it and we have said within 24 hours.
type BusyView struct {
	Peer            PeerView `json:"peer"`
	history.Traffic `json:",inline"`
}

// DeliveryView is what a notifier is owed.
type DeliveryView struct {
	Event    string         `json:"event"`
	Notifier string         `json:"notifier"`
	Type     core.EventType `json:"type"`
	At       time.Time      `json:"at"`
	From     string         `json:"from,omitempty"`
	Attempts int            `json:"attempts"`
	Next     time.Time      `json:"next,omitzero"`
	SetAside bool           `json:"setAside"`
	Error    string         `json:"error,omitempty"`
}

// EventView is an event, with our name for its peer.
type EventView struct {
	core.Event  `json:",inline"`
	From        string        `json:"from,omitempty"`
	Fingerprint string        `json:"fingerprint,omitempty"`
	Intent      string        `json:"intent,omitempty"`
	Message     *core.Message `json:"message,omitempty"`
}

// InviteView is an invite of ours.
type InviteView struct {
	Code      string    `json:"code"`
	Long      string    `json:"long,omitempty"`
	Link      string    `json:"link,omitempty"`
	Expires   time.Time `json:"expires,omitzero"`
	ExpiresIn int       `json:"expiresIn,omitempty"` // seconds
	Uses      int       `json:"uses,omitempty"`
	Used      int       `json:"used,omitempty"`
	Approves  bool      `json:"approves,omitempty"`
}

// WhoamiView is what others need to know of this gateway.
type WhoamiView struct {
	DisplayName string         `json:"displayName"`
	Email       string         `json:"email,omitempty"`
	GatewayURL  string         `json:"gatewayUrl"`
	CardURL     string         `json:"cardUrl"`
	Fingerprint string         `json:"fingerprint"`
	Words       []string       `json:"words"` // the fingerprint, to read aloud
	ID          string         `json:"id"`
	PublicKey   core.PublicKey `json:"publicKey"`
}

// ConsoleView is how a browser gets into the console.
type ConsoleView struct {
	Address string    `json:"address"`       // host:port that the console listens on
	Host    string    `json:"host"`          // a name of its certificate, or a name of loopback that this console alone has, where the system knows it
	Code    string    `json:"code"`          // opens the console, once
	Expires time.Time `json:"expires"`       // of the code
	TLS     bool      `json:"tls,omitempty"` // the address wants https
	// Bound reports that the code counts for browsers of the account that was asked for alone.
	Bound bool `json:"bound,omitempty"`
}

// Said is what a peer calls itself, for people: in quotes, as nobody vouches for it, and with the
// script of letters that look like others.
func (p PeerView) Said() string {
	name := cmp.Or(p.Unverified.DisplayName, p.Unverified.AgentName, p.Unverified.HumanName)
	if name == "" {
		return ""
	}
	return text.Marked(strconv.Quote(name))
}

// Grants are what the peer may do here, without how much of it is used.
func (p PeerView) Grants() []core.Grant {
	out := make([]core.Grant, len(p.Granted))
	for i, g := range p.Granted {
		out[i] = g.Grant
	}
	return out
}

// Handle is what a user can type to name the peer.
func (p PeerView) Handle() string { return cmp.Or(p.Alias, p.Fingerprint) }

// InTrouble reports whether an operator should look at the peer: it is approved and not
// reached well, it is paused, or there is a warning about it.
func (p PeerView) InTrouble() bool {
	ailing := p.Health.Outbound == peering.Degraded || p.Health.Outbound == peering.Down
	return p.State == core.Approved && ailing || p.Paused != nil || p.Warning != ""
}
