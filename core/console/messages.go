package console

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// recently is how many of the newest messages each way the list of threads is made of.
const recently = 300

// thread is what was said of late with one peer in one conversation.
type thread struct {
	Name, Fingerprint, Conversation string
	Last                            time.Time
	Text                            string
	Ours                            bool // we said the last thing
	In, Out, Held                   int
}

// messagesPage is a page of messages: as threads, in, or out.
type messagesPage struct {
	Box, Search, Status, Peer string
	Statuses                  []string
	Threads                   []thread
	In                        []api.InboxView
	Out                       []api.OutboxView
	pager
}

// pager leads to the other pages of a list that knows no numbers.
type pager struct {
	First, Next string // paths; empty: none
	Looked      int    // how many a search has looked at; 0: it was none
}

// pagerOf leads on from a page; at names the parameter of its place.
func pagerOf(r *http.Request, at, next, search string, looked int) (p pager) {
	q := r.URL.Query()
	if q.Get(at) != "" {
		q.Del(at)
		p.First = r.URL.Path + "?" + q.Encode()
	}
	if next != "" {
		q.Set(at, next)
		p.Next = r.URL.Path + "?" + q.Encode()
	}
	if search != "" {
		p.Looked = looked
	}
	return p
}

func (s *Server) messages(w http.ResponseWriter, r *http.Request) (err error) {
	q := r.URL.Query()
	p := messagesPage{Box: q.Get("box"), Search: strings.TrimSpace(q.Get("q")), Status: q.Get("status"), Peer: strings.TrimSpace(q.Get("peer"))}
	if p.Box == "" && p.Search+p.Status+p.Peer != "" {
		p.Box = "in"
	}
	switch p.Box {
	case "in":
		p.Statuses = []string{string(core.InboxNew), string(core.InboxHeld), string(core.InboxReplied), string(core.InboxDenied)}
		v, err := api.InboxPage.Call(r.Context(), s.o.Caller, api.InboxParams{Peer: p.Peer, Search: p.Search, Status: core.InboxStatus(p.Status), Before: q.Get("before"), Limit: onPage})
		if err != nil {
			return err
		}
		p.In, p.pager = v.Messages, pagerOf(r, "before", v.Next, p.Search, v.Looked)
	case "out":
		p.Statuses = []string{string(core.OutWaiting), string(core.OutSent), string(core.OutRefused), string(core.OutExpired)}
		v, err := api.OutboxPage.Call(r.Context(), s.o.Caller, api.OutboxParams{Peer: p.Peer, Search: p.Search, State: core.OutboxState(p.Status), Before: q.Get("before"), Limit: onPage})
		if err != nil {
			return err
		}
		p.Out, p.pager = v.Messages, pagerOf(r, "before", v.Next, p.Search, v.Looked)
	default:
		p.Box = ""
		if p.Threads, err = s.threads(r); err != nil {
			return err
		}
	}
	return s.render(w, r, "messages", "Messages", p)
}

// threads are those that the newest messages belong to.
func (s *Server) threads(r *http.Request) ([]thread, error) {
	in, err := api.Inbox.Call(r.Context(), s.o.Caller, api.InboxParams{Limit: recently})
	if err != nil {
		return nil, err
	}
	out, err := api.Outbox.Call(r.Context(), s.o.Caller, api.OutboxParams{Limit: recently})
	if err != nil {
		return nil, err
	}
	found := map[[2]string]*thread{}
	of := func(name, fingerprint, conversation string) *thread {
		k := [2]string{fingerprint, conversation}
		if found[k] == nil {
			found[k] = &thread{Name: name, Fingerprint: fingerprint, Conversation: conversation}
		}
		return found[k]
	}
	several := conversations(in, out)
	for _, m := range in {
		t := of(m.From, m.Fingerprint, several(m.Message.ConversationID))
		t.In++
		if m.Status == core.InboxHeld {
			t.Held++
		}
		if m.At.After(t.Last) {
			t.Last, t.Text, t.Ours = m.At, m.Text, false
		}
	}
	for _, m := range out {
		if m.Message == nil {
			continue
		}
		t := of(m.To, m.Peer.Fingerprint(), several(m.Message.ConversationID))
		t.Out++
		if m.Created.After(t.Last) {
			t.Last, t.Text, t.Ours = m.Created, api.OneLine(m.Message.Payload), true
		}
	}
	list := make([]thread, 0, len(found))
	for _, t := range found {
		list = append(list, *t)
	}
	slices.SortFunc(list, func(a, b thread) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Fingerprint, b.Fingerprint), cmp.Compare(a.Conversation, b.Conversation))
	})
	return list[:min(len(list), onPage)], nil
}

// conversations tells a conversation of several messages, which is a thread of its own, from one
// that a message has by itself: each message that names none has one.
func conversations(in []api.InboxView, out []api.OutboxView) func(id string) string {
	count := map[string]int{}
	for _, m := range in {
		count[m.Message.ConversationID]++
	}
	for _, m := range out {
		if m.Message != nil {
			count[m.Message.ConversationID]++
		}
	}
	return func(id string) string {
		if count[id] < 2 {
			return ""
		}
		return id
	}
}

// threadPage is what passed between us and a peer.
type threadPage struct {
	Peer         api.PeerView
	Conversation string
	Search       string
	Entries      []api.ThreadEntry
	pager
}

func (s *Server) threadPage(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	peer, err := api.Peer.Call(r.Context(), s.o.Caller, api.PeerRef{Peer: r.PathValue("peer")})
	if err != nil {
		return err
	}
	p := threadPage{Peer: peer, Conversation: q.Get("conversation"), Search: strings.TrimSpace(q.Get("q"))}
	v, err := api.Thread.Call(r.Context(), s.o.Caller, api.ThreadParams{Peer: peer.Fingerprint, Conversation: p.Conversation, Search: p.Search, Before: q.Get("before"), Limit: onPage})
	if err != nil {
		return err
	}
	p.Entries, p.pager = v.Entries, pagerOf(r, "before", v.Next, p.Search, v.Looked)
	return s.render(w, r, "thread", peer.Handle(), p)
}

// payloadOf is a payload to be read, with its members in lines.
func payloadOf(payload core.Raw) string {
	v := jsontext.Value(payload).Clone()
	if v.Indent() != nil {
		return string(payload)
	}
	return string(v)
}

// messagePage is one message that came.
func (s *Server) messagePage(w http.ResponseWriter, r *http.Request) error {
	m, err := api.InboxMessage.Call(r.Context(), s.o.Caller, api.IDParams{ID: r.PathValue("id")})
	if err != nil {
		return err
	}
	return s.render(w, r, "message", "A message", m)
}

// sentPage is one envelope of ours.
func (s *Server) sentPage(w http.ResponseWriter, r *http.Request) error {
	m, err := api.OutboxItem.Call(r.Context(), s.o.Caller, api.IDParams{ID: r.PathValue("id")})
	if err != nil {
		return err
	}
	return s.render(w, r, "sent", "What we sent", m)
}

// reply answers a message, with a text or, where it is one, with JSON.
func (s *Server) reply(w http.ResponseWriter, r *http.Request) error {
	id, answer := r.PathValue("id"), strings.TrimSpace(r.PostFormValue("text"))
	p := api.ReplyParams{ID: id}
	switch v := jsontext.Value(answer); {
	case answer == "":
		return core.Refuse(core.Malformed, "the answer is empty; nothing was sent")
	case r.PostFormValue("failed") == "yes":
		p.Error = answer
	case v.IsValid() && (v.Kind() == '{' || v.Kind() == '['):
		p.Data = core.Raw(answer)
	default:
		data, err := json.Marshal(map[string]string{"text": answer})
		if err != nil {
			return err
		}
		p.Data = data
	}
	o, err := api.InboxReply.Call(r.Context(), s.o.Caller, p)
	if err != nil {
		return err
	}
	notice := "The answer is ready for " + o.Peer.Handle() + " to fetch."
	switch core.OutboxState(o.State) {
	case core.OutSent:
		notice = "Answered " + o.Peer.Handle() + "."
	case core.OutWaiting:
		notice = "The answer is queued for " + o.Peer.Handle() + "."
	}
	return back(w, r, "/message/"+url.PathEscape(id), notice)
}
