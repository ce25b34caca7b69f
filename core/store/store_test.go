package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store"
)

func TestOpen(t *testing.T) {
	for _, kind := range []string{"sqlite", "memory", ""} {
		t.Run("kind "+kind, func(t *testing.T) {
			s, err := store.Open(t.Context(), kind, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			at := time.Now()
			c := &core.Change{
				Receipt:    &core.Receipt{Nonce: "n", At: at, Answer: []byte("{}")},
				Inbox:      []*core.InboxMessage{{ID: "1", At: at, Status: core.InboxNew, Message: core.Message{Intent: "message", Payload: core.Raw(`{}`)}}},
				Deliveries: []*core.Delivery{{EventID: "1", Notifier: "log", Next: at, Created: at}},
			}
			if err := s.Commit(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			due, err := s.DueDeliveries(t.Context(), "log", at, 10)
			if err != nil || len(due) != 1 || due[0].Event.Message == nil || string(due[0].Event.Message.Message.Payload) != "{}" {
				t.Errorf("DueDeliveries = %v, %v, want the message", due, err)
			}
			if err := s.Commit(t.Context(), c); !errors.Is(err, core.Replayed) {
				t.Errorf("Commit again = %v, want Replayed", err)
			}
			if err := s.Prune(t.Context(), core.Cutoffs{Receipts: at.Add(1), Inbox: at.Add(1), Events: at, Outbox: at, Replies: at}); err != nil {
				t.Error(err)
			}
			if d, err := s.Depths(t.Context(), 0); err != nil || d.Receipts != 0 || d.Inbox != 1 || d.Deliveries != 1 {
				t.Errorf("Depths = %+v, %v", d, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Peers(t.Context()); !errors.Is(err, core.Unavailable) {
				t.Errorf("Peers of a closed store = %v, want Unavailable", err)
			}
		})
	}
	if s, err := store.Open(t.Context(), "sqlite", "/dev/null/ogp"); err == nil || s != nil {
		t.Errorf("Open where no directory can be = %v, %v, want an error and no store", s, err)
	}
	if _, err := store.Open(t.Context(), "etcd", t.TempDir()); !errors.Is(err, core.Unsupported) {
		t.Errorf("Open of an unknown kind = %v, want Unsupported", err)
	}
	for _, at := range []string{"mysql://u:secret@host/db", "postgres", "postgres://u:secret@host:port/db", "postgres://u:secret@127.0.0.1:1/db"} {
		if _, err := store.Open(t.Context(), at, t.TempDir()); err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "secret") {
			t.Errorf("Open of %q = %v, want an error that has no password", at, err)
		}
	}
}
