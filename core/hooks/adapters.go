package hooks

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// policyOf is a plugin as a policy. It abstains from what it is not asked about.
type policyOf struct {
	name     string
	p        *plugin.Plugin
	approves bool                // strangers
	atMost   []core.Grant        // what it may grant them
	most     func() []core.Grant // bounds grants where the operator has set no bound; nil: none does
	t        *texts
	tally    *tally
	log      *slog.Logger
	hooks    []core.Hook // that it answers
}

var _ core.Policy = policyOf{}

func (a policyOf) Name() string { return a.name }

func (a policyOf) Decide(ctx context.Context, q core.Question) (core.Verdict, error) {
	i := slices.IndexFunc(policies, func(p point[core.Question, core.Verdict]) bool { return p.hook == q.Kind })
	if i < 0 || !slices.Contains(a.hooks, q.Kind) || q.Message != nil && !concerns(a.p.Manifest(), q.Message.Intent) {
		return abstain, nil
	}
	v, err := policies[i].ask(ctx, a.t, a.p, q)
	if err != nil {
		return v, err
	}
	if q.Kind == core.HookRequest {
		v = a.bounded(v)
	}
	if v.Decision == core.Deny {
		a.tally.refused.Add(1)
	}
	return v, nil
}

func (a policyOf) bounded(v core.Verdict) core.Verdict {
	if v.Decision == core.Allow && !a.approves && a.tally.ignored.Add(1) == 1 {
		a.log.Warn("a policy would approve a stranger, which it may not; its answer counts as no opinion", "plugin", a.name)
	}
	return bounded(v, a.approves, mostOf(a.atMost, a.most))
}

// mostOf bounds what an approval grants: by the policy's own bound, or without one by that of all.
func mostOf(own []core.Grant, all func() []core.Grant) []core.Grant {
	if len(own) == 0 && all != nil {
		return all()
	}
	return own
}

// concerns reports whether a policy or notifier is asked about messages of an
// intent: of those that its manifest names, or of all. A closed plugin, which has
// no manifest, is asked, and says that it is closed.
func concerns(m *plugin.Manifest, intent string) bool {
	return m == nil || len(m.Intents) == 0 || slices.Contains(m.Intents, intent)
}

// handlerOf is a plugin as a handler of intents. What it says is not its own goes to
// those behind it.
type handlerOf struct {
	name   string
	p      *plugin.Plugin
	t      *texts
	behind []handlerOf // in order
}

var _ core.Handler = handlerOf{}

func (a handlerOf) Name() string { return a.name }

func (a handlerOf) Intents() []string {
	if m := a.p.Manifest(); m != nil {
		return m.Intents
	}
	return nil
}

func (a handlerOf) Handle(ctx context.Context, p *core.Peer, m *core.Message) (core.HandlerAnswer, error) {
	question := handled{p, m, time.Now()}
	answer, mine, err := onHandle.whose(ctx, a.t, a.p, question)
	for _, next := range a.behind {
		if mine || err != nil {
			break
		}
		if slices.Contains(next.Intents(), m.Intent) {
			answer, mine, err = onHandle.whose(ctx, next.t, next.p, question)
		}
	}
	if errors.Is(err, plugin.Failed) { // it has said itself that it cannot
		return core.HandlerAnswer{Error: "the handler failed"}, nil
	}
	return answer, err
}

// notifierOf is a plugin as a notifier.
type notifierOf struct {
	m *Manager
	s *slot
}

var _ core.Notifier = notifierOf{}

func (a notifierOf) Name() string { return a.s.name }

// maxBatch is how many events one call of a notifier that takes batches carries.
const maxBatch = 32

// Keyed says that whoever is told knows a repeat by its events' ids.
func (a notifierOf) Keyed() bool {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	return a.s.manifest().Keyed
}

// Person says that a person is told, and not an agent.
func (a notifierOf) Person() bool {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	return a.s.manifest().Person
}

func (a notifierOf) Batch() int {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	if a.s.manifest().Batch {
		return maxBatch
	}
	return 1
}

// ready waits for the first load to end, which is no failure of the notifier's.
func (a notifierOf) ready(ctx context.Context) (*plugin.Plugin, error) {
	a.m.mu.Lock()
	p := a.s.loaded
	a.m.mu.Unlock()
	if p != nil {
		return p, nil
	}
	select {
	case <-a.s.done:
	case <-ctx.Done():
		return nil, errLoading
	}
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	if a.s.loaded == nil {
		return nil, cmp.Or(a.s.err, errClosed)
	}
	return a.s.loaded, nil
}

func (a notifierOf) Notify(ctx context.Context, notices []core.Notice) core.Outcome {
	p, err := a.ready(ctx)
	if err != nil {
		o := core.Outcome{Status: core.OutcomeRetry, RetryAfter: time.Minute, Detail: "the plugin is not loaded: " + err.Error()}
		if err != errLoading && err != errClosed && !errors.Is(err, core.Unavailable) { // it stays so until something is changed
			o.Status, o.Detail = core.OutcomeSetup, o.Detail+" - change its settings or its module: \"ogp plugin list\" shows it"
		}
		return o
	}
	notices = slices.DeleteFunc(slices.Clone(notices), func(n core.Notice) bool {
		return n.Event.Message != nil && !concerns(p.Manifest(), n.Event.Message.Message.Intent)
	})
	if len(notices) == 0 {
		return core.Outcome{Status: core.OutcomeDelivered}
	}
	o, err := onNotify.ask(ctx, &a.m.texts, p, notices)
	if err != nil {
		o = core.Outcome{Status: core.OutcomeRetry, Detail: err.Error()}
		var e *plugin.Error
		if errors.As(err, &e) {
			o.RetryAfter = e.RetryAfter
		}
	}
	if o.Reply != nil && !a.mayReply(notices) {
		o.Reply = nil
	}
	return o
}

// mayReply reports whether an answer counts: to one message, and from who has the power.
func (a notifierOf) mayReply(notices []core.Notice) bool {
	a.m.mu.Lock()
	may := a.s.replies()
	a.m.mu.Unlock()
	switch {
	case !may:
		if a.s.tally.ignored.Add(1) == 1 {
			a.m.o.Logger.Warn("a notifier would answer a peer's message, which it may not; its answer is ignored", "plugin", a.s.name)
		}
		return false
	case len(notices) != 1 || notices[0].Event.Message == nil:
		a.m.o.Logger.Warn("a notifier answers an event that is not a message; its answer is ignored", "plugin", a.s.name, "event", notices[0].Event.ID)
		return false
	}
	return true
}
