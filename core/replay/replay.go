// Package replay is the time machine: it asks the policies again, and a candidate in place
// of what is in force, about the messages and requests that have come, and says whose fate
// would be another one. It runs beside the gateway and changes nothing.
//
// docs/replay.md
package replay

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// Ask is one replay.
type Ask struct {
	Since    time.Time // zero: all that is on record
	Workers  int       // how many ask at once; 0: one
	MaxBytes int       // of what is held in memory, in bytes; the newest that fit are asked about
	// Page gives what has come, as Past.Page and the method "policy.decisions" do.
	Page func(ctx context.Context, p api.DecisionsParams) (api.DecisionsPage, error)
}

// Workers are as many as share a machine with a gateway that has work to do.
func Workers() int { return max(runtime.GOMAXPROCS(0)/2, 1) }

// Run asks the policies of a panel, which has room for as many calls at once as there are
// workers. Its error is that of ctx when that ends first.
func (a Ask) Run(ctx context.Context, panel *hooks.Manager) (api.ReplayView, error) {
	v := api.ReplayView{Since: a.Since.UTC().Truncate(time.Second), Changed: []api.ChangedView{}, OverTime: []api.BucketView{}, Policies: []api.PaceView{},
		Then: map[string]int{}, Now: map[string]int{}}
	list, err := a.read(ctx, &v)
	if err != nil {
		return v, err
	}
	questions := make([]core.Question, len(list))
	for i := range list {
		questions[i] = list[i].Question(list[i].Payload)
	}
	panel.Remember(questions)
	outcomes := make([]outcome, len(list))
	workers := max(a.Workers, 1)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(list) && ctx.Err() == nil; i += workers {
				outcomes[i].verdict, outcomes[i].steps, outcomes[i].err = panel.Judge(ctx, questions[i], false)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return v, ctx.Err()
	}
	sum(&v, list, outcomes)
	return v, nil
}

type outcome struct {
	verdict core.Verdict
	steps   []hooks.Step
	err     error
}

// read collects what came: what is on record, and of the inbox what is not.
func (a Ask) read(ctx context.Context, v *api.ReplayView) (list []api.DecisionView, err error) {
	recorded := map[string]bool{}
	size := 0
	for p := (api.DecisionsParams{Since: a.Since}); ; {
		page, err := a.Page(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, d := range page.Decisions {
			if d.NotAsked && recorded[d.InboxID] {
				continue
			}
			recorded[d.InboxID] = true
			size += 1000 + len(d.Payload)
			if d.Message != nil {
				size += len(d.Message.Payload)
			}
			list = append(list, d)
		}
		if v.LeftOut = size > a.MaxBytes && page.Next != ""; v.LeftOut || page.Next == "" {
			break
		}
		p.Before = page.Next
	}
	slices.SortStableFunc(list, func(x, y api.DecisionView) int { return x.At.Compare(y.At) })
	return list, nil
}

// FateOf is what a decision means for what it is about.
func FateOf(kind core.Hook, d core.Decision) string {
	switch {
	case d == core.Deny:
		return api.FateRefused
	case kind == core.HookRequest && d == core.Allow:
		return api.FateApproved
	case kind == core.HookRequest:
		return api.FateWaits
	case d == core.Hold:
		return api.FateHeld
	}
	return api.FateAllowed
}

const maxExamples = 3

// group is in what way a fate changes.
type group struct {
	kind                                  core.Hook
	from, intent, then, now, policy, rule string
}

// sum says what came of all.
func sum(v *api.ReplayView, list []api.DecisionView, outcomes []outcome) {
	groups := map[group]*api.ChangedView{}
	over := newBuckets(list)
	for i, d := range list {
		o := outcomes[i]
		if errors.Is(o.err, hooks.ErrWithheld) {
			v.Withheld++
			continue
		}
		v.Decisions++
		then, now := FateOf(d.Kind, d.Verdict), FateOf(d.Kind, o.verdict.Decision)
		policy, rule, reason := o.verdict.Policy, o.verdict.Rule, o.verdict.Reason
		if o.err != nil {
			now, reason = api.FateFailed, o.err.Error()
		}
		v.Then[then]++
		v.Now[now]++
		over.add(d.At, then, now)
		if then == now {
			v.Same++
			continue
		}
		if policy == "" {
			policy, rule, reason = d.Policy, d.Rule, d.Reason
		}
		g := group{d.Kind, cmp.Or(d.Then.Alias, d.Peer.Fingerprint()), "", then, now, policy, rule}
		if d.Message != nil {
			g.intent = d.Message.Intent
		}
		c := groups[g]
		if c == nil {
			c = &api.ChangedView{Kind: g.kind, From: g.from, Intent: g.intent, Then: then, Now: now, Policy: policy, Rule: rule}
			groups[g] = c
		}
		if c.Count++; len(c.Examples) < maxExamples {
			c.Examples = append(c.Examples, exampleOf(d, reason))
		}
	}
	for _, c := range groups {
		v.Changed = append(v.Changed, *c)
	}
	slices.SortFunc(v.Changed, func(x, y api.ChangedView) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), x.Examples[0].At.Compare(y.Examples[0].At), cmp.Compare(x.Now, y.Now))
	})
	v.OverTime, v.Policies = over.list, pacesOf(outcomes)
}

func exampleOf(d api.DecisionView, reason string) api.ExampleView {
	e := api.ExampleView{ID: cmp.Or(d.InboxID, d.ID), At: d.At, Reason: reason}
	if d.Message != nil {
		payload := d.Message.Payload
		if len(payload) == 0 {
			payload = d.Payload
		}
		e.Text = api.OneLine(payload)
	}
	return e
}

// pacesOf is how long each policy took.
func pacesOf(outcomes []outcome) []api.PaceView {
	paces := map[string]*[2][]int64{} // nanoseconds, and units of work
	for _, o := range outcomes {
		for _, s := range o.steps {
			p := paces[s.Policy]
			if p == nil {
				p = &[2][]int64{}
				paces[s.Policy] = p
			}
			p[0], p[1] = append(p[0], s.Took.Nanoseconds()), append(p[1], s.Work)
		}
	}
	out := []api.PaceView{}
	for name, p := range paces {
		out = append(out, api.PaceView{Policy: name, Pace: plugin.PaceOf(p[0], p[1])})
	}
	slices.SortFunc(out, func(x, y api.PaceView) int { return cmp.Compare(x.Policy, y.Policy) })
	return out
}

// widths are how long a bucket may last; mostBuckets is how many there are at the most.
var widths = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour}

const mostBuckets = 60

// buckets are what came, by the time when it did.
type buckets struct {
	width time.Duration
	list  []api.BucketView
}

// newBuckets makes those that a list needs, which is in order.
func newBuckets(list []api.DecisionView) *buckets {
	b := &buckets{list: []api.BucketView{}}
	if len(list) == 0 {
		return b
	}
	first, last := list[0].At, list[len(list)-1].At
	for _, b.width = range widths {
		if last.Sub(first.Truncate(b.width)) < mostBuckets*b.width {
			break
		}
	}
	for last.Sub(first.Truncate(b.width)) >= mostBuckets*b.width {
		b.width *= 2
	}
	for at := first.UTC().Truncate(b.width); !at.After(last); at = at.Add(b.width) {
		b.list = append(b.list, api.BucketView{From: at, Then: map[string]int{}, Now: map[string]int{}})
	}
	return b
}

func (b *buckets) add(at time.Time, then, now string) {
	one := b.list[at.Sub(b.list[0].From)/b.width]
	one.Then[then]++
	one.Now[now]++
}
