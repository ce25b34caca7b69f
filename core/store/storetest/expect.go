package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

func expecting(c *core.Change, peer int, revision uint64) *core.Change {
	c.Expect = append(c.Expect, core.Expect{Peer: key(peer), Revision: revision})
	return c
}

func atRevision(n int, revision uint64) *core.Peer {
	p := peer(n)
	p.Revision = revision
	return p
}

func expects(t *testing.T, s core.Store) {
	ctx := t.Context()
	commit(t, s, &core.Change{Peers: []*core.Peer{atRevision(1, 3), atRevision(2, 1<<60)}})
	before := snapshot(t, s)

	c := expecting(everything(), 1, 2)
	c.Forget = []core.PublicKey{key(2)}
	refused(t, s.Commit(ctx, c), core.Moved)
	refused(t, s.Commit(ctx, expecting(everything(), 3, 1)), core.Moved) // nobody of this key
	refused(t, s.Commit(ctx, expecting(everything(), 1, 0)), core.Moved)
	refused(t, s.Commit(ctx, expecting(expecting(everything(), 1, 3), 2, 1)), core.Moved)
	equal(t, snapshot(t, s), before)

	commit(t, s, expecting(expecting(expecting(&core.Change{Receipt: receipt(1, 1)}, 1, 3), 2, 1<<60), 3, 0))
	// A change is judged by what was there before it.
	commit(t, s, expecting(&core.Change{Peers: []*core.Peer{atRevision(1, 4)}}, 1, 3))
	refused(t, s.Commit(ctx, expecting(&core.Change{Peers: []*core.Peer{atRevision(1, 4)}}, 1, 3)), core.Moved)
	commit(t, s, expecting(&core.Change{Forget: []core.PublicKey{key(1)}}, 1, 4))
	refused(t, s.Commit(ctx, expecting(&core.Change{Receipt: receipt(1, 2)}, 1, 4)), core.Moved)
	commit(t, s, expecting(&core.Change{Receipt: receipt(1, 2)}, 1, 0))
	// Who lost the race is told so, also where its nonce is taken meanwhile.
	refused(t, s.Commit(ctx, expecting(&core.Change{Receipt: receipt(1, 2)}, 1, 4)), core.Moved)
}

// expectsConcurrent has messages race with the removal of their peer.
func expectsConcurrent(t *testing.T, s core.Store) {
	const writers, each = 8, 40
	commit(t, s, &core.Change{Peers: []*core.Peer{atRevision(1, 1)}})
	var removed atomic.Bool
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				late := removed.Load()
				n := w*each + i
				err := s.Commit(t.Context(), expecting(&core.Change{Receipt: receipt(w, n), Inbox: []*core.InboxMessage{message(n)}}, 1, 1))
				switch _, found := s.InboxMessage(t.Context(), id(n)); {
				case err == nil && late:
					t.Errorf("message %d is kept after its peer was removed", n)
				case err == nil && found != nil:
					t.Errorf("message %d: Commit = nil, InboxMessage = %v", n, found)
				case err != nil && (!errors.Is(err, core.Moved) || !errors.Is(found, core.NotFound)):
					t.Errorf("message %d: Commit = %v, want Moved; InboxMessage = %v, want NotFound", n, err, found)
				}
				if n == writers*each/2 {
					p := atRevision(1, 2)
					p.Trust = core.Removed
					if err := s.Commit(t.Context(), &core.Change{Peers: []*core.Peer{p}}); err != nil {
						t.Errorf("the removal: Commit = %v, want nil", err)
					}
					removed.Store(true)
				}
			}
		})
	}
	wg.Wait()
}
