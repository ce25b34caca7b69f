package sqlite

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/storetest"
)

// oldStore puts the file that the store of schema 1 has made into a new directory.
// testdata/README.md says what is in it.
func oldStore(t *testing.T) string {
	t.Helper()
	f, err := os.Open("testdata/schema1.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestMigrateSchema1 opens a store that ogp of schema 1 has made, and expects
// everything that was in it.
func TestMigrateSchema1(t *testing.T) {
	base := time.Date(2026, 11, 1, 12, 0, 0, 7_000_001, time.UTC)
	at := func(n int) time.Time { return base.Add(time.Duration(n) * time.Minute) }
	id := func(n int) string { return fmt.Sprintf("01JNXYZ%019d", n) }
	key := func(n int) core.PublicKey { return core.PublicKey{byte(n), 31: byte(n) ^ 0xa5} }
	nonce := func(n int) core.Nonce { return core.Nonce(fmt.Sprintf("nonce-%d", n)) }
	ctx := t.Context()
	equal := func(what string, got, want any) {
		t.Helper()
		if diff := cmp.Diff(want, got, storetest.Equal); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", what, diff)
		}
	}
	message := func(n int) *core.InboxMessage {
		m := &core.InboxMessage{ID: id(n), Peer: key(1 + n%2), At: at(n), Status: core.InboxNew, Level: "summary",
			Message: core.Message{Intent: "message", From: "a", To: "b", ToAgent: "main", Nonce: nonce(n), Timestamp: core.FormatTime(at(n)),
				ReplyTo: "https://bob.example/federation/reply/x", ConversationID: "c", ProjectID: "p", Payload: core.Raw(fmt.Sprintf(`{"message": "héllo %d"}`, n))}}
		switch n {
		case 5:
			m.Status, m.Reason = core.InboxHeld, "no topic"
		case 6:
			m.Status, m.Peer, m.Reply = core.InboxReplied, key(1), &core.Reply{Nonce: nonce(6), Success: true, Data: core.Raw(`{"x": [1, 2]}`)}
			m.Message = core.Message{Intent: "task-request", From: "a", To: "b", Nonce: nonce(6), Payload: core.Raw(`{}`)}
		case 50:
			m.Level, m.Message = "", core.Message{Intent: "message", Nonce: "old"}
		}
		return m
	}
	dir := oldStore(t)
	s := openTest(t, dir)
	for range 2 { // and once more, when it is no longer old
		peers, err := s.Peers(ctx)
		if err != nil || len(peers) != 2 {
			t.Fatalf("%d peers, %v, want 2", len(peers), err)
		}
		for _, p := range peers {
			if p.Revision != 1 {
				t.Errorf("a peer has revision %d, want 1", p.Revision)
			}
		}
		for n := range 40 {
			m, err := s.InboxMessage(ctx, id(n))
			if err != nil {
				t.Fatal(err)
			}
			equal("message", m, message(n))
			r, err := s.Receipt(ctx, key(1+n%2), nonce(n))
			if err != nil {
				t.Fatal(err)
			}
			equal("receipt", r, &core.Receipt{Peer: key(1 + n%2), Nonce: nonce(n), Digest: [32]byte{byte(n), 31: 9}, At: at(n), Intent: "message", Status: 200,
				Answer: fmt.Appendf(nil, `{"success":true,"nonce":"%s"}`, nonce(n))})
		}
		r, err := s.Receipt(ctx, key(1), nonce(1))
		if err != nil || r.Status != 403 {
			t.Errorf("the receipt of another peer's nonce: %+v, %v", r, err)
		}
		all, err := s.Inbox(ctx, core.InboxFilter{Limit: 1000, Oldest: true})
		if err != nil || len(all) != 41 || all[40].ID != id(50) {
			t.Errorf("%d messages, %v, want 41", len(all), err)
		}
		due, err := s.DueDeliveries(ctx, "openclaw", at(1000), 1000)
		if err != nil || len(due) != 22 { // 8, 20 to 39 and the event 51
			t.Fatalf("%d are due, %v, want 22", len(due), err)
		}
		equal("first due", due[0], &core.Delivery{EventID: id(8), Notifier: "openclaw", Attempts: 3, Next: at(900), Created: at(8), Error: "timeout",
			Event: core.Event{ID: id(8), Type: core.EventMessage, At: at(8), Peer: key(1), Message: message(8)}})
		equal("last due", due[21], &core.Delivery{EventID: id(51), Notifier: "openclaw", Next: at(51), Created: at(51),
			Event: core.Event{ID: id(51), Type: core.EventRemoved, At: at(51), Peer: key(2), By: core.Them, Text: "parted", Data: core.Raw(`{"a": 1}`)}})
		depths, err := s.Depths(ctx, 0)
		equal("depths", depths, core.Depths{Inbox: 41, InboxHeld: 1, Outbox: 2, Deliveries: 22, DeadDeliveries: 1, OldestDelivery: at(8), OldestOutbox: at(60),
			Receipts: 42, DeliveriesByNotifier: map[string]int{"openclaw": 22}, DeadByName: map[string]int{"openclaw": 1}})
		if err != nil {
			t.Fatal(err)
		}
		for n, state := range []core.OutboxState{core.OutWaiting, core.OutSent, core.OutRefused, core.OutExpired, core.OutWaiting} {
			o, err := s.OutboxByNonce(ctx, nonce(60+n))
			if err != nil {
				t.Fatal(err)
			}
			want := &core.OutboxItem{ID: id(60 + n), Peer: key(1), Kind: core.OutMessage, State: state, Nonce: nonce(60 + n), URL: "https://bob.example",
				Message: &core.Message{Intent: "message", Nonce: nonce(60 + n), Payload: core.Raw(`{"message": "hi"}`)}, Body: []byte{0, 0xff, '"'}, SignedAt: at(60),
				Created: at(60 + n), Next: at(61 + n), GiveUp: at(1000), Attempts: n, Error: "dial: refused"}
			if state != core.OutWaiting {
				want.Done, want.Answer = at(70+n), core.Raw(`{"ok": true}`)
			}
			equal("outbox", o, want)
		}
		theirs, err := s.Reply(ctx, key(1), nonce(61))
		equal("their reply", theirs, &core.StoredReply{Nonce: nonce(61), Peer: key(1), Reply: core.Reply{Nonce: nonce(61), Success: true, Data: core.Raw(`[ ]`)}, At: at(71), Expires: at(2000)})
		if err != nil {
			t.Fatal(err)
		}
		ours, err := s.OurReply(ctx, nonce(6))
		equal("our reply", ours, &core.StoredReply{Nonce: nonce(6), Peer: key(1), Ours: true, Reply: core.Reply{Nonce: nonce(6), Success: true},
			Text: `{"nonce":"n"}`, Sig: "00ff", V2: core.Raw(`{"payloadStr": "x"}`), At: at(72), Expires: at(2000)})
		if err != nil {
			t.Fatal(err)
		}
		if v, err := s.Meta(ctx, "gateway.digest"); err != nil || v != `{"count":3}` {
			t.Errorf("Meta = %q, %v", v, err)
		}
		if v, err := s.KVList(ctx, "p", ""); err != nil || len(v) != 2 {
			t.Errorf("KVList = %v, %v", v, err)
		}
		if err := s.Check(ctx); err != nil {
			t.Error(err)
		}
		s.Close()
		s = openTest(t, dir)
	}
	// What is told and what comes later goes on where it was.
	due, err := s.DueDeliveries(ctx, "openclaw", at(1000), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, &core.Change{Delivered: due}); err != nil {
		t.Fatal(err)
	}
	next := message(55)
	if err := s.Commit(ctx, &core.Change{Inbox: []*core.InboxMessage{next}, Deliveries: []*core.Delivery{{EventID: next.ID, Notifier: "openclaw", Created: next.At}}}); err != nil {
		t.Fatal(err)
	}
	due, err = s.DueDeliveries(ctx, "openclaw", at(1000), 1000)
	if err != nil || len(due) != 1 || due[0].EventID != next.ID {
		t.Errorf("%d are due, %v, want the new one", len(due), err)
	}
}

// older makes of a store of this schema one of an older one.
func older(t *testing.T, s *Store, version int) {
	t.Helper()
	undo := []string{"DROP TABLE stretches", "DROP INDEX outbox_failed", "ALTER TABLE tells DROP COLUMN alone"}
	if version < 3 {
		undo = append(undo, "ALTER TABLE log DROP COLUMN hops")
	}
	for _, q := range append(undo, fmt.Sprint("DELETE FROM goose_db_version WHERE version_id > ", version), fmt.Sprint("PRAGMA user_version = ", version)) {
		if _, err := s.conn.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestMigrateSchema2 opens a store of schema 2, which kept no hops, and goes on with it.
func TestMigrateSchema2(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	mustCommit(t, s, 0, 3)
	older(t, s, 2)
	s = openTest(t, dir)
	for n := range 3 {
		if !holds(t, s, n) {
			t.Errorf("change %d is lost", n)
		}
	}
	c := accept(3)
	c.Inbox[0].Message.Hops = "a.b"
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if m, err := s.InboxMessage(t.Context(), c.Inbox[0].ID); err != nil || m.Message.Hops != "a.b" {
		t.Errorf("kept as %+v, %v, want its hops", m, err)
	}
}
