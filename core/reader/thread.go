package reader

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// Thread chooses what passed between us and a peer.
type Thread struct {
	Peer  core.PublicKey
	In    func(*core.InboxMessage) bool // nil: all
	Out   func(*core.OutboxItem) bool   // nil: all
	From  string                        // the Next of the page before; empty: the newest
	Limit int
	Look  Look // bounds each way
}

// Entry is one thing that was said: In by them, or Out by us.
type Entry struct {
	At  time.Time
	In  *core.InboxMessage
	Out *core.OutboxItem
}

// way is one way of a thread: what is read of it, and has not had its turn.
type way[T any] struct {
	read   func(before string, n int) ([]T, error)
	of     func(T) (id string, size int)
	want   func(T) bool
	look   Look
	before string // where the rest stands before
	waits  []T
	looked int
	ended  bool
	full   bool // it has looked at enough
}

// head is the next one; ok is false where there is none, or enough was looked at.
func (w *way[T]) head() (x T, ok bool, err error) {
	for {
		for len(w.waits) > 0 {
			if x = w.waits[0]; w.want == nil || w.want(x) {
				return x, true, nil
			}
			if w.skip(); w.full {
				return x, false, nil
			}
		}
		if w.ended || w.full {
			return x, false, nil
		}
		if w.waits, err = w.read(w.before, chunk); err != nil {
			return x, false, err
		}
		w.ended = len(w.waits) < chunk
	}
}

// skip goes on behind the first.
func (w *way[T]) skip() {
	id, size := w.of(w.waits[0])
	w.before, w.waits = id, w.waits[1:]
	w.looked++
	w.look.Bytes -= size
	w.full = w.want != nil && (w.looked >= w.look.Rows || w.look.Bytes <= 0) && !(w.ended && len(w.waits) == 0)
}

// Of reads a page of a thread, the newest first.
func (t Thread) Of(ctx context.Context, s core.Store) (out []Entry, end End, err error) {
	from, fromOut, cut := strings.Cut(t.From, ".")
	if t.From != "" && !cut {
		return nil, end, core.Refuse(core.Malformed, "this is not a place in a thread; start with the newest")
	}
	in := way[*core.InboxMessage]{before: from, want: t.In, look: t.Look, read: func(before string, n int) ([]*core.InboxMessage, error) {
		return s.Inbox(ctx, core.InboxFilter{Peer: t.Peer, Before: before, Limit: n})
	}, of: func(m *core.InboxMessage) (string, int) { return m.ID, len(m.Message.Payload) }}
	sent := way[*core.OutboxItem]{before: fromOut, want: t.Out, look: t.Look, read: func(before string, n int) ([]*core.OutboxItem, error) {
		return s.Outbox(ctx, core.OutboxFilter{Peer: t.Peer, Before: before, Limit: n})
	}, of: sizeOfItem}
	for {
		m, came, err := in.head()
		o, went, err2 := sent.head()
		if err := errors.Join(err, err2); err != nil {
			return nil, end, err
		}
		end.Looked = in.looked + sent.looked
		if !came && !went && !in.full && !sent.full {
			return out, end, nil
		}
		// What one way has not looked at may be newer than what the other shows next.
		if len(out) == t.Limit || in.full && !came || sent.full && !went {
			end.Next = in.before + "." + sent.before
			return out, end, nil
		}
		if went && (!came || o.Created.After(m.At)) {
			out = append(out, Entry{At: o.Created, Out: o})
			sent.skip()
			continue
		}
		out = append(out, Entry{At: m.At, In: m})
		in.skip()
	}
}

// thread is the method "thread".
func (r *Reader) thread(ctx context.Context, p api.ThreadParams) (api.ThreadView, error) {
	v := api.ThreadView{Entries: []api.ThreadEntry{}}
	peer, err := r.Gateway.Resolve(p.Peer)
	if err != nil {
		return v, err
	}
	words := wordsOf(p.Search)
	of := func(m *core.Message) bool { return p.Conversation == "" || m.ConversationID == p.Conversation }
	t := Thread{Peer: peer.Key, From: strings.ToUpper(p.Before), Limit: sized(p.Limit), Look: searched}
	if len(words) > 0 || p.Conversation != "" {
		t.In = func(m *core.InboxMessage) bool {
			return of(&m.Message) && (len(words) == 0 || r.holdsMessage(words, m))
		}
	}
	t.Out = func(o *core.OutboxItem) bool {
		return o.Kind == core.OutMessage && o.Message != nil && of(o.Message) && (len(words) == 0 || r.holdsItem(words, o))
	}
	entries, end, err := t.Of(ctx, r.Store)
	if err != nil {
		return v, err
	}
	for _, e := range entries {
		shown, err := r.entry(ctx, e)
		if err != nil {
			return v, err
		}
		v.Entries = append(v.Entries, shown)
	}
	v.Next, v.Looked = end.Next, end.Looked
	return v, nil
}

// entry shows what was said, and how that stands.
func (r *Reader) entry(ctx context.Context, e Entry) (api.ThreadEntry, error) {
	v := api.ThreadEntry{At: e.At}
	if e.Out != nil {
		o, err := r.answered(ctx, e.Out)
		v.Out = &o
		return v, err
	}
	m := r.InboxView(e.In)
	v.In = &m
	owed, err := r.Store.Deliveries(ctx, core.DeliveryFilter{EventID: m.ID})
	if err != nil {
		return v, err
	}
	for _, d := range owed {
		if d.Dead {
			v.GivenUp = append(v.GivenUp, d.Notifier)
		} else {
			v.ToNotify = append(v.ToNotify, d.Notifier)
		}
	}
	item, err := r.replyTo(ctx, e.In)
	if item != nil {
		o := r.outboxView(item)
		v.Answer = &o
	}
	return v, err
}

// around is how many envelopes are looked at for an answer of ours: those that were made
// about when it was.
const around = 20

// replyTo finds the envelope of our answer to a message; nil: it has none, or the peer is
// to fetch it, or it was long ago.
func (r *Reader) replyTo(ctx context.Context, m *core.InboxMessage) (*core.OutboxItem, error) {
	if m.Reply == nil || m.Message.ReplyTo == "" {
		return nil, nil
	}
	at, err := core.ParseTime(m.Reply.Timestamp)
	if err != nil {
		return nil, nil
	}
	var behind ulid.ULID
	if behind.SetTime(ulid.Timestamp(at.Add(time.Second))) != nil {
		return nil, nil
	}
	list, err := r.Store.Outbox(ctx, core.OutboxFilter{Peer: m.Peer, Before: behind.String(), Limit: around})
	for _, item := range list {
		if item.Kind == core.OutReply && item.Nonce == m.Message.Nonce {
			return item, nil
		}
	}
	return nil, err
}
