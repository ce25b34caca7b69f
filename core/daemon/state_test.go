package daemon

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// illStore is a store that says how it does.
type illStore struct {
	core.Store
	ill atomic.Pointer[core.Error]
}

func (s *illStore) Health() error {
	if e := s.ill.Load(); e != nil {
		return e
	}
	return nil
}

// TestS1TheStoreSaysThatItKeepsNothing: one line in the log when it begins and one
// when it is over, and a note in between, however long it lasts.
func TestS1TheStoreSaysThatItKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &illStore{Store: memory.New()}
		d := &Daemon{store: s, log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.watchStore(ctx) }()
		time.Sleep(time.Minute)
		if log.Len() > 0 || d.storeNote() != nil {
			t.Errorf("log %q, note %q of a store that is well, want none", log.String(), d.storeNote())
		}
		s.ill.Store(&core.Error{Kind: core.Full, Public: "store: full", Hint: "free some"})
		time.Sleep(time.Minute)
		if n := d.storeNote(); len(n) != 1 || !strings.Contains(n[0], "store: full") || !strings.Contains(n[0], "free some") {
			t.Errorf("note %q, want what is wrong and what to do", n)
		}
		s.ill.Store(nil)
		time.Sleep(time.Minute)
		if d.storeNote() != nil {
			t.Errorf("note %q once it is over, want none", d.storeNote())
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "cannot write") || !strings.Contains(lines[0], "free some") || !strings.Contains(lines[1], "again") {
			t.Errorf("log:\n%s\nwant one line for the beginning and one for the end", log.String())
		}
	})
}
