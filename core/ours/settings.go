// Package ours is what this gateway is to others: the settings that say so, the labels
// by which they call it, its personas, its card, and what it says of itself in its
// envelopes. What they are to us is in core/peers.
package ours

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// Settings are what the operator chooses. Defaults is where to start from; of the rest, Fill
// puts in what is missing.
type Settings struct {
	URL   string // our public gateway URL; empty: http://localhost:Port
	Port  int    // zero: core.DefaultPort
	Names core.Names

	Intents  []string // custom intents, beside the built-in ones
	Personas []core.Persona
	AgentID  string       // the hook id of the synthesised primary persona
	Grants   []core.Grant // what a peer gets when nobody says otherwise
	Levels   scope.Levels

	Freshness Freshness
	Compat    Compat
	Limits    Limits
	Outbox    Outbox
	Inbox     Inbox
	Replies   Replies // Life: also how long after a message its reply is taken
	Health    Health

	Times Times // of the conversation with peers about trust; zero fields: docs/threat-model.md#t10

	self   core.PublicKey
	labels map[string]bool // what names us and nobody else
	known  map[string]bool // registered intents
}

// Times are when peers are asked and told, as old gateways need it. Only tests, which
// cannot wait, have others than the defaults.
type Times struct {
	Rounds     []time.Duration // of a series, from our answer to the hint; zero: 5 s, 30 s, 2 min
	Silent, No time.Duration   // in doubt: when to ask again after silence, and after a no; zero: an hour, a day
	// ApproveAfter is how long after our answer to a request an approval may leave, to
	// a peer that has not shown v2: its command line writes the request down only
	// then, and over what came before. One before 0.4 (ApproveAfterOld) gets our card
	// once more first. Zero: 3 s, 6 s.
	ApproveAfter, ApproveAfterOld time.Duration
	Confirm                       time.Duration // after an approval was taken; zero: 15 s
	Tell                          time.Duration // between tries to tell peers what we are; zero: 10 minutes
}

func (t *Times) fill() {
	if len(t.Rounds) == 0 {
		t.Rounds = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute}
	}
	setDefault(&t.Silent, time.Hour)
	setDefault(&t.No, 24*time.Hour)
	setDefault(&t.ApproveAfter, 3*time.Second)
	setDefault(&t.ApproveAfterOld, 6*time.Second)
	setDefault(&t.Confirm, 15*time.Second)
	setDefault(&t.Tell, 10*time.Minute)
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// DefaultGrants are the grants of a gateway that configures none.
func DefaultGrants() []core.Grant {
	grants := make([]core.Grant, 0, len(core.BuiltinIntents))
	for _, intent := range core.BuiltinIntents {
		rate := core.DefaultRate
		grants = append(grants, core.Grant{Intent: intent, Enabled: true, RateLimit: &rate})
	}
	return grants
}

// KeepSent is how long our envelopes are on record, and the answers to them.
func (s *Settings) KeepSent() time.Duration { return max(s.Replies.Life, 7*24*time.Hour) }

// Fill puts in what follows from other settings, and derives from them and our key what the message path
// looks up.
func (s *Settings) Fill(self core.PublicKey) {
	s.self = self
	setDefault(&s.Port, core.DefaultPort)
	setDefault(&s.URL, "http://localhost:"+strconv.Itoa(s.Port))
	s.URL = strings.TrimRight(s.URL, "/")
	s.Times.fill()
	if s.Grants == nil {
		s.Grants = DefaultGrants()
	}
	if len(s.Personas) == 0 {
		s.Personas = []core.Persona{synthesised(s.Names, s.AgentID)}
	}

	s.labels = map[string]bool{self.String(): true, self.ID(): true}
	for _, label := range s.Compat.HostPortIDs {
		s.labels[label] = true
	}
	// The host:port ids of old gateways are made from the URL that they were
	// given for us.
	if u, err := url.Parse(s.URL); err == nil && u.Hostname() != "" {
		s.labels[net.JoinHostPort(u.Hostname(), strconv.Itoa(s.Port))] = true
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		s.labels[net.JoinHostPort(u.Hostname(), port)] = true
	}
	s.known = map[string]bool{}
	for _, i := range slices.Concat(core.BuiltinIntents, s.Intents) {
		s.known[i] = true
	}
}

// Named reports whether a label is ours and not everybody's.
func (s *Settings) Named(label string) bool { return s.labels[label] }

// Knows reports whether an intent is built in or configured.
func (s *Settings) Knows(intent string) bool { return s.known[intent] }

// HostPort is the label that old gateways call us by.
func (s *Settings) HostPort() string {
	u, err := url.Parse(s.URL)
	if err != nil {
		return ""
	}
	return net.JoinHostPort(u.Hostname(), strconv.Itoa(s.Port))
}

var notID = regexp.MustCompile(`[^a-z0-9_-]+`)

// synthesised is the persona of a gateway that configures none.
// docs/protocol.md#personas
func synthesised(n core.Names, agentID string) core.Persona {
	name := n.AgentName
	if name == "" {
		name = n.DisplayName
	}
	id := strings.Trim(notID.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if id == "" {
		id = "main"
	}
	if name == "" {
		name = "main"
	}
	return core.Persona{ID: id, DisplayName: name, Role: "primary", HookAgentID: agentID}
}

// Persona resolves a message's toAgent to the persona that it reaches.
func (s *Settings) Persona(toAgent string) (core.Persona, bool) {
	for _, p := range s.Personas {
		if toAgent == "" && p.Role == "primary" || toAgent != "" && p.ID == toAgent {
			return p, true
		}
	}
	return core.Persona{}, false
}
