package peers

import (
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// What a peer says of itself is for people to read. It is bounded, and made safe to show,
// before it is kept. docs/threat-model.md#t6

// maxNameRunes bounds a name that a peer gives itself.
const maxNameRunes = 80

// Names gives the names that a peer gives itself as they are kept.
func Names(n core.Names) core.Names {
	return core.Names{
		DisplayName:  text.Line(n.DisplayName, maxNameRunes),
		Email:        text.Line(n.Email, maxNameRunes),
		HumanName:    text.Line(n.HumanName, maxNameRunes),
		AgentName:    text.Line(n.AgentName, maxNameRunes),
		Organization: text.Line(n.Organization, maxNameRunes),
	}
}

// Words gives a list of intents, topics, personas or features as it is kept; nil for an empty one.
func Words(in []string) []string {
	if len(in) == 0 {
		return nil
	}
	const most = 32
	if len(in) > most {
		in = in[:most]
	}
	out := make([]string, 0, len(in))
	for _, i := range in {
		if i = text.Line(i, 64); i != "" {
			out = append(out, i)
		}
	}
	return out
}

// Bundle gives what a peer says that it grants us as it is kept. Nothing of ours is
// decided by it.
func Bundle(b *core.Bundle) *core.Bundle {
	out := &core.Bundle{Version: text.Line(b.Version, 16), GrantedAt: text.Line(b.GrantedAt, 40)}
	for _, g := range b.Scopes {
		out.Scopes = append(out.Scopes, core.Grant{Intent: text.Line(g.Intent, 64), Enabled: g.Enabled, RateLimit: g.RateLimit, ByteLimit: g.ByteLimit,
			Topics: Words(g.Topics), Personas: Words(g.Personas), ExpiresAt: text.Line(g.ExpiresAt, 40)})
	}
	return out
}

// TakeNames takes over what a peer's card, or its approval, calls it.
func TakeNames(p *core.Peer, displayName, email string) {
	p.Names.DisplayName, p.Names.Email = text.Line(displayName, maxNameRunes), text.Line(email, maxNameRunes)
}

// Runs gives what a card says of the program behind it as it is kept.
func Runs(c core.Card) (features []string, version string) {
	return Words(c.Capabilities.Features), text.Line(c.Version, 32)
}
