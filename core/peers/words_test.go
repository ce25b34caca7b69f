package peers

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// TestT6Words: what a peer says of itself is bounded and cannot act on a terminal.
func TestT6Words(t *testing.T) {
	evil := "a\x1b[31m\nb\u202e" + strings.Repeat("x", 200)
	n := Names(core.Names{DisplayName: evil, Email: evil, HumanName: evil, AgentName: evil, Organization: evil})
	for _, s := range []string{n.DisplayName, n.Email, n.HumanName, n.AgentName, n.Organization} {
		if len([]rune(s)) != maxNameRunes+1 || strings.ContainsAny(s, "\x1b\n\u202e") {
			t.Errorf("a name is kept as %q", s)
		}
	}
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprint("intent-", i))
	}
	for _, c := range []struct {
		in, want []string
	}{{nil, nil}, {[]string{"a", "\x00", "b\n"}, []string{"a", "b"}}, {many, many[:32]}} {
		if got := Words(c.in); !slices.Equal(got, c.want) {
			t.Errorf("Words(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	b := Bundle(&core.Bundle{Version: evil, GrantedAt: evil, Scopes: []core.Grant{{Intent: evil, Topics: many, ExpiresAt: evil}}})
	if g := b.Scopes[0]; len([]rune(b.Version)) != 17 || len([]rune(b.GrantedAt)) != 41 || len([]rune(g.Intent)) != 65 || len(g.Topics) != 32 || len([]rune(g.ExpiresAt)) != 41 {
		t.Errorf("a bundle is kept as %+v", b)
	}
}

// TestRename: a yes to the label that was typed there makes it ours; one to our id ends it.
func TestRename(t *testing.T) {
	self := core.PublicKey{1}
	for _, c := range []struct{ our, label, wantOur, wantFormer string }{
		{"", "", "", ""},
		{"", self.ShortID(), "", ""},
		{"", "host:18790", "host:18790", ""},
		{"host:18790", self.ID(), "", "host:18790"},
		{"", self.ID(), "", ""},
	} {
		p := &core.Peer{OurLabel: c.our}
		if Rename(p, c.label, self); p.OurLabel != c.wantOur || p.FormerLabel != c.wantFormer {
			t.Errorf("%q, a yes to %q: %q, formerly %q, want %q, %q", c.our, c.label, p.OurLabel, p.FormerLabel, c.wantOur, c.wantFormer)
		}
	}
}
