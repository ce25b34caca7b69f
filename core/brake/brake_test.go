package brake_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// clock is a time that a test moves.
type clock struct{ now time.Time }

func (c *clock) go_(d time.Duration) { c.now = c.now.Add(d) }

func newBrake(s brake.Settings) (*brake.Brake, *clock) {
	c := &clock{time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)}
	return brake.New(brake.Options{Settings: func() brake.Settings { return s }, Now: func() time.Time { return c.now }}), c
}

var bob, carol = core.PublicKey{1}, core.PublicKey{2}

func arrival(k core.PublicKey, text string) brake.Arrival {
	return brake.Arrival{Peer: k, Intent: core.IntentMessage, Payload: []byte(text)}
}

// Over its budget what comes is held, and the human is told once a day.
func TestG2Budget(t *testing.T) {
	for name, s := range map[string]brake.Use{"messages": {Messages: 3}, "bytes": {Bytes: 30}, "runs": {Runs: 3}, "tokens": {Tokens: 30}} {
		b, c := newBrake(brake.Settings{Budget: s})
		line := brake.Line{Peer: bob, Intent: core.IntentMessage}
		for i := range 3 {
			if v := b.Arrives(arrival(bob, fmt.Sprintf("%010d", i))); v.Hold != "" {
				t.Errorf("%s: message %d is held: %s", name, i, v.Hold)
			}
			b.Ran([]brake.Line{line, line}, 11, false)
		}
		v, again := b.Arrives(arrival(bob, "0123456789")), b.Arrives(arrival(bob, "0123456789"))
		if v.Hold == "" || !v.Tell || again.Hold == "" || again.Tell || v.Pause != nil {
			t.Errorf("%s: over the budget: %+v, then %+v; want held, and told once", name, v, again)
		}
		if v := b.Arrives(arrival(carol, "x")); v.Hold != "" {
			t.Errorf("%s: another peer's is held: %s", name, v.Hold)
		}
		other := arrival(bob, "x")
		if other.Intent = core.IntentStatusUpdate; b.Arrives(other).Hold != "" {
			t.Errorf("%s: another intent's is held", name)
		}
		c.go_(25 * time.Hour)
		if v := b.Arrives(arrival(bob, "x")); v.Hold != "" {
			t.Errorf("%s: a day later it is held: %s", name, v.Hold)
		}
	}
}

// The breaker pauses a peer that is much faster than usual, once, until it is resumed.
func TestG2BreakerRate(t *testing.T) {
	b, c := newBrake(brake.Settings{Rate: 15})
	for range 6 * 20 { // 12 in ten minutes, all day long
		c.go_(10 * time.Minute)
		for i := range 12 {
			if v := b.Arrives(arrival(bob, fmt.Sprint(c.now, i))); v.Hold != "" {
				t.Fatalf("what it usually sends is held: %s", v.Hold)
			}
		}
	}
	c.go_(10 * time.Minute)
	n, told := 0, 0
	for i := range 100 {
		v := b.Arrives(arrival(bob, fmt.Sprint("burst", i)))
		if v.Hold == "" {
			n++
		}
		if v.Tell {
			told++
		}
	}
	if n < 24 || n > 36 || told != 1 {
		t.Errorf("a burst: %d let through, told %d times; want about three times 10 to 12, and once", n, told)
	}
	p, is := b.Paused(bob)
	if !is || p.By != "breaker" || !strings.Contains(p.Reason, "within ten minutes") {
		t.Errorf("Paused = %+v, %v", p, is)
	}
	c.go_(time.Hour)
	if v := b.Arrives(arrival(bob, "later")); v.Hold == "" {
		t.Error("it goes on by itself")
	}
	b.Set(bob, nil)
	if v := b.Arrives(arrival(bob, "after")); v.Hold != "" {
		t.Errorf("resumed, and held: %s", v.Hold)
	}
}

// A slow peer is not paused for being three times as fast as never.
func TestG2BreakerFloor(t *testing.T) {
	b, _ := newBrake(brake.Settings{Rate: 10})
	for i := range 10 {
		if v := b.Arrives(arrival(bob, fmt.Sprint(i))); v.Hold != "" {
			t.Errorf("message %d is held: %s", i, v.Hold)
		}
	}
	if v := b.Arrives(arrival(bob, "one more")); v.Pause == nil {
		t.Errorf("beyond it: %+v, want a pause", v)
	}
}

// The same text again and again pauses, too.
func TestG2BreakerRepeats(t *testing.T) {
	b, c := newBrake(brake.Settings{Repeats: 3})
	for i := range 9 {
		if v := b.Arrives(arrival(bob, fmt.Sprint(i%3))); v.Hold != "" {
			t.Errorf("three of each: held %s", v.Hold)
		}
	}
	v := b.Arrives(arrival(bob, "1"))
	if v.Pause == nil || !v.Tell || !strings.Contains(v.Hold, "same text 4 times") {
		t.Errorf("a fourth: %+v", v)
	}
	b.Set(bob, nil)
	for range 20 {
		c.go_(6 * time.Minute)
		if v := b.Arrives(arrival(bob, "1")); v.Hold != "" {
			t.Errorf("now and then: held %s", v.Hold)
		}
	}
}

// A pause by hand holds all, and is there after a restart.
func TestG2Pause(t *testing.T) {
	b, c := newBrake(brake.Settings{})
	pause := brake.Pause{By: "operator", Reason: "too much", At: c.now}
	b.Set(bob, &pause)
	if v := b.Arrives(arrival(bob, "x")); !strings.Contains(v.Hold, "too much") {
		t.Errorf("paused: %+v", v)
	}
	if v := b.Arrives(arrival(carol, "x")); v.Hold != "" {
		t.Errorf("another: %+v", v)
	}
	store := memory.New()
	if err := store.Commit(t.Context(), &core.Change{Meta: map[string]string{brake.MetaKey(bob): pause.Text(), brake.MetaKey(carol): (*brake.Pause)(nil).Text()}}); err != nil {
		t.Fatal(err)
	}
	again, _ := newBrake(brake.Settings{})
	if err := again.RestorePauses(t.Context(), store, []*core.Peer{{Key: bob}, {Key: carol}}); err != nil {
		t.Fatal(err)
	}
	if p, is := again.Paused(bob); !is || p != pause {
		t.Errorf("after a restart: %+v, %v", p, is)
	}
	if _, is := again.Paused(carol); is {
		t.Error("carol is paused after a restart")
	}
}

// Budgets, rates and turns are counted again from the store.
func TestG2Recount(t *testing.T) {
	store := memory.New()
	_, c := newBrake(brake.Settings{})
	for i := range 7 {
		m := &core.InboxMessage{ID: ulid.MustNew(ulid.Timestamp(c.now.Add(-time.Hour))+uint64(i), rand.Reader).String(), Peer: bob, At: c.now.Add(-time.Hour), Status: core.InboxNew,
			Message: core.Message{Intent: core.IntentMessage, Payload: core.Raw(`{"n":1}`), Nonce: core.Nonce(fmt.Sprint(i))}}
		switch i { // held, and what the operator made of it, is not the peer's to pay
		case 4:
			m.Status = core.InboxHeld
		case 5:
			m.Decided = &core.Decided{As: core.Released}
		case 6:
			m.Decided = &core.Decided{As: core.Denied}
		}
		if err := store.Commit(t.Context(), &core.Change{Inbox: []*core.InboxMessage{m}}); err != nil {
			t.Fatal(err)
		}
	}
	b := brake.New(brake.Options{Settings: func() brake.Settings { return brake.Settings{} }, Now: func() time.Time { return c.now }})
	if err := b.Recount(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	if u := b.Used(brake.Line{Peer: bob, Intent: core.IntentMessage}); u != (brake.Use{Messages: 4, Bytes: 28}) {
		t.Errorf("Used = %+v, want the four that were let through", u)
	}
}

// Turns are counted where the agent has a part, and free again after an hour.
func TestG2Turns(t *testing.T) {
	b, c := newBrake(brake.Settings{MaxTurns: 3})
	talk := func() brake.Verdict {
		a := arrival(bob, fmt.Sprint(c.now))
		a.Conversation = "c"
		return b.Arrives(a)
	}
	for i := range 50 { // a peer that talks alone takes no turns
		c.go_(time.Second)
		if v := talk(); v.Hold != "" {
			t.Fatalf("message %d without an answer is held: %s", i, v.Hold)
		}
	}
	for range 3 {
		c.go_(time.Second)
		b.Answers(bob, "c")
		if v := talk(); v.Hold != "" {
			t.Fatalf("held too soon: %s", v.Hold)
		}
	}
	b.Answers(bob, "c")
	if v := talk(); v.Hold == "" || !v.Tell {
		t.Errorf("a fourth turn: %+v, want held and told", v)
	}
	if _, err := b.Sends(bob, "c", true); !errors.Is(err, core.RateLimited) {
		t.Errorf("the agent sends on: %v", err)
	}
	if _, err := b.Sends(bob, "c", false); err != nil {
		t.Errorf("the human cannot: %v", err)
	}
	c.go_(61 * time.Minute)
	if v := talk(); v.Hold != "" {
		t.Errorf("an hour later: held %s", v.Hold)
	}
}

// A mark is known to its own gateway alone, is another each time, and a nil brake stops
// nothing.
func TestG2Marks(t *testing.T) {
	s := func() brake.Settings { return brake.Settings{} }
	a, b := brake.New(brake.Options{Key: [32]byte{1}, Settings: s}), brake.New(brake.Options{Key: [32]byte{2}, Settings: s})
	one, _ := a.Sends(bob, "", false)
	two, _ := a.Sends(bob, "", false)
	if one == two || one == "" {
		t.Errorf("marks %q and %q", one, two)
	}
	if a.Loops(one) != "" || a.Loops(one+"."+two) != "loop" || b.Loops(one+"."+two) != "" {
		t.Error("a mark is known to others, or not to its own")
	}
	var none *brake.Brake
	if h, err := none.Sends(bob, "", true); h != "" || err != nil || none.Loops(one+"."+two) != "" || none.Arrives(arrival(bob, "x")).Hold != "" {
		t.Error("a nil brake stops something")
	}
}

func FuzzLoops(f *testing.F) {
	// Each process of the fuzzer has a key of its own, so that a seed of another's is foreign.
	o := brake.Options{Settings: func() brake.Settings { return brake.Settings{} }}
	rand.Read(o.Key[:])
	b := brake.New(o)
	own, _ := b.Sends(bob, "", false)
	f.Add(own + "." + own)
	f.Add("....")
	f.Fuzz(func(t *testing.T, hops string) {
		why := b.Loops(hops)
		if strings.Count(hops, ".") < 7 && !strings.Contains(hops, own) && why != "" {
			t.Errorf("Loops(%q) = %q", hops, why)
		}
	})
}

// The runs and tokens of a day count after a restart, too, and so do the runs to come: a
// burst that the agent has not been told of yet is bounded as what it was told of is.
func TestG2Runs(t *testing.T) {
	store, s := memory.New(), brake.Settings{Budget: brake.Use{Runs: 3, Tokens: 100}}
	defer store.Close()
	c := &clock{time.Date(2026, 11, 28, 23, 50, 0, 0, time.UTC)}
	line := brake.Line{Peer: bob, Intent: core.IntentMessage}
	start := func() (*brake.Brake, func()) {
		b := brake.New(brake.Options{Settings: func() brake.Settings { return s }, Now: func() time.Time { return c.now }, Wakes: func() bool { return true }})
		if err := b.RestoreRuns(t.Context(), store); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx, store) }()
		return b, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	b, stop := start()
	let := func(want bool, what string) {
		t.Helper()
		if v := b.Arrives(arrival(bob, fmt.Sprint(c.now, what))); (v.Hold == "") != want {
			t.Errorf("%s is held: %q, want it let in: %v", what, v.Hold, want)
		}
	}
	for range 3 {
		let(true, "the first")
	}
	let(false, "a fourth of a burst")
	b.Ran([]brake.Line{line}, 7, true)
	b.Ran([]brake.Line{line}, 7, true)
	let(false, "a fourth")
	stop()
	c.go_(20 * time.Minute) // past midnight
	b, stop = start()
	if u := b.Used(line); u.Runs != 2 || u.Tokens != 14 {
		t.Errorf("after a restart %+v, want 2 runs and 14 tokens", u)
	}
	let(true, "the third")
	b.Ran([]brake.Line{line}, 7, true)
	let(false, "a fourth after the restart")
	stop()
	c.go_(25 * time.Hour)
	b, stop = start()
	let(true, "the next day")
	stop()
	if sizes, err := store.KVList(t.Context(), "_brake", ""); err != nil || len(sizes) != 0 {
		t.Errorf("what counts no more is kept: %v, %v", sizes, err)
	}
}
