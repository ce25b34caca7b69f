package budget

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// refusedFor is how long a budget says to wait; zero: it let through.
func refusedFor(t *testing.T, err error) time.Duration {
	t.Helper()
	if err == nil {
		return 0
	}
	var e *core.Error
	if !errors.As(err, &e) || e.Kind != core.RateLimited || e.RetryAfter <= 0 {
		t.Fatalf("%v, want RateLimited with a time", err)
	}
	return e.RetryAfter
}

func TestByKey(t *testing.T) {
	b := ByKey{Most: 2, Window: time.Minute}
	one, two := core.PublicKey{1}, core.PublicKey{2}
	for i, c := range []struct {
		k    core.PublicKey
		at   time.Duration
		want time.Duration
	}{
		{one, 0, 0}, {one, 20 * time.Second, 0}, {one, 30 * time.Second, 30 * time.Second}, {two, 30 * time.Second, 0},
		{one, 60 * time.Second, 0}, {one, 61 * time.Second, 19 * time.Second},
	} {
		if got := refusedFor(t, b.Take(c.k, start.Add(c.at), "things")); got != c.want {
			t.Errorf("take %d is refused for %v, want %v", i, got, c.want)
		}
	}
}

func TestByNetwork(t *testing.T) {
	var b ByNetwork
	v4, v6 := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8:1:2::3")
	for i := range 3 {
		if got := refusedFor(t, b.Take(Network(v4), 3, start.Add(time.Duration(i)*time.Second))); got != 0 {
			t.Fatalf("request %d is refused", i)
		}
	}
	// Two generations forget nothing that is younger than an hour.
	if got := refusedFor(t, b.Take(Network(netip.MustParseAddr("203.0.113.200")), 3, start.Add(59*time.Minute))); got != time.Minute {
		t.Errorf("a neighbour is refused for %v, want a minute", got)
	}
	if got := refusedFor(t, b.Take(Network(v6), 3, start)); got != 0 {
		t.Error("another network is refused")
	}
	if got := refusedFor(t, b.Take(Network(v4), 3, start.Add(time.Hour+3*time.Second))); got != 0 {
		t.Errorf("after an hour refused for %v", got)
	}
	for a, want := range map[string]string{"127.0.0.1": "invalid Prefix", "::1": "invalid Prefix", "::ffff:203.0.113.9": "203.0.113.0/24", "2001:db8:1:2::3": "2001:db8:1::/48"} {
		if got := Network(netip.MustParseAddr(a)).String(); got != want {
			t.Errorf("Network(%s) = %s, want %s", a, got, want)
		}
	}
}

// However many networks there are, one more request costs the same.
func TestByNetworkCost(t *testing.T) {
	cost := func(networks int) float64 {
		var b ByNetwork
		block := func(i int) netip.Prefix {
			p, _ := netip.AddrFrom4([4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 1}).Prefix(24)
			return p
		}
		for i := range networks {
			_ = b.Take(block(i), 1<<20, start)
		}
		return testing.AllocsPerRun(1000, func() { _ = b.Take(block(0), 1, start) })
	}
	if few, many := cost(10), cost(30000); many > few+1 {
		t.Errorf("%v allocations among 30,000 networks, %v among 10", many, few)
	}
}

func TestWarnings(t *testing.T) {
	var w Warnings[string]
	for i, c := range []struct {
		name string
		at   time.Duration
		want bool
	}{{"a", 0, true}, {"a", time.Second, false}, {"b", time.Second, true}, {"a", time.Minute, true}} {
		if got := w.Due(c.name, start.Add(c.at), time.Minute); got != c.want {
			t.Errorf("Due %d = %v, want %v", i, got, c.want)
		}
	}
	var full Warnings[int]
	for i := range 2 * maxWarnings {
		full.Due(i, start, time.Minute)
	}
	if len(full.last) > maxWarnings {
		t.Errorf("%d warnings remembered, want at most %d", len(full.last), maxWarnings)
	}
	if !full.Due(-1, start.Add(time.Hour), time.Minute) {
		t.Error("nothing is forgotten")
	}
}
