package gateway

import (
	"context"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// ask puts a question to the policies in force.
func (g *state) ask(ctx context.Context, q core.Question) (core.Verdict, error) {
	plugins, err := g.plugins()
	if err != nil {
		return core.Verdict{}, err
	}
	if len(plugins.Policies[q.Kind]) == 0 {
		return core.Verdict{Decision: core.Abstain}, nil
	}
	v, err := scope.Judge(ctx, plugins.Policies[q.Kind], q, func(pol core.Policy, v core.Verdict, took time.Duration, err error) {
		g.counters.AskedPolicy(took)
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
