package peers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// TestListsAreWhatIsKept: whatever comes, changes and goes, the lists and counts are those
// that a look at every record gives, and each peer is found by each of its whole names.
func TestListsAreWhatIsKept(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	states := []core.Trust{core.Pending, core.Approved, core.Rejected, core.Removed, core.Requested, ""}
	random := rand.New(rand.NewPCG(1, 2))
	b, kept := &Index{}, map[core.PublicKey]*core.Peer{}
	check := func(step int) {
		t.Helper()
		counts := map[core.Trust]int{}
		all := make([]*core.Peer, 0, len(kept))
		for _, p := range kept {
			counts[Listed(p)]++
			all = append(all, p)
		}
		slices.SortFunc(all, func(x, y *core.Peer) int { return PlaceOf(x).Compare(PlaceOf(y)) })
		if got := b.States(); fmt.Sprint(got) != fmt.Sprint(counts) {
			t.Fatalf("step %d: states %v, want %v", step, got, counts)
		}
		if !slices.Equal(b.All(), all) {
			t.Fatalf("step %d: not all are in the list of all, in order", step)
		}
		for _, state := range states {
			list := slices.DeleteFunc(slices.Clone(all), func(p *core.Peer) bool { return state != "" && Listed(p) != state })
			for _, n := range []int{0, 1, len(list) / 2} {
				if n > len(list) {
					continue
				}
				after := Place{}
				if n > 0 {
					after = PlaceOf(list[n-1])
					after.Asked = after.Asked.In(time.FixedZone("", 3600)) // a place comes from a text
				}
				if got := slices.Collect(b.From(after, state)); !slices.Equal(got, list[n:]) {
					t.Fatalf("step %d: %d of %q behind %d, want %d", step, len(got), state, n, len(list)-n)
				}
			}
		}
		for _, p := range all {
			for _, name := range []string{p.Key.Fingerprint(), strings.ToLower(core.Squeezed(p.Key.Fingerprint())), p.Key.String(), strings.ToUpper(p.Key.String()[len(core.SPKIPrefix):]), p.Key.ID()} {
				if got, err := b.Resolve(name); got != p {
					t.Fatalf("step %d: %s is %v, %v", step, name, got, err)
				}
			}
		}
	}
	for step := range 3000 {
		k := core.PublicKey{byte(random.IntN(250)), 1, byte(random.IntN(3))}
		switch old := kept[k]; {
		case old != nil && random.IntN(6) == 0:
			b.Forget(k)
			delete(kept, k)
		default:
			p := &core.Peer{Key: k, Trust: states[random.IntN(len(states))], RequestedAt: began.Add(time.Duration(random.IntN(100)) * time.Second), URL: "https://x.example"}
			if p.Trust != core.Pending && random.IntN(3) == 0 {
				p.Trust, p.Doubt = core.Removed, &core.Doubt{Was: core.Approved}
			}
			if old != nil && random.IntN(2) == 0 {
				p.RequestedAt, p.Trust, p.Doubt = old.RequestedAt, old.Trust, old.Doubt
			}
			b.Put(p)
			kept[k] = p
		}
		if step == 700 || step > 700 && step%200 == 0 { // the first look is at some hundreds that came in any order
			check(step)
		}
	}
}

// TestResolveTwins: a whole name that two have is nobody's, and no alias takes it.
func TestResolveTwins(t *testing.T) {
	b := &Index{}
	x, y := &core.Peer{Key: core.PublicKey{1, 2, 3, 4, 5}}, &core.Peer{Key: core.PublicKey{1, 2, 3, 4, 6}}
	b.Put(x)
	b.Put(y)
	b.Put(&core.Peer{Key: core.PublicKey{9}, Alias: x.Key.ID(), Trust: core.Approved})
	var e *core.Error
	if _, err := b.Resolve(x.Key.ID()); !errors.As(err, &e) || e.Kind != core.Ambiguous || len(e.Candidates) != 2 {
		t.Errorf("an id of two: %v", err)
	}
	if got, err := b.Resolve(y.Key.Fingerprint()); got != y {
		t.Errorf("its fingerprint: %v, %v", got, err)
	}
}

// TestPeersAreFoundWithoutLookingAtOthers: to find a peer by a whole name, or those at a place,
// takes as much whoever else is there.
func TestPeersAreFoundWithoutLookingAtOthers(t *testing.T) {
	cost := func(n int) float64 {
		b := &Index{}
		key := func(i int) core.PublicKey { return core.PublicKey{byte(i >> 8), byte(i), 1} }
		for i := range n {
			b.Put(&core.Peer{Key: key(i), Alias: fmt.Sprint("peer-", i), Trust: core.Approved, RequestedAt: time.Unix(int64(i%97), 0)})
		}
		k := key(10)
		b.All()
		return testing.AllocsPerRun(20, func() {
			for _, ref := range []string{k.Fingerprint(), k.String(), k.ID(), "peer-10"} {
				if p, err := b.Resolve(ref); err != nil || p.Key != k {
					t.Fatal(p, err)
				}
			}
			for range b.From(PlaceOf(b.Get(k)), core.Approved) {
				break
			}
			b.States()
		})
	}
	if few, many := cost(20), cost(5000); many > few {
		t.Errorf("%.0f allocations among 5,000 peers, %.0f among 20", many, few)
	}
}

// TestListsAreReadTogether: who reads a list that is in order holds up nobody else who reads.
func TestListsAreReadTogether(t *testing.T) {
	b := &Index{}
	for i := range 3 {
		b.Put(&core.Peer{Key: core.PublicKey{byte(i + 1)}, Trust: core.Approved})
	}
	read := func() int { return len(b.All()) + len(slices.Collect(b.From(Place{}, core.Approved))) }
	read() // puts them in order
	b.mu.RLock()
	defer b.mu.RUnlock()
	got := make(chan int, 1)
	go func() { got <- read() }()
	select {
	case n := <-got:
		if n != 6 {
			t.Errorf("%d were read, want 6", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("a list waits for another reader")
	}
}
