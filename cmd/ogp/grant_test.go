package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opengatewayprotocol/ogp/core"
)

// A change of grants changes what it names, and nothing else.
func TestGrantChangesWhatIsNamed(t *testing.T) {
	rate := &core.RateLimit{Requests: 5, WindowSeconds: 60}
	current := []core.Grant{
		{Intent: "message", Enabled: true, RateLimit: rate},
		{Intent: "agent-comms", Enabled: true, RateLimit: rate, Topics: []string{"a"}, Personas: []string{"p"}},
	}
	for _, c := range []struct {
		name  string
		g     grantChange
		given []string
		want  []core.Grant // nil: refused
	}{
		{"topics alone", grantChange{grantFlags: grantFlags{topics: []string{"b"}}}, []string{"topics"},
			[]core.Grant{current[0], {Intent: "agent-comms", Enabled: true, RateLimit: rate, Topics: []string{"b"}, Personas: []string{"p"}}}},
		{"add", grantChange{add: []string{"x.y"}}, []string{"add"}, append(slices.Clone(current), core.Grant{Intent: "x.y", Enabled: true})},
		{"add with a rate", grantChange{grantFlags: grantFlags{rate: "1/60"}, add: []string{"x.y"}}, []string{"add", "rate"},
			append(slices.Clone(current), core.Grant{Intent: "x.y", Enabled: true, RateLimit: &core.RateLimit{Requests: 1, WindowSeconds: 60}})},
		{"drop", grantChange{drop: []string{"message"}}, []string{"drop"}, current[1:]},
		{"all of them", grantChange{grantFlags: grantFlags{intents: []string{"message"}}}, []string{"intents"}, current[:1]},
		{"drop what is not there", grantChange{drop: []string{"x"}}, []string{"drop"}, nil},
		{"drop all", grantChange{drop: []string{"message", "agent-comms"}}, []string{"drop"}, nil},
		{"topics of nothing", grantChange{grantFlags: grantFlags{topics: []string{"b"}}, drop: []string{"agent-comms"}}, []string{"topics", "drop"}, nil},
		{"a bad rate", grantChange{grantFlags: grantFlags{rate: "often"}}, []string{"rate"}, nil},
	} {
		got, err := c.g.apply(current, func(flag string) bool { return slices.Contains(c.given, flag) })
		if (err != nil) != (c.want == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
