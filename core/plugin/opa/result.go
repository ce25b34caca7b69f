package opa

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
)

// answer is a policy's answer. sdk/ABI.md#message
type answer struct {
	Decision core.Decision  `json:"decision"`
	Reason   string         `json:"reason,omitzero"`
	Code     string         `json:"code,omitzero"`
	Level    string         `json:"level,omitzero"`
	Grants   jsontext.Value `json:"grants,omitzero"`
}

// rules are the names that have a meaning in what an entry point gives.
type rules struct {
	Decision jsontext.Value `json:"decision"`
	Allow    jsontext.Value `json:"allow"`
	Deny     jsontext.Value `json:"deny"`
	Hold     jsontext.Value `json:"hold"`
	Reason   string         `json:"reason"`
	Code     string         `json:"code"`
	Level    string         `json:"level"`
	Grants   jsontext.Value `json:"grants"`

	Own map[string]jsontext.Value `json:",embed"`
}

// verdict makes an answer of a result set: [] where the entry point is undefined, else [{"result": ...}]. The last
// part of the entry point's path says what a single value means: what "deny" gives are reasons to deny.
func verdict(hook core.Hook, path string, text []byte) ([]byte, error) {
	var set []struct {
		Result jsontext.Value `json:"result"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("its result is not what a module of opa build gives: %s", quoted(text))
	}
	if len(set) == 0 {
		return json.Marshal(undefined(hook, path))
	}
	result := set[0].Result
	var r rules
	var err error
	switch name := last(path); {
	case name == "allow":
		r.Allow = result
	case name == "deny":
		r.Deny = result
	case name == "hold":
		r.Hold = result
	case result.Kind() == '{':
		err = r.read(result)
	case result.Kind() == '"':
		r.Decision = result
	default:
		r.Allow = result
	}
	a := answer{}
	if err == nil {
		a, err = r.answer()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: it gave %s", path, err, quoted(result))
	}
	return json.Marshal(a)
}

// undefined is the answer where no rule gives one. A reason to deny that is not there denies nothing, and a
// permission that is not there permits nothing; who asks stays with the human then.
func undefined(hook core.Hook, path string) answer {
	switch name := last(path); {
	case name == "deny", name == "hold":
		return answer{Decision: core.Abstain}
	case hook == core.HookRequest:
		return answer{Decision: core.Hold, Reason: path + " is undefined"}
	}
	return answer{Decision: core.Deny, Reason: path + " is undefined"}
}

// answer weighs the rules: a reason to deny comes before one to hold, and that before a permission, whether they stand in
// deny and hold or are the decision.
func (r *rules) answer() (answer, error) {
	a := answer{Reason: r.Reason, Code: r.Code, Level: r.Level, Grants: r.Grants}
	denied, denies, err := reasonsOf("deny", r.Deny)
	if err != nil {
		return a, err
	}
	held, holds, err := reasonsOf("hold", r.Hold)
	if err != nil {
		return a, err
	}
	decided := answer{}
	if r.Decision != nil {
		if decided, err = r.decided(a); err != nil {
			return a, err
		}
	}
	switch {
	case denies:
		a.Decision, a.Grants, a.Reason = core.Deny, nil, cmp.Or(denied, a.Reason)
	case decided.Decision == core.Deny:
		return decided, nil
	case holds:
		a.Decision, a.Grants, a.Reason = core.Hold, nil, cmp.Or(held, a.Reason)
	case r.Decision != nil:
		return decided, nil
	case r.Allow != nil && r.Allow.Kind() == 't':
		a.Decision = core.Allow
	case r.Allow != nil && r.Allow.Kind() == 'f':
		a.Decision, a.Grants = core.Deny, nil
	case r.Allow != nil:
		return a, errors.New("allow: want true or false")
	case r.Deny != nil || r.Hold != nil:
		a.Decision, a.Grants = core.Abstain, nil
	default:
		return a, errors.New("want true or false, a decision, or an object with decision, allow, deny or hold")
	}
	return a, nil
}

// decided is the answer of a decision.
func (r *rules) decided(a answer) (answer, error) {
	switch r.Decision.Kind() {
	case '"':
		if err := json.Unmarshal(r.Decision, &a.Decision); err != nil {
			return a, err
		}
	case '{':
		var inner rules
		if err := inner.read(r.Decision); err != nil {
			return a, err
		}
		if inner.Decision.Kind() == '{' {
			return a, errors.New("a decision within a decision")
		}
		var err error
		if a, err = inner.answer(); err != nil {
			return a, err
		}
	default:
		return a, errors.New("decision: want a string or an object")
	}
	if a.Decision == core.Allow && r.Allow != nil && r.Allow.Kind() != 't' {
		return a, errors.New("its decision is to allow, and its allow is not true")
	}
	return a, nil
}

// read reads an object. What it has beside our names is the policy's own, but none in another case: a rule called Deny
// would deny nothing.
func (r *rules) read(text []byte) error {
	if err := json.Unmarshal(text, r); err != nil {
		return err
	}
	for name := range r.Own {
		if i := slices.IndexFunc(names, func(ours string) bool { return strings.EqualFold(name, ours) }); i >= 0 {
			return fmt.Errorf("unknown name %q: did you mean %q?", name, names[i])
		}
	}
	return nil
}

var names = []string{"decision", "allow", "deny", "hold", "reason", "code", "level", "grants"}

// reasonsOf reads a rule that gives reasons: true, a text, or a set of texts or of objects with "msg". One that is not
// there gives none.
func reasonsOf(name string, v jsontext.Value) (reasons string, yes bool, err error) {
	switch v.Kind() {
	case 0:
		return "", false, nil
	case 't', 'f':
		return "", v.Kind() == 't', nil
	case '"':
		err = json.Unmarshal(v, &reasons)
		return reasons, true, err
	case '[':
		var all []jsontext.Value
		if err := json.Unmarshal(v, &all); err != nil {
			return "", false, err
		}
		texts := make([]string, len(all))
		for i, one := range all {
			var o struct {
				Msg string `json:"msg"`
			}
			switch one.Kind() {
			case '"':
				err = json.Unmarshal(one, &texts[i])
			case '{':
				err = json.Unmarshal(one, &o)
				texts[i] = o.Msg
			default:
				err = errors.New("want texts")
			}
			if err != nil {
				return "", false, fmt.Errorf("%s: %w", name, err)
			}
		}
		slices.Sort(texts)
		return strings.Trim(strings.Join(texts, "; "), "; "), len(all) > 0, nil
	}
	return "", false, fmt.Errorf("%s: want true, false, a text or a set of texts", name)
}

func quoted(b []byte) string {
	const most = 200
	if len(b) > most {
		return fmt.Sprintf("%q...", b[:most])
	}
	return fmt.Sprintf("%q", b)
}
