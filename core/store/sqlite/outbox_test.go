package sqlite

import (
	"fmt"
	"slices"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// TestOutboxByState reads pages of what stands one way among much that stands otherwise.
func TestOutboxByState(t *testing.T) {
	if testing.Short() {
		t.Skip("many rows, and nothing at the same time")
	}
	s := openTest(t, t.TempDir())
	c := &core.Change{}
	want := map[core.OutboxState][]string{}
	for n := range 3 * someEnvelopes {
		state := core.OutSent
		switch {
		case n < 200 || n%1000 == 0:
			state = []core.OutboxState{core.OutWaiting, core.OutRefused, core.OutExpired}[n%3]
		case n > 2*someEnvelopes+500:
			state = core.OutWaiting
		}
		o := &core.OutboxItem{ID: fmt.Sprintf("01JNXYZ%019d", n), Peer: core.PublicKey{byte(n % 70), 1}, Kind: core.OutMessage, State: state, Created: began, Done: began}
		c.Outbox = append(c.Outbox, o)
		want[state] = append(want[state], o.ID)
	}
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for state, ids := range want {
		for _, f := range []core.OutboxFilter{{State: state, Limit: 40}, {State: state, Limit: 40, Oldest: true}, {State: state, Limit: 2000}} {
			var got []string
			for {
				page, err := s.Outbox(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range page {
					got = append(got, o.ID)
				}
				if len(page) < f.Limit {
					break
				}
				if last := page[len(page)-1].ID; f.Oldest {
					f.After = last
				} else {
					f.Before = last
				}
			}
			if !f.Oldest {
				slices.Reverse(got)
			}
			if !slices.Equal(got, ids) {
				t.Errorf("%+v: %d envelopes, want %d in order", f, len(got), len(ids))
			}
		}
	}
}
