package coretest

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// Notifier is a core.Notifier that records what it was told. Its zero value
// delivers everything. Safe for concurrent use.
type Notifier struct {
	name  string
	batch int

	mu     sync.Mutex // guards the rest
	told   []core.Notice
	calls  [][]core.Notice
	answer func(ctx context.Context, notices []core.Notice) core.Outcome
}

// NewNotifier returns a notifier of a name that takes batches of a size.
func NewNotifier(name string, batch int) *Notifier { return &Notifier{name: name, batch: batch} }

var _ core.Notifier = (*Notifier)(nil)

// Name is the notifier's name.
func (n *Notifier) Name() string { return n.name }

// Batch is how many notices a call takes.
func (n *Notifier) Batch() int { return max(1, n.batch) }

// Answer makes f the answer to calls from now on; nil delivers.
func (n *Notifier) Answer(f func(ctx context.Context, notices []core.Notice) core.Outcome) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answer = f
}

// Notify records a call.
func (n *Notifier) Notify(ctx context.Context, notices []core.Notice) core.Outcome {
	n.mu.Lock()
	n.calls = append(n.calls, slices.Clone(notices))
	answer := n.answer
	n.mu.Unlock()
	outcome := core.Outcome{Status: core.OutcomeDelivered}
	if answer != nil {
		outcome = answer(ctx, notices)
	}
	if outcome.Status == core.OutcomeDelivered {
		n.mu.Lock()
		n.told = append(n.told, notices...)
		n.mu.Unlock()
	}
	return outcome
}

// Calls are all calls so far, failed ones included.
func (n *Notifier) Calls() [][]core.Notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.calls)
}

// Notified are the notices that were delivered, of the given types or of all.
func (n *Notifier) Notified(types ...core.EventType) []core.Notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []core.Notice
	for _, x := range n.told {
		if len(types) == 0 || slices.Contains(types, x.Event.Type) {
			out = append(out, x)
		}
	}
	return out
}

// Await waits until a number of notices of a type were delivered, and returns
// them.
func (n *Notifier) Await(t testing.TB, count int, kind core.EventType) []core.Notice {
	t.Helper()
	Await(t, "a notice of type "+string(kind), func() bool { return len(n.Notified(kind)) >= count })
	return n.Notified(kind)
}

// Policy is a core.Policy that says what its function says.
type Policy struct {
	ID  string
	Say func(ctx context.Context, q core.Question) (core.Verdict, error)
}

var _ core.Policy = Policy{}

// Name is the policy's name.
func (p Policy) Name() string { return p.ID }

// Decide asks the function.
func (p Policy) Decide(ctx context.Context, q core.Question) (core.Verdict, error) {
	return p.Say(ctx, q)
}

// Handler is a core.Handler for one intent.
type Handler struct {
	Intent string
	Do     func(ctx context.Context, p *core.Peer, m *core.Message) (core.HandlerAnswer, error)
}

var _ core.Handler = Handler{}

// Name is the intent.
func (h Handler) Name() string { return h.Intent }

// Intents is the one intent.
func (h Handler) Intents() []string { return []string{h.Intent} }

// Handle asks the function.
func (h Handler) Handle(ctx context.Context, p *core.Peer, m *core.Message) (core.HandlerAnswer, error) {
	return h.Do(ctx, p, m)
}
