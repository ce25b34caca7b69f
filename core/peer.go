package core

import (
	"slices"
	"strings"
	"time"
	"unicode"
)

// Trust is where a peer stands with us. It changes only by core/peering's table.
// The empty Trust is a stranger's.
type Trust string

// The trust states. docs/protocol.md#trust
const (
	Stranger  Trust = ""
	Requested Trust = "requested" // we asked, they have not answered
	Pending   Trust = "pending"   // they asked, we have not answered
	Approved  Trust = "approved"
	Rejected  Trust = "rejected" // one side said no
	Removed   Trust = "removed"  // one side parted
)

// Us and Them say which side made a transition.
const (
	Us   = "us"
	Them = "them"
)

// Names is what a peer says of itself. Nobody has verified any of it: it is data
// to show, bounded and marked, never to act on.
//
// docs/threat-model.md#t6
type Names struct {
	DisplayName  string `json:"displayName,omitempty"`
	Email        string `json:"email,omitempty"`
	HumanName    string `json:"humanName,omitempty"`
	AgentName    string `json:"agentName,omitempty"`
	Organization string `json:"organization,omitempty"`
}

// RateLimit allows Requests in any WindowSeconds.
type RateLimit struct {
	Requests      int `json:"requests"`
	WindowSeconds int `json:"windowSeconds"`
}

// Window is the limit's window as a duration.
func (r RateLimit) Window() time.Duration { return time.Duration(r.WindowSeconds) * time.Second }

// ByteLimit allows so many Bytes of payload in any WindowSeconds: what a peer writes
// is put before an agent, which pays for it.
type ByteLimit struct {
	Bytes         int64 `json:"bytes"`
	WindowSeconds int   `json:"windowSeconds"`
}

// Window is the limit's window as a duration.
func (b ByteLimit) Window() time.Duration { return time.Duration(b.WindowSeconds) * time.Second }

// DefaultBytes bounds a grant that names no size of its own.
var DefaultBytes = ByteLimit{Bytes: 256 << 10, WindowSeconds: 3600}

// Grant allows a peer one intent, within bounds. docs/protocol.md#scopes
type Grant struct {
	Intent    string     `json:"intent"`
	Enabled   bool       `json:"enabled"`
	RateLimit *RateLimit `json:"rateLimit,omitempty"` // nil: DefaultRate
	ByteLimit *ByteLimit `json:"byteLimit,omitempty"` // nil: DefaultBytes
	Topics    []string   `json:"topics,omitempty"`    // agent-comms: prefixes; empty: all
	Personas  []string   `json:"personas,omitempty"`  // persona ids; empty: all
	ExpiresAt string     `json:"expiresAt,omitempty"` // ISO 8601; empty: never
}

// DefaultRate bounds a grant that names no rate of its own.
var DefaultRate = RateLimit{Requests: 100, WindowSeconds: 3600}

// Bundle is all that one side grants the other, as it crosses the wire.
type Bundle struct {
	Version   string  `json:"version"`   // "0.2.0"
	GrantedAt string  `json:"grantedAt"` // ISO 8601
	Scopes    []Grant `json:"scopes"`
}

// BundleVersion is the scope negotiation's version on the wire.
const BundleVersion = "0.2.0"

// Transition is one step of a peer's history.
type Transition struct {
	At    time.Time `json:"at"`
	Event string    `json:"event"`
	From  Trust     `json:"from"`
	To    Trust     `json:"to"`
}

// maxHistory is how many transitions a peer's record keeps.
const maxHistory = 32

// Peer is what we know of another gateway. A Peer in the gateway's memory is never
// changed in place: a change is a copy that replaces it.
type Peer struct {
	Key   PublicKey `json:"key"`
	Alias string    `json:"alias,omitempty"` // our name for it, unique
	Label string    `json:"label,omitempty"` // the id it announced itself, if neither of the key's labels
	Tags  []string  `json:"tags,omitempty"`  // our operator's words for it, sorted
	Names Names     `json:"names"`           // unverified
	URL   string    `json:"url"`             // pinned gateway URL: routing, never identity

	// Revision counts the changes of Trust, Key, URL and labels (Alias and Label),
	// and of nothing else: grants, features and versions leave it alone. A peer that
	// is new has 1. core/gateway's transition helper raises it, once for a change;
	// nobody else may, and a store only keeps it. 0: not kept.
	//
	// A decision that rests on a peer names the revision that it saw in
	// Change.Expect. docs/threat-model.md#s1
	Revision uint64 `json:"revision,omitempty"`

	Trust Trust     `json:"trust"`
	By    string    `json:"by,omitempty"` // Us or Them: who made the last move to rejected or removed
	Since time.Time `json:"since"`        // when Trust last changed

	RequestedAt time.Time `json:"requestedAt,omitzero"`
	ApprovedAt  time.Time `json:"approvedAt,omitzero"`
	RejectedAt  time.Time `json:"rejectedAt,omitzero"`
	RemovedAt   time.Time `json:"removedAt,omitzero"`

	Granted  *Bundle  `json:"granted,omitempty"`  // what we allow it
	Received *Bundle  `json:"received,omitempty"` // what it said it allows us
	Offered  []string `json:"offered,omitempty"`  // intents it named when it asked

	Levels       map[string]string `json:"levels,omitempty"`       // agent-comms: level by topic
	DefaultLevel string            `json:"defaultLevel,omitempty"` // agent-comms: level for other topics

	V2       bool     `json:"v2,omitempty"`       // has shown a v2 signature: legacy-only envelopes are refused from then on
	Features []string `json:"features,omitempty"` // from its card
	Version  string   `json:"version,omitempty"`  // from its card
	Warning  string   `json:"warning,omitempty"`  // what the operator should know before approving
	SeenIDs  []string `json:"seenIds,omitempty"`  // digests of update-identity texts that carry no time

	// Doubt, beside Trust removed or pending, says that the peer may not have meant it. The
	// grants and all else are whole then. docs/threat-model.md#t10
	Doubt *Doubt `json:"doubt,omitempty"`
	// Asking is what we ask the peer, to confirm what it seems to have said.
	Asking Asking `json:"asking,omitzero"`
	// AskedToo says that the peer has asked us, in a form that names nobody, while
	// our own request waits.
	AskedToo bool `json:"askedToo,omitempty"`
	// OldForm says that a peer that has shown v2 has sent a request in an old
	// form: our operator's approval clears V2. docs/threat-model.md#t12
	OldForm bool `json:"oldForm,omitempty"`
	// Refused says that our last word to it was no: a rejection or a removal. No policy
	// takes that back, our operator does. docs/threat-model.md#p3
	Refused bool `json:"refused,omitempty"`
	// Shown says that the key of a peer that waits answers at the URL it claims.
	Shown bool `json:"shown,omitempty"`

	OurLabel string `json:"ourLabel,omitempty"` // the host:port by which a gateway of 0.2.20 knows us
	// FormerLabel is what OurLabel was until the peer seemed to know us by our id. It is
	// tried when the peer is asked, as anybody at its URL could have said so.
	FormerLabel string   `json:"formerLabel,omitempty"`
	Claimed     string   `json:"claimed,omitempty"` // a URL that it says it has moved to, until its key is seen there
	Notified    Notified `json:"notified,omitzero"` // what it was last notified of us

	History []Transition `json:"history,omitempty"`
}

// Clone returns a copy that shares nothing that may change.
func (p Peer) Clone() *Peer {
	p.Granted = p.Granted.clone()
	p.Received = p.Received.clone()
	p.Tags = slices.Clone(p.Tags)
	p.Offered = slices.Clone(p.Offered)
	p.Features = slices.Clone(p.Features)
	p.History = slices.Clone(p.History)
	p.SeenIDs = slices.Clone(p.SeenIDs)
	p.Asking.Started = slices.Clone(p.Asking.Started)
	if p.Doubt != nil {
		d := *p.Doubt
		p.Doubt = &d
	}
	if p.Asking.Series != nil {
		s := *p.Asking.Series
		p.Asking.Series = &s
	}
	if p.Levels != nil {
		levels := make(map[string]string, len(p.Levels))
		for k, v := range p.Levels {
			levels[k] = v
		}
		p.Levels = levels
	}
	return &p
}

func (b *Bundle) clone() *Bundle {
	if b == nil {
		return nil
	}
	c := *b
	c.Scopes = slices.Clone(b.Scopes)
	return &c
}

// The bounds of a peer's tags.
const (
	maxTags     = 32
	maxTagBytes = 64
)

// Tags are a peer's tags with some added and others taken away, sorted. Errors are of
// kind Malformed: a tag is a word of letters, digits and ._:/- without spaces.
func Tags(tags, add, drop []string) ([]string, error) {
	out := slices.Clone(tags)
	for _, t := range add {
		if t == "" || len(t) > maxTagBytes || strings.ContainsFunc(t, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._:/-", r)
		}) || t[0] == '-' {
			return nil, Refusef(Malformed, "tag %q: want a word of letters, digits and ._:/- up to %d bytes", t, maxTagBytes)
		}
		out = append(out, t)
	}
	out = slices.DeleteFunc(out, func(t string) bool { return slices.Contains(drop, t) })
	slices.Sort(out)
	if out = slices.Compact(out); len(out) > maxTags {
		return nil, Refusef(Malformed, "too many tags: a peer has up to %d", maxTags)
	}
	return out, nil
}

// Remember adds one transition to the history and sets Trust and its times.
func (p *Peer) Remember(m Transition) {
	p.History = append(p.History, m)
	if extra := len(p.History) - maxHistory; extra > 0 {
		p.History = slices.Delete(p.History, 0, extra)
	}
	if p.Trust != m.To {
		p.Since = m.At
	}
	p.Trust = m.To
}

// Name is how we call the peer: our alias, else its fingerprint. What it calls
// itself is never used alone, as anyone can write it.
func (p *Peer) Name() string {
	if p.Alias != "" {
		return p.Alias
	}
	return p.Key.Fingerprint()
}

// HasFeature reports whether the peer's card named a feature.
func (p *Peer) HasFeature(name string) bool { return slices.Contains(p.Features, name) }

// Persona is one of the agents behind a gateway. docs/protocol.md#personas
type Persona struct {
	ID          string   `json:"id"`
	DisplayName string   `json:"displayName"`
	Role        string   `json:"role"` // "primary" or "specialist"
	DisplayIcon string   `json:"displayIcon,omitempty"`
	Description string   `json:"description,omitempty"`
	Skills      []string `json:"skills,omitempty"`
	HookAgentID string   `json:"hookAgentId,omitempty"`
}
