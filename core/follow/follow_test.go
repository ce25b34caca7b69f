package follow_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/follow"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// A node is told once, and in order, of what others keep from its start on, within a second,
// also where the store was away meanwhile or ids are older than their commits.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		defer store.Close()
		var mu sync.Mutex
		var told []string
		away := false
		log := &follow.Log{Read: func(ctx context.Context, after string, limit int) ([]*core.Event, error) {
			mu.Lock()
			defer mu.Unlock()
			if away {
				return nil, errors.New("away")
			}
			return store.Events(ctx, after, limit)
		}}
		keep := func(text string, made time.Time, own bool) {
			t.Helper()
			id := ulid.MustNew(ulid.Timestamp(made), ulid.DefaultEntropy()).String()
			e := &core.Event{ID: id, Type: core.EventWarning, At: made, Text: text}
			if own {
				log.Own([]*core.Event{e})
			}
			if err := store.Commit(t.Context(), &core.Change{Events: []*core.Event{e}}); err != nil {
				t.Fatal(err)
			}
		}
		is := func(want ...string) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(told, want) {
				t.Fatalf("told of %q, want %q", told, want)
			}
		}
		keep("before", time.Now(), false)
		go log.Run(t.Context(), func(e core.Event) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, e.Text)
		})
		is()
		keep("one", time.Now(), false)
		keep("ours", time.Now(), true)
		keep("two", time.Now().Add(-time.Minute), false)
		is("one", "two")
		mu.Lock()
		away = true
		mu.Unlock()
		keep("three", time.Now(), false)
		is("one", "two")
		mu.Lock()
		away = false
		mu.Unlock()
		is("one", "two", "three")
		var many []string
		for i := range 1200 {
			many = append(many, fmt.Sprint(i))
			keep(many[i], time.Now(), false)
		}
		is(append([]string{"one", "two", "three"}, many...)...)
	})
}

// A watcher that does not keep up is told so, and holds up nobody.
func TestWatchers(t *testing.T) {
	var w follow.Watchers
	slow, stop := w.Watch()
	quick, stopQuick := w.Watch()
	defer stop()
	for i := range 300 {
		w.Tell(core.Event{Text: fmt.Sprint(i)})
		if e := <-quick; e.Text != fmt.Sprint(i) {
			t.Fatalf("told of %q, want %d", e.Text, i)
		}
	}
	n := 0
	for range slow {
		n++
	}
	if n != 256 {
		t.Errorf("the slow one had %d events before its end, want 256", n)
	}
	stopQuick()
	w.Tell(core.Event{})
	if len(quick) > 0 {
		t.Error("told after its end")
	}
}

// silent is a store that says nothing.
type silent struct{ asked, end chan struct{} }

func (silent) Shared() bool             { return true }
func (silent) Changed() <-chan struct{} { return nil }
func (silent) Uses(context.Context, core.PublicKey, string, time.Time) (int, int64, error) {
	return 0, 0, nil
}

func (s silent) Since(context.Context, uint64) (core.News, error) {
	s.asked <- struct{}{}
	<-s.end
	return core.News{Seen: 1}, nil
}

// How old what is in memory is can be said while the store says nothing.
func TestLagOfSilence(t *testing.T) {
	store := silent{asked: make(chan struct{}, 2), end: make(chan struct{})}
	s := &follow.State{Mu: new(sync.Mutex), Apply: func(core.News, bool) {}}
	done := make(chan error)
	go func() { _, err := s.Open(t.Context(), store); done <- err }()
	<-store.asked
	lag := make(chan time.Duration)
	go func() { lag <- s.Lag() }()
	select {
	case <-lag:
	case <-time.After(10 * time.Second):
		t.Error("Lag waits for the store")
	}
	close(store.end)
	if err := <-done; err != nil || s.Seen() != 1 {
		t.Errorf("Open = %v, Seen = %d", err, s.Seen())
	}
}
