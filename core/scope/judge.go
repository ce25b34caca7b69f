package scope

import (
	"context"
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
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
				grants := Narrow(out.Grants, v.Grants)
				if len(grants) == 0 && len(out.Grants) > 0 { // an empty list would mean the defaults
					out = core.Verdict{Decision: core.Hold, Reason: "the policies agree on no grant", Policy: v.Policy}
				}
				out.Grants = grants
			}
		}
		level = Stricter(level, v.Level)
	}
	if out.Decision == core.Allow && q.Kind == core.HookRequest && q.Peer.Refused { // only our operator takes that back
		out = core.Verdict{Decision: core.Hold, Policy: out.Policy, Reason: "we have rejected or removed it before"}
	}
	out.Level, out.Counts = level, counts
	return out, nil
}

// Stricter is the level that leaves an agent less to do. A policy can make the
// operator's level Stricter and never laxer; where one is empty, the other
// stands. docs/threat-model.md#p3
func Stricter(a, b string) string {
	rank := func(level string) int { return slices.Index(LevelNames, level) }
	if rank(b) < 0 || a != "" && rank(a) >= rank(b) {
		return a
	}
	return b
}
