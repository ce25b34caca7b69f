package hooks_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/rules"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

func ruleSet(t testing.TB, list ...rules.Rule) *rules.Set {
	t.Helper()
	s, problems := rules.Compile(list, rules.Options{Zone: time.UTC, Approves: true})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return s
}

func asks(n int, at time.Time, text string) core.Question {
	return core.Question{Kind: core.HookMessage, Now: at, Peer: &core.Peer{Key: core.PublicKey{7}, Alias: "bob"},
		Message: &core.Message{Intent: "message", Nonce: core.Nonce(fmt.Sprint(n)), Payload: core.Raw(`{"text":"` + text + `"}`)}}
}

// Rules are a policy among the others: in their place, listed, counted, and gone when
// there are none.
func TestRulesAmongPlugins(t *testing.T) {
	store := memory.New()
	m := newManager(t, hooks.Options{Store: store})
	allow := example("topic-allowlist")
	allow.Order = 5
	r := hooks.Rules{Order: 3, Set: ruleSet(t, rules.Rule{Name: "no x", When: `message.text == "x"`, Then: rules.Deny, Reason: "why"})}
	m.SetRules(t.Context(), r)
	apply(t, m, allow)
	p := policies(t, m, 2)
	if p[0].Name() != "rules" || p[1].Name() != "topic-allowlist" {
		t.Errorf("asked are %s, %s", p[0].Name(), p[1].Name())
	}
	v, err := p[0].Decide(t.Context(), asks(1, time.Now(), "x"))
	if err != nil || v.Decision != core.Deny || v.Rule != "no x" || v.Reason != "why" {
		t.Errorf("%+v, %v", v, err)
	}
	r.Order = 9
	m.SetRules(t.Context(), r)
	if p := policies(t, m, 2); p[1].Name() != "rules" {
		t.Errorf("asked last is %s", p[1].Name())
	}
	if list := m.List(); len(list) != 2 || list[1].Name != "rules" || list[1].Calls != 1 || list[1].Refusals != 1 || list[1].Rules != 1 || list[1].State != "ready" {
		t.Errorf("%+v", list)
	}
	policiesAbout(t, m, core.HookRequest, 0)
	m.SetRules(t.Context(), hooks.Rules{})
	policies(t, m, 1)
	if hooks.CheckName("rules") == nil {
		t.Error("a plugin may be named rules")
	}
	m.Close()
	again := newManager(t, hooks.Options{Store: store})
	again.SetRules(t.Context(), r)
	if list := again.List(); len(list) != 1 || list[0].Calls != 1 {
		t.Errorf("after a restart: %+v", list)
	}
}

// Counts hold over a restart: they begin with the receipts of the store.
func TestRulesCount(t *testing.T) {
	store, now := memory.New(), time.Now()
	for i := range 3 {
		change := &core.Change{Receipt: &core.Receipt{Peer: core.PublicKey{7}, Nonce: core.Nonce(fmt.Sprint(i)), At: now.Add(time.Duration(i-90) * time.Minute), Intent: "message", Status: 200}}
		if i == 2 {
			change.Receipt.At = now.Add(-time.Minute)
		}
		if err := store.Commit(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	m := newManager(t, hooks.Options{Store: store})
	m.SetRules(t.Context(), hooks.Rules{Set: ruleSet(t,
		rules.Rule{Name: "many", When: `recent("1h") > 3 || recent("1h", "other") > 0`, Then: rules.Hold},
		rules.Rule{Name: "day", When: `recent("1d") > 4`, Then: rules.Deny})})
	apply(t, m)
	p := policies(t, m, 1)[0]
	for n, want := range []string{"", "", "many"} { // with the one of the store: 2, 3, 4 in the hour; 4, 5, 6 in the day
		if n == 1 {
			want = "day"
		}
		for range 2 { // asked again, it counts once
			v, err := p.Decide(t.Context(), asks(10+n, now.Add(time.Duration(n)*time.Second), "x"))
			if err != nil || v.Rule != want || v.Counts["1h"] != n+2 {
				t.Errorf("message %d: %+v, %v, want rule %q", n, v, err, want)
			}
		}
	}
}

// What rules approve is bounded as what plugins approve.
func TestRulesApprove(t *testing.T) {
	m := newManager(t, hooks.Options{})
	bound := []core.Grant{{Intent: "message", Enabled: true}}
	m.SetRules(t.Context(), hooks.Rules{Approves: true, AtMost: bound,
		Set: ruleSet(t, rules.Rule{Name: "known", When: `request.urlVerified && request.domain.isUnder("example.org")`, Then: rules.Approve})})
	apply(t, m)
	p := policiesAbout(t, m, core.HookRequest, 1)[0]
	q := core.Question{Kind: core.HookRequest, Now: time.Now(), Peer: &core.Peer{URL: "https://gw.example.org"}, Request: &core.Request{}, URLVerified: true}
	v, err := p.Decide(t.Context(), q)
	if err != nil || v.Decision != core.Allow || len(v.Grants) != 1 || v.Grants[0].Intent != "message" {
		t.Errorf("%+v, %v", v, err)
	}
	q.URLVerified = false
	if v, err := p.Decide(t.Context(), q); err != nil || v.Decision != core.Abstain {
		t.Errorf("unverified: %+v, %v", v, err)
	}
}
