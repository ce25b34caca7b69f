package gateway

import (
	"context"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// EachPolicy is told of each policy that was asked, and what came of it.
type EachPolicy func(p core.Policy, v core.Verdict, took time.Duration, err error)

// Judge puts a question to policies in order. The first refusal is final; a hold
// outweighs an allow. A policy that fails is one that cannot say, and nothing passes
// it: an error of kind Unavailable.
//
// docs/threat-model.md#p3
func Judge(ctx context.Context, policies []core.Policy, q core.Question, asked EachPolicy) (core.Verdict, error) {
	out, level := core.Verdict{Decision: core.Abstain}, ""
	var counts map[string]int
	for _, pol := range policies {
		start := time.Now()
		v, err := pol.Decide(ctx, q)
		v.Policy = pol.Name()
		asked(pol, v, time.Since(start), err)
		if err != nil {
			e := core.Refuse(core.Unavailable, "Policy unavailable")
			e.RetryAfter, e.Err = 30*time.Second, err
			return core.Verdict{}, e
		}
		if v.Counts != nil {
			counts = v.Counts
		}
		switch v.Decision {
		case core.Deny:
			v.Counts = counts
			return v, nil
		case core.Hold:
			if out.Decision != core.Hold {
				out = v
			}
		case core.Allow:
			switch {
			case out.Decision == core.Abstain:
				out = v
			case out.Decision == core.Allow && q.Kind == core.HookRequest:
				grants := scope.Narrow(out.Grants, v.Grants)
				if len(grants) == 0 && len(out.Grants) > 0 { // an empty list would mean the defaults
					out = core.Verdict{Decision: core.Hold, Reason: "the policies agree on no grant", Policy: v.Policy}
				}
				out.Grants = grants
			}
		}
		level = stricter(level, v.Level)
	}
	out.Level, out.Counts = level, counts
	return out, nil
}

// ask puts a question to the policies in force.
func (g *state) ask(ctx context.Context, q core.Question) (core.Verdict, error) {
	plugins, err := g.plugins()
	if err != nil {
		return core.Verdict{}, err
	}
	if len(plugins.Policies[q.Kind]) == 0 {
		return core.Verdict{Decision: core.Abstain}, nil
	}
	v, err := Judge(ctx, plugins.Policies[q.Kind], q, func(pol core.Policy, v core.Verdict, took time.Duration, err error) {
		g.counters.askedPolicy(took)
		switch {
		case err != nil:
			g.log.Error("policy failed", "policy", pol.Name(), "kind", q.Kind, "peer", q.Peer.Name(), "err", err)
		case v.Decision == core.Deny:
			g.log.Info("policy refused", "policy", v.Policy, "rule", v.Rule, "kind", q.Kind, "peer", q.Peer.Name(), "reason", clean(v.Reason, 200))
		case v.Failed:
			g.log.Warn("a rule could not be evaluated", "rule", v.Rule, "kind", q.Kind, "peer", q.Peer.Name(), "reason", clean(v.Reason, 200))
		}
	})
	v.Asked = err == nil
	return v, err
}

// record keeps what was decided about a message, if policies were asked, or about a
// request.
func (g *state) record(c *core.Change, q core.Question, v core.Verdict, inboxID string) {
	if g.o.Record != nil && (v.Asked || q.Kind == core.HookRequest) {
		g.o.Record.Decided(c, q, v, inboxID)
	}
}

// recordRefusal keeps that a stranger was refused, of whom nothing else is kept.
func (g *state) recordRefusal(ctx context.Context, q core.Question, v core.Verdict) {
	c := &core.Change{Lazy: true}
	if g.record(c, q, v, ""); len(c.KV) == 0 {
		return
	}
	if err := g.o.Store.Commit(ctx, c); err != nil {
		g.log.Warn("decision not recorded", "err", err)
	}
}
