package ours

import (
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Card is our card, for a program of a version. handled are the intents that handlers
// answer.
//
// docs/protocol.md#card
func (s *Settings) Card(version string, handled []string) core.Card {
	return core.Card{
		Version: version, DisplayName: s.Names.DisplayName, Email: s.Names.Email, GatewayURL: s.URL, PublicKey: s.self.String(),
		Capabilities: core.Capabilities{
			Intents:  s.Offered(handled),
			Features: []string{core.FeatureScopes, core.FeatureReplies, core.FeatureHealth, core.FeaturePersonas, core.FeatureV2},
		},
		Endpoints: core.Endpoints{Request: s.URL + core.PathRequest, Approve: s.URL + core.PathApprove, Message: s.URL + core.PathMessage, Reply: s.URL + core.PathReply + ":nonce"},
		Agents:    s.Personas,
	}
}

// Offered are the intents that we know, in the card's order: built in, configured, and
// handled.
func (s *Settings) Offered(handled []string) []string {
	out := slices.Clone(core.BuiltinIntents)
	for _, i := range slices.Concat(s.Intents, handled) {
		if i != core.IntentStatus && !slices.Contains(out, i) {
			out = append(out, i)
		}
	}
	return out
}

// Pong is our answer to a ping.
func (s *Settings) Pong(now time.Time) core.Pong {
	return core.Pong{Pong: true, DisplayName: s.Names.DisplayName, GatewayURL: s.URL, Timestamp: core.FormatTime(now)}
}

// PeerCard is what we say of ourselves when we ask for federation.
func (s *Settings) PeerCard() core.PeerCard {
	return core.PeerCard{ID: s.self.ID(), DisplayName: s.Names.DisplayName, Email: s.Names.Email, GatewayURL: s.URL,
		PublicKey: s.self.String(), HumanName: s.Names.HumanName, AgentName: s.Names.AgentName, Organization: s.Names.Organization}
}

// Identity is what we say of ourselves when that has changed.
func (s *Settings) Identity() core.Identity {
	return core.Identity{ID: s.self.ID(), DisplayName: s.Names.DisplayName, HumanName: s.Names.HumanName, AgentName: s.Names.AgentName,
		Organization: s.Names.Organization, Email: s.Names.Email, GatewayURL: s.URL, PublicKey: s.self.String()}
}

// Notified is what a peer knows of us once it has been told.
func (s *Settings) Notified() core.Notified { return core.Notified{URL: s.URL, Names: s.Names} }

// Approval tells a peer what it is granted. With a nonce it says also that the peer is
// approved.
func (s *Settings) Approval(p *core.Peer, nonce core.Nonce) core.Approval {
	a := core.Approval{
		FromGatewayID: s.HostPort(), FromDisplayName: s.Names.DisplayName, FromGatewayURL: s.URL,
		FromPublicKey: s.self.String(), FromEmail: s.Names.Email,
		ProtocolVersion: core.BundleVersion, ScopeGrants: p.Granted,
	}
	if nonce != "" {
		yes := true
		a.PeerID, a.Approved, a.Nonce = p.Key.ID(), &yes, nonce
	}
	return a
}
