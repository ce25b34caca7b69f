package scope_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// TestAllow starts from one access that passes, changes one thing, and names the
// one error that it must bring.
func TestAllow(t *testing.T) {
	grant := func() core.Grant {
		return core.Grant{Intent: "agent-comms", Enabled: true, Topics: []string{"general", "memory-management"},
			Personas: []string{"scribe"}, ExpiresAt: core.FormatTime(start.Add(time.Hour))}
	}
	access := scope.Access{Intent: "agent-comms", Topic: "general", HasTopic: true, Persona: "scribe"}
	tests := []struct {
		what   string
		change func(g *core.Grant, a *scope.Access)
		want   string // empty: let in
	}{
		{"as it is", func(*core.Grant, *scope.Access) {}, ""},
		{"another intent", func(_ *core.Grant, a *scope.Access) { a.Intent = "message" }, "Intent 'message' not in granted scope"},
		{"the intent in another case", func(_ *core.Grant, a *scope.Access) { a.Intent = "Agent-Comms" }, "Intent 'Agent-Comms' not in granted scope"},
		{"no intent", func(_ *core.Grant, a *scope.Access) { a.Intent = "" }, "Intent '' not in granted scope"},
		{"a disabled grant", func(g *core.Grant, _ *scope.Access) { g.Enabled = false }, "Intent 'agent-comms' not in granted scope"},
		{"a topic below a granted one", func(_ *core.Grant, a *scope.Access) { a.Topic = "memory-management/sub/x" }, ""},
		{"a topic that only begins alike", func(_ *core.Grant, a *scope.Access) { a.Topic = "memory-managementX" }, "Topic 'memory-managementX' not allowed for intent 'agent-comms'"},
		{"a topic in another case", func(_ *core.Grant, a *scope.Access) { a.Topic = "General" }, "Topic 'General' not allowed for intent 'agent-comms'"},
		{"another topic", func(_ *core.Grant, a *scope.Access) { a.Topic = "x" }, "Topic 'x' not allowed for intent 'agent-comms'"},
		{"no topic", func(_ *core.Grant, a *scope.Access) { a.Topic, a.HasTopic = "general", false }, "Intent 'agent-comms' scope check failed"},
		{"all topics granted", func(g *core.Grant, a *scope.Access) { g.Topics, a.Topic = nil, "x" }, ""},
		{"all topics granted and none named", func(g *core.Grant, a *scope.Access) { g.Topics, a.HasTopic = nil, false }, ""},
		{"expired this instant", func(g *core.Grant, _ *scope.Access) { g.ExpiresAt = core.FormatTime(start) }, "Topic 'general' not allowed for intent 'agent-comms'"},
		{"expires a moment later", func(g *core.Grant, _ *scope.Access) { g.ExpiresAt = core.FormatTime(start.Add(time.Millisecond)) }, ""},
		{"expired, without a topic", func(g *core.Grant, a *scope.Access) { g.ExpiresAt, a.HasTopic = core.FormatTime(start), false }, "Intent 'agent-comms' scope check failed"},
		{"expired, all topics", func(g *core.Grant, _ *scope.Access) { g.ExpiresAt, g.Topics = core.FormatTime(start), nil }, "Intent 'agent-comms' scope check failed"},
		{"an end that is no time", func(g *core.Grant, _ *scope.Access) { g.ExpiresAt, g.Topics = "soon", nil }, "Intent 'agent-comms' scope check failed"},
		{"no end", func(g *core.Grant, _ *scope.Access) { g.ExpiresAt = "" }, ""},
		{"another persona", func(_ *core.Grant, a *scope.Access) { a.Persona = "boss" }, "Agent 'boss' not in granted scope for intent 'agent-comms'"},
		{"no persona", func(_ *core.Grant, a *scope.Access) { a.Persona = "" }, "Agent '' not in granted scope for intent 'agent-comms'"},
		{"all personas granted", func(g *core.Grant, a *scope.Access) { g.Personas, a.Persona = nil, "boss" }, ""},
		{"topics of another intent than agent-comms", func(g *core.Grant, a *scope.Access) { g.Intent, a.Intent, a.HasTopic = "message", "message", false }, ""},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			g, a := grant(), access
			test.change(&g, &a)
			var d scope.Checker
			_, err := d.Allow(&core.Peer{Granted: &core.Bundle{Scopes: []core.Grant{g}}}, a, start)
			var e *core.Error
			switch {
			case test.want == "" && err != nil:
				t.Errorf("Allow = %v, want no error", err)
			case test.want != "" && (!errors.As(err, &e) || e.Kind != core.Forbidden || e.Public != test.want):
				t.Errorf("Allow = %v, want Forbidden: %s", err, test.want)
			}
			if used := d.Used(core.PublicKey{}, a.Intent, time.Hour, start); (used == 1) != (test.want == "") {
				t.Errorf("used %d of the rate", used)
			}
		})
	}
}

// TestAllowFirstEnabled: of several grants of an intent, the first enabled one
// decides.
func TestAllowFirstEnabled(t *testing.T) {
	p := &core.Peer{Granted: &core.Bundle{Scopes: []core.Grant{
		{Intent: "message"},
		{Intent: "message", Enabled: true, RateLimit: &core.RateLimit{Requests: 1, WindowSeconds: 60}},
		{Intent: "message", Enabled: true},
	}}}
	var d scope.Checker
	if _, err := d.Allow(p, scope.Access{Intent: "message"}, start); err != nil {
		t.Errorf("first = %v, want no error", err)
	}
	if _, err := d.Allow(p, scope.Access{Intent: "message"}, start); !errors.Is(err, core.RateLimited) {
		t.Errorf("second = %v, want RateLimited", err)
	}
}

// TestAllowFallback: without a bundle the three intents of v0.1 are allowed, at
// the default rate; an empty bundle allows nothing.
func TestAllowFallback(t *testing.T) {
	var d scope.Checker
	for _, intent := range []string{"message", "task-request", "status-update"} {
		for i := range core.DefaultRate.Requests {
			if _, err := d.Allow(&core.Peer{}, scope.Access{Intent: intent}, start); err != nil {
				t.Fatalf("%s %d = %v, want no error", intent, i+1, err)
			}
		}
		if _, err := d.Allow(&core.Peer{}, scope.Access{Intent: intent}, start.Add(core.DefaultRate.Window()-1)); !errors.Is(err, core.RateLimited) {
			t.Errorf("%s after %d = %v, want RateLimited", intent, core.DefaultRate.Requests, err)
		}
		if _, err := d.Allow(&core.Peer{Granted: &core.Bundle{}}, scope.Access{Intent: intent}, start); !errors.Is(err, core.Forbidden) {
			t.Errorf("%s with an empty bundle = %v, want Forbidden", intent, err)
		}
	}
	if _, err := d.Allow(&core.Peer{}, scope.Access{Intent: "agent-comms", Topic: "general", HasTopic: true}, start); !errors.Is(err, core.Forbidden) {
		t.Errorf("agent-comms = %v, want Forbidden", err)
	}
}

// TestRefusalIsBounded: what a peer wrote comes back short and as valid text.
func TestRefusalIsBounded(t *testing.T) {
	var d scope.Checker
	_, err := d.Allow(&core.Peer{}, scope.Access{Intent: strings.Repeat("é", 10_000)}, start)
	var e *core.Error
	if !errors.As(err, &e) || len(e.Public) > 200 || strings.ToValidUTF8(e.Public, "") != e.Public {
		t.Errorf("refusal %q, want at most 200 bytes of valid text", e.Public)
	}
}

func TestLevel(t *testing.T) {
	gateway := scope.Levels{Default: "summary", Topics: map[string]string{"testing": "full"}}
	tests := []struct {
		what    string
		peer    core.Peer
		gateway scope.Levels
		topic   string
		want    string
	}{
		{"nothing set", core.Peer{}, scope.Levels{}, "general", "off"},
		{"the gateway's default", core.Peer{}, gateway, "general", "summary"},
		{"the peer's default before the gateway's", core.Peer{DefaultLevel: "deny"}, gateway, "general", "deny"},
		{"the gateway's topic before the peer's default", core.Peer{DefaultLevel: "deny"}, gateway, "testing", "full"},
		{"the peer's topic before all", core.Peer{DefaultLevel: "deny", Levels: map[string]string{"testing": "off"}}, gateway, "testing", "off"},
		{"a topic is exact", core.Peer{Levels: map[string]string{"test": "full"}}, scope.Levels{}, "test/x", "off"},
	}
	for _, test := range tests {
		if got := scope.Level(&test.peer, test.topic, test.gateway); got != test.want {
			t.Errorf("%s: Level = %s, want %s", test.what, got, test.want)
		}
	}
}
