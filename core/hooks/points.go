package hooks

import (
	"context"
	"fmt"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// point is a hook with what it is asked and what it answers: how a question is
// written and an answer is read, and what "not mine" stands for. sdk/ABI.md
type point[Q, A any] struct {
	hook    core.Hook
	write   func(*texts, Q) ([]byte, error)
	read    func(output []byte) (A, error)
	notMine A
}

// The hooks. What holds for each beside this is in core.Hooks.
var (
	// policies are those that are put to every policy, and answered by a verdict.
	policies = []point[core.Question, core.Verdict]{
		{core.HookRequest, (*texts).question, readApproval, abstain},
		{core.HookMessage, (*texts).question, readVerdict, abstain},
	}
	onNotify = point[[]core.Notice, core.Outcome]{core.HookNotify, (*texts).notices, readOutcome, core.Outcome{Status: core.OutcomeDelivered}}
	onHandle = point[handled, core.HandlerAnswer]{core.HookHandle, (*texts).handled, readAnswer, core.HandlerAnswer{Error: "nobody answers this"}}

	others = []answering{onNotify, onHandle}
)

// answering is a point of any hook.
type answering interface {
	name() core.Hook
	answer(output []byte) (any, error)
}

// pointOf finds a hook's point; nil: there is none.
func pointOf(hook core.Hook) answering {
	for _, p := range policies {
		if p.hook == hook {
			return p
		}
	}
	for _, p := range others {
		if p.name() == hook {
			return p
		}
	}
	return nil
}

var abstain = core.Verdict{Decision: core.Abstain}

func (p point[Q, A]) name() core.Hook { return p.hook }

func (p point[Q, A]) answer(output []byte) (any, error) { return p.read(output) }

// Answer reads a hook's answer. A wrong answer is a failure of the plugin's, as a
// trap is: this is a plugin.Spec.Answer.
func Answer(hook core.Hook, output []byte) (any, error) {
	if p := pointOf(hook); p != nil {
		return p.answer(output)
	}
	return nil, fmt.Errorf("no hook %q", hook)
}

// ask puts a question to a plugin.
func (p point[Q, A]) ask(ctx context.Context, t *texts, to *plugin.Plugin, q Q) (A, error) {
	answer, _, err := p.whose(ctx, t, to, q)
	return answer, err
}

// whose is ask, and says whether the plugin took the question for its own.
func (p point[Q, A]) whose(ctx context.Context, t *texts, to *plugin.Plugin, q Q) (answer A, mine bool, err error) {
	in, err := p.write(t, q)
	if err != nil {
		return answer, false, err
	}
	r, err := to.Call(ctx, p.hook, in)
	if err != nil {
		return answer, true, err
	}
	if work := workOf(ctx); work != nil {
		*work += r.FuelUsed
	}
	if r.NotMine() {
		return p.notMine, false, nil
	}
	answer, ok := r.Answer.(A)
	if !ok { // it was loaded without Answer
		answer, err = p.read(r.Output)
	}
	return answer, true, err
}
