package peers

import (
	"cmp"
	"net"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// leastOfStranger is how many characters of the fingerprint or key of a peer that nobody
// here has said yes to keep an alias from being taken: anyone can make a key that begins
// with a short word of their choice, and no stranger is to take a name from a friend.
const leastOfStranger = 8

// CheckAlias refuses an alias for the peer of key k that another peer has, or that reads
// like what names a gateway by itself: a fingerprint or key, of anybody's whole, of another
// peer's and ours also its beginning, or a URL. Errors are of kind Malformed or Conflict.
func (b *Index) CheckAlias(alias string, k core.PublicKey) error {
	if alias == "" {
		return nil
	}
	shown := text.Line(alias, 64)
	if why := core.NotAlias(alias); why != "" || alias != shown {
		return core.Refusef(core.Malformed, "alias %q: %s", shown, cmp.Or(why, "want up to 64 characters that can be seen"))
	}
	if b.Self.Named(alias) || b.Self.Begins(alias, core.LeastStart) {
		return core.Refusef(core.Malformed, "alias %q: our own fingerprint or key begins so", shown)
	}
	if p := b.aliasTwin(alias, k); p != nil {
		return core.Refusef(core.Conflict, "alias %q is the name of another peer", alias)
	}
	if p := b.meantByAlias(alias, k); p != nil {
		return core.Refusef(core.Conflict, "alias %q could be taken for another peer, %s", alias, p.Key.Fingerprint())
	}
	return nil
}

// OwnsAlias reports whether a stored alias still names its peer: nobody else has it, and
// it is nobody's whole fingerprint or key. What a stranger can make up, a key that begins
// so, takes no name away.
func (b *Index) OwnsAlias(p *core.Peer) bool {
	if p.Alias == "" {
		return true
	}
	other := b.ByAlias(p.Alias)
	return (other == nil || other.Key == p.Key) && core.NotAlias(p.Alias) == "" && !b.Self.Named(p.Alias) && b.whole(p.Alias, p.Key) == nil
}

// meantByAlias returns another peer than k that an alias would read as: its fingerprint or
// key, or the beginning of one. nil: none.
func (b *Index) meantByAlias(alias string, k core.PublicKey) *core.Peer {
	return b.other(k, func(p *core.Peer) bool {
		least := core.LeastStart
		if p.Trust == core.Pending && p.ApprovedAt.IsZero() && p.Alias == "" {
			least = leastOfStranger
		}
		return p.Key.Named(alias) || p.Key.Begins(alias, least)
	})
}

// composed is an alias with its accents within their letters, as most keyboards give them:
// files and other programs have them apart, which looks the same.
func composed(alias string) string { return norm.NFC.String(alias) }

// aliasTwin returns another peer than k whose alias is the same but for upper and lower
// case, or for how its accents are written: what is typed for the one would name the other. nil: none.
func (b *Index) aliasTwin(alias string, k core.PublicKey) *core.Peer {
	return b.other(k, func(p *core.Peer) bool {
		return p.Alias != "" && strings.EqualFold(composed(p.Alias), composed(alias)) && KeepsAlias(p)
	})
}

// whole returns another peer than k of which a text is the whole fingerprint, id or key.
// nil: none.
func (b *Index) whole(ref string, k core.PublicKey) *core.Peer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, p := range b.named(ref) {
		if p.Key != k {
			return p
		}
	}
	return nil
}

func (b *Index) other(k core.PublicKey, is func(*core.Peer) bool) *core.Peer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for key, e := range b.byKey {
		if key != k && is(e.peer) {
			return e.peer
		}
	}
	return nil
}

// atLabel reports whether a text is the host:port by which a gateway of 0.2.20 calls
// itself, at the host where it is. What else a peer calls itself names nobody here: it
// could be another's name.
func atLabel(ref string, p *core.Peer) bool {
	if p.Label != ref || p.Trust == core.Pending {
		return false
	}
	host, _, err := net.SplitHostPort(ref)
	return err == nil && strings.EqualFold(host, HostName(p.URL))
}
