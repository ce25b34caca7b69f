// Package scope turns what a peer was granted into a yes or
// a no for one message, and counts what it lets in.
//
// docs/protocol.md#scopes
package scope

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/window"
)

// FallbackGrants are what a peer without any bundle may do: the v0.1 default of
// the protocol.
var FallbackGrants = []core.Grant{
	{Intent: core.IntentMessage, Enabled: true},
	{Intent: core.IntentTaskRequest, Enabled: true},
	{Intent: core.IntentStatusUpdate, Enabled: true},
}

// Checker decides by grants and counts by a sliding window. Its zero value is
// ready. Safe for concurrent use.
type Checker struct {
	windows window.Windows
	reached sync.Map // by window.Key
}

// Access is what one message wants of us.
type Access struct {
	Intent   string
	Topic    string // agent-comms
	HasTopic bool   // the payload names a topic
	Persona  string // the persona it would reach
	Bytes    int    // of its payload
}

// Permit says which grant of the peer's lets this message in, whatever was let in before
// it. Errors are of kind Forbidden, or TooLarge.
func Permit(p *core.Peer, a Access, now time.Time) (core.Grant, error) {
	scopes := FallbackGrants
	if p.Granted != nil {
		scopes = p.Granted.Scopes
	}
	i := slices.IndexFunc(scopes, func(g core.Grant) bool { return g.Intent == a.Intent && g.Enabled })
	if i < 0 {
		return core.Grant{}, core.Refusef(core.Forbidden, "Intent '%s' not in granted scope", window.Shown(a.Intent))
	}
	if err := within(scopes[i], a, now); err != nil {
		return core.Grant{}, err
	}
	if size := sizeOf(scopes[i]); int64(a.Bytes) > size.Bytes {
		return core.Grant{}, core.Refusef(core.TooLarge, "Message too large for intent '%s': at most %s", window.Shown(a.Intent), core.FormatBytes(size.Bytes))
	}
	return scopes[i], nil
}

// Token is one message that was counted.
type Token = window.Token

// Allow says whether the peer's grants let this message in, and takes one token
// of the grant's rate. Errors are those of Permit, or of kind RateLimited with
// RetryAfter. A refused message takes no token.
//
// docs/protocol.md#scopes
func (d *Checker) Allow(p *core.Peer, a Access, now time.Time) (Token, error) {
	grant, err := Permit(p, a, now)
	if err != nil {
		return Token{}, err
	}
	return d.windows.Take(window.Key{Peer: p.Key, Intent: a.Intent}, LimitOf(grant), now, a.Bytes)
}

// Limit is the limit in force for a message that the peer's grants let in, where the
// store counts. Errors are those of Allow: a limit that was Reached is, until its time.
func (d *Checker) Limit(p *core.Peer, a Access, now time.Time) (*core.Limit, error) {
	grant, err := Permit(p, a, now)
	if err != nil {
		return nil, err
	}
	limit := LimitOf(grant)
	if v, ok := d.reached.Load(window.Key{Peer: p.Key, Intent: a.Intent}); ok {
		if r := v.(reached); r.limit == limit && r.bytes <= a.Bytes && now.Before(r.until) {
			e := *r.err
			e.RetryAfter = max(core.RoundUp(r.until.Sub(now)), time.Second)
			return nil, &e
		}
	}
	return &limit, nil
}

// reached is that a limit was reached: until a time nothing as large is let in.
type reached struct {
	limit core.Limit
	bytes int
	until time.Time
	err   *core.Error
}

// Reached notes that the store has refused a message of a size as RateLimited, so that
// nobody is asked about more of them.
func (d *Checker) Reached(peer core.PublicKey, intent string, bytes int, limit core.Limit, now time.Time, err error) {
	var e *core.Error
	if errors.As(err, &e) && e.RetryAfter > time.Second {
		d.reached.Store(window.Key{Peer: peer, Intent: intent}, reached{limit, bytes, now.Add(e.RetryAfter - time.Second), e})
	}
}

// LimitOf is the limit in force of a grant.
func LimitOf(g core.Grant) core.Limit {
	limit := core.Limit{Rate: core.DefaultRate, Size: sizeOf(g)}
	if g.RateLimit != nil {
		limit.Rate = *g.RateLimit
	}
	return limit
}

// Count notes a message that was let in before a restart. Call it before the
// first Allow, best in the order of time.
func (d *Checker) Count(peer core.PublicKey, intent string, at time.Time, bytes int) {
	d.windows.Count(window.Key{Peer: peer, Intent: intent}, at, bytes)
}

// Used says how many messages of an intent are counted within a window.
func (d *Checker) Used(peer core.PublicKey, intent string, span time.Duration, now time.Time) int {
	return d.windows.Used(window.Key{Peer: peer, Intent: intent}, span, now)
}

// UsedBytes says how much of messages of an intent is counted within a window.
func (d *Checker) UsedBytes(peer core.PublicKey, intent string, span time.Duration, now time.Time) int64 {
	return d.windows.UsedBytes(window.Key{Peer: peer, Intent: intent}, span, now)
}

// Counted is what the limits of grants look back on: how many messages of one intent at
// the most, and how far.
func Counted(grants []core.Grant) (requests int, back time.Duration) {
	for _, grant := range grants {
		if rate := grant.RateLimit; rate != nil {
			requests, back = max(requests, rate.Requests), max(back, min(rate.Window(), core.MaxRateWindow))
		}
		if size := grant.ByteLimit; size != nil {
			back = max(back, min(size.Window(), core.MaxRateWindow))
		}
	}
	return requests, back
}

// sizeOf is the size in force of a grant.
func sizeOf(g core.Grant) core.ByteLimit {
	if g.ByteLimit != nil {
		return *g.ByteLimit
	}
	return core.DefaultBytes
}

// within checks a grant's own bounds.
func within(g core.Grant, a Access, now time.Time) error {
	topical := a.Intent == core.IntentAgentComms && len(g.Topics) > 0
	failed := func() error {
		return core.Refusef(core.Forbidden, "Intent '%s' scope check failed", window.Shown(a.Intent))
	}
	notAllowed := func() error {
		return core.Refusef(core.Forbidden, "Topic '%s' not allowed for intent 'agent-comms'", window.Shown(a.Topic))
	}
	if g.ExpiresAt != "" {
		end, err := core.ParseTime(g.ExpiresAt)
		if err != nil || !now.Before(end) {
			if topical && a.HasTopic {
				return notAllowed()
			}
			return failed()
		}
	}
	if topical {
		if !a.HasTopic {
			return failed()
		}
		if !slices.ContainsFunc(g.Topics, func(t string) bool { return a.Topic == t || strings.HasPrefix(a.Topic, t+"/") }) {
			return notAllowed()
		}
	}
	if len(g.Personas) > 0 && !slices.Contains(g.Personas, a.Persona) {
		return core.Refusef(core.Forbidden, "Agent '%s' not in granted scope for intent '%s'", window.Shown(a.Persona), window.Shown(a.Intent))
	}
	return nil
}

// Levels of agent-comms. docs/protocol.md#agent-comms
const (
	LevelFull     = "full"
	LevelSummary  = "summary"
	LevelEscalate = "escalate"
	LevelDeny     = "deny"
	LevelOff      = "off"
)

// LevelNames lists the levels.
var LevelNames = []string{LevelFull, LevelSummary, LevelEscalate, LevelDeny, LevelOff}

// Levels are the operator's answers to "how much may a peer's agent ask of mine
// on this topic". Zero fields mean nothing is set.
type Levels struct {
	Default string            `koanf:"default_level" oneof:"full|summary|escalate|deny|off" doc:"The level for topics that are not named."`
	Topics  map[string]string `koanf:"topics" unit:"table of topic = level" oneof:"full|summary|escalate|deny|off" check:"topics" doc:"The level for each topic."`
}

// Level is the level for a peer and topic: the peer's own topic, else the
// gateway's topic, else the peer's default, else the gateway's.
func Level(p *core.Peer, topic string, l Levels) string {
	if v := p.Levels[topic]; v != "" {
		return v
	}
	if v := l.Topics[topic]; v != "" {
		return v
	}
	if p.DefaultLevel != "" {
		return p.DefaultLevel
	}
	if l.Default != "" {
		return l.Default
	}
	return LevelOff
}
