package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/history"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
)

// raw is a text as a payload.
func raw(text string) core.Raw {
	b, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		panic(err)
	}
	return b
}

// said answers what was said, and what has happened: hostile, each word of it.
func (f *fake) said() control.Local {
	in := api.InboxView{From: hostile, Fingerprint: "BENB-ENBE-NBEN-BENB-ENBE", Text: hostile, InboxMessage: core.InboxMessage{ID: "01M", At: time.Now(), Status: core.InboxNew, Reason: hostile,
		Message: core.Message{Intent: hostile, ConversationID: hostile, ToAgent: hostile, Payload: raw(hostile)}}}
	answered, held := in, in
	answered.Reply, answered.Status = &core.Reply{Success: true, Data: raw(hostile)}, core.InboxReplied
	held.Status, held.ID = core.InboxHeld, "01H"
	out := api.OutboxView{To: hostile, OutboxItem: core.OutboxItem{ID: "01O", Peer: f.key, Kind: core.OutMessage, State: core.OutRefused, Created: time.Now(), Error: hostile, Hint: hostile,
		Message: &core.Message{Intent: hostile, ConversationID: hostile, Payload: raw(hostile)}}, Reply: &core.StoredReply{Reply: core.Reply{Error: hostile}}}
	return control.Local{
		api.InboxPage.Handle(func(_ context.Context, p api.InboxParams) (api.InboxPageView, error) {
			f.note(fmt.Sprintf("in:%s/%s", p.Search, p.Before))
			return api.InboxPageView{Messages: []api.InboxView{in, answered, held}, Next: "01LAST", Looked: 2000}, nil
		}),
		api.OutboxPage.Handle(func(context.Context, api.OutboxParams) (api.OutboxPageView, error) {
			return api.OutboxPageView{Messages: []api.OutboxView{out}}, nil
		}),
		api.InboxMessage.Handle(func(_ context.Context, p api.IDParams) (api.InboxView, error) {
			switch p.ID {
			case "01H":
				return held, nil
			case "01R":
				return answered, nil
			}
			return in, nil
		}),
		api.OutboxItem.Handle(func(context.Context, api.IDParams) (api.OutboxView, error) { return out, nil }),
		api.Thread.Handle(func(_ context.Context, p api.ThreadParams) (api.ThreadView, error) {
			f.note("thread:" + p.Conversation + "/" + p.Before)
			return api.ThreadView{Next: "A.B", Entries: []api.ThreadEntry{{In: &in, ToNotify: []string{"log"}}, {In: &answered, Answer: &out}, {In: &held}, {Out: &out}}}, nil
		}),
		api.InboxReply.Handle(func(_ context.Context, p api.ReplyParams) (api.OutgoingView, error) {
			f.note(fmt.Sprintf("reply:%s:%s%s", p.ID, p.Data, p.Error))
			return api.OutgoingView{Peer: f.peer("ben"), State: "waiting"}, nil
		}),
		api.InboxDeny.Handle(func(_ context.Context, p api.DenyParams) (api.OutgoingView, error) {
			f.note("deny:" + p.ID + ":" + p.Reason)
			return api.OutgoingView{Peer: f.peer("ben")}, nil
		}),
		api.PeersPage.Handle(func(_ context.Context, p api.PeersParams) (api.PeersPageView, error) {
			if p.Trouble {
				return api.PeersPageView{}, nil
			}
			return api.PeersPageView{Peers: []api.PeerView{f.peer("ben"), f.peer("")}, Total: 1234, Next: "N", States: map[string]int{"approved": 1233, "pending": 1}}, nil
		}),
		api.History.Handle(func(context.Context, history.Params) (api.HistoryView, error) {
			p := history.Point{Known: true, Accepted: 3, Refused: 7, QuestionMillis: 0.25, Outbox: 4}
			v := api.HistoryView{View: history.View{Points: []history.Point{{}, p, {}, p}, Plugins: []history.Plugin{{Name: "office", Calls: 4}}}}
			ben := f.peer("ben")
			ben.Alias = strings.Trim(hostile, "\u202e\u200bturned")
			v.Busiest = []api.BusyView{{Peer: ben, Traffic: history.Traffic{In: 1000, Out: 3}}}
			return v, nil
		}),
	}
}

// TestRegistrations: the health page says how this node stands with each rendezvous, unless
// another sees to it.
func TestRegistrations(t *testing.T) {
	s, f, b := open(t)
	s.o.Caller = append(control.Local{api.Status.Handle(func(context.Context, api.None) (api.StatusView, error) {
		return api.StatusView{Rendezvous: []rendezvous.Status{{URL: "https://a.example", Elsewhere: true}, {URL: "https://b.example", Registered: true}, {URL: "https://c.example"}}}, nil
	})}, f.handlers()...)
	b.enter(s)
	_, text := b.get("/health")
	text = regexp.MustCompile(`<[^>]*>`).ReplaceAllString(text, "|")
	for _, want := range []string{"a.example|: another node keeps the registration|", "b.example|: registered|", "c.example|: |not registered|"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestMessages reads, pages, searches, answers.
func TestMessages(t *testing.T) {
	s, f, b := open(t)
	b.enter(s)
	for path, want := range map[string][]string{
		"/messages":                             {"of the newest", "/messages/BENB-ENBE-NBEN-BENB-ENBE"},
		"/messages?box=in&q=thursday":           {"before=01LAST", "q=thursday", "Looked at 2000 messages", "search on"},
		"/messages?box=in&q=thursday&before=01": {"to the beginning"},
		"/messages/ben?conversation=c":          {"before=A.B", "/held/release", "/held/deny", "waits for log", "we answered", "it answered", "refused"},
		"/message/01M":                          {"/message/01M/reply", "<textarea"},
		"/message/01H":                          {"/held/deny"},
		"/message/01R":                          {"Our answer"},
		"/sent/01O":                             {"answer", "/outbox/retry"},
		"/peers":                                {"1234 peers", "after=N", "<svg", "1233 more approved peers", `stroke-width="6.0"`},
		"/health":                               {`role="img"`, "accepted at the most 3", "0.25", "office"},
		"/live":                                 {string(core.EventDeliveryFailed), "log was not notified of an event: "},
		"/":                                     {"accepted</dt><dd>6</dd>", "refused</dt><dd>14</dd>", `<svg class="plot"`},
	} {
		r, text := b.get(path)
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
		for _, w := range want {
			if !strings.Contains(strings.ToLower(text), strings.ToLower(w)) {
				t.Errorf("%s lacks %q:\n%s", path, w, text)
			}
		}
	}
	reply := func(id string, v url.Values) int {
		v.Set("token", b.token())
		r, _ := b.post("/message/"+id+"/reply", v)
		return r.StatusCode
	}
	if c := reply("01M", url.Values{"text": {" "}}); c != http.StatusBadRequest {
		t.Errorf("an empty answer: %d", c)
	}
	for _, v := range []url.Values{{"text": {"Thursday"}}, {"text": {`{"free":true}`}}, {"text": {"no room"}, "failed": {"yes"}}} {
		if c := reply("01M", v); c != http.StatusSeeOther {
			t.Errorf("%v: %d", v, c)
		}
	}
	b.post("/held/deny", url.Values{"token": {b.token()}, "id": {"01H"}, "reason": {"busy"}})
	for _, want := range []string{`reply:01M:{"text":"Thursday"}`, `reply:01M:{"free":true}`, "reply:01M:no room", "deny:01H:busy", "in:thursday/01", "thread:c/"} {
		if !strings.Contains(f.noted(), want) {
			t.Errorf("not done: %s in %s", want, f.noted())
		}
	}
	if r, _ := b.post("/message/01M/reply", url.Values{"token": {"x"}, "text": {"x"}}); r.StatusCode != http.StatusForbidden {
		t.Errorf("an answer without a form of ours: %d", r.StatusCode)
	}
}

// TestPictureIsSane: however many there are, so many are drawn, and each is in the list.
func TestPictureIsSane(t *testing.T) {
	var p picture
	for n := range drawn {
		v := api.PeerView{Alias: fmt.Sprint("peer", n), Fingerprint: fmt.Sprint("F", n), State: core.Approved}
		p.Peers = append(p.Peers, api.BusyView{Peer: v, Traffic: history.Traffic{In: n * n * n * n, Out: n}})
	}
	svg := string(p.SVG())
	if n := strings.Count(svg, "<circle"); n != drawn+1 {
		t.Errorf("%d circles, want %d", n, drawn+1)
	}
	for _, bad := range []string{"NaN", "Inf", "style=", `stroke-width="-`} {
		if strings.Contains(svg, bad) {
			t.Errorf("the picture has %s in it", bad)
		}
	}
	if len(svg) > 40<<10 {
		t.Errorf("the picture has %d bytes", len(svg))
	}
	if empty := string(picture{}.SVG()); strings.Contains(empty, "NaN") {
		t.Error("the picture of nobody is none")
	}
}

// TestThreads: a conversation of one message is no thread of its own.
func TestThreads(t *testing.T) {
	in := []api.InboxView{{InboxMessage: core.InboxMessage{Message: core.Message{ConversationID: "alone"}}}, {InboxMessage: core.InboxMessage{Message: core.Message{ConversationID: "both"}}}}
	out := []api.OutboxView{{OutboxItem: core.OutboxItem{Message: &core.Message{ConversationID: "both"}}}, {}}
	of := conversations(in, out)
	for id, want := range map[string]string{"alone": "", "both": "both", "": "", "none": ""} {
		if got := of(id); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}
