package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
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
		{"an expiry lifted", grantChange{grantFlags: grantFlags{expires: "never", ends: "expires"}}, []string{"expires"}, current},
		{"topics lifted", grantChange{grantFlags: grantFlags{topics: []string{"*"}}}, []string{"topics"},
			[]core.Grant{current[0], {Intent: "agent-comms", Enabled: true, RateLimit: rate, Personas: []string{"p"}}}},
		{"a time that has passed", grantChange{grantFlags: grantFlags{expires: "2020-01-31", ends: "expires"}}, []string{"expires"}, nil},
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

// A flag of grants without a value, or with a time that has passed, is a usage error of
// every command that has it, before any daemon is asked.
func TestGrantFlagsWantValues(t *testing.T) {
	tried := map[string]bool{}
	for _, c := range everyCommand(newRoot()) {
		path := strings.Fields(c.CommandPath())[1:]
		if c.Flags().Lookup("personas") == nil && c.Flags().Lookup("petname") == nil {
			continue
		}
		for _, flag := range []string{"intents", "rate", "bytes", "topics", "personas", "expires", "grants-expire", "add", "drop", "alias", "petname", "key"} {
			values := []string{""}
			if f := c.Flags().Lookup(flag); f == nil || f.Value.Type() == "duration" {
				continue
			} else if f.Value.Type() == "stringSlice" {
				values = append(values, "a,,b")
			}
			if strings.HasPrefix(flag, "expires") || flag == "grants-expire" {
				values = append(values, "2020-01-31", "2020-01-31T00:00:00Z", "0s", "soon")
			}
			for _, value := range values {
				args := append(slices.Clone(path), "--home", t.TempDir())
				for what, word := range map[string]string{"<peer>": "bob", "<gateway URL>": "http://localhost:1", "<code": "a3f7k2", "<public key>": core.SPKIPrefix + strings.Repeat("a1", 32)} {
					if strings.Contains(c.Use, what) {
						args = append(args, word)
					}
				}
				cmd := newRoot()
				cmd.SetArgs(append(args, "--"+flag, value))
				cmd.SetOut(new(bytes.Buffer))
				cmd.SetErr(new(bytes.Buffer))
				var usage cli.UsageError
				if err := cmd.ExecuteContext(t.Context()); !errors.As(err, &usage) {
					t.Errorf("%s --%s %q: %v, want a usage error", strings.Join(path, " "), flag, value, err)
				}
				tried[strings.Join(path, " ")] = true
			}
		}
	}
	for _, want := range []string{"federation approve", "federation grant", "federation invite", "federation request", "federation accept", "federation connect"} {
		if !tried[want] {
			t.Errorf("%s was not tried", want)
		}
	}
}
