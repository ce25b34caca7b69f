package hooks

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/rules"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// Step is what came of asking one policy, or one of its rules.
type Step struct {
	Policy   string        `json:"policy"`
	Rule     string        `json:"rule,omitempty"`
	Decision core.Decision `json:"decision"`
	Reason   string        `json:"reason,omitempty"`
	Code     string        `json:"code,omitempty"`
	Error    string        `json:"error,omitempty"`
	Work     int64         `json:"work,omitempty"` // of a module: units of work
	Took     time.Duration `json:"-"`
	// Rules are those that were asked, of the configuration's rules.
	Rules []RuleStep `json:"rules,omitempty"`
}

// RuleStep is what came of one rule.
type RuleStep struct {
	Name  string `json:"name"`
	Then  string `json:"then"`
	Holds bool   `json:"holds"`
	Error string `json:"error,omitempty"`
}

// ErrWithheld says that a policy cannot be asked again, as the payload was not recorded.
var ErrWithheld = errors.New("the payload was not recorded")

type workKey struct{}

func workOf(ctx context.Context) *int64 {
	w, _ := ctx.Value(workKey{}).(*int64)
	return w
}

// Judge puts a question to the policies in force, as the gateway does, and tells what
// came of each. each says whether the rules are told one by one. The error is ErrWithheld
// where a policy needs a payload that is not known.
func (m *Manager) Judge(ctx context.Context, q core.Question, each bool) (core.Verdict, []Step, error) {
	p, err := m.Plugins()
	if err != nil {
		return core.Verdict{}, nil, err
	}
	steps := make([]Step, 0, len(p.Policies[q.Kind]))
	withheld := false
	policies := make([]core.Policy, len(p.Policies[q.Kind]))
	for i, one := range p.Policies[q.Kind] {
		policies[i] = judged{one, &steps, each, &withheld}
	}
	v, err := scope.Judge(ctx, policies, q, func(_ core.Policy, v core.Verdict, took time.Duration, err error) {
		s := &steps[len(steps)-1]
		s.Policy, s.Rule, s.Decision, s.Reason, s.Code, s.Took = v.Policy, v.Rule, v.Decision, v.Reason, v.Code, took
		if err != nil {
			s.Error = err.Error()
		}
	})
	if withheld {
		return core.Verdict{}, steps, ErrWithheld
	}
	return v, steps, err
}

// judged is a policy that notes what it did.
type judged struct {
	core.Policy
	steps    *[]Step
	each     bool
	withheld *bool
}

func (j judged) Decide(ctx context.Context, q core.Question) (core.Verdict, error) {
	*j.steps = append(*j.steps, Step{})
	s := &(*j.steps)[len(*j.steps)-1]
	if r, ok := j.Policy.(rulesOf); ok {
		if j.each {
			r.each = func(x rules.Step) {
				one := RuleStep{Name: x.Name, Then: x.Then, Holds: x.Holds}
				if x.Err != nil {
					one.Error = x.Err.Error()
				}
				s.Rules = append(s.Rules, one)
			}
		}
		v, err := r.Decide(ctx, q)
		*j.withheld = *j.withheld || errors.Is(err, rules.ErrWithheld)
		return v, err
	}
	if p, ok := j.Policy.(policyOf); ok && q.Withheld && slices.Contains(p.hooks, q.Kind) && concerns(p.p.Manifest(), q.Message.Intent) {
		*j.withheld = true
		return core.Verdict{}, ErrWithheld
	}
	return j.Policy.Decide(context.WithValue(ctx, workKey{}, &s.Work), q)
}

// Remember tells the rules of messages that came, all before any is judged, so that
// they count as they would have then.
func (m *Manager) Remember(list []core.Question) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rules == nil || m.rules.counts == nil {
		return
	}
	m.rules.counts.all = true
	for _, q := range list {
		if q.Kind == core.HookMessage {
			m.rules.counts.add(q.Peer.Key, q.Message.Intent, q.Message.Nonce, q.Now)
		}
	}
}

// TextBytes is the size of what a message says to a reader.
func TextBytes(m *core.Message) int { return len(textOf(m).said) }

// QuestionOf reads the input of a policy, as a case holds it: sdk/ABI.md.
func QuestionOf(input []byte) (core.Question, error) {
	var in struct {
		Hook    core.Hook    `json:"hook"`
		Kind    core.Hook    `json:"kind"`
		Now     string       `json:"now"`
		Peer    peerView     `json:"peer"`
		Message *messageView `json:"message"`
		Request *requestView `json:"request"`
	}
	if err := json.Unmarshal(input, &in); err != nil {
		return core.Question{}, &core.Error{Kind: core.Malformed, Public: "the case is not an input of a policy", Err: err, Hint: "sdk/ABI.md shows inputs"}
	}
	q := core.Question{Kind: cmp.Or(in.Kind, in.Hook), Now: time.Now(),
		Peer: &core.Peer{Alias: in.Peer.Alias, Tags: in.Peer.Tags, Trust: in.Peer.State, URL: in.Peer.GatewayURL, Names: in.Peer.Names}}
	if at, err := core.ParseTime(in.Now); err == nil {
		q.Now = at
	}
	if in.Peer.Grants != nil {
		q.Peer.Granted = &core.Bundle{Scopes: in.Peer.Grants}
	}
	hook, _ := core.HookNamed(string(q.Kind))
	switch {
	case in.Message != nil && (hook == core.HookMessage || hook == ""):
		m := in.Message
		q.Kind, q.Bytes = core.HookMessage, m.SignedBytes
		q.Message = &core.Message{Nonce: m.ID, Intent: m.Intent, ConversationID: m.ConversationID, ToAgent: m.ToAgent, Timestamp: m.Timestamp, Payload: m.Payload}
		if m.ReplyWanted {
			q.Message.ReplyTo = in.Peer.GatewayURL
		}
		q.Topic = viewMessage(q.Message).Topic
	case in.Request != nil && (hook == core.HookRequest || hook == ""):
		q.Kind, q.Request, q.URLVerified, q.Peer.Offered = core.HookRequest, &core.Request{}, in.Request.URLVerified, in.Request.OfferedIntents
		if in.Request.Invite != "" {
			q.Request.Invite = &core.Invited{Token: in.Request.Invite}
		}
	default:
		return core.Question{}, core.Refuse(core.Malformed, "the case is neither about a message nor about a request").WithHint(
			`it has "kind" and a member "message" or "request"; sdk/ABI.md shows both`)
	}
	return q, nil
}
