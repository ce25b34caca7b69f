package record_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/record"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

var log = slog.New(slog.DiscardHandler)

func open(t *testing.T, store core.Store, s record.Settings) *record.Ring {
	t.Helper()
	r, err := record.Open(t.Context(), store, s, log)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func message(peer byte, payload string) core.Question {
	return core.Question{Kind: core.HookMessage, Now: time.Now(), Bytes: 400, Peer: &core.Peer{Key: core.PublicKey{peer}, Alias: "bob", Tags: []string{"friend"}, Trust: core.Approved},
		Message: &core.Message{Intent: "message", Nonce: "n", Payload: core.Raw(payload)}}
}

func request(peer byte, invite string) core.Question {
	return core.Question{Kind: core.HookRequest, Now: time.Now(), Peer: &core.Peer{Key: core.PublicKey{peer}, URL: "https://x.example", Offered: []string{"message"}},
		Request: &core.Request{Invite: &core.Invited{Token: invite}}, URLVerified: true}
}

func add(t *testing.T, store core.Store, r *record.Ring, q core.Question, v core.Verdict) {
	t.Helper()
	c := &core.Change{}
	r.Decided(c, q, v, "")
	if err := store.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func kept(t *testing.T, store core.Store) int {
	t.Helper()
	sizes, err := store.KVList(t.Context(), "_decisions", "")
	if err != nil {
		t.Fatal(err)
	}
	return len(sizes)
}

// What is recorded is the question and what was decided; payloads only by choice.
func TestDecided(t *testing.T) {
	store := memory.New()
	r := open(t, store, record.Settings{Keep: time.Hour})
	add(t, store, r, message(1, `{"text":"hi"}`), core.Verdict{Decision: core.Deny, Policy: "rules", Rule: "a", Reason: "why", Counts: map[string]int{"1h": 3}})
	r.Set(record.Settings{Keep: time.Hour, Payloads: true})
	add(t, store, r, message(1, `{"text":"hi"}`), core.Verdict{Decision: core.Allow})
	add(t, store, r, request(2, "code"), core.Verdict{Decision: core.Hold})
	r.Set(record.Settings{})
	add(t, store, r, message(1, `{"text":"hi"}`), core.Verdict{Decision: core.Allow})

	for _, r := range []*record.Ring{r, open(t, store, record.Settings{Keep: time.Hour})} { // and after a restart
		list, err := r.Page(t.Context(), time.Time{}, "", 10)
		if err != nil || len(list) != 3 {
			t.Fatalf("%+v, %v, want three", list, err)
		}
		q := list[0].Question(nil)
		if q.Kind != core.HookRequest || !q.URLVerified || q.Request.Invite.Token != "code" || q.Peer.URL != "https://x.example" || q.Peer.Offered[0] != "message" {
			t.Errorf("%+v", q)
		}
		if q = list[1].Question(nil); string(q.Message.Payload) != `{"text":"hi"}` || q.Withheld || q.Peer.Tags[0] != "friend" {
			t.Errorf("%+v", q)
		}
		d := list[2]
		if q = d.Question(nil); len(q.Message.Payload) > 0 || !q.Withheld || q.Counts["1h"] != 3 || d.Rule != "a" || d.Verdict != core.Deny || d.Reason != "why" {
			t.Errorf("%+v", d)
		}
		if q = d.Question(core.Raw(`{}`)); q.Withheld {
			t.Error("the payload is known from the inbox")
		}
		if page, err := r.Page(t.Context(), time.Time{}, list[1].ID, 10); err != nil || len(page) != 1 || page[0].ID != d.ID {
			t.Errorf("the next page: %+v, %v", page, err)
		}
		if page, err := r.Page(t.Context(), time.Now().Add(time.Minute), "", 10); err != nil || len(page) != 0 {
			t.Errorf("of the future: %+v, %v", page, err)
		}
	}
}

// A question of another hook, about no message and no request, is recorded as far as it goes.
func TestDecidedAboutAnotherHook(t *testing.T) {
	store := memory.New()
	r := open(t, store, record.Settings{Keep: time.Hour})
	add(t, store, r, core.Question{Kind: "greet", Now: time.Now(), Peer: &core.Peer{Alias: "bob"}}, core.Verdict{Decision: core.Deny, Policy: "a"})
	list, err := r.Page(t.Context(), time.Time{}, "", 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v, want one", list, err)
	}
	if q := list[0].Question(nil); q.Kind != "greet" || q.Peer.Alias != "bob" || q.Message != nil || q.Request != nil || q.Withheld || list[0].Policy != "a" {
		t.Errorf("%+v, asked again as %+v", list[0], q)
	}
}

// The ring is bounded in rows and bytes, of each peer and of all strangers together,
// and one peer cannot drive out what others left.
func TestBounds(t *testing.T) {
	store := memory.New()
	r := open(t, store, record.Settings{Keep: time.Hour, Payloads: true})
	add(t, store, r, message(9, `{}`), core.Verdict{Decision: core.Deny})
	for range record.PerPeer.Rows + 50 {
		add(t, store, r, message(1, `{}`), core.Verdict{Decision: core.Deny})
	}
	if n := kept(t, store); n != record.PerPeer.Rows+1 {
		t.Errorf("%d kept, want %d and the other peer's", n, record.PerPeer.Rows)
	}
	for range record.PerPeer.Bytes/(40<<10) + 10 {
		add(t, store, r, message(2, `"`+strings.Repeat("x", 40<<10)+`"`), core.Verdict{Decision: core.Deny})
	}
	for i := range record.Strangers.Rows + 70 {
		add(t, store, r, request(byte(i%200+10), fmt.Sprint(i)), core.Verdict{Decision: core.Abstain})
	}
	add(t, store, r, request(250, strings.Repeat("x", 9<<10)), core.Verdict{Decision: core.Abstain}) // too long
	strangers := 0
	sizes, _ := store.KVList(t.Context(), "_decisions", "s/")
	bytes := 0
	for _, n := range sizes {
		strangers, bytes = strangers+1, bytes+n
	}
	if strangers > record.Strangers.Rows || bytes > record.Strangers.Bytes || strangers < 400 {
		t.Errorf("strangers keep %d of %d bytes", strangers, bytes)
	}
	if rows, bytes := r.Size(); rows != kept(t, store) || bytes > record.Total.Bytes {
		t.Errorf("rows %d (kept %d), bytes %d", rows, kept(t, store), bytes)
	}
	for i := range 30 { // of many peers together
		for range 40 {
			add(t, store, r, message(byte(100+i), `"`+strings.Repeat("x", 40<<10)+`"`), core.Verdict{Decision: core.Deny})
		}
	}
	list, err := r.Page(t.Context(), time.Time{}, "", 1<<20)
	if rows, bytes := r.Size(); err != nil || bytes > record.Total.Bytes || rows != len(list) {
		t.Errorf("rows %d (read %d), bytes %d, %v", rows, len(list), bytes, err)
	}
	found := false
	for _, d := range list {
		found = found || d.Peer == core.PublicKey{9}
	}
	if !found {
		t.Error("the quiet peer's was driven out")
	}
}

// Who is forgotten leaves nothing; what is old goes.
func TestForgottenAndPruned(t *testing.T) {
	store := memory.New()
	r := open(t, store, record.Settings{Keep: time.Hour})
	for _, k := range []byte{1, 2} {
		add(t, store, r, request(k, "x"), core.Verdict{Decision: core.Abstain})
		add(t, store, r, message(k, "{}"), core.Verdict{Decision: core.Deny})
	}
	c := &core.Change{}
	r.Forgotten(c, core.PublicKey{1})
	if err := store.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if n := kept(t, store); n != 2 {
		t.Errorf("%d kept, want the two of the other", n)
	}
	if err := r.Prune(t.Context(), time.Now().Add(30*time.Minute)); err != nil || kept(t, store) != 2 {
		t.Errorf("%v, %d kept", err, kept(t, store))
	}
	if err := r.Prune(t.Context(), time.Now().Add(2*time.Hour)); err != nil || kept(t, store) != 0 {
		t.Errorf("%v, %d kept", err, kept(t, store))
	}
	add(t, store, r, message(1, "{}"), core.Verdict{Decision: core.Deny})
	r.Set(record.Settings{})
	if err := r.Prune(t.Context(), time.Now()); err != nil || kept(t, store) != 0 {
		t.Errorf("switched off: %v, %d kept", err, kept(t, store))
	}
}

func BenchmarkDecided(b *testing.B) {
	r, err := record.Open(b.Context(), memory.New(), record.Settings{Keep: time.Hour}, log)
	if err != nil {
		b.Fatal(err)
	}
	q := message(1, `{"text":"hi"}`)
	b.ReportAllocs()
	for b.Loop() {
		r.Decided(&core.Change{}, q, core.Verdict{Decision: core.Allow, Policy: "rules"}, "01")
	}
}

// Page by page all is given once, the newest first, of few peers with much and of many with
// little.
func TestPages(t *testing.T) {
	for _, peers := range []int{1, 3, 200} {
		store := memory.New()
		r := open(t, store, record.Settings{Keep: time.Hour})
		const all = 450
		for i := range all {
			if i%50 == 0 {
				add(t, store, r, request(byte(i%250), ""), core.Verdict{Decision: core.Hold})
				continue
			}
			add(t, store, r, message(byte(i*7%peers), "{}"), core.Verdict{Decision: core.Allow})
		}
		for _, limit := range []int{1, 7, 100, all} {
			before, n := "", 0
			for {
				page, err := r.Page(t.Context(), time.Now().Add(-time.Hour), before, limit)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range page {
					if before != "" && d.ID >= before {
						t.Fatalf("%d peers, pages of %d: %s comes after %s", peers, limit, d.ID, before)
					}
					before = d.ID
				}
				if n += len(page); len(page) < limit {
					break
				}
			}
			if n != all {
				t.Errorf("%d peers, pages of %d: %d in all, want %d", peers, limit, n, all)
			}
		}
	}
}
