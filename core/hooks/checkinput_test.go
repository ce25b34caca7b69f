package hooks

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// A case that is no input of a hook is a mistake: what a policy answers to it says nothing.
func TestCheckInput(t *testing.T) {
	for _, c := range []struct {
		hook core.Hook
		text string
		ok   bool
	}{
		{core.HookMessage, `{}`, false},
		{core.HookMessage, `[]`, false},
		{core.HookMessage, `{"message":null}`, false},
		{core.HookMessage, `{"message":{}}`, false},
		{core.HookMessage, `{"message":{"intent":7}}`, false},
		{core.HookMessage, `{"peer":"bob","message":{"intent":"message"}}`, false},
		{core.HookMessage, `{"message":{"intent":"message"}}`, true},
		{core.HookHandle, `{"peer":{}}`, false},
		{core.HookHandle, `{"message":{"intent":"x"}}`, true},
		{core.HookRequest, `{}`, false},
		{core.HookRequest, `{"request":[]}`, false},
		{core.HookRequest, `{"peer":{}}`, true},
		{core.HookNotify, `{}`, false},
		{core.HookNotify, `{"event":"x"}`, false},
		{core.HookNotify, `{"events":[]}`, false},
		{core.HookNotify, `{"event":{}}`, true},
		{"greet", `{"peer":"bob"}`, false},
		{"greet", `{"peer":{}}`, true},
	} {
		if err := CheckInput(c.hook, []byte(c.text)); (err == nil) != c.ok {
			t.Errorf("CheckInput(%s, %s) = %v, want it taken: %v", c.hook, c.text, err, c.ok)
		}
	}
}
