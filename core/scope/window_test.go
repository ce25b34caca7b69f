package scope_test

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

var start = time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)

func limited(k byte, rate core.RateLimit) *core.Peer {
	return &core.Peer{Key: core.PublicKey{k}, Trust: core.Approved, Granted: &core.Bundle{Scopes: []core.Grant{
		{Intent: "message", Enabled: true, RateLimit: &rate}, {Intent: "status-update", Enabled: true, RateLimit: &rate}}}}
}

// TestN5EveryWindow: whatever comes when, no window of the limit's length ever
// holds more messages than the limit, and what is refused would have been one too
// many. A restart on the way changes nothing, and a refusal says exactly when the
// next one is let in.
func TestN5EveryWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := core.RateLimit{Requests: rapid.IntRange(1, 5).Draw(t, "requests"), WindowSeconds: rapid.IntRange(1, 20).Draw(t, "window")}
		peer := limited(1, rate)
		scopes := new(scope.Checker)
		var in []time.Time
		now := start
		within := func(at time.Time) (n int) { // of the half-open window that ends at a time
			for _, t := range in {
				if age := at.Sub(t); age >= 0 && age < rate.Window() {
					n++
				}
			}
			return n
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 8000).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0: // a restart: only what was kept is counted
				scopes = new(scope.Checker)
				for _, at := range in {
					scopes.Count(peer.Key, "message", at, 0)
				}
				continue
			case 1: // let in, but not kept after all
				before := scopes.Used(peer.Key, "message", rate.Window(), now)
				if token, err := scopes.Allow(peer, scope.Access{Intent: "message"}, now); err == nil {
					token.Return()
				}
				if after := scopes.Used(peer.Key, "message", rate.Window(), now); after != before {
					t.Fatalf("used %d after a token came back, want %d", after, before)
				}
				continue
			}
			_, err := scopes.Allow(peer, scope.Access{Intent: "message"}, now)
			if full := within(now) >= rate.Requests; full != (err != nil) {
				t.Fatalf("Allow with %d of %d in the window = %v", within(now), rate.Requests, err)
			}
			if err == nil {
				in = append(in, now)
				continue
			}
			var e *core.Error
			if !errors.As(err, &e) || e.Kind != core.RateLimited {
				t.Fatalf("Allow = %v, want RateLimited", err)
			}
			free := in[len(in)-rate.Requests].Add(rate.Window()).Sub(now)
			if want := time.Duration(max(1, math.Ceil(free.Seconds()))) * time.Second; e.RetryAfter != want {
				t.Fatalf("RetryAfter %v, want %v", e.RetryAfter, want)
			}
			if within(now.Add(e.RetryAfter)) >= rate.Requests {
				t.Fatalf("a message after %v would be refused again", e.RetryAfter)
			}
		}
		if used := scopes.Used(peer.Key, "message", rate.Window(), now); used != within(now) {
			t.Fatalf("Used = %d, want %d", used, within(now))
		}
		for i := range in { // every window that begins with a message
			n := 0
			for _, at := range in[i:] {
				if at.Sub(in[i]) < rate.Window() {
					n++
				}
			}
			if n > rate.Requests {
				t.Fatalf("%d messages within %v from %v, want at most %d", n, rate.Window(), in[i], rate.Requests)
			}
		}
	})
}

// TestN5PerKey: a budget is one key's and one intent's, by whatever label or
// record the peer is known.
func TestN5PerKey(t *testing.T) {
	rate := core.RateLimit{Requests: 2, WindowSeconds: 60}
	var d scope.Checker
	take := func(p *core.Peer, intent string) error {
		_, err := d.Allow(p, scope.Access{Intent: intent}, start)
		return err
	}
	bob := limited(1, rate)
	renamed := limited(1, rate)
	renamed.Alias, renamed.Label, renamed.URL = "b", "bob.example.test:18790", "https://elsewhere.example.test"
	for i, p := range []*core.Peer{bob, renamed} {
		if err := take(p, "message"); err != nil {
			t.Fatalf("message %d = %v, want no error", i, err)
		}
	}
	if err := take(renamed, "message"); !errors.Is(err, core.RateLimited) {
		t.Errorf("a third message under another label = %v, want RateLimited", err)
	}
	if err := take(bob, "status-update"); err != nil {
		t.Errorf("another intent = %v, want no error", err)
	}
	if err := take(limited(2, rate), "message"); err != nil {
		t.Errorf("another key = %v, want no error", err)
	}
}

// TestN5Boundary: a message leaves its window exactly when the window has passed.
func TestN5Boundary(t *testing.T) {
	peer := limited(1, core.RateLimit{Requests: 1, WindowSeconds: 60})
	var d scope.Checker
	allow := func(after time.Duration) error {
		_, err := d.Allow(peer, scope.Access{Intent: "message"}, start.Add(after))
		return err
	}
	if err := allow(0); err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{0, time.Second, time.Minute - 1} {
		var e *core.Error
		if err := allow(after); !errors.As(err, &e) || e.Kind != core.RateLimited {
			t.Errorf("after %v = %v, want RateLimited", after, err)
		} else if want := time.Duration(math.Ceil((time.Minute - after).Seconds())) * time.Second; e.RetryAfter != want {
			t.Errorf("after %v: RetryAfter %v, want %v", after, e.RetryAfter, want)
		}
	}
	if err := allow(time.Minute); err != nil {
		t.Errorf("after a minute = %v, want no error", err)
	}
	if err := allow(30 * time.Second); !errors.Is(err, core.RateLimited) {
		t.Errorf("with the clock set back = %v, want RateLimited", err)
	}
}

// TestN5OutOfOrder: two that come together may be counted in any order.
func TestN5OutOfOrder(t *testing.T) {
	peer := limited(1, core.RateLimit{Requests: 3, WindowSeconds: 10})
	orders := [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}
	for _, order := range orders {
		var d scope.Checker
		for _, s := range order {
			if _, err := d.Allow(peer, scope.Access{Intent: "message"}, start.Add(time.Duration(s)*time.Second)); err != nil {
				t.Fatalf("order %v: %v", order, err)
			}
		}
		_, err := d.Allow(peer, scope.Access{Intent: "message"}, start.Add(5*time.Second))
		var e *core.Error
		if !errors.As(err, &e) || e.RetryAfter != 5*time.Second {
			t.Errorf("order %v: a fourth after 5 s = %v, want RateLimited with 5 s to wait", order, err)
		}
		if _, err := d.Allow(peer, scope.Access{Intent: "message"}, start.Add(10*time.Second)); err != nil {
			t.Errorf("order %v: after 10 s = %v, want no error", order, err)
		}
	}
}

// TestN5Bounds: a grant of nothing lets nothing in, and one without end is held
// for as long as the store keeps count.
func TestN5Bounds(t *testing.T) {
	for _, rate := range []core.RateLimit{{}, {Requests: 1}, {WindowSeconds: 1}, {Requests: -1, WindowSeconds: 60}, {Requests: 1, WindowSeconds: -60}} {
		var d scope.Checker
		if _, err := d.Allow(limited(1, rate), scope.Access{Intent: "message"}, start); !errors.Is(err, core.RateLimited) {
			t.Errorf("rate %+v: %v, want RateLimited", rate, err)
		}
	}
	for _, seconds := range []int{1 << 30, 1 << 34, math.MaxInt / 2, math.MaxInt} {
		peer := limited(1, core.RateLimit{Requests: 1, WindowSeconds: seconds})
		var d scope.Checker
		allow := func(after time.Duration) error {
			_, err := d.Allow(peer, scope.Access{Intent: "message"}, start.Add(after))
			return err
		}
		if err := allow(0); err != nil {
			t.Fatal(err)
		}
		if err := allow(core.MaxRateWindow - 1); !errors.Is(err, core.RateLimited) {
			t.Errorf("a second within %d seconds = %v, want RateLimited", seconds, err)
		}
		if err := allow(core.MaxRateWindow); err != nil {
			t.Errorf("after MaxWindow = %v, want no error", err)
		}
	}
	scope.Token{}.Return() // of a refusal: nothing to give back
}

// TestN5ChangedGrant: a changed limit counts what has been let in before.
func TestN5ChangedGrant(t *testing.T) {
	var d scope.Checker
	wide, narrow := limited(1, core.RateLimit{Requests: 5, WindowSeconds: 100}), limited(1, core.RateLimit{Requests: 2, WindowSeconds: 100})
	for i := range 4 {
		if _, err := d.Allow(wide, scope.Access{Intent: "message"}, start.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := d.Allow(narrow, scope.Access{Intent: "message"}, start.Add(10*time.Second))
	var e *core.Error
	if !errors.As(err, &e) || e.RetryAfter != 92*time.Second { // the third leaves 100 s after it came
		t.Errorf("under the narrower limit = %v, want RateLimited with 92 s to wait", err)
	}
	if _, err := d.Allow(wide, scope.Access{Intent: "message"}, start.Add(10*time.Second)); err != nil {
		t.Errorf("under the wider limit again = %v, want no error", err)
	}
}

// TestN5AtOnce: many senders at the same time get what the limit allows, and no
// more.
func TestN5AtOnce(t *testing.T) {
	peer := limited(1, core.RateLimit{Requests: 50, WindowSeconds: 60})
	var d scope.Checker
	results := make(chan error)
	for i := range 200 {
		go func() {
			_, err := d.Allow(peer, scope.Access{Intent: "message"}, start.Add(time.Duration(i%7)*time.Millisecond))
			results <- err
		}()
	}
	var errs []error
	for range 200 {
		errs = append(errs, <-results)
	}
	let := 200 - len(slices.DeleteFunc(errs, func(err error) bool { return err == nil }))
	if let != 50 {
		t.Errorf("%d of 200 let in, want 50", let)
	}
}

func BenchmarkAllow(b *testing.B) {
	peer := limited(1, core.RateLimit{Requests: 100, WindowSeconds: 3600})
	var d scope.Checker
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		d.Allow(peer, scope.Access{Intent: "message"}, start.Add(time.Duration(i)*time.Minute))
	}
}
