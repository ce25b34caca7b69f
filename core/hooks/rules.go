package hooks

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/rules"
)

// Rules are the rules of the configuration as a policy, in its place among the
// plugins.
type Rules struct {
	Set      *rules.Set // nil: none
	Order    int
	Approves bool
	AtMost   []core.Grant // bounds what they grant; none: Options.AtMost does
}

func (r Rules) len() int {
	if r.Set == nil {
		return 0
	}
	return r.Set.Len()
}

// rulesOf are rules in force.
type rulesOf struct {
	Rules
	most   func() []core.Grant
	done   *done
	counts *counts // nil: no rule counts
	each   func(rules.Step)
}

var _ core.Policy = rulesOf{}

// done is what the rules have done.
type done struct {
	before                   Record // what is on record; guarded by Manager.mu
	calls, refusals, failure atomic.Int64
	paces                    plugin.Paces
}

func (d *done) total() Record {
	return Record{Calls: d.before.Calls + d.calls.Load(), Refusals: d.before.Refusals + d.refusals.Load(), Failures: d.before.Failures + d.failure.Load()}
}

func (r rulesOf) Name() string { return rules.Name }

func (r rulesOf) Decide(ctx context.Context, q core.Question) (core.Verdict, error) {
	in := rules.Input{Question: q, Each: r.each}
	if q.Kind == core.HookMessage {
		in.Words = func() (text, priority string) {
			v := textOf(q.Message)
			return string(v.said), string(v.priority)
		}
		in.Withheld, in.TextBytes = q.Withheld, q.TextBytes
		switch {
		case q.Counts != nil:
			in.Recent = recorded(q.Counts, r.counts, q)
		case r.counts != nil:
			r.counts.add(q.Peer.Key, q.Message.Intent, q.Message.Nonce, q.Now)
			in.Recent = r.counts.of(q.Peer.Key, q.Now)
		}
	}
	began := time.Now()
	v, err := r.Set.Decide(ctx, in)
	r.done.paces.Add(time.Since(began), 0)
	r.done.calls.Add(1)
	if q.Kind == core.HookRequest {
		v = bounded(v, r.Approves, mostOf(r.AtMost, r.most))
	}
	if v.Decision == core.Deny {
		r.done.refusals.Add(1)
	}
	if v.Failed || err != nil {
		r.done.failure.Add(1)
	}
	return v, err
}

// recorded counts as it was counted then, where that is on record.
func recorded(then map[string]int, c *counts, q core.Question) func(time.Duration, string) int {
	return func(window time.Duration, intent string) int {
		n, ok := then[rules.CountKey(window, intent)]
		if !ok && c != nil {
			n = c.of(q.Peer.Key, q.Now)(window, intent)
		}
		return n
	}
}

// SetRules puts rules in force in place of those before. Those that count begin with
// what the store knows of the messages that came.
func (m *Manager) SetRules(ctx context.Context, r Rules) {
	m.turn.Lock()
	defer m.turn.Unlock()
	p := &rulesOf{Rules: r, most: m.o.AtMost}
	if r.len() > 0 && r.Set.Window() > 0 {
		p.counts = newCounts(r.Set.Window())
		err := m.o.Store.EachReceipt(ctx, time.Now().Add(-r.Set.Window()), 0, func(x core.Receipt) {
			if x.Intent != "" && !strings.HasPrefix(x.Intent, "\x01") { // a message, and no core.Use
				p.counts.add(x.Peer, x.Intent, x.Nonce, x.At)
			}
		})
		if err != nil {
			m.o.Logger.Error("recent(...) in rules counts from now on only, as the store could not be read", "err", err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.done = m.rulesDone; p.done == nil {
		p.done = &done{before: m.recorded(ctx, rules.Name)}
		m.rulesDone = p.done
	}
	if m.rules = p; r.len() == 0 {
		m.rules = nil
	}
	m.publish()
}

// place puts the rules among the policies that are asked. Called with mu held.
func (m *Manager) place(policies map[core.Hook][]core.Policy) {
	if m.rules == nil {
		return
	}
	for _, kind := range []core.Hook{core.HookRequest, core.HookMessage} {
		if !m.rules.Set.Asks(kind) {
			continue
		}
		at := 0
		for _, p := range policies[kind] {
			if m.before(p.Name()) {
				at++
			}
		}
		policies[kind] = slices.Insert(policies[kind], at, core.Policy(*m.rules))
	}
}

// before reports whether a plugin is asked before the rules. Called with mu held.
func (m *Manager) before(name string) bool {
	for _, s := range m.slots {
		if s.name == name {
			return cmp.Or(cmp.Compare(s.want.Order, m.rules.Order), cmp.Compare(name, rules.Name)) < 0
		}
	}
	return false
}

// view shows the rules as a plugin is shown.
func (r *rulesOf) view(state string) View {
	v := View{Name: rules.Name, State: state, Source: FromConfig, Kind: rules.Name, Order: r.Order, Rules: r.len(), Hooks: []plugin.Hook{},
		Approves: r.Approves, AtMost: r.AtMost}
	for _, kind := range []core.Hook{core.HookRequest, core.HookMessage} {
		if r.Set.Asks(kind) {
			v.Hooks = append(v.Hooks, kind)
		}
	}
	if r.done != nil {
		total := r.done.total()
		v.Calls, v.Refusals, v.Failures, v.Pace, v.Hours = total.Calls, total.Refusals, total.Failures, r.done.paces.Pace(), r.done.paces.Hours()
	}
	return v
}

// LookRules shows rules that are not in force.
func LookRules(r Rules) (View, bool) {
	if r.len() == 0 {
		return View{}, false
	}
	return (&rulesOf{Rules: r}).view(StateOff), true
}

// recordRules keeps what the rules have done so far, if they have done anything since.
func (m *Manager) recordRules(ctx context.Context) {
	m.mu.Lock()
	d := m.rulesDone
	if d == nil || d.total() == d.before {
		m.mu.Unlock()
		return
	}
	total := d.total()
	d.calls.Add(d.before.Calls - total.Calls)
	d.refusals.Add(d.before.Refusals - total.Refusals)
	d.failure.Add(d.before.Failures - total.Failures)
	d.before = total
	m.mu.Unlock()
	m.write(ctx, rules.Name, total)
}

// Elsewhere tells the rules of an event that another node has kept.
func (m *Manager) Elsewhere(e *core.Event) {
	m.mu.Lock()
	r := m.rules
	m.mu.Unlock()
	if r != nil && r.counts != nil && e.Message != nil {
		r.counts.add(e.Peer, e.Message.Message.Intent, e.Message.Message.Nonce, e.At)
	}
}

// counts remember when the messages of each peer came. Safe for concurrent use.
type counts struct {
	window time.Duration
	mu     sync.Mutex // guards all and peers
	all    bool       // nothing is let go of: for a replay
	peers  map[core.PublicKey][]came
}

type came struct {
	at     time.Time
	intent string
	nonce  core.Nonce
}

// maxCame bounds what is remembered of a peer. More in a window counts as this many.
const maxCame = 8192

func newCounts(window time.Duration) *counts {
	return &counts{window: window, peers: map[core.PublicKey][]came{}}
}

// add notes a message, once.
func (c *counts) add(k core.PublicKey, intent string, nonce core.Nonce, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.peers[k]
	for i := len(list) - 1; i >= 0 && len(list)-i < 256; i-- {
		if list[i].nonce == nonce { // asked again: the policies could not say before
			return
		}
	}
	i := len(list)
	for i > 0 && list[i-1].at.After(at) {
		i--
	}
	list = slices.Insert(list, i, came{at, intent, nonce})
	old := 0
	for !c.all && old < len(list) && (len(list)-old > maxCame || list[len(list)-1].at.Sub(list[old].at) > c.window) {
		old++
	}
	c.peers[k] = slices.Delete(list, 0, old)
}

// of counts a peer's messages of a window before a moment.
func (c *counts) of(k core.PublicKey, at time.Time) func(time.Duration, string) int {
	return func(window time.Duration, intent string) int {
		c.mu.Lock()
		defer c.mu.Unlock()
		list, n := c.peers[k], 0
		for i := len(list) - 1; i >= 0 && at.Sub(list[i].at) < window; i-- {
			if !list[i].at.After(at) && (intent == "" || list[i].intent == intent) {
				n++
			}
		}
		return n
	}
}
