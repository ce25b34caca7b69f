package peers

import (
	"bytes"
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

// Place is where a peer stands in a list: the longest known first. The zero Place is before
// all.
type Place struct {
	Asked time.Time // Peer.RequestedAt
	Key   core.PublicKey
}

// PlaceOf is where a peer stands.
func PlaceOf(p *core.Peer) Place { return Place{p.RequestedAt, p.Key} }

// Compare is negative where a stands before b.
func (a Place) Compare(b Place) int {
	return cmp.Or(a.Asked.Compare(b.Asked), bytes.Compare(a.Key[:], b.Key[:]))
}

// Listed is the state under which a list has a peer: one whose request waits is pending,
// whatever it was before.
func Listed(p *core.Peer) core.Trust {
	if peering.StateOf(p).Waits() {
		return core.Pending
	}
	return p.Trust
}

// line is a list of peers. It is put in order when it is first read, as a start puts in all of
// them in any, and stays so.
type line struct {
	list    []*entry
	ordered bool
}

// find is where a place is, or would be.
func (l *line) find(at Place) int {
	i, _ := slices.BinarySearchFunc(l.list, at, func(e *entry, at Place) int { return PlaceOf(e.peer).Compare(at) })
	return i
}

func (l *line) order() {
	if !l.ordered {
		slices.SortFunc(l.list, func(x, y *entry) int { return PlaceOf(x.peer).Compare(PlaceOf(y.peer)) })
		l.ordered = true
	}
}

// line is the list of those that are listed as one state. Called with mu held, as are those
// below.
func (b *Index) line(state core.Trust) *line {
	l := b.lines[state]
	if l == nil {
		l = &line{}
		b.lines[state] = l
	}
	return l
}

// lineUp puts a peer into its lists.
func (b *Index) lineUp(e *entry) {
	e.listed = Listed(e.peer)
	for _, l := range []*line{&b.all, b.line(e.listed)} {
		i := len(l.list)
		if l.ordered {
			i = l.find(PlaceOf(e.peer))
		}
		l.list = slices.Insert(l.list, i, e)
	}
}

// stepOut takes a peer out of its lists.
func (b *Index) stepOut(e *entry) {
	for _, l := range []*line{&b.all, b.line(e.listed)} {
		i := l.find(PlaceOf(e.peer))
		if !l.ordered {
			i = slices.Index(l.list, e)
		}
		l.list = slices.Delete(l.list, i, i+1)
	}
}

// replace puts a record in the place of the one before.
func (b *Index) replace(e *entry, next *core.Peer) {
	if PlaceOf(e.peer) == PlaceOf(next) && e.listed == Listed(next) {
		e.peer = next
		return
	}
	b.stepOut(e)
	e.peer = next
	b.lineUp(e)
}

// inOrder is the list of those that are listed as one state, or of all, in order, with mu held
// for reading.
func (b *Index) inOrder(state core.Trust) *line {
	for {
		b.mu.RLock()
		l := &b.all
		if state != "" {
			l = b.lines[state]
		}
		if l == nil {
			return &line{}
		}
		if l.ordered {
			return l
		}
		b.mu.RUnlock()
		b.mu.Lock()
		l.order()
		b.mu.Unlock()
	}
}

// some reads on in a list, and says how many of it fitted.
func (b *Index) some(after Place, state core.Trust, into []*core.Peer) (n int) {
	l := b.inOrder(state)
	defer b.mu.RUnlock()
	for _, e := range l.list[l.find(after):] {
		if n == len(into) {
			break
		}
		if PlaceOf(e.peer).Compare(after) > 0 {
			into[n] = e.peer
			n++
		}
	}
	return n
}

// From lists the peers behind a place that are listed as one state, or all, the longest known
// first. It costs what is read of it, and locks nothing meanwhile: who comes or goes may be
// in it or not.
func (b *Index) From(after Place, state core.Trust) iter.Seq[*core.Peer] {
	return func(yield func(*core.Peer) bool) {
		for n, some := 16, [256]*core.Peer{}; ; n = len(some) {
			read := b.some(after, state, some[:n])
			for _, p := range some[:read] {
				if !yield(p) {
					return
				}
			}
			if read < n {
				return
			}
			after = PlaceOf(some[read-1])
		}
	}
}

// All lists every peer, the longest known first.
func (b *Index) All() []*core.Peer {
	l := b.inOrder("")
	defer b.mu.RUnlock()
	out := make([]*core.Peer, len(l.list))
	for i, e := range l.list {
		out[i] = e.peer
	}
	return out
}

// States counts the peers by Listed.
func (b *Index) States() map[core.Trust]int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := map[core.Trust]int{}
	for state, l := range b.lines {
		if len(l.list) > 0 {
			out[state] = len(l.list)
		}
	}
	return out
}
