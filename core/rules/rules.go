// Package rules is a policy made of rules in the configuration: expressions in CEL
// (the Common Expression Language) over what a policy is asked. It is the only
// importer of the library. An expression sees names and nothing else, always ends,
// and its work is bounded: where the bound does not follow from the expression
// itself, evaluation counts its cost and stops.
//
// The first rule whose expression holds decides. docs/rules.md
package rules

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/opengatewayprotocol/ogp/core"
)

// Name is the name that the rules have as a policy. No plugin can have it.
const Name = "rules"

// The words of Rule.Then.
const (
	Allow   = "allow"   // a message passes, whatever later rules say
	Deny    = "deny"    // a message or a request is refused
	Hold    = "hold"    // the human decides
	Approve = "approve" // a request is approved, where Options.Approves allows it
)

// Rule is one rule as the operator writes it.
type Rule struct {
	Name   string
	When   string // a CEL expression that is true or false
	Then   string // one of the words above
	Reason string // for people; empty: the name
}

// Options are what holds for all rules.
type Options struct {
	// Zone is where hours("...") is at home. Nil: the machine's own.
	Zone *time.Location
	// Approves says that a rule may approve strangers.
	Approves bool
}

// Problem is a mistake in a rule.
type Problem struct {
	Rule   int    // which one, from 0
	Member string // "when" or "then"
	Line   int    // of the expression, from 1; 0: it is about the whole member
	Column int    // in characters, from 1
	What   string
	Hint   string
}

// Set is a list of rules, ready to be asked. It does not change; safe for concurrent
// use.
type Set struct {
	rules  []rule
	window time.Duration
}

// rule is one that is compiled.
type rule struct {
	Rule
	program  cel.Program
	messages bool // it can be asked about messages
	requests bool // it can be asked about requests
	bounded  bool // its work is bounded by what it says
}

// Input is what the rules are asked about: a policy's question, and what only some
// expressions read, made when they do.
type Input struct {
	core.Question
	// Words gives what a message says to a reader, and its priority.
	Words func() (text, priority string)
	// Recent is how many messages of this peer came within the window before Now, this
	// one included; of all intents, or of one.
	Recent func(window time.Duration, intent string) int
	// Withheld says that the payload of a message is not known, as it was not recorded: a
	// rule that reads it gives ErrWithheld.
	Withheld  bool
	TextBytes int // of a message whose payload is withheld
	// Each is told of every rule that was asked, for an explanation. Nil: nobody is.
	Each func(Step)
}

// Step is what came of one rule.
type Step struct {
	Name  string
	Then  string
	Holds bool
	Err   error
}

// ErrWithheld says that a rule reads a payload that was not recorded.
var ErrWithheld = errors.New("rules: the payload was not recorded")

// Len is the number of rules.
func (s *Set) Len() int { return len(s.rules) }

// Window is the longest window that a rule counts in; zero: none counts.
func (s *Set) Window() time.Duration { return s.window }

// Asks says whether any rule is about messages, or about requests.
func (s *Set) Asks(kind core.Hook) bool {
	for _, r := range s.rules {
		if r.about(kind) {
			return true
		}
	}
	return false
}

func (r *rule) about(kind core.Hook) bool {
	return kind == core.HookMessage && r.messages || kind == core.HookRequest && r.requests
}

// inputs are used again.
var inputs = sync.Pool{New: func() any { return new(vars) }}

// Decide asks the rules in order. The first that holds decides; without one the
// answer is abstain. A rule that cannot be evaluated (a member of the payload that is
// not there, too much work) leaves the message or request to the human: asking again
// would not help. An error means that nobody could say, or is ErrWithheld.
func (s *Set) Decide(ctx context.Context, in Input) (core.Verdict, error) {
	v := inputs.Get().(*vars)
	defer func() {
		*v = vars{}
		inputs.Put(v)
	}()
	v.in = &in
	for i := range s.rules {
		r := &s.rules[i]
		if !r.about(in.Kind) {
			continue
		}
		holds, err := r.holds(ctx, v)
		if v.withheld {
			return core.Verdict{Counts: v.counts}, ErrWithheld
		}
		if in.Each != nil {
			in.Each(Step{r.Name, r.Then, holds, err})
		}
		switch {
		case err != nil && ctx.Err() != nil:
			return core.Verdict{}, fmt.Errorf("rules: %q: %w", r.Name, context.Cause(ctx))
		case err != nil:
			return core.Verdict{Decision: core.Hold, Rule: r.Name, Counts: v.counts, Failed: true,
				Reason: fmt.Sprintf("rule %q cannot be evaluated: %s", r.Name, words(err))}, nil
		case holds:
			return r.verdict(v.counts), nil
		}
	}
	return core.Verdict{Decision: core.Abstain, Counts: v.counts}, nil
}

func (r *rule) verdict(counts map[string]int) core.Verdict {
	out := core.Verdict{Decision: core.Decision(r.Then), Rule: r.Name, Reason: cmp.Or(r.Reason, r.Name), Counts: counts}
	if r.Then == Approve {
		out.Decision = core.Allow
	}
	return out
}

func (r *rule) holds(ctx context.Context, v *vars) (bool, error) {
	var x ref.Val
	var err error
	if r.bounded {
		x, _, err = r.program.Eval(v)
	} else {
		x, _, err = r.program.ContextEval(ctx, v)
	}
	return err == nil && x == types.True, err
}

// words are an error without what only a programmer knows.
func words(err error) string {
	text := strings.ReplaceAll(err.Error(), "evaluation error: ", "")
	if strings.Contains(text, "cost limit exceeded") {
		return "it is too much work"
	}
	if member, ok := strings.CutPrefix(text, "no such key: "); ok {
		return fmt.Sprintf("there is no member %q; has(...) asks whether there is", member)
	}
	return strings.TrimPrefix(text, "internal error: ")
}
