package peers

import (
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

// Number raises the revision of a record that is to be kept in the place of old (nil:
// none) if its trust, URL or labels have changed, and ties a new series of confirmations to
// it. told is what an envelope says of us that goes with it. It returns what is to be kept:
// the record, and those of peers that have gone, without an alias that it has now.
func (b *Index) Number(old, next *core.Peer, told core.Notified) []*core.Peer {
	b.number(old, next, told)
	kept := []*core.Peer{next}
	if !KeepsAlias(next) || old != nil && old.Alias == next.Alias && KeepsAlias(old) {
		return kept
	}
	for _, p := range b.gone(next.Alias, next.Key) {
		gone := p.Clone()
		gone.Alias = ""
		b.number(p, gone, told)
		kept = append(kept, gone)
	}
	return kept
}

func (b *Index) number(old, next *core.Peer, told core.Notified) {
	if next.Alias != "" && KeepsAlias(next) && (old == nil || !KeepsAlias(old)) && !b.OwnsAlias(next) {
		next.Alias = "" // somebody else has it by now
	}
	switch {
	case old == nil || old.Revision == 0:
		next.Revision = 1
	case hasChanged(old, next):
		next.Revision = old.Revision + 1
	}
	if series := next.Asking.Series; series != nil && series.Revision == 0 {
		series.Revision = next.Revision
	}
	asks := next.Trust == core.Requested
	if old == nil && asks || old != nil && next.Trust != old.Trust && (asks || next.Trust == core.Approved) {
		next.Notified = told
	}
}

// hasChanged reports whether a record means something else than before to those who act on it.
func hasChanged(old, next *core.Peer) bool {
	return peering.StateOf(old) != peering.StateOf(next) || old.URL != next.URL || old.Alias != next.Alias || old.Label != next.Label ||
		old.OurLabel != next.OurLabel || old.V2 && !next.V2
}

// gone returns the peers that have gone and had the alias of another peer, whose key is
// not theirs.
func (b *Index) gone(alias string, k core.PublicKey) (gone []*core.Peer) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, e := range b.byKey {
		if e.peer.Alias == alias && alias != "" && e.peer.Key != k && !KeepsAlias(e.peer) {
			gone = append(gone, e.peer)
		}
	}
	return gone
}

// Untold lists the approved peers that do not know of us what they are to know: the
// gateway URL and the names. Those that were never told of any count as knowing what they
// were approved with.
func (b *Index) Untold(know core.Notified) (untold []*core.Peer) {
	for p := range b.From(Place{}, "") {
		was := p.Notified
		if p.Trust == core.Approved && (was.URL != "" && was.URL != know.URL || was.Names != (core.Names{}) && was.Names != know.Names && !was.Deaf) {
			untold = append(untold, p)
		}
	}
	return untold
}
