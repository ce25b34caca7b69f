package sqlite

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// messy are messages of many peers whose times are not in the order in which they were kept:
// a clock that jumps, and some that come late.
type messy struct {
	s   *Store
	all []*core.InboxMessage
}

var began = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func (v *messy) add(t *testing.T, rnd *rand.Rand, n int) {
	t.Helper()
	c := &core.Change{}
	for range n {
		k := len(v.all)
		at := began.Add(time.Duration(k+rnd.IntN(50)) * time.Second)
		switch {
		case k%1000 == 500:
			at = began.Add(-time.Hour)
		case k%1000 == 700:
			at = began.Add(10 * time.Hour)
		}
		m := &core.InboxMessage{ID: fmt.Sprintf("01JNXYZ%019d", k), Peer: core.PublicKey{byte(k % 200), 1}, At: at, Status: core.InboxNew,
			Message: core.Message{Intent: "message", Nonce: core.Nonce(fmt.Sprint("n", k))}}
		if k%701 == 0 {
			m.Status = core.InboxHeld
		}
		if k%5 == 0 {
			m.Message.Intent = "task-request"
		}
		v.all = append(v.all, m)
		c.Inbox = append(c.Inbox, m)
		if k%3 == 0 {
			c.Events = append(c.Events, &core.Event{ID: fmt.Sprintf("01JNXYZ%018dE", k), At: at, Type: core.EventWarning})
		}
	}
	if err := v.s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// check reads all by pages, by several filters, both ways, and compares the order.
func (v *messy) check(t *testing.T) {
	t.Helper()
	for _, since := range []time.Time{{}, began, began.Add(40 * time.Minute), began.Add(20 * time.Hour)} {
		var got, want []time.Time
		for _, m := range v.all {
			if !m.At.Before(since) {
				want = append(want, m.At)
			}
		}
		if err := v.s.EachEvent(t.Context(), since, []core.EventType{core.EventMessage}, func(e core.Counted) { got = append(got, e.At) }); err != nil || !slices.Equal(got, want) {
			t.Fatalf("EachEvent since %v: %d messages, %v, want %d in the order in which they were kept", since, len(got), err, len(want))
		}
	}
	for _, f := range []core.InboxFilter{{Limit: 397}, {Limit: 1000, Status: core.InboxNew}, {Limit: 97, Oldest: true}, {Limit: 3, Status: core.InboxHeld}, {Limit: 300, Intent: "task-request"},
		{Limit: 700, Since: began.Add(time.Hour)}, {Limit: 5, Peer: core.PublicKey{3, 1}}, {Limit: 50, Status: core.InboxReplied}, {Limit: 50, Status: core.InboxHeld, Oldest: true, Since: began}} {
		var want []int
		for n, m := range v.all {
			if (f.Status == "" || m.Status == f.Status) && (f.Intent == "" || m.Message.Intent == f.Intent) && !m.At.Before(f.Since) && (f.Peer.IsZero() || f.Peer == m.Peer) {
				want = append(want, n)
			}
		}
		slices.SortFunc(want, func(a, b int) int {
			c := cmp.Or(v.all[b].At.Compare(v.all[a].At), cmp.Compare(b, a))
			if f.Oldest {
				return -c
			}
			return c
		})
		var got []string
		for pages := 0; ; pages++ {
			page, err := v.s.Inbox(t.Context(), f)
			if err != nil || pages > len(v.all) {
				t.Fatal(pages, err)
			}
			for _, m := range page {
				got = append(got, m.ID)
			}
			if len(page) < f.Limit || f.Oldest { // which has no way on
				break
			}
			f.Before = page[len(page)-1].ID
		}
		if f.Oldest {
			want = want[:min(len(want), f.Limit)]
		}
		if len(got) != len(want) {
			t.Fatalf("%+v: %d messages, want %d", f, len(got), len(want))
		}
		for i, n := range want {
			if got[i] != v.all[n].ID {
				t.Fatalf("%+v: at %d is %s, want %s", f, i, got[i], v.all[n].ID)
			}
		}
	}
}

// TestStretches reads pages in the order of time, whatever the order in which messages were
// kept, of a store that is opened anew, migrated, pruned and changed meanwhile.
func TestStretches(t *testing.T) {
	if testing.Short() {
		t.Skip("many rows, and nothing at the same time")
	}
	dir := t.TempDir()
	v := &messy{s: openTest(t, dir)}
	rnd := rand.New(rand.NewPCG(1, 2))
	count := func(want int) {
		t.Helper()
		n := 0
		if err := v.s.conn.QueryRowContext(t.Context(), "SELECT count(*) FROM stretches").Scan(&n); err != nil || n != want {
			t.Errorf("%d stretches, %v, want %d", n, err, want)
		}
	}
	for range 20 {
		v.add(t, rnd, 100)
	}
	count(2)
	if err := v.s.Close(); err != nil {
		t.Fatal(err)
	}
	v.s = openTest(t, dir)
	for range 10 {
		v.add(t, rnd, 100)
	}
	count(3)
	v.check(t)

	// A message in a stretch that is closed gets another time, one in the open one, too.
	for _, n := range []int{100, 2999} {
		m := *v.all[n]
		m.At, m.Status = began.Add(20*time.Hour), core.InboxReplied
		v.all[n] = &m
		if err := v.s.Commit(t.Context(), &core.Change{Inbox: []*core.InboxMessage{&m}}); err != nil {
			t.Fatal(err)
		}
	}
	v.check(t)

	older(t, v.s, 3)
	v.s = openTest(t, dir)
	count(3)
	v.add(t, rnd, 1000)
	v.check(t)

	cutoff := began.Add(1500 * time.Second)
	if err := v.s.Prune(t.Context(), core.Cutoffs{Inbox: cutoff, Events: cutoff, Receipts: cutoff}); err != nil {
		t.Fatal(err)
	}
	v.all = slices.DeleteFunc(v.all, func(m *core.InboxMessage) bool { return m.At.Before(cutoff) })
	v.checkAll(t)
	if err := v.s.Prune(t.Context(), core.Cutoffs{Inbox: began.Add(9 * time.Hour), Events: began.Add(9 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	v.all = slices.DeleteFunc(v.all, func(m *core.InboxMessage) bool { return m.At.Before(began.Add(9 * time.Hour)) })
	v.checkAll(t)
	if err := v.s.Prune(t.Context(), core.Cutoffs{Inbox: began.Add(99 * time.Hour), Events: began.Add(99 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	v.all = nil
	v.checkAll(t)
	count(0)
	v.add(t, rnd, 1500)
	v.check(t)
}

// checkAll compares what is left, by its id.
func (v *messy) checkAll(t *testing.T) {
	t.Helper()
	page, err := v.s.Inbox(t.Context(), core.InboxFilter{Limit: 10_000})
	if err != nil || len(page) != len(v.all) {
		t.Fatalf("%d messages, %v, want %d", len(page), err, len(v.all))
	}
	for i := 1; i < len(page); i++ {
		if page[i].At.After(page[i-1].At) {
			t.Errorf("%s stands behind %s, which is older", page[i].ID, page[i-1].ID)
		}
	}
}
