package scope_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// TestN5Bytes: no window of the size's length ever holds more than the size, a refusal
// says when the next one is let in, and a restart changes nothing.
func TestN5Bytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := core.ByteLimit{Bytes: int64(rapid.IntRange(1, 100).Draw(t, "size")), WindowSeconds: rapid.IntRange(1, 20).Draw(t, "window")}
		rate := core.RateLimit{Requests: 1000, WindowSeconds: rapid.IntRange(1, 40).Draw(t, "rate's window")}
		peer := &core.Peer{Key: core.PublicKey{1}, Trust: core.Approved, Granted: &core.Bundle{Scopes: []core.Grant{
			{Intent: "message", Enabled: true, RateLimit: &rate, ByteLimit: &size}}}}
		type one struct {
			at    time.Time
			bytes int
		}
		var in []one
		scopes, now := new(scope.Checker), start
		held := func(at time.Time) (n int64) {
			for _, x := range in {
				if at.Sub(x.at) < size.Window() {
					n += int64(x.bytes)
				}
			}
			return n
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 8000).Draw(t, "ms")) * time.Millisecond)
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				scopes = new(scope.Checker)
				for _, x := range in {
					scopes.Count(peer.Key, "message", x.at, x.bytes)
				}
			}
			bytes := rapid.IntRange(0, 120).Draw(t, "bytes")
			_, err := scopes.Allow(peer, scope.Access{Intent: "message", Bytes: bytes}, now)
			fits := held(now)+int64(bytes) <= size.Bytes
			switch {
			case int64(bytes) > size.Bytes:
				if !errors.Is(err, core.TooLarge) {
					t.Fatalf("%d bytes of at most %d = %v, want TooLarge", bytes, size.Bytes, err)
				}
			case fits != (err == nil):
				t.Fatalf("%d bytes beside %d of %d = %v", bytes, held(now), size.Bytes, err)
			case err == nil:
				in = append(in, one{now, bytes})
			default:
				var e *core.Error
				if !errors.As(err, &e) || e.Kind != core.RateLimited || held(now.Add(e.RetryAfter))+int64(bytes) > size.Bytes {
					t.Fatalf("refused with %v: it would not be let in then", err)
				}
			}
			if got := scopes.UsedBytes(peer.Key, "message", size.Window(), now); got != held(now) || got > size.Bytes {
				t.Fatalf("used %d, want %d, at most %d", got, held(now), size.Bytes)
			}
		}
	})
}

// A grant that names no size has the default one; where two agree, the smaller counts.
func TestN5DefaultBytes(t *testing.T) {
	peer := &core.Peer{Key: core.PublicKey{1}, Granted: &core.Bundle{Scopes: []core.Grant{{Intent: "message", Enabled: true}}}}
	scopes, passed := new(scope.Checker), 0
	for range 200 {
		if _, err := scopes.Allow(peer, scope.Access{Intent: "message", Bytes: 14_000}, start); err == nil {
			passed += 14_000
		}
	}
	if passed == 0 || passed > 256<<10 {
		t.Errorf("%d bytes passed the default grant in an hour, want at most 256 KiB", passed)
	}
	small := core.ByteLimit{Bytes: 10, WindowSeconds: 60}
	for _, both := range [][]core.Grant{
		scope.Narrow([]core.Grant{{Intent: "a", Enabled: true, ByteLimit: &small}}, []core.Grant{{Intent: "a", Enabled: true}}),
		scope.Narrow([]core.Grant{{Intent: "a", Enabled: true}}, []core.Grant{{Intent: "a", Enabled: true, ByteLimit: &small}}),
	} {
		if len(both) != 1 || both[0].ByteLimit == nil || *both[0].ByteLimit != small {
			t.Errorf("both = %+v, want the smaller size", both)
		}
	}
}

func TestParseByteLimit(t *testing.T) {
	for text, want := range map[string]core.ByteLimit{"64KiB/1h": {Bytes: 65536, WindowSeconds: 3600}, "1MiB/60": {Bytes: 1 << 20, WindowSeconds: 60},
		"100/1m": {Bytes: 100, WindowSeconds: 60}} {
		got, err := core.ParseByteLimit(text)
		if err != nil || got != want {
			t.Errorf("ParseByteLimit(%q) = %v, %v, want %v", text, got, err, want)
		}
		if again, err := core.ParseByteLimit(got.String()); err != nil || again != got {
			t.Errorf("%q goes round to %v, %v", got, again, err)
		}
	}
	for _, text := range []string{"", "64KiB", "0/1h", "x/1h", "-1/1h", "64GiB/1h", "1/0", "1/400d"} {
		if got, err := core.ParseByteLimit(text); err == nil {
			t.Errorf("ParseByteLimit(%q) = %v, want an error", text, got)
		}
	}
}

// BenchmarkAllowByHeld is what a message costs by how many its windows hold.
func BenchmarkAllowByHeld(b *testing.B) {
	for _, held := range []int{100, 100_000} {
		b.Run(strconv.Itoa(held), func(b *testing.B) {
			peer := limited(1, core.RateLimit{Requests: 1_000_000, WindowSeconds: max(1, held/1000)})
			peer.Granted.Scopes[0].ByteLimit = &core.ByteLimit{Bytes: 1 << 40, WindowSeconds: max(1, held/1000)}
			scopes := new(scope.Checker)
			at := start
			for range held {
				at = at.Add(time.Millisecond)
				scopes.Count(peer.Key, "message", at, 100)
			}
			for b.Loop() {
				at = at.Add(time.Millisecond)
				if _, err := scopes.Allow(peer, scope.Access{Intent: "message", Bytes: 100}, at); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
