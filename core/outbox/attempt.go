package outbox

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
)

// Attempt tries an envelope once and writes down what came of it. The error is why
// it was not delivered. first says that somebody waits for the outcome, who need
// not be told by an event.
func (q *Queue) Attempt(ctx context.Context, item *core.OutboxItem, first bool) (*core.OutboxItem, error) {
	unlock, err := q.locks.Lock(ctx, lockName{"item", item.Peer, item.ID})
	if err != nil {
		return item, err
	}
	defer unlock()
	fresh, err := q.o.Store.OutboxItem(ctx, item.ID)
	if err != nil {
		return item, err
	}
	if item = fresh; item.State != core.OutWaiting {
		return item, failureOf(item)
	}
	first = first || !item.GiveUp.After(item.Created) // of one that is tried only once, its sender hears, whoever tries it
	p := q.o.Gateway.Peer(item.Peer)
	next := *item
	now := q.o.Now().UTC()
	if why, tell := q.mayNot(ctx, p, item, now, first); why != nil {
		if errors.Is(why, errDoubt) { // what waits is whole until it is known whether it has removed us
			next.Next, next.Error, next.Hint = now.Add(doubtWait), "the peer has perhaps removed us", ""
		} else {
			next.State, next.Error, next.Hint, next.Done = core.OutExpired, why.Error(), hintOf(why), now
		}
		return &next, errors.Join(why, q.keepItem(ctx, &next, tell))
	}
	if item.Attempts > 0 && q.hasReplied(ctx, item) {
		next.State, next.Done, next.Error, next.Hint = core.OutSent, now, "", ""
		return &next, q.keepItem(ctx, &next, false)
	}
	var got core.Answer
	if err = q.seal(p, &next); errors.Is(err, core.Unavailable) {
		why := waitsForKey(err)
		return &next, errors.Join(why, q.unsigned(ctx, &next, why, now, first))
	} else if err == nil {
		got, err = q.deliver(ctx, p, &next)
	}
	next.Attempts++
	result := q.settle(ctx, p, &next, got, err)
	next.Hint = hintOf(result)
	if err == nil || ctx.Err() == nil { // else we were cut short ourselves
		q.o.Gateway.Tried(p.Key, Unheard(result))
	}
	if next.State == core.OutWaiting && result != nil && next.Answer == nil && item.Next.After(now) { // tried before its time, which stays
		next.Attempts, next.Next = max(1, item.Attempts), item.Next
	}
	q.o.Logger.Info("envelope tried", "kind", next.Kind, "peer", p.Name(), "state", next.State, "attempt", next.Attempts, "err", next.Error)
	// What the peer has taken is written down even when our caller has gone.
	return &next, q.keepTried(context.WithoutCancel(ctx), &next, result, now, !first || next.Attempts > 1)
}

// keepTried writes down what came of a try, unless the message was answered meanwhile. The
// error is why it was not delivered.
func (q *Queue) keepTried(ctx context.Context, item *core.OutboxItem, result error, now time.Time, tell bool) error {
	if item.State != core.OutSent && item.Kind == core.OutMessage {
		unlock, err := q.locks.Lock(ctx, lockName{"reply", item.Peer, string(item.Nonce)})
		if err != nil {
			return err
		}
		defer unlock()
		if q.hasReplied(ctx, item) {
			item.State, item.Done, item.Error, item.Hint, result = core.OutSent, now, "", "", nil
		}
	}
	return errors.Join(result, q.keepItem(ctx, item, tell))
}

// unsignedWait is how long an envelope waits for our key.
const unsignedWait = 10 * time.Second

// waitsForKey is why an envelope waits that could not be signed.
func waitsForKey(err error) error {
	e := &core.Error{Kind: core.Unavailable, Public: "waits for our key", RetryAfter: unsignedWait, Hint: hintOf(err), Err: err}
	var why *core.Error
	if errors.As(err, &why) && why.Err != nil {
		e.Err = why.Err
	}
	return e
}

// unsigned writes down that an envelope waits, as our key cannot be reached: that is no try.
func (q *Queue) unsigned(ctx context.Context, item *core.OutboxItem, why error, now time.Time, first bool) error {
	item.Error, item.Hint, item.Next = why.Error(), hintOf(why), now.Add(unsignedWait)
	if item.Next.After(item.GiveUp) {
		item.State, item.Done = core.OutExpired, now
	}
	return q.keepItem(ctx, item, !first)
}

// over notes what came of a try, and reports whether the walk ends with it.
func (q *Queue) over(ctx context.Context, x *pass, next *core.OutboxItem, mine bool, err error) bool {
	if ctx.Err() == nil && (x.under.Err() != nil || errors.Is(err, core.Moved)) { // another node has the lease, and goes on
		x.elsewhere(errElsewhere)
		return true
	}
	if mine {
		x.mine = next
	}
	x.tried(next.State)
	if next.State == core.OutWaiting {
		if ctx.Err() != nil {
			return true
		}
		x.later(q.left(next))
		if holdsUp(next) {
			x.impatient = false
			x.behind = err
			return true
		}
	}
	if mine {
		x.later(time.Millisecond) // there may be later ones
	}
	return mine
}

var errDoubt = core.Refuse(core.Unavailable, "the peer has perhaps removed us")

// mayNot says why an envelope is not tried, and whether somebody is to be told by an event: it
// ends with it, or waits longer if it is errDoubt.
func (q *Queue) mayNot(ctx context.Context, p *core.Peer, item *core.OutboxItem, now time.Time, first bool) (why error, tell bool) {
	wanted, late := core.Approved, now.Sub(item.GiveUp) > lateBy
	if item.Kind == core.OutReject {
		wanted = core.Rejected // a peer that has come back since is not turned away
	}
	switch {
	case item.Kind == core.OutApprove && q.superseded(ctx, item):
		return core.Refuse(core.Conflict, "a later approval has replaced it"), false
	case p != nil && item.Kind == core.OutApprove && Outrun(p, Ordered(p, item)):
		return core.Refuse(core.Refused, "a removal notice of the peer came later than its request, and may be its own").
			WithHint(`"ogp federation approve ` + p.Name() + `" approves it all the same`), true
	case p != nil && p.Doubt != nil && p.Doubt.Was == core.Approved && wanted == core.Approved && !late:
		return errDoubt, false
	case p == nil || p.Trust != wanted:
		return core.Refuse(core.NotApproved, "the peer is no longer "+string(wanted)), !first && (item.Kind == core.OutMessage || item.Kind == core.OutReply)
	case late:
		return core.Refuse(core.Unreachable, because("given up", item)), !first
	}
	return nil, false
}

// superseded reports whether a later approval waits for the same peer.
func (q *Queue) superseded(ctx context.Context, item *core.OutboxItem) (yes bool) {
	err := q.each(ctx, item.Peer, func(x *core.OutboxItem) { yes = yes || x.Kind == core.OutApprove && x.ID > item.ID })
	return yes && err == nil
}

// hasReplied reports whether a message of ours was answered: who replies has it,
// whatever became of the answer to the envelope itself.
func (q *Queue) hasReplied(ctx context.Context, item *core.OutboxItem) bool {
	if item.Kind != core.OutMessage {
		return false
	}
	_, err := q.o.Store.Reply(ctx, item.Peer, item.Nonce)
	return err == nil
}

func (q *Queue) keepItem(ctx context.Context, item *core.OutboxItem, tell bool) error {
	change := &core.Change{Outbox: []*core.OutboxItem{item}}
	if tell && (item.State == core.OutRefused || item.State == core.OutExpired) {
		change.Events = append(change.Events, q.failed(item))
	}
	return q.o.Gateway.Store(ctx, change)
}

// failed is the event of an envelope that was given up.
func (q *Queue) failed(item *core.OutboxItem) *core.Event {
	data, err := json.Marshal(map[string]any{"outboxId": item.ID, "kind": item.Kind, "error": item.Error}, json.Deterministic(true))
	if err != nil {
		panic(err) // three texts always encode
	}
	e := &core.Event{ID: ulid.Make().String(), Type: core.EventDeliveryFailed, At: q.o.Now().UTC(), Peer: item.Peer, By: core.Us,
		Text: "An envelope of ours could not be delivered.", Data: data}
	if p := q.o.Gateway.Peer(item.Peer); p != nil {
		e.Then = p.Then()
	}
	return e
}

// seal signs an envelope. The body of the last try is sent again while its time is fresh,
// so that the peer knows it for the same.
func (q *Queue) seal(p *core.Peer, item *core.OutboxItem) error {
	now := q.o.Now()
	if item.Body != nil && now.Sub(item.SignedAt).Abs() < q.o.Gateway.OutboxSettings().Window*3/4 {
		return nil
	}
	body, err := q.o.Gateway.Seal(p, item)
	if err == nil {
		item.Body, item.SignedAt = body, now.UTC()
	}
	return err
}

// deliver posts an envelope.
func (q *Queue) deliver(ctx context.Context, p *core.Peer, item *core.OutboxItem) (core.Answer, error) {
	switch item.Kind {
	case core.OutMessage:
		return q.o.Transport.Post(ctx, p.URL, core.PathMessage, item.Body)
	case core.OutReply:
		return q.o.Transport.PostURL(ctx, replyURL(p, item), item.Body)
	default:
		return q.o.Transport.Post(ctx, p.URL, core.PathApprove, item.Body)
	}
}

// replyURL is where a reply goes: to the place that its message named, or, since the peer
// has moved, to the same at its new URL.
func replyURL(p *core.Peer, item *core.OutboxItem) string {
	named, err := url.Parse(item.URL)
	now, err2 := url.Parse(p.URL)
	if err != nil || err2 != nil || core.Origin(named) != core.Origin(now) {
		return p.URL + core.PathReply + string(item.Nonce)
	}
	return item.URL
}

// endpoints are what the queue posts to.
var endpoints = map[core.OutboxKind]answer.Endpoint{
	core.OutMessage: answer.Message, core.OutReply: answer.Reply, core.OutApprove: answer.Approve, core.OutReject: answer.Approve,
}

// settle decides what a try means for the envelope, and returns why it was not
// delivered.
func (q *Queue) settle(ctx context.Context, p *core.Peer, item *core.OutboxItem, got core.Answer, err error) error {
	s := q.o.Gateway.OutboxSettings()
	now := q.o.Now().UTC()
	item.Error, item.Answer, item.Answered, item.Asked = "", nil, err == nil, false
	retry := time.Duration(0)
	var j answer.Judged
	if err == nil {
		// A nonce is used once: one that was signed anew, or is tried after a restart, may
		// have been there although we know of no try.
		again := item.Attempts > 1 || item.SignedAt.After(item.Created.Add(time.Second))
		j = q.Judge(ctx, p, endpoints[item.Kind], got, answer.Try{Again: again, Nonce: item.Nonce})
		if j.Said != "" || j.Verdict == answer.Yes {
			item.Answer = jsonOrNil(got.Body)
		}
		switch {
		case j.Verdict == answer.Yes:
			item.State, item.Done = core.OutSent, now
			return nil
		case j.Stale && item.SignedAt.Before(now.Add(-time.Minute)):
			item.Body = nil // the clocks differ a little: signed anew it may be taken
		case j.Verdict != answer.Wait:
			item.State, item.Done = core.OutRefused, now
		}
		retry, err = j.RetryAfter, j.Err()
	}
	item.Error = err.Error()
	if item.State != core.OutWaiting {
		return err
	}
	pause := s.Wait(item.Attempts, retry)
	if retry > 0 && j.Said != "" && holdsUp(item) {
		pause = retry // the later ones wait for no longer than the peer has asked for
	}
	if item.Kind == core.OutReject && isNotPending(j) { // whom we could reject wrote its request down before it asked
		err = core.Refusef(core.Refused, "%s: it does not wait for our answer", err)
		item.State, item.Done, item.Error = core.OutRefused, now, err.Error()
		return err
	}
	if item.Kind == core.OutApprove {
		var over bool
		if pause, over = approvalWait(p, item, j, pause, now); over {
			err = approvalOver(p, j, err)
			item.State, item.Done, item.Error = core.OutRefused, now, err.Error()
			return err
		}
		if isNotPending(j) {
			err = notPendingYet(p, err)
		}
	}
	item.Asked = asksForTime(j, got)
	if item.Next = now.Add(pause); item.Next.After(item.GiveUp) {
		item.State, item.Done = core.OutExpired, now
	}
	return err
}

// asksForTime reports whether the peer's own gateway wants to be left alone for a time. 429
// before 0.4 names none, and an approval's times are those that its peer needs.
func asksForTime(j answer.Judged, got core.Answer) bool {
	return j.Said != "" && (j.RetryAfter > 0 || got.Status == http.StatusTooManyRequests || isNotPending(j))
}

func jsonOrNil(b []byte) core.Raw {
	if len(b) == 0 || !jsontext.Value(b).IsValid() {
		return nil
	}
	return b
}

// Unheard is err where it means that no gateway has spoken, else nil: one that says
// no is there.
func Unheard(err error) error {
	if errors.Is(err, core.Refused) {
		return nil
	}
	return err
}

// Judge says what a peer's answer to an envelope means. That an endpoint is missing
// counts only where the peer's own card stands. t need not say what is known of the
// peer.
func (q *Queue) Judge(ctx context.Context, p *core.Peer, to answer.Endpoint, a core.Answer, t answer.Try) answer.Judged {
	t.Peer, t.V2, t.Now = p.Name(), p.V2, q.o.Now()
	if to == answer.Request { // it may not be on record yet
		t.Peer = p.URL
	}
	j := answer.Judge(to, a, t)
	if j.Verdict == answer.NoEndpoint {
		if card, err := q.o.Transport.Card(ctx, p.URL, nil); err != nil || !strings.EqualFold(card.PublicKey, p.Key.String()) {
			j.Verdict = answer.Wait
		}
	}
	if j.Hint == "" && p.Trust == core.Approved && answer.HasLostUs(j) {
		j.Hint = `it has removed or lost us, as it seems; "ogp federation request ` + p.URL + `" asks it, and asks to federate again`
	}
	return j
}
