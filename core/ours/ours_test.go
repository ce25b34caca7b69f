package ours

import (
	"slices"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

var self = core.PublicKey{7}

// TestLabels: our key, our id and our host:port labels name us; what names everybody, or
// another port, does not.
func TestLabels(t *testing.T) {
	for _, c := range []struct {
		s     Settings
		named []string
		not   []string
	}{
		{Settings{}, []string{self.String(), self.ID(), "localhost:18790"}, []string{self.ShortID(), "", "localhost:80"}},
		{Settings{URL: "https://us.example/", Port: 4000}, []string{"us.example:443", "us.example:4000"}, []string{"us.example:18790", "us.example"}},
		{Settings{URL: "http://us.example"}, []string{"us.example:80", "us.example:18790"}, []string{"us.example:443"}},
		{Settings{URL: "http://[::1]:9"}, []string{"[::1]:9", "[::1]:18790"}, nil},
		{Settings{Compat: Compat{HostPortIDs: []string{"old.example:1"}}}, []string{"old.example:1"}, []string{"old.example:2"}},
	} {
		c.s.Fill(self)
		for _, label := range c.named {
			if !c.s.Named(label) {
				t.Errorf("%s, port %d: %q does not name us", c.s.URL, c.s.Port, label)
			}
		}
		for _, label := range c.not {
			if c.s.Named(label) {
				t.Errorf("%s, port %d: %q names us", c.s.URL, c.s.Port, label)
			}
		}
	}
}

// TestPersona: without an id a message reaches the primary one; a gateway that configures
// none has one, named after its agent.
func TestPersona(t *testing.T) {
	two := []core.Persona{{ID: "a"}, {ID: "b", Role: "primary"}}
	for _, c := range []struct {
		s       Settings
		toAgent string
		want    string
		ok      bool
	}{
		{Settings{}, "", "main", true},
		{Settings{Names: core.Names{AgentName: "Ada & Co."}}, "", "ada-co", true},
		{Settings{Names: core.Names{DisplayName: "Büro"}}, "b-ro", "b-ro", true},
		{Settings{Names: core.Names{DisplayName: "?"}}, "", "main", true},
		{Settings{}, "other", "", false},
		{Settings{Personas: two}, "", "b", true},
		{Settings{Personas: two}, "a", "a", true},
		{Settings{Personas: two[:1]}, "", "", false},
	} {
		c.s.Fill(self)
		if p, ok := c.s.Persona(c.toAgent); p.ID != c.want || ok != c.ok {
			t.Errorf("%q of %+v: %q, %v, want %q, %v", c.toAgent, c.s.Personas, p.ID, ok, c.want, c.ok)
		}
	}
}

// TestCard: the card names each intent once, and not the one that is only asked with; it
// says where we are as all that we send does.
func TestCard(t *testing.T) {
	s := Settings{URL: "https://us.example/", Names: core.Names{DisplayName: "Us", Organization: "Org"}, Intents: []string{"x", core.BuiltinIntents[0]}}
	s.Fill(self)
	card := s.Card("1.2.3", []string{"y", "x", core.IntentStatus})
	if want := append(slices.Clone(core.BuiltinIntents), "x", "y"); !slices.Equal(card.Capabilities.Intents, want) {
		t.Errorf("intents %q, want %q", card.Capabilities.Intents, want)
	}
	if card.Version != "1.2.3" || card.Endpoints.Message != "https://us.example"+core.PathMessage || card.PublicKey != self.String() {
		t.Errorf("card %+v", card)
	}
	urls := []string{card.GatewayURL, s.PeerCard().GatewayURL, s.Identity().GatewayURL, s.Pong(time.Now()).GatewayURL, s.Approval(&core.Peer{}, "").FromGatewayURL, s.Notified().URL}
	if urls = slices.Compact(urls); len(urls) != 1 || urls[0] != "https://us.example" {
		t.Errorf("we are at %q", urls)
	}
	if !s.Knows("x") || s.Knows("y") {
		t.Error("knows what handlers answer, or not what is configured")
	}
}

// TestApproval: with a nonce it says yes, and to whom; without one it only tells the grants.
func TestApproval(t *testing.T) {
	var s Settings
	s.Fill(self)
	p := &core.Peer{Key: core.PublicKey{9}, Granted: &core.Bundle{}}
	if a := s.Approval(p, "n"); a.Approved == nil || !*a.Approved || a.PeerID != p.Key.ID() || a.Nonce != "n" {
		t.Errorf("approval %+v", a)
	}
	if a := s.Approval(p, ""); a.Approved != nil || a.PeerID != "" || a.ScopeGrants != p.Granted || a.FromGatewayID != "localhost:18790" {
		t.Errorf("grants back %+v", a)
	}
}
