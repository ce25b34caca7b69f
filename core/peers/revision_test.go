package peers

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// TestNumber: what means something to those who act on it gets another revision, and what
// is only noted does not; who takes the alias of a peer that has gone takes it away there.
func TestNumber(t *testing.T) {
	told := core.Notified{URL: "https://us.example"}
	base := core.Peer{Key: core.PublicKey{1}, Trust: core.Approved, URL: "https://a.example", Alias: "ada", Revision: 3}
	for _, c := range []struct {
		what     string
		change   func(p *core.Peer)
		revision uint64
		notified bool
	}{
		{"nothing", func(*core.Peer) {}, 3, false},
		{"a warning", func(p *core.Peer) { p.Warning = "x" }, 3, false},
		{"v2 shown", func(p *core.Peer) { p.V2 = true }, 3, false},
		{"another URL", func(p *core.Peer) { p.URL = "https://b.example" }, 4, false},
		{"another alias", func(p *core.Peer) { p.Alias = "bob" }, 4, false},
		{"removed", func(p *core.Peer) { p.Trust = core.Removed }, 4, false},
		{"asked", func(p *core.Peer) { p.Trust = core.Requested }, 4, true},
	} {
		var b Index
		old, next := base.Clone(), base.Clone()
		b.Put(old)
		c.change(next)
		if kept := b.Number(old, next, told); len(kept) != 1 || uint64(next.Revision) != c.revision || (next.Notified == told) != c.notified {
			t.Errorf("%s: %d records, revision %d, told %+v", c.what, len(kept), next.Revision, next.Notified)
		}
	}
	var b Index
	gone := base.Clone()
	gone.Trust = core.Removed
	b.Put(gone)
	next := &core.Peer{Key: core.PublicKey{2}, Trust: core.Approved, Alias: "ada"}
	if kept := b.Number(nil, next, told); len(kept) != 2 || kept[1].Key != gone.Key || kept[1].Alias != "" || kept[1].Revision != 4 || gone.Alias != "ada" {
		t.Errorf("kept %+v", kept)
	}
	b.Put(&base) // it is back, and has its alias
	if b.Number(nil, next, told); next.Alias != "" {
		t.Errorf("two peers are called %q", next.Alias)
	}
}
