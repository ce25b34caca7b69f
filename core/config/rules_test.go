package config

import (
	"strings"
	"testing"
)

// A mistake in a rule is named with the rule, its line in the file and its column.
func TestRuleProblems(t *testing.T) {
	_, _, _, err := Load(Options{Env: []string{}, Home: home(t, "config.toml", `[policy]
time_zone = "Mars/Base"

[[rules]]
name = "short"
when = 'message.txt == ""'
then = "deny"

[[rules]]
name = "short"
when = "true"
then = "refuse"

[policy.rules]
approves = true
`)})
	for _, want := range []string{"config.toml:2: policy.time_zone", `config.toml:10: rules[1].name: want a name of its own`, "config.toml:12: rules[1].then"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %q", err, want)
		}
	}
	_, _, _, err = Load(Options{Env: []string{}, Home: home(t, "config.toml", `
[[rules]]
name = "fine"
when = "message.textBytes > 1"
then = "hold"

[[rules]]
name = "short"
when = '''
peer.alias == "x" &&
  message.txt == ""
'''
then = "deny"

[[rules]]
name = "open"
when = 'true'
then = "approve"
`)})
	for _, want := range []string{`config.toml:9: rule "short": when: line 2, column 3: unknown name "message.txt"`, `config.toml:18: rule "open": then: no rule may approve strangers`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %q", err, want)
		}
	}
	if p := problems(err); len(p) != 2 || p[0].Hint != `did you mean "message.text"?` || p[1].Hint == "" {
		t.Errorf("%+v", p)
	}
	_, _, _, err = Load(Options{Env: []string{}, Home: home(t, "config.toml", "[rules]\napproves = true\n")})
	if err == nil || !strings.Contains(err.Error(), "[policy.rules]") {
		t.Errorf("%v, want what [rules] should be", err)
	}
}
