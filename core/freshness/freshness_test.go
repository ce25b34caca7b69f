package freshness_test

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/freshness"
)

var start = time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)

// TestL4Near: exactly the window is in, a millisecond more is out, either way.
func TestL4Near(t *testing.T) {
	for _, window := range []time.Duration{0, time.Second, time.Hour} {
		g := freshness.Guard{Window: window, Now: func() time.Time { return start }}
		w := window
		if w == 0 {
			w = 5 * time.Minute
		}
		for _, off := range []time.Duration{0, 1, w, -w, w - 1, 1 - w} {
			if err := g.Near(start.Add(off)); err != nil {
				t.Errorf("window %v: sent %v from now = %v, want no error", w, off, err)
			}
		}
		for _, off := range []time.Duration{w + time.Millisecond, -w - time.Millisecond, 24 * time.Hour, math.MaxInt64, math.MinInt64} {
			var e *core.Error
			if err := g.Near(start.Add(off)); !errors.As(err, &e) || e.Kind != core.Stale || e.Public != "" {
				t.Errorf("window %v: sent %v from now = %v, want Stale", w, off, err)
			}
		}
		for _, at := range []time.Time{{}, time.Unix(0, 0), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(1, 1, 1, 0, 0, 0, 0, time.FixedZone("", 86399))} {
			if err := g.Near(at); !errors.Is(err, core.Stale) {
				t.Errorf("sent %v = %v, want Stale", at, err)
			}
		}
		if err := g.Near(start.In(time.FixedZone("", 14*3600))); err != nil {
			t.Errorf("now, in another zone = %v, want no error", err)
		}
	}
}

// TestL4WireTimes: the wire carries milliseconds, and our clock runs finer.
func TestL4WireTimes(t *testing.T) {
	at := start.Add(999 * time.Microsecond)
	g := freshness.Guard{Now: func() time.Time { return at }}
	sent, err := core.ParseTime(core.FormatTime(at.Add(-5 * time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Near(sent); err != nil {
		t.Errorf("written exactly 5 minutes ago = %v, want no error", err)
	}
}

// TestL6Remembered: whatever is asked and noted in between, and however the time
// passes, a nonce is seen for at least the span, and for no more than two spans
// as long as somebody asks once a span.
func TestL6Remembered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		span := time.Duration(rapid.IntRange(1, 48).Draw(t, "span")) * time.Hour
		now := start
		g := freshness.Guard{Remember: span, Now: func() time.Time { return now }}
		type use struct {
			peer  core.PublicKey
			nonce core.Nonce
		}
		used := map[use]time.Time{}
		for i := range rapid.IntRange(1, 80).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(span)).Draw(t, "pass")))
			u := use{core.PublicKey{byte(rapid.IntRange(1, 3).Draw(t, "peer"))}, core.Nonce(fmt.Sprint(i))}
			if g.Seen(u.peer, u.nonce) {
				t.Fatalf("nonce %s seen before it was noted", u.nonce)
			}
			g.Note(u.peer, u.nonce, now)
			used[u] = now
			for u, at := range used {
				age := now.Sub(at)
				if !g.Seen(u.peer, u.nonce) && age <= span {
					t.Fatalf("a nonce is forgotten after %v, within the span %v", age, span)
				}
				if g.Seen(core.PublicKey{9}, u.nonce) {
					t.Fatal("a nonce of one peer is seen as another's")
				}
			}
		}
	})
}

// TestL6Forgotten: after two spans and a turn, the memory is free again.
func TestL6Forgotten(t *testing.T) {
	now := start
	g := freshness.Guard{Now: func() time.Time { return now }}
	if g.Span() != 24*time.Hour {
		t.Errorf("Span = %v, want 24h", g.Span())
	}
	k := core.PublicKey{1}
	g.Note(k, "n", now)
	for range 2 {
		now = now.Add(24 * time.Hour)
		if !g.Seen(k, "n") && now.Sub(start) <= 24*time.Hour {
			t.Errorf("forgotten after %v", now.Sub(start))
		}
	}
	if g.Seen(k, "n") {
		t.Errorf("still seen after %v", now.Sub(start))
	}
}

// TestL6Reloaded: what the store still holds is taken up after a restart, and
// what is far older is not.
func TestL6Reloaded(t *testing.T) {
	g := freshness.Guard{Now: func() time.Time { return start }}
	k := core.PublicKey{1}
	g.Note(k, "young", start.Add(-23*time.Hour))
	g.Note(k, "old", start.Add(-48*time.Hour))
	if !g.Seen(k, "young") || g.Seen(k, "old") {
		t.Errorf("after a restart: 23 h old seen %v, 48 h old seen %v; want true, false", g.Seen(k, "young"), g.Seen(k, "old"))
	}
}

// TestSeenClockBack: a clock that is set back forgets nothing.
func TestSeenClockBack(t *testing.T) {
	now := start
	g := freshness.Guard{Now: func() time.Time { return now }}
	k := core.PublicKey{1}
	g.Note(k, "n", now)
	now = now.Add(-72 * time.Hour)
	if !g.Seen(k, "n") {
		t.Error("forgotten when the clock was set back")
	}
	now = start
	if !g.Seen(k, "n") {
		t.Error("forgotten when the clock was set right")
	}
}

// TestSeparateNonces: a peer and a nonce are told apart from another peer and
// another nonce, however they join.
func TestSeparateNonces(t *testing.T) {
	var g freshness.Guard
	k := core.PublicKey{31: 'a'}
	g.Note(k, "b", time.Now())
	if g.Seen(core.PublicKey{31: 'a'}, "c") || g.Seen(core.PublicKey{31: 'b'}, "b") || g.Seen(k, "") || !g.Seen(k, "b") {
		t.Error("one nonce is taken for another")
	}
}

func TestGuardAtOnce(t *testing.T) {
	g := freshness.Guard{Remember: time.Nanosecond} // turns with every call
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				g.Note(core.PublicKey{byte(i)}, core.Nonce(fmt.Sprint(j)), time.Now())
				g.Seen(core.PublicKey{byte(i)}, core.Nonce(fmt.Sprint(j)))
			}
		})
	}
	wg.Wait()
}

func BenchmarkGuard(b *testing.B) {
	now := start
	g := freshness.Guard{Now: func() time.Time { return now }}
	k := core.PublicKey{1}
	nonces := make([]core.Nonce, 4096)
	for i := range nonces {
		nonces[i] = core.Nonce(fmt.Sprintf("9fe79dd6-641a-4c38-9099-%012d", i))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n := nonces[i%len(nonces)]
		if !g.Seen(k, n) {
			g.Note(k, n, now)
		}
	}
}

// TestL6Fill: until the nonces from before are all there, none counts as new.
func TestL6Fill(t *testing.T) {
	g := freshness.Guard{Now: func() time.Time { return start }}
	peer := core.PublicKey{1}
	g.Expect()
	g.Note(peer, "now", start)
	if !g.Seen(peer, "now") || !g.Seen(peer, "before") || !g.Seen(peer, "never") {
		t.Error("Seen = false while the memory is being filled, want true: the store is the judge")
	}
	failed := errors.New("no disk")
	if err := g.Fill(func(add func(uint64)) error { return failed }); !errors.Is(err, failed) || !g.Seen(peer, "never") {
		t.Errorf("Fill = %v, want the error, and the store as the judge", err)
	}
	err := g.Fill(func(add func(uint64)) error {
		add(core.NonceHash(peer, "before"))
		if !g.Seen(peer, "never") {
			t.Error("Seen = false within Fill, want true")
		}
		return nil
	})
	if err != nil || !g.Seen(peer, "now") || !g.Seen(peer, "before") || g.Seen(peer, "never") || g.Seen(core.PublicKey{2}, "before") {
		t.Errorf("Fill = %v; after it Seen says otherwise than what was used", err)
	}
}
