package history

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// clock is a history whose time and readings a test sets.
type clock struct {
	now  time.Time
	read Reading
	*History
}

func newClock() *clock {
	c := &clock{now: time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)}
	c.History = New(Options{Read: func(context.Context) Reading { return c.read }, Now: func() time.Time { return c.now }})
	return c
}

func (c *clock) view(t *testing.T, p Params) View {
	t.Helper()
	v, err := c.View(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func key(n int) (k core.PublicKey) {
	k[0], k[1], k[2] = 1, byte(n>>8), byte(n)
	return k
}

func came(n int, status core.InboxStatus) *core.Change {
	return &core.Change{Receipt: &core.Receipt{}, Inbox: []*core.InboxMessage{{Peer: key(n), Status: status, Message: core.Message{Payload: core.Raw(`"12345678"`)}}}}
}

func (c *clock) went(n int) *core.Change {
	return &core.Change{Outbox: []*core.OutboxItem{{Peer: key(n), State: core.OutSent, Done: c.now, Message: &core.Message{Payload: core.Raw(`"1"`)}}}}
}

// TestDay: what happens is in its minute, and gone after a day.
func TestDay(t *testing.T) {
	c := newClock()
	c.sample(t.Context())
	c.Kept(came(1, core.InboxNew))
	c.Kept(came(1, core.InboxHeld))
	c.Kept(&core.Change{Inbox: came(1, core.InboxReplied).Inbox}) // an answer to one that has come
	c.Kept(c.went(2))
	old := c.went(2)
	old.Outbox[0].Done = c.now.Add(-time.Hour)
	c.Kept(old)
	c.now = c.now.Add(time.Minute)
	c.read = Reading{Refused: 3, Questions: 4, Asked: 8 * time.Millisecond, Batches: 2, Committed: 30 * time.Millisecond,
		Depths:  core.Depths{Outbox: 7, Deliveries: 2, InboxHeld: 1, OldestOutbox: c.now.Add(-time.Minute)},
		Plugins: []Plugin{{"a", 5, 1, 0}, {"idle", 0, 0, 0}}}
	v := c.view(t, Params{})
	if len(v.Points) != minutes {
		t.Fatalf("%d points, want %d", len(v.Points), minutes)
	}
	before, p := v.Points[minutes-2], v.Points[minutes-1]
	if !before.Known || before.Accepted != 1 || before.Held != 1 || before.Sent != 1 {
		t.Errorf("the minute before: %+v", before)
	}
	if p.Refused != 3 || p.Questions != 4 || p.QuestionMillis != 2 || p.Commits != 2 || p.CommitMillis != 15 || p.Outbox != 7 || p.OutboxAge != 60 || p.Waiting != 1 {
		t.Errorf("this minute: %+v", p)
	}
	if v.Points[0].Known || len(v.Plugins) != 1 || v.Plugins[0] != (Plugin{"a", 5, 1, 0}) {
		t.Errorf("known %v, plugins %+v", v.Points[0].Known, v.Plugins)
	}
	if len(v.Peers) != 2 || v.Peers[0].Traffic != (Traffic{In: 2, InBytes: 20}) || v.Peers[1].Traffic != (Traffic{Out: 1, OutBytes: 3}) || v.All.In != 2 || v.Talking != 2 {
		t.Errorf("peers %+v, all %+v", v.Peers, v.All)
	}
	// Steps sum up, and a reading twice counts once.
	c.now = c.now.Add(3 * time.Second)
	v = c.view(t, Params{Step: 10, Hours: 1})
	last := v.Points[len(v.Points)-1]
	if len(v.Points) != 6 || last.Accepted != 1 || last.Refused != 3 || last.Questions != 4 {
		t.Errorf("%d points, the last %+v", len(v.Points), last)
	}
	// A plugin that was loaded again counts from the beginning.
	c.now, c.read.Plugins = c.now.Add(time.Minute), []Plugin{{"a", 2, 0, 0}}
	if v = c.view(t, Params{}); v.Plugins[0].Calls != 7 {
		t.Errorf("plugins %+v, want 7 calls", v.Plugins)
	}
	c.now = c.now.Add(26 * time.Hour)
	if v = c.view(t, Params{}); len(v.Peers) != 0 || len(c.peers) != 0 || v.All != (Traffic{}) || v.Points[minutes-1].Accepted != 0 {
		t.Errorf("after a day: %+v %+v", v.Peers, v.All)
	}
}

// TestBounds: however many peers talk, so many are kept by name, the busiest among them,
// and no message is lost from the sum.
func TestBounds(t *testing.T) {
	c := newClock()
	for range 5 {
		c.Kept(came(9999, core.InboxNew))
	}
	for n := range 3 * maxPeers {
		c.Kept(came(n, core.InboxNew))
	}
	v := c.view(t, Params{Peers: 10})
	if len(c.peers) > maxPeers || len(v.Peers) != 10 || v.Peers[0].Peer != key(9999) || v.All.In != 3*maxPeers+5 {
		t.Errorf("%d peers kept, the busiest %+v, %d in all", len(c.peers), v.Peers[0], v.All.In)
	}
	var many []Plugin
	for n := range 2 * maxPlugins {
		many = append(many, Plugin{fmt.Sprint(n), 1, 0, 0})
	}
	c.now, c.read.Plugins = c.now.Add(time.Minute), many
	if v = c.view(t, Params{}); len(v.Plugins) > maxPlugins {
		t.Errorf("%d plugins, want at the most %d", len(v.Plugins), maxPlugins)
	}
}

// BenchmarkKept is what a message costs.
func BenchmarkKept(b *testing.B) {
	h := New(Options{Read: func(context.Context) Reading { return Reading{} }})
	change := came(1, core.InboxNew)
	b.ReportAllocs()
	for b.Loop() {
		h.Kept(change)
	}
}
