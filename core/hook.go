package core

import (
	"context"
	"slices"
	"time"
)

// Hook names a place in the gateway where plugins are asked.
type Hook string

// The hooks. sdk/ABI.md
const (
	HookRequest Hook = "request" // Question -> Verdict: a stranger asks to federate
	HookMessage Hook = "message" // Question -> Verdict: an approved peer sent a message
	HookNotify  Hook = "notify"  // []Notice -> Outcome: tell somebody
	HookHandle  Hook = "handle"  // Message -> HandlerAnswer: answer an intent
)

// Failure is what a call counts as that failed, or whose answer was wrong.
type Failure int

// The failures.
const (
	CannotSay Failure = iota // nothing passes: the sender is told to try again later
	TryAgain                 // the call is made again later
)

// HookRule is what holds for a hook.
type HookRule struct {
	Hook    Hook
	Also    string   // another name that a manifest may use; empty: none
	Exports []string // the functions of a module that answer it: the first that is there is called
	Pure    bool     // it decides from its input alone: no clock, and no operation but kv
	Failure Failure
}

// Hooks are all hooks. Whoever adds one adds a line here, a line in core/hooks that
// writes its question and reads its answer, and the call where it happens.
var Hooks = []HookRule{
	{HookRequest, "", []string{"ogp_request"}, true, CannotSay},
	{HookMessage, "policy", []string{"ogp_message", "ogp_policy"}, true, CannotSay},
	{HookNotify, "", []string{"ogp_notify"}, false, TryAgain},
	{HookHandle, "", []string{"ogp_handle"}, false, CannotSay},
}

// Rule gives what holds for a hook; of one that there is not, the zero rule.
func (h Hook) Rule() HookRule {
	for _, r := range Hooks {
		if r.Hook == h {
			return r
		}
	}
	return HookRule{}
}

// HookNames are the names of all hooks, in the order of Hooks, each followed by its other one.
func HookNames() []string {
	var out []string
	for _, r := range Hooks {
		out = append(out, string(r.Hook))
		if r.Also != "" {
			out = append(out, r.Also)
		}
	}
	return out
}

// HookNamed finds a hook by its name, or by its other one.
func HookNamed(name string) (Hook, bool) {
	i := slices.IndexFunc(Hooks, func(r HookRule) bool {
		return string(r.Hook) == name || r.Also != "" && r.Also == name
	})
	if i < 0 {
		return "", false
	}
	return Hooks[i].Hook, true
}

// Decision is a policy's word. sdk/ABI.md#message
type Decision string

// The decisions.
const (
	Allow   Decision = "allow"
	Deny    Decision = "deny"
	Hold    Decision = "hold"    // leave it to the human
	Abstain Decision = "abstain" // no opinion: the next policy, or the default
)

// Question is what a policy is asked.
type Question struct {
	Kind    Hook // HookRequest or HookMessage
	Now     time.Time
	Peer    *Peer
	Message *Message // for HookMessage
	Topic   string   // agent-comms topic, for HookMessage
	Bytes   int      // size of the signed text, for HookMessage
	Request *Request // for HookRequest
	// For a replay of what was recorded: the counts as they were then, and whether the
	// payload is not known, with the size of the text it had.
	Counts    map[string]int
	Withheld  bool
	TextBytes int
	// URLVerified, for HookRequest, says that the asker's key answers at the
	// gateway URL that it claims.
	URLVerified bool
}

// Verdict is what a policy answers.
type Verdict struct {
	Decision Decision
	Reason   string  // for people
	Code     string  // for machines: goes to the peer with a denial
	Grants   []Grant // for HookRequest with Allow; empty: the configured defaults
	Level    string  // advice for the agent: full, summary, escalate, deny
	Policy   string  // who said it
	Rule     string  // the rule of the configuration that said it, if one did

	// Counts are the counts that rules have used, by window and intent, so that a replay
	// finds the same.
	Counts map[string]int
	// Asked says that a policy was asked; Work is how many units of work it took.
	Asked bool
	Work  int64
	// Failed says that a rule could not be evaluated, which is why it holds.
	Failed bool
}

// Policy decides over requests and messages. An error means that it could not
// say, and counts as "not now". Safe for concurrent use.
//
// docs/threat-model.md#p3
type Policy interface {
	Name() string
	Decide(ctx context.Context, q Question) (Verdict, error)
}

// HandlerAnswer is what an intent handler answers a message with.
type HandlerAnswer struct {
	OK    bool
	Data  Raw
	Error string
}

// Handler answers the messages of the intents it owns. Safe for concurrent use.
type Handler interface {
	Name() string
	Intents() []string
	Handle(ctx context.Context, p *Peer, m *Message) (HandlerAnswer, error)
}
