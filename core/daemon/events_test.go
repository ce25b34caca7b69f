package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// source keeps events in a store and tells a watcher of each, as the gateway does:
// after it is kept, up to a bound, and then no more.
type source struct {
	t     *testing.T
	store core.Store
	most  int

	mu  sync.Mutex // guards out
	out chan core.Event
}

func newSource(t *testing.T, most int) *source {
	return &source{t: t, store: memory.New(), most: most}
}

func (s *source) watch() (<-chan core.Event, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(chan core.Event, s.most)
	s.out = out
	return out, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.out == out {
			s.out = nil
		}
	}
}

func (s *source) keep(id string) {
	e := core.Event{ID: id, Type: core.EventWarning, At: timeOf(id)}
	if err := s.store.Commit(context.Background(), &core.Change{Events: []*core.Event{&e}}); err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		return
	}
	select {
	case s.out <- e:
	default:
		close(s.out)
		s.out = nil
	}
}

// idOf makes an id at a time.
func idOf(at time.Time) string {
	return ulid.MustNew(ulid.Timestamp(at), rand.Reader).String()
}

// TestFollowerLosesAndDoublesNothing keeps events from several sides at once, not
// in the order of their ids, while a follower that is now and then too slow reads
// them, and counts what it got.
func TestFollowerLosesAndDoublesNothing(t *testing.T) {
	const before, during, sides = 700, 400, 4
	s := newSource(t, 8)
	want := map[string]bool{}
	for i := range before {
		id := idOf(time.Now().Add(-time.Duration(i) * time.Second))
		want[id] = true
		s.keep(id)
	}
	var mu sync.Mutex // guards want, got
	got := map[string]int{}
	enough := errors.New("all have come")
	var sending sync.WaitGroup
	start := sync.OnceFunc(func() {
		for range sides {
			sending.Go(func() {
				for range during {
					// A policy takes its time between making the id and keeping the event.
					id := idOf(time.Now().Add(-time.Duration(mathrand.IntN(5000)) * time.Millisecond))
					mu.Lock()
					want[id] = true
					mu.Unlock()
					s.keep(id)
				}
			})
		}
	})
	f := &follower{read: s.store.Events, watch: s.watch, send: func(e core.Event) error {
		start()
		mu.Lock()
		defer mu.Unlock()
		got[e.ID]++
		if len(got) == before+sides*during {
			return enough
		}
		if len(got)%50 == 0 {
			mu.Unlock()
			time.Sleep(time.Millisecond) // falls behind
			mu.Lock()
		}
		return nil
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := f.follow(ctx, idAt(time.Unix(0, 0)), true); !errors.Is(err, enough) {
		t.Errorf("follow = %v, want %v", err, enough)
	}
	sending.Wait()
	for id := range want {
		if got[id] != 1 {
			t.Fatalf("event %s came %d times, want 1 (%d of %d came)", id, got[id], len(got), len(want))
		}
	}
}

// TestFollowerOfWhatComes leaves out what was kept before, also when it has to
// read the store again as it was too slow.
func TestFollowerOfWhatComes(t *testing.T) {
	s := newSource(t, 2)
	old := idOf(time.Now())
	s.keep(old)
	var got, want []string
	enough := errors.New("all have come")
	f := &follower{read: s.store.Events, send: func(e core.Event) error {
		if got = append(got, e.ID); len(got) == 20 {
			return enough
		}
		return nil
	}}
	once := sync.OnceFunc(func() {
		for i := range 20 {
			id := idOf(time.Now().Add(-time.Duration(i) * time.Millisecond)) // the newest first
			want = append(want, id)
			s.keep(id)
		}
	})
	f.watch = func() (<-chan core.Event, func()) {
		events, stop := s.watch()
		once() // all while nobody reads
		return events, stop
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := f.follow(ctx, "", true); !errors.Is(err, enough) {
		t.Fatalf("follow = %v, want %v", err, enough)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || slices.Contains(got, old) {
		t.Errorf("follow gave %q, want %q, without %q", got, want, old)
	}
}

// TestFollowerForgets shows that what it remembers does not grow for ever.
func TestFollowerForgets(t *testing.T) {
	f := &follower{sent: map[string]bool{}}
	at := time.Now()
	for i := range 5000 {
		e := core.Event{ID: idOf(at.Add(time.Duration(i) * time.Second))}
		if err := f.once(e, func(core.Event) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	f.advance(at.Add(5000 * time.Second))
	if want := int(keptWithin/time.Second) + 1; len(f.sent) > want {
		t.Errorf("%d ids remembered, want at most %d", len(f.sent), want)
	}
	if f.advance(at); f.floor < idAt(at.Add(4000*time.Second)) {
		t.Errorf("the floor went down to %s", f.floor)
	}
}

func TestIDsAndTimes(t *testing.T) {
	if got, want := idAt(time.Time{}), "00000000000000000000000000"; got != want {
		t.Errorf("idAt(0) = %s, want %s", got, want)
	}
	if got := timeOf("rubbish"); !got.IsZero() {
		t.Errorf("timeOf(rubbish) = %v, want 0", got)
	}
}
