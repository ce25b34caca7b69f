package rendezvous

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/opengatewayprotocol/ogp/core"
)

// check compares the counters with what is there.
func (r *registry) check(t testing.TB) {
	t.Helper()
	var entries, live int64
	byAddr := map[[16]byte]int32{}
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		inWheel := map[*entry]int{}
		for _, slot := range s.wheel {
			for _, e := range slot {
				inWheel[e]++
			}
		}
		for k, e := range s.m {
			if e.key != k || inWheel[e] != 1 {
				t.Errorf("entry %s of key %s stands %d times in the wheel, want once", e.key.ID(), k.ID(), inWheel[e])
			}
			entries++
			if e.state == alive {
				live++
				byAddr[network(e.addr)]++
			}
		}
		if len(inWheel) != len(s.m) {
			t.Errorf("%d entries in the wheel, %d in the map", len(inWheel), len(s.m))
		}
		s.mu.Unlock()
	}
	if got := r.entries.Load(); got != entries {
		t.Errorf("entries = %d, want %d", got, entries)
	}
	if got := r.live.Load(); got != live {
		t.Errorf("live = %d, want %d", got, live)
	}
	var counted int
	for i := range r.addrs {
		for addr, n := range r.addrs[i].n {
			counted++
			if byAddr[addr] != n {
				t.Errorf("address %v counts %d, want %d", netip.AddrFrom16(addr), n, byAddr[addr])
			}
		}
	}
	if counted != len(byAddr) {
		t.Errorf("%d addresses counted, want %d", counted, len(byAddr))
	}
}

// Whatever comes, in whatever order and at once, the books agree, and when all
// is over nothing is left.
func TestRegistryBooks(t *testing.T) {
	c := newClock()
	r := newRegistry(limits{max: 150, perAddress: 12, ttl: 90 * time.Second, window: 5 * time.Minute}, c.now())
	for round := range 30 {
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(round), uint64(g)))
				for range 200 {
					i := rnd.IntN(200)
					k, now := benchKey(i), c.now()
					addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(20))})
					at := now.Add(time.Duration(rnd.IntN(20_000)-10_000) * time.Millisecond)
					switch rnd.IntN(6) {
					case 0:
						r.put(Registration{Key: k, Addr: addr, Port: 1, SentAt: at}, now)
					case 1, 2:
						cand := Registration{Key: k, Addr: addr, Port: 1, Signed: true, SentAt: at}
						if rnd.IntN(2) == 0 {
							cand.Record.PayloadStr = cand.Text()
						}
						r.put(cand, now)
					case 3:
						if f, gone := r.get(k, now); gone == nil && f.port != 1 {
							t.Errorf("port %d", f.port)
						}
					case 4:
						r.drop(k, addr, time.Time{}, now)
					case 5:
						r.drop(k, addr, at, now)
					}
				}
			})
		}
		wg.Go(func() { r.advance(c.now()) })
		wg.Wait()
		r.check(t)
		if got := r.entries.Load(); got > 150 {
			t.Fatalf("%d entries, want at most 150", got)
		}
		c.add(time.Duration(rand.IntN(40)) * time.Second)
		r.advance(c.now())
		r.check(t)
	}
	for range 20 {
		c.add(time.Minute)
		r.advance(c.now())
	}
	r.check(t)
	if got := r.entries.Load(); got != 0 {
		t.Errorf("%d entries after 20 quiet minutes, want 0", got)
	}
}

// A million records take what docs/rendezvous.md says only as long as an entry
// fits its allocation class.
func TestEntrySize(t *testing.T) {
	if got := unsafe.Sizeof(entry{}); got > 160 {
		t.Errorf("an entry takes %d bytes, want at most 160", got)
	}
}

func TestCompression(t *testing.T) {
	now := newClock().now()
	for _, u := range []string{"", "https://gw.example"} {
		c := Registration{Key: core.PublicKey{1}, Port: 7, PublicURL: u, Signed: true, SentAt: now}
		if got, extra := compress(c); got != formLegacy || extra != u {
			t.Errorf("compress = %v, %q, want no text of what is signed as 0.7 signs", got, extra)
		}
		c.Record.PayloadStr = c.Text()
		if got, extra := compress(c); got != formOurs || extra != u {
			t.Errorf("compress = %v, %q, want our form and the URL alone", got, extra)
		}
	}
}
