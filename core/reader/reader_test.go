package reader

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/peers"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// village is a gateway with peers by number.
type village []*core.Peer

// town is what a Reader sees of a village.
type town struct{ *peers.Index }

func (v village) town() town {
	b := &peers.Index{}
	for _, p := range v {
		b.Put(p)
	}
	return town{b}
}

func (t town) Peer(k core.PublicKey) *core.Peer { return t.Get(k) }

func (t town) PeersFrom(after peers.Place, state core.Trust) iter.Seq[*core.Peer] {
	return t.From(after, state)
}

func (t town) PeerStates() map[core.Trust]int { return t.States() }

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(n int) time.Time { return began.Add(time.Duration(n) * time.Second) }

func idOf(n int) string {
	var id ulid.ULID
	if err := id.SetTime(ulid.Timestamp(at(n))); err != nil {
		panic(err)
	}
	id[15] = byte(n)
	return id.String()
}

func keyOf(n int) (k core.PublicKey) {
	k[0], k[1], k[2] = byte(n>>8), byte(n), 1
	return k
}

func newVillage(n int) village {
	var v village
	for i := range n {
		v = append(v, &core.Peer{Key: keyOf(i), Alias: fmt.Sprintf("p%d", i), Trust: core.Approved, RequestedAt: at(i / 3), URL: fmt.Sprintf("https://p%d.example", i)})
	}
	return v
}

func newReader(t *testing.T, v village, changes ...*core.Change) (*Reader, control.Local) {
	t.Helper()
	s := memory.New()
	for _, c := range changes {
		if err := s.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	view := func(p *core.Peer) api.PeerView {
		w := api.PeerView{Name: p.Name(), State: p.Trust, Warning: p.Warning}
		w.Health.Outbound = peering.Reach(p.Names.HumanName)
		return w
	}
	r := &Reader{Store: s, Gateway: v.town(), View: view, Trouble: func(p *core.Peer) bool { return view(p).InTrouble() }}
	return r, control.Local(r.Handlers())
}

func received(n int, peer core.PublicKey, text, conversation string) *core.InboxMessage {
	return &core.InboxMessage{ID: idOf(n), Peer: peer, At: at(n), Status: core.InboxNew,
		Message: core.Message{Intent: "message", Nonce: core.Nonce(fmt.Sprint("in-", n)), ConversationID: conversation, Payload: core.Raw(text)}}
}

func sent(n int, peer core.PublicKey, text, conversation string) *core.OutboxItem {
	return &core.OutboxItem{ID: idOf(n), Peer: peer, Kind: core.OutMessage, State: core.OutSent, Created: at(n), Nonce: core.Nonce(fmt.Sprint("out-", n)),
		Message: &core.Message{Intent: "message", ConversationID: conversation, Payload: core.Raw(text)}}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestPages goes through everything page by page: each comes once, in order.
func TestPages(t *testing.T) {
	v := newVillage(3)
	c := &core.Change{}
	var all []string
	for n := range 57 {
		if n%3 == 0 {
			c.Outbox = append(c.Outbox, sent(n, keyOf(1), `{"text":"x"}`, "c"))
		} else {
			c.Inbox = append(c.Inbox, received(n, keyOf(1), `{"text":"x"}`, "c"))
		}
		all = append(all, idOf(n))
	}
	c.Inbox = append(c.Inbox, received(60, keyOf(2), `{}`, "c"))
	c.Outbox = append(c.Outbox, sent(61, keyOf(2), `{}`, "c"), &core.OutboxItem{ID: idOf(62), Peer: keyOf(1), Kind: core.OutApprove, Created: at(62)})
	slices.Reverse(all)
	_, call := newReader(t, v, c)
	for _, limit := range []int{1, 7, 57, 100} {
		for _, conversation := range []string{"", "c"} {
			p := api.ThreadParams{Peer: "p1", Limit: limit, Conversation: conversation}
			var got []string
			for pages := 1; ; pages++ {
				page := must(api.Thread.Call(t.Context(), call, p))(t)
				for _, e := range page.Entries {
					if e.In != nil {
						got = append(got, e.In.ID)
					} else {
						got = append(got, e.Out.ID)
					}
				}
				if p.Before = page.Next; p.Before == "" {
					break
				}
				if pages > 60 {
					t.Fatalf("limit %d: the pages have no end", limit)
				}
			}
			if !slices.Equal(got, all) {
				t.Errorf("limit %d, conversation %q: thread has %d entries, want %d:\n%v", limit, conversation, len(got), len(all), got)
			}
		}
	}
	var got []string
	for p := (api.InboxParams{Peer: "p1", Limit: 5}); ; {
		page := must(api.InboxPage.Call(t.Context(), call, p))(t)
		for _, m := range page.Messages {
			got = append(got, m.ID)
		}
		if p.Before = strings.ToLower(page.Next); p.Before == "" {
			break
		}
	}
	if len(got) != 38 || got[0] != idOf(56) || got[37] != idOf(1) {
		t.Errorf("the pages of the inbox have %d, want 38", len(got))
	}
	got = nil
	for p := (api.OutboxParams{Limit: 4}); ; {
		page := must(api.OutboxPage.Call(t.Context(), call, p))(t)
		for _, m := range page.Messages {
			got = append(got, m.ID)
		}
		if p.Before = page.Next; p.Before == "" {
			break
		}
	}
	if len(got) != 21 {
		t.Errorf("the pages of the outbox have %d, want 21", len(got))
	}
	if _, err := api.Thread.Call(t.Context(), call, api.ThreadParams{Peer: "p1", Before: "x"}); err == nil {
		t.Error("a thread from nowhere is shown")
	}
}

// TestSearch finds what was said, and says where it stopped.
func TestSearch(t *testing.T) {
	c := &core.Change{Inbox: []*core.InboxMessage{
		received(1, keyOf(0), `{"text":"Thursday at NOON?"}`, "lunch"),
		received(2, keyOf(0), `{"text":"gr\u00fcn","more":["deep",{"note":"a \"quote\""}]}`, ""),
		received(3, keyOf(1), `{"Thursday":"as a name"}`, ""),
		received(4, keyOf(2), `["no object"]`, ""),
	}, Outbox: []*core.OutboxItem{sent(5, keyOf(0), `{"text":"Thursday suits us"}`, ""), {ID: idOf(6), Peer: keyOf(1), Kind: core.OutReply, Created: at(6), Reply: &core.Reply{Error: "closed on thursday"}}}}
	c.Inbox[3].Reply = &core.Reply{Data: core.Raw(`{"text":"what do you mean?"}`)}
	_, call := newReader(t, newVillage(3), c)
	for search, want := range map[string][]int{
		"thursday":      {1},
		"noon thursday": {1}, // any order
		"lunch":         {1},
		"grün":          {2},
		`"quote"`:       {2},
		"DEEP":          {2},
		"text":          {}, // the name of a member
		"what mean":     {4},
		"p1":            {3},
		"message":       {4, 3, 2, 1},
		"thursday deep": {},
	} {
		page := must(api.InboxPage.Call(t.Context(), call, api.InboxParams{Search: search}))(t)
		got := []int{}
		for _, m := range page.Messages {
			got = append(got, int(m.At.Sub(began)/time.Second))
		}
		if !slices.Equal(got, want) || page.Next != "" || page.Looked != 4 {
			t.Errorf("search %q = %v after %d, next %q, want %v", search, got, page.Looked, page.Next, want)
		}
	}
	if page := must(api.OutboxPage.Call(t.Context(), call, api.OutboxParams{Search: "Thursday"}))(t); len(page.Messages) != 2 {
		t.Errorf("search of the outbox finds %d, want 2", len(page.Messages))
	}
	if page := must(api.Thread.Call(t.Context(), call, api.ThreadParams{Peer: "p0", Search: "Thursday"}))(t); len(page.Entries) != 2 {
		t.Errorf("search of a thread finds %d, want 2", len(page.Entries))
	}
}

// TestSearchIsBounded looks at so many, and goes on where it stopped.
func TestSearchIsBounded(t *testing.T) {
	c := &core.Change{}
	for n := range searched.Rows + 250 {
		c.Inbox = append(c.Inbox, received(n, keyOf(0), `{"text":"hay"}`, ""))
		c.Inbox[n].ID = fmt.Sprintf("01%08d", n)
	}
	c.Inbox[3].Message.Payload = core.Raw(`{"text":"needle"}`)
	c.Outbox = []*core.OutboxItem{sent(1, keyOf(0), `{"text":"needle"}`, "")}
	c.Outbox[0].ID = "0100000001"
	_, call := newReader(t, newVillage(1), c)
	p := api.InboxParams{Search: "needle"}
	page := must(api.InboxPage.Call(t.Context(), call, p))(t)
	if len(page.Messages) != 0 || page.Looked != searched.Rows || page.Next == "" {
		t.Fatalf("first page: %d found of %d, next %q", len(page.Messages), page.Looked, page.Next)
	}
	p.Before = page.Next
	page = must(api.InboxPage.Call(t.Context(), call, p))(t)
	if len(page.Messages) != 1 || page.Looked != 250 || page.Next != "" {
		t.Errorf("second page: %d found of %d, next %q", len(page.Messages), page.Looked, page.Next)
	}
	// In a thread, what we said shows only where nothing of theirs can stand before it.
	q := api.ThreadParams{Peer: "p0", Search: "needle"}
	first := must(api.Thread.Call(t.Context(), call, q))(t)
	q.Before = first.Next
	second := must(api.Thread.Call(t.Context(), call, q))(t)
	if len(first.Entries) != 0 || len(second.Entries) != 2 || second.Entries[0].In == nil || second.Next != "" {
		t.Errorf("thread: %d, then %d entries, next %q; want 0, then theirs and ours", len(first.Entries), len(second.Entries), second.Next)
	}
}

// TestThreadSaysHowThingsStand.
func TestThreadSaysHowThingsStand(t *testing.T) {
	in := received(1, keyOf(0), `{"text":"may I?"}`, "c")
	in.Message.ReplyTo, in.Status = "https://p0.example/federation/reply", core.InboxReplied
	in.Reply = &core.Reply{Nonce: in.Message.Nonce, Success: true, Timestamp: core.FormatTime(at(3))}
	answer := &core.OutboxItem{ID: idOf(3), Peer: keyOf(0), Kind: core.OutReply, State: core.OutWaiting, Nonce: in.Message.Nonce, Created: at(3), Reply: in.Reply}
	out := sent(5, keyOf(0), `{"text":"how?"}`, "c")
	_, call := newReader(t, newVillage(1), &core.Change{Inbox: []*core.InboxMessage{in, received(7, keyOf(0), `{}`, "c")},
		Outbox:     []*core.OutboxItem{answer, out},
		Replies:    []*core.StoredReply{{Peer: keyOf(0), Nonce: out.Nonce, Reply: core.Reply{Success: true, Data: core.Raw(`{"text":"so"}`)}, At: at(6)}},
		Deliveries: []*core.Delivery{{EventID: in.ID, Notifier: "log", Created: at(1)}, {EventID: in.ID, Notifier: "openclaw", Created: at(1), Dead: true, Attempts: 3}},
	})
	list := must(api.Thread.Call(t.Context(), call, api.ThreadParams{Peer: "p0", Conversation: "c"}))(t).Entries
	if len(list) != 3 {
		t.Fatalf("%d entries, want 3: an answer stands with what it answers", len(list))
	}
	if e := list[1]; e.Out == nil || e.Out.Reply == nil {
		t.Errorf("our message comes without its answer: %+v", e)
	}
	if e := list[2]; e.Answer == nil || e.Answer.State != core.OutWaiting || !slices.Equal(e.ToNotify, []string{"log"}) || !slices.Equal(e.GivenUp, []string{"openclaw"}) {
		t.Errorf("their message: answer %+v, to notify %v, given up %v", e.Answer, e.ToNotify, e.GivenUp)
	}
}

// TestPeersPage goes through peers page by page, though one goes in between.
func TestPeersPage(t *testing.T) {
	v := newVillage(25)
	v[3].Trust, v[4].Trust = core.Pending, core.Removed
	v[5].Names.DisplayName, v[6].Tags = "Zoë's gateway", []string{"zoo"}
	v[7].Names.HumanName, v[8].Warning, v[4].Names.HumanName = string(peering.Down), "moved", string(peering.Down)
	_, call := newReader(t, v)
	var got []string
	p := api.PeersParams{Limit: 4}
	for {
		page := must(api.PeersPage.Call(t.Context(), call, p))(t)
		if page.Total != 25 || page.States["approved"] != 23 || page.States["pending"] != 1 || page.States["removed"] != 1 {
			t.Fatalf("total %d, states %v", page.Total, page.States)
		}
		for _, x := range page.Peers {
			got = append(got, x.Name)
		}
		if p.After = page.Next; p.After == "" {
			break
		}
	}
	if len(got) != 25 || got[0] != "p0" || got[24] != "p24" || len(slices.Compact(slices.Clone(got))) != 25 {
		t.Errorf("the pages have %v", got)
	}
	first := must(api.PeersPage.Call(t.Context(), call, api.PeersParams{Limit: 4}))(t)
	_, without := newReader(t, slices.Delete(slices.Clone(v), 3, 4))
	if page := must(api.PeersPage.Call(t.Context(), without, api.PeersParams{Limit: 4, After: first.Next}))(t); page.Peers[0].Name != "p4" {
		t.Errorf("after one has gone, the next page begins with %s, want p4", page.Peers[0].Name)
	}
	for _, test := range []struct {
		p    api.PeersParams
		want []string
	}{
		{api.PeersParams{Search: "ZOË'S"}, []string{"p5"}},
		{api.PeersParams{Search: "zoo"}, []string{"p6"}},
		{api.PeersParams{Search: "p11.example"}, []string{"p11"}},
		{api.PeersParams{Search: strings.ToLower(keyOf(9).Fingerprint())}, []string{"p9"}},
		{api.PeersParams{Trouble: true}, []string{"p7", "p8"}},
		{api.PeersParams{Status: core.Pending}, []string{"p3"}},
		{api.PeersParams{Status: core.Rejected}, nil},
		{api.PeersParams{Search: "nobody"}, nil},
	} {
		page := must(api.PeersPage.Call(t.Context(), call, test.p))(t)
		var got []string
		for _, x := range page.Peers {
			got = append(got, x.Name)
		}
		if !slices.Equal(got, test.want) || page.Total != len(test.want) {
			t.Errorf("%+v = %v of %d, want %v", test.p, got, page.Total, test.want)
		}
	}
	if _, err := api.PeersPage.Call(t.Context(), call, api.PeersParams{After: "x.y.z"}); err == nil {
		t.Error("a page after nowhere is shown")
	}
}

// BenchmarkPeersPage is a page in the middle of 10,000 peers.
func BenchmarkPeersPage(b *testing.B) {
	v := newVillage(10_000)
	r := &Reader{Gateway: v.town(), View: func(p *core.Peer) api.PeerView { return api.PeerView{Name: p.Name()} }}
	p := api.PeersParams{Limit: 50, Search: "example p", After: placeAt(v[5000])}
	for b.Loop() {
		if page, err := r.peers(context.Background(), p); err != nil || len(page.Peers) != 50 {
			b.Fatal(err)
		}
	}
}

// TestListsAreAsLongAsAskedFor: whoever asks for all gets all, in one answer.
func TestListsAreAsLongAsAskedFor(t *testing.T) {
	const kept = 2500
	c := &core.Change{}
	for n := range kept {
		c.Inbox, c.Outbox = append(c.Inbox, received(n, keyOf(1), `{}`, "")), append(c.Outbox, sent(n, keyOf(1), `{}`, ""))
	}
	_, call := newReader(t, newVillage(3), c)
	for _, limit := range []int{kept, 1_000_000, math.MaxInt} {
		in := must(api.Inbox.Call(t.Context(), call, api.InboxParams{Limit: limit}))(t)
		page := must(api.InboxPage.Call(t.Context(), call, api.InboxParams{Peer: "p1", Limit: limit}))(t)
		out := must(api.Outbox.Call(t.Context(), call, api.OutboxParams{Limit: limit}))(t)
		if len(in) != kept || len(page.Messages) != kept || page.Next != "" || len(out) != kept {
			t.Errorf("limit %d: %d, %d and %d of %d; next %q", limit, len(in), len(page.Messages), len(out), kept, page.Next)
		}
	}
}
