// Package outbox is the durable queue of our envelopes to other gateways: each is
// stored first and then tried until its peer has it, in order for each peer, so
// that a silent one holds up nobody else.
//
// docs/protocol.md#messages
package outbox

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/lease"
	"github.com/opengatewayprotocol/ogp/core/locks"
	"github.com/opengatewayprotocol/ogp/core/queue"
)

// Gateway is what the queue needs of the gateway whose envelopes it sends.
type Gateway interface {
	// Peer is the peer's record as it is now, or nil.
	Peer(k core.PublicKey) *core.Peer
	// Tried notes that a peer was written to; err is nil if it answered.
	Tried(k core.PublicKey, err error)
	// Store commits a change and tells of its events.
	Store(ctx context.Context, c *core.Change) error
	// Seal makes the signed body of an envelope, from the record as it is now.
	Seal(p *core.Peer, item *core.OutboxItem) ([]byte, error)
	// OutboxSettings are the settings in force.
	OutboxSettings() Settings
}

// Settings are the times of the queue, as the gateway's settings have them.
type Settings struct {
	queue.Times
	Window time.Duration // how old a signed body may be for its peer
}

// Store is what the queue reads of the store.
type Store interface {
	Outbox(ctx context.Context, f core.OutboxFilter) ([]*core.OutboxItem, error)
	OutboxItem(ctx context.Context, id string) (*core.OutboxItem, error)
	WaitingPeers(ctx context.Context) ([]core.PublicKey, error)
	Reply(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.StoredReply, error)
}

// Transport carries envelopes. Errors are of kind Unreachable when no answer came.
type Transport interface {
	Card(ctx context.Context, gatewayURL string, headers map[string]string) (core.Card, error)
	Post(ctx context.Context, gatewayURL, path string, body []byte) (core.Answer, error)
	PostURL(ctx context.Context, url string, body []byte) (core.Answer, error)
}

// Options are what a queue is made of. All but Leases are needed.
type Options struct {
	Leases    *lease.Keeper // who may send to a peer; nil: there is one node alone
	Gateway   Gateway
	Store     Store
	Transport Transport
	Logger    *slog.Logger
	Now       func() time.Time
}

// Queue is the queue outward. Safe for concurrent use.
type Queue struct {
	o      Options
	engine *queue.Engine[core.PublicKey]
	locks  locks.Set[lockName]

	mu    sync.Mutex                     // guards alive
	alive map[core.PublicKey]*liveliness // peers with envelopes that wait
}

// liveliness is what we know of a peer beside its envelopes.
type liveliness struct {
	shown bool      // it has shown life since the last try
	tried time.Time // when it was last tried because of that
}

// lockName is what a lock is about.
type lockName struct {
	what string // item: one envelope; reply: a nonce and its reply
	peer core.PublicKey
	name string
}

// New makes a queue; its Run sends what waits.
func New(o Options) *Queue {
	q := &Queue{o: o, alive: map[core.PublicKey]*liveliness{}}
	q.engine = queue.New(maxSendsAtOnce, q.work)
	return q
}

// LockReply keeps what comes of a message apart from what comes of its reply: hold
// it while a reply is stored. The error is of kind Unavailable when ctx ends first.
func (q *Queue) LockReply(ctx context.Context, k core.PublicKey, n core.Nonce) (unlock func(), err error) {
	return q.locks.Lock(ctx, lockName{"reply", k, string(n)})
}

// Item is a new envelope, due now.
func (q *Queue) Item(k core.PublicKey, kind core.OutboxKind) *core.OutboxItem {
	now := q.o.Now().UTC()
	return &core.OutboxItem{ID: ulid.Make().String(), Peer: k, Kind: kind, State: core.OutWaiting,
		Created: now, Next: now, GiveUp: now.Add(q.o.Gateway.OutboxSettings().GiveUp)}
}

// Cancel lets a change give up all that waits for a peer.
func (q *Queue) Cancel(ctx context.Context, k core.PublicKey, why string, change *core.Change) error {
	return q.each(ctx, k, func(item *core.OutboxItem) {
		item.State, item.Error, item.Hint, item.Answered, item.Done = core.OutExpired, why, "", false, q.o.Now().UTC()
		change.Outbox = append(change.Outbox, item)
	})
}

// CancelApprovals lets a change give up the approvals that wait for a peer: all, or
// those alone that it has refused.
func (q *Queue) CancelApprovals(ctx context.Context, k core.PublicKey, why string, refused bool, change *core.Change) error {
	return q.each(ctx, k, func(item *core.OutboxItem) {
		if item.Kind == core.OutApprove && (item.NotPending > 0 || !refused) {
			item.State, item.Error, item.Hint, item.Answered, item.Done = core.OutExpired, why, "", false, q.o.Now().UTC()
			change.Outbox = append(change.Outbox, item)
		}
	})
}

// ApprovalWaits reports whether an approval waits for a peer.
func (q *Queue) ApprovalWaits(ctx context.Context, k core.PublicKey) (yes bool, err error) {
	err = q.each(ctx, k, func(item *core.OutboxItem) { yes = yes || item.Kind == core.OutApprove })
	return yes, err
}

// each calls f for all that waits for a peer, oldest first.
func (q *Queue) each(ctx context.Context, k core.PublicKey, f func(*core.OutboxItem)) error {
	page := core.OutboxFilter{Peer: k, State: core.OutWaiting, Oldest: true, Limit: 1000}
	for {
		items, err := q.o.Store.Outbox(ctx, page)
		if err != nil {
			return err
		}
		for _, item := range items {
			f(item)
		}
		if len(items) < page.Limit {
			return nil
		}
		page.After = items[len(items)-1].ID
	}
}

// Wake makes the queue look at what waits for a peer now.
func (q *Queue) Wake(k core.PublicKey) {
	q.waits(k, true)
	q.engine.Wake(k)
}

// Alive says that a peer has shown life, or that there is another reason to try it: its
// pauses end, but for a time that it asked for itself. It costs next to nothing for a
// peer that nothing waits for.
func (q *Queue) Alive(k core.PublicKey) {
	q.mu.Lock()
	l := q.alive[k]
	if l != nil {
		l.shown = true
	}
	q.mu.Unlock()
	if l != nil {
		q.engine.Wake(k)
	}
}

// aliveEvery is how often signs of life lead to a try: a peer that writes to us and
// cannot be reached itself would be tried for every envelope of its.
const aliveEvery = 5 * time.Second

// waits notes that something waits for a peer, or nothing. It reports whether that is news.
func (q *Queue) waits(k core.PublicKey, something bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	known := q.alive[k] != nil
	switch {
	case !something:
		delete(q.alive, k)
	case !known:
		q.alive[k] = &liveliness{}
	}
	return known != something
}

// takeAlive reports whether a peer has shown life since the last try, and uses that up.
func (q *Queue) takeAlive(k core.PublicKey) (shown bool, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.alive[k]
	if l == nil || !l.shown {
		return false, 0
	}
	if wait := aliveEvery - time.Since(l.tried); !l.tried.IsZero() && wait > 0 {
		return false, wait
	}
	l.shown, l.tried = false, time.Now()
	return true, 0
}

const (
	// maxSendsAtOnce bounds how many peers are written to at the same time.
	maxSendsAtOnce = 64
	// doubtWait is how long an envelope waits whose peer has perhaps removed us.
	doubtWait = time.Minute
	// patience is how often an envelope that is answered with "not now" holds up the
	// later ones, and so for one at which something on the way takes offence. One
	// without any answer always does.
	patience = 4
	// lateBy is how long after its time to give up an envelope may still be tried, so
	// that one which is to be tried only once is.
	lateBy = time.Minute
	// pageSize is how many envelopes to one peer are read at a time.
	pageSize = 64
	// longestAsked bounds the time that a peer can ask us to wait.
	longestAsked = time.Hour
)

// Run sends what is due until ctx is done: the envelopes of one peer in order, each
// peer by itself.
func (q *Queue) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { q.engine.Run(ctx) })
	defer wg.Wait()
	for {
		began := time.Now()
		peers, err := q.o.Store.WaitingPeers(ctx)
		for _, k := range peers {
			if q.waits(k, true) {
				q.engine.Wake(k)
			}
		}
		again := max(lease.AskEvery, 20*time.Since(began)) // what another node has kept
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			q.o.Logger.Error("outbox not readable", "err", err)
			again = afterError
		case !q.o.Leases.Shared():
			<-ctx.Done()
			return
		}
		if core.Sleep(ctx, again); ctx.Err() != nil {
			return
		}
	}
}

// afterError is how long to wait when the store could not be read.
const afterError = 5 * time.Second

// work sends what waits for a peer and returns when to look again.
func (q *Queue) work(ctx context.Context, k core.PublicKey) time.Duration {
	alive, soon := q.takeAlive(k)
	x := pass{queue: ctx, impatient: alive, alive: alive}
	err := q.send(ctx, k, &x)
	if x.wait > 0 {
		q.waits(k, true)
	}
	switch {
	case ctx.Err() != nil:
		return 0
	case x.behind == nil && err != nil && x.wait == 0:
		q.o.Logger.Error("outbox not readable", "err", err)
		return afterError
	case soon > 0 && x.pace() > soon:
		return soon
	case q.o.Leases.Shared(): // the node that has it in hand may be gone
		return min(x.pace(), q.lookAgain())
	}
	return x.pace()
}

// pass is one walk along what waits for a peer.
type pass struct {
	queue     context.Context // ends the patience of who waits, not the try under way
	id        string          // the envelope that somebody waits for; empty: nobody does
	impatient bool            // pauses of our own do not count
	alive     bool            // the peer has shown life
	failed    int             // tries since one that the peer has taken or refused
	walked    int             // envelopes that were looked at
	under     context.Context // of the lease to send to the peer; nil: it was not needed yet
	release   func()

	mine   *core.OutboxItem // that envelope, once it was tried or is known to wait
	behind error            // why the rest waits
	wait   time.Duration    // until something is due; zero: nothing waits
}

// tried notes what came of a try. What the peer has just taken or refused is a sign of
// life; after some that it has not, the others wait for their time.
func (x *pass) tried(now core.OutboxState) {
	switch now {
	case core.OutSent, core.OutRefused:
		x.impatient, x.failed = true, 0
	case core.OutWaiting:
		if x.failed++; x.failed >= patience {
			x.impatient, x.alive = false, false
		}
	}
}

// later notes that something is due after a time.
func (x *pass) later(wait time.Duration) {
	if wait = max(wait, time.Millisecond); x.wait == 0 || wait < x.wait {
		x.wait = wait
	}
}

// pace is when to look again at a queue that waits: a long one, whose envelopes are due one
// by one, is not walked all the time.
func (x *pass) pace() time.Duration {
	if x.wait <= 0 {
		return x.wait
	}
	return max(x.wait, time.Duration(x.walked)*time.Millisecond)
}

// SendNow sends an envelope that has just been kept, after the earlier ones to the
// same peer. The error is why it was not delivered.
func (q *Queue) SendNow(ctx context.Context, item *core.OutboxItem) (*core.OutboxItem, error) {
	q.waits(item.Peer, true)
	patient, cancel := context.WithTimeout(ctx, maxQueue)
	defer cancel()
	release, err := q.engine.Lease(patient, item.Peer)
	if err != nil {
		q.engine.Wake(item.Peer)
		return item, errBehind
	}
	x := pass{queue: patient, id: item.ID, impatient: true}
	err = q.send(ctx, item.Peer, &x)
	for errors.Is(err, errElsewhere) && patient.Err() == nil { // that node may send this one, too
		time.Sleep(elsewhereWait)
		err = q.send(ctx, item.Peer, &x)
	}
	release()
	if x.wait > 0 {
		q.waits(item.Peer, true) // who had the queue before us may have found it empty
	}
	if x.wait > 0 || err != nil {
		q.engine.In(item.Peer, x.pace())
	}
	switch {
	case x.mine != nil:
		return x.mine, err
	case err == nil: // somebody else was faster
		fresh, err := q.o.Store.OutboxItem(context.WithoutCancel(ctx), item.ID)
		if err != nil {
			return item, err
		}
		return fresh, failureOf(fresh)
	}
	return item, err
}

// send walks along what waits for a peer, oldest first, until one holds up the rest or
// the envelope of the pass was tried. The error is why that one was not delivered, or
// why the walk ended early.
func (q *Queue) send(ctx context.Context, k core.PublicKey, x *pass) error {
	defer x.leave()
	x.behind = nil
	page := core.OutboxFilter{Peer: k, State: core.OutWaiting, Oldest: true, Limit: pageSize}
pages:
	for {
		items, err := q.o.Store.Outbox(ctx, page)
		if err != nil {
			return err
		}
		for _, item := range items {
			x.walked++
			mine := item.ID == x.id
			if x.queue.Err() != nil && !mine {
				x.later(time.Millisecond)
				x.behind = errBehind
				return errBehind
			}
			if wait := q.pause(item, x); wait > 0 {
				x.later(wait)
				if mine { // the engine has tried it before we had the queue
					x.mine = item
					return failureOf(item)
				}
				if !holdsUp(item) {
					continue
				}
				e := core.Refuse(core.Unavailable, because("waits behind an earlier envelope", item))
				e.RetryAfter, x.behind = wait, e
				return e
			}
			switch fresh, err := q.enter(ctx, k, x); {
			case err != nil:
				return err
			case fresh: // as it is now that nobody else has it
				page.After = ""
				continue pages
			}
			next, err := q.Attempt(x.under, item, mine)
			if q.over(ctx, x, next, mine, err) {
				return x.why(err)
			}
		}
		if len(items) < page.Limit {
			if x.wait == 0 {
				q.waits(k, false)
			}
			return nil
		}
		page.After = items[len(items)-1].ID
		if x.id != "" && x.failed >= patience { // the earlier ones wait for their time
			page.After = max(page.After, x.id[:len(x.id)-1])
		}
	}
}

// pause is how long an envelope still waits. A time that the peer asked for counts
// always, and so does one before the first try, which the peer needs; another pause of
// ours does unless there is a reason to try at once. For one that has been answered "not
// now" again and again, only a sign of life is.
func (q *Queue) pause(item *core.OutboxItem, x *pass) time.Duration {
	if item.Attempts > 0 && !item.Asked && (x.alive || x.impatient && (item.Answer == nil || holdsUp(item))) {
		return 0
	}
	return q.left(item)
}

func (q *Queue) left(item *core.OutboxItem) time.Duration {
	return queue.Until(item.Next, q.o.Now(), max(longestAsked, q.o.Gateway.OutboxSettings().Most))
}

// maxQueue is how long somebody who has just sent an envelope waits for the earlier
// ones to leave. The envelope itself goes on waiting.
const maxQueue = 15 * time.Second

var errBehind = core.Refuse(core.Unavailable, "waits behind earlier envelopes to this peer")

// holdsUp reports whether the later envelopes wait behind one that waits.
func holdsUp(item *core.OutboxItem) bool {
	return item.Attempts < patience || item.Answer == nil && !item.Answered
}

// failureOf is why an envelope that was tried before was not delivered, or nil. It says
// what the try itself said, with what to do about it.
func failureOf(item *core.OutboxItem) error {
	if item.State == core.OutSent {
		return nil
	}
	e := core.Refuse(core.Unreachable, cmp.Or(item.Error, "it was not tried yet"))
	if item.State == core.OutRefused || item.Answered {
		e.Kind = core.Refused
	}
	e.Hint = item.Hint
	return e
}

// hintOf is what an error says to do.
func hintOf(err error) string {
	var e *core.Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

// because is what with the reason that the envelope has, if it has one.
func because(what string, item *core.OutboxItem) string {
	if item.Error == "" {
		return what
	}
	return what + ": " + item.Error
}
