package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// shared is the store as several nodes see it, or skips the test.
func shared(t *testing.T, s core.Store) core.Shared {
	several, ok := s.(core.Shared)
	if !ok {
		t.Skip("one process has this kind of store for itself")
	}
	return several
}

func keysOf(peers []*core.Peer) (keys []core.PublicKey) {
	for _, p := range peers {
		keys = append(keys, p.Key)
	}
	return keys
}

func news(t *testing.T, s core.Store) {
	ctx, several := t.Context(), shared(t, s)
	start := must(several.Since(ctx, 0))(t)
	if start.Seen == 0 || len(start.Peers)+len(start.Gone)+len(start.Meta) > 0 {
		t.Fatalf("Since(0) of an empty store = %+v, want nothing, up to some change", start)
	}
	commit(t, s, &core.Change{Peers: []*core.Peer{peer(1), peer(2)}, Meta: map[string]string{"a": "1"}})
	first := must(several.Since(ctx, start.Seen))(t)
	equal(t, sortedPeers(first.Peers), sortedPeers([]*core.Peer{peer(1), peer(2)}))
	equal(t, first.Meta, map[string]string{"a": "1"})
	commit(t, s, &core.Change{Receipt: receipt(1, 1), Inbox: []*core.InboxMessage{message(1)}})
	if again := must(several.Since(ctx, first.Seen))(t); again.Seen != first.Seen || len(again.Peers)+len(again.Gone)+len(again.Meta) > 0 {
		t.Errorf("Since after a message alone = %+v, want nothing", again)
	}
	commit(t, s, &core.Change{Forget: []core.PublicKey{key(1)}}, &core.Change{Meta: map[string]string{"b": "2"}})
	second := must(several.Since(ctx, first.Seen))(t)
	if !slices.Equal(second.Gone, []core.PublicKey{key(1)}) || len(second.Peers) > 0 {
		t.Errorf("Since after a peer was forgotten = %+v, want it gone", second)
	}
	equal(t, second.Meta, map[string]string{"b": "2"})
	all := must(several.Since(ctx, 0))(t)
	if !slices.Equal(keysOf(all.Peers), []core.PublicKey{key(2)}) {
		t.Errorf("Since(0) has the peers %v, want the one that is kept", keysOf(all.Peers))
	}
	equal(t, all.Meta, map[string]string{"a": "1", "b": "2"})
	equal(t, must(s.Peers(ctx))(t), []*core.Peer{peer(2)})
	commit(t, s, &core.Change{Peers: []*core.Peer{peer(1)}})
	if back := must(several.Since(ctx, second.Seen))(t); len(back.Gone) > 0 || !slices.Equal(keysOf(back.Peers), []core.PublicKey{key(1)}) {
		t.Errorf("Since after it came again = %+v, want it there", back)
	}
}

func seen(t *testing.T, s core.Store) {
	ctx, several := t.Context(), shared(t, s)
	commit(t, s, &core.Change{Peers: []*core.Peer{atRevision(1, 1), atRevision(2, 1)}})
	known := must(several.Since(ctx, 0))(t).Seen
	accepts := func(n int, of int) *core.Change {
		return expecting(&core.Change{Seen: known, Receipt: receipt(of, n), Inbox: []*core.InboxMessage{message(n)}}, of, 1)
	}
	commit(t, s, accepts(1, 1))
	// Grants leave the revision alone, and bind all nodes all the same.
	commit(t, s, &core.Change{Seen: known, Peers: []*core.Peer{atRevision(1, 1)}})
	refused(t, s.Commit(ctx, accepts(2, 1)), core.Moved)
	commit(t, s, accepts(3, 2)) // of a peer that nobody has changed
	// Whoever changes a peer knows all of them.
	refused(t, s.Commit(ctx, &core.Change{Seen: known, Peers: []*core.Peer{atRevision(2, 1)}}), core.Moved)
	refused(t, s.Commit(ctx, &core.Change{Seen: known, Meta: map[string]string{"a": "1"}}), core.Moved)
	refused(t, s.Commit(ctx, &core.Change{Seen: known, Forget: []core.PublicKey{key(2)}}), core.Moved)
	known = must(several.Since(ctx, known))(t).Seen
	commit(t, s, accepts(2, 1), &core.Change{Seen: known, Forget: []core.PublicKey{key(1)}})
	refused(t, s.Commit(ctx, accepts(4, 1)), core.Moved)
	commit(t, s, accepts(5, 2), &core.Change{Meta: map[string]string{"a": "1"}})
}

func limits(t *testing.T, s core.Store) {
	ctx, several := t.Context(), shared(t, s)
	now := time.Now().UTC().Truncate(time.Millisecond)
	limit := &core.Limit{Rate: core.RateLimit{Requests: 3, WindowSeconds: 60}, Size: core.ByteLimit{Bytes: 1 << 20, WindowSeconds: 60}}
	n := 0
	come := func(of int, intent string, at time.Time, limit *core.Limit) error {
		n++
		m := message(n)
		m.Peer, m.Message.Nonce, m.Message.Intent = key(of), core.Nonce(id(n)), intent
		r := &core.Receipt{Peer: key(of), Nonce: core.Nonce(id(n)), At: at, Intent: intent, Bytes: len(m.Message.Payload), Status: 200, Answer: []byte("{}")}
		return s.Commit(ctx, &core.Change{Receipt: r, Inbox: []*core.InboxMessage{m}, Limit: limit})
	}
	for i := range 3 {
		if err := come(1, "message", now.Add(time.Duration(i)*time.Second), limit); err != nil {
			t.Fatalf("message %d of 3 in a minute: Commit = %v, want nil", i+1, err)
		}
	}
	err := come(1, "message", now.Add(10*time.Second), limit)
	refused(t, err, core.RateLimited)
	var e *core.Error
	if errors.As(err, &e); e.RetryAfter != 50*time.Second {
		t.Errorf("RetryAfter = %v, want 50s", e.RetryAfter)
	}
	if _, err := s.InboxMessage(ctx, id(n)); !errors.Is(err, core.NotFound) {
		t.Errorf("the message that was refused = %v, want NotFound", err)
	}
	for _, other := range []struct {
		of     int
		intent string
	}{{2, "message"}, {1, "status-update"}} {
		if err := come(other.of, other.intent, now, limit); err != nil {
			t.Errorf("another peer or intent: Commit = %v, want nil", err)
		}
	}
	used, bytes, err := several.Uses(ctx, key(1), "message", now.Add(-time.Second))
	if err != nil || used != 3 || bytes == 0 {
		t.Errorf("Uses = %d, %d, %v, want 3 and their bytes", used, bytes, err)
	}
	small := &core.Limit{Rate: limit.Rate, Size: core.ByteLimit{Bytes: bytes / 3, WindowSeconds: 60}}
	small.Rate.Requests = 100
	refused(t, come(1, "message", now.Add(11*time.Second), small), core.RateLimited)
	if err := come(1, "message", now.Add(time.Minute), limit); err != nil {
		t.Errorf("after the first of the three has left the window: Commit = %v, want nil", err)
	}
	refused(t, come(1, "message", now.Add(time.Minute), limit), core.RateLimited)
}

// uses are bounded whatever else a change has, one by one, and what is refused counts nowhere.
func uses(t *testing.T, s core.Store) {
	ctx, several := t.Context(), shared(t, s)
	now, n := time.Now().UTC().Truncate(time.Millisecond), 0
	day := func(messages int, bytes int64) core.Limit {
		return core.Limit{Rate: core.RateLimit{Requests: messages, WindowSeconds: 86_400}, Size: core.ByteLimit{Bytes: bytes, WindowSeconds: 86_400}}
	}
	use := func(of string, most core.Limit, bytes int) core.Use {
		return core.Use{Peer: key(1), Of: of, At: now, Bytes: bytes, Most: most, Over: "too many of these"}
	}
	come := func(uses ...core.Use) error { // a message
		n++
		m := message(n)
		m.Peer, m.Message.Nonce, m.Message.Intent = key(1), core.Nonce(id(n)), "message"
		r := &core.Receipt{Peer: key(1), Nonce: core.Nonce(id(n)), At: now, Intent: "message", Bytes: len(m.Message.Payload), Status: 200, Answer: []byte("{}")}
		limit := day(5, 1<<20)
		return s.Commit(ctx, &core.Change{Receipt: r, Inbox: []*core.InboxMessage{m}, Limit: &limit, Uses: uses})
	}
	over := func(err error, of string) {
		t.Helper()
		refused(t, err, core.RateLimited)
		var e *core.Error
		var what core.Over
		if !errors.As(err, &e) || e.RetryAfter <= 0 || e.Public != "too many of these" || !errors.As(err, &what) || what.Of != of {
			t.Errorf("Commit = %#v, want over %q", err, of)
		}
	}
	used := func(of string, messages int, bytes int64) {
		t.Helper()
		if n, b, err := several.Uses(ctx, key(1), of, now.Add(-time.Second)); err != nil || n != messages || bytes >= 0 && b != bytes {
			t.Errorf("Uses(%q) = %d, %d, %v, want %d and %d", of, n, b, err, messages, bytes)
		}
	}
	told, ran, sent := core.UseNotified+"message", core.UseRan+"message", core.UseSent
	for range 2 {
		if err := come(use(told, day(2, 1<<20), 20)); err != nil {
			t.Fatalf("two that are told: Commit = %v, want nil", err)
		}
	}
	over(come(use(told, day(2, 1<<20), 20)), told)
	if err := come(); err != nil {
		t.Fatalf("one that is not told: Commit = %v, want nil", err)
	}
	used(told, 2, -1)
	used("message", 3, -1)
	// What was refused took no token of the message's rate either: two more are let in.
	for range 2 {
		if err := come(); err != nil {
			t.Fatalf("Commit = %v, want nil", err)
		}
	}
	refused(t, come(use(sent, day(9, 99), 1)), core.RateLimited)
	used(sent, 0, 0)

	commit(t, s, &core.Change{Uses: []core.Use{use(sent, day(2, 50), 10)}}, &core.Change{Uses: []core.Use{use(sent, day(2, 50), 10)}})
	over(s.Commit(ctx, &core.Change{Uses: []core.Use{use(sent, day(2, 50), 0)}}), sent)
	over(s.Commit(ctx, &core.Change{Uses: []core.Use{use(sent, day(9, 50), 31)}}), sent)
	used(sent, 2, 20)
	other := use(sent, day(1, 1), 1)
	other.Peer = key(2)
	commit(t, s, &core.Change{Uses: []core.Use{other}})

	// One that is only judged leaves nothing, and is judged by what was counted.
	only := use(ran, day(1, 100), 0)
	only.Only = true
	commit(t, s, &core.Change{Uses: []core.Use{only}}, &core.Change{Uses: []core.Use{only}})
	commit(t, s, &core.Change{Uses: []core.Use{use(ran, core.Unlimited(24*time.Hour), 101)}})
	used(ran, 1, 101)
	over(s.Commit(ctx, &core.Change{Uses: []core.Use{only}}), ran)
	// The first of two that go together does not count where the second is over.
	over(s.Commit(ctx, &core.Change{Uses: []core.Use{use("\x01changed", day(1, 9), 0), only}}), ran)
	commit(t, s, &core.Change{Uses: []core.Use{use("\x01changed", day(1, 9), 0)}})
}
