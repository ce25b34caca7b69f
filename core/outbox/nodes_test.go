package outbox

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/lease"
	"github.com/opengatewayprotocol/ogp/core/lease/leasetest"
	"github.com/opengatewayprotocol/ogp/core/queue"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// wire is a peer that writes down what came, and may hang.
type wire struct {
	mu   sync.Mutex
	came []string
	hang chan struct{} // nil: it answers
}

func (w *wire) Card(context.Context, string, map[string]string) (core.Card, error) {
	return core.Card{}, core.Unreachable
}

func (w *wire) PostURL(ctx context.Context, _ string, body []byte) (core.Answer, error) {
	return w.Post(ctx, "", "", body)
}

func (w *wire) Post(ctx context.Context, _, _ string, body []byte) (core.Answer, error) {
	w.mu.Lock()
	hang := w.hang
	w.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return core.Answer{}, core.Unreachable
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.came = append(w.came, string(body))
	return core.Answer{Status: http.StatusOK, Body: []byte(`{"success":true,"received":true}`)}, nil
}

func (w *wire) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.came)
}

// office is the gateway of one node, as its queue sees it.
type office struct {
	store core.Store
	peer  *core.Peer
}

func (o *office) Peer(core.PublicKey) *core.Peer { return o.peer }
func (o *office) Tried(core.PublicKey, error)    {}
func (o *office) Seal(*core.Peer, *core.OutboxItem) ([]byte, error) {
	return []byte("sealed again"), nil
}
func (o *office) Store(ctx context.Context, c *core.Change) error {
	c.Fences = lease.Fences(ctx)
	return o.store.Commit(ctx, c)
}
func (o *office) OutboxSettings() Settings {
	return Settings{Times: queue.Times{First: time.Second, Most: time.Minute, GiveUp: time.Hour}, Window: 5 * time.Minute}
}

// node runs a queue over a store that others share.
func node(t *testing.T, store core.Store, table *leasetest.Table, name string, w *wire) *Queue {
	view := &leasetest.Node{Store: store, Table: table, Name: name}
	leases := lease.New(view, slog.New(slog.DiscardHandler))
	go leases.Run(t.Context())
	q := New(Options{Leases: leases, Gateway: &office{store: view, peer: &core.Peer{Key: core.PublicKey{1}, Trust: core.Approved, URL: "https://p.example"}},
		Store: view, Transport: w, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	go q.Run(t.Context())
	return q
}

// Two nodes send to one peer: each envelope once, in the order in which they were made,
// whichever node has it. A try that hangs on one holds the other up, until its lease is
// over; what comes of it then is not written down.
func TestTwoNodesSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		defer store.Close()
		table, here, there := &leasetest.Table{}, &wire{}, &wire{}
		a, b := node(t, store, table, "a", here), node(t, store, table, "b", there)
		put := func(q *Queue, body string) *core.OutboxItem {
			t.Helper()
			item := q.Item(core.PublicKey{1}, core.OutMessage)
			item.Nonce, item.Body, item.SignedAt, item.Message = core.Nonce(body), []byte(body), item.Created, &core.Message{}
			if err := store.Commit(t.Context(), &core.Change{Outbox: []*core.OutboxItem{item}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Millisecond) // ids are of another millisecond
			return item
		}
		// At once, by the node that has it.
		if got, err := a.SendNow(t.Context(), put(a, "1")); err != nil || got.State != core.OutSent {
			t.Fatalf("SendNow = %v, %v", got.State, err)
		}
		// What a node has kept that sends nothing itself is found by the others.
		put(b, "2")
		time.Sleep(3 * time.Second)
		if got := slices.Concat(here.list(), there.list()); !slices.Equal(got, []string{"1", "2"}) && !slices.Equal(got, []string{"2", "1"}) {
			t.Fatalf("sent %q, want both", got)
		}
		// One hangs on a; b waits, and goes on when the lease of a is over.
		here.mu.Lock()
		here.came, here.hang = nil, make(chan struct{})
		here.mu.Unlock()
		there.mu.Lock()
		there.came = nil
		there.mu.Unlock()
		third := put(a, "3")
		go a.SendNow(t.Context(), third)
		time.Sleep(100 * time.Millisecond)
		fourth := put(b, "4")
		done := make(chan *core.OutboxItem)
		go func() {
			got, _ := b.SendNow(t.Context(), fourth)
			done <- got
		}()
		time.Sleep(3 * time.Second)
		if got := there.list(); len(got) > 0 {
			t.Fatalf("b has sent %q while a was sending", got)
		}
		limited, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if n, err := b.CancelBy(limited, Which{ID: third.ID}, "cancelled", nil); err == nil {
			t.Errorf("%d cancelled that another node was sending", n)
		}
		table.Give("outbox/"+core.PublicKey{1}.Fingerprint(), "b")
		if got := <-done; got.State != core.OutSent {
			t.Errorf("the fourth is %s, want sent", got.State)
		}
		close(here.hang)
		time.Sleep(3 * time.Second)
		if got := there.list(); !slices.Equal(got, []string{"3", "4"}) {
			t.Errorf("b has sent %q, want the third and the fourth", got)
		}
		for _, item := range []*core.OutboxItem{third, fourth} {
			if now, err := store.OutboxItem(t.Context(), item.ID); err != nil || now.State != core.OutSent || now.Attempts != 1 {
				t.Errorf("%s is %+v, %v, want sent by one try", item.Nonce, now, err)
			}
		}
	})
}
