package hooks_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/record"
	"github.com/opengatewayprotocol/ogp/core/rules"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// panel puts policies of every kind in force: rules that count and look at the hour and
// at tags, Rego, Extism, C and Rust.
func panel(t *testing.T, m *hooks.Manager) {
	t.Helper()
	m.SetRules(t.Context(), hooks.Rules{Set: ruleSet(t,
		rules.Rule{Name: "too many", When: `recent("1h", "agent-comms") > 2 && !("team" in peer.tags)`, Then: rules.Hold, Reason: "a flood"},
		rules.Rule{Name: "night", When: `!hours("Mon-Sun 07:00-22:00") && peer.alias != "carol"`, Then: rules.Deny, Reason: "we sleep"},
		rules.Rule{Name: "no invites", When: `request.invite != ""`, Then: rules.Deny, Reason: "we give none"})})
	var all []hooks.Wanted
	for _, name := range []string{"rego-house-rules", "extism-links", "topic-allowlist", "office-hours"} {
		w := example(name)
		w.Spec.Config = []byte(map[string]string{
			"rego-house-rules": `{"days_off":["Thursday"],"topics":["general","work"]}`,
			"topic-allowlist":  `{"topics":["general","work","gossip"]}`,
			"office-hours":     `{"open":"06:00","close":"23:59","days":["mon","tue","wed","thu","fri","sat","sun"]}`}[name])
		if name == "office-hours" {
			w.Spec.Manifest = manifestOf(t, name, "[[selftest]]")
		}
		all = append(all, w)
	}
	apply(t, m, all...)
}

// TestReplayOfADay has the policies asked again, by a manager of its own over an empty store, about a day and a half
// of messages and requests. Each must come out as it really did: by the answer that the peer got, and by what the
// inbox holds. Between, the operator calls two of the peers something else.
func TestReplayOfADay(t *testing.T) {
	var clock atomic.Pointer[time.Time]
	set := func(at time.Time) { clock.Store(&at) }
	set(time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)) // a Wednesday
	now := func() time.Time { return *clock.Load() }
	m := newManager(t, hooks.Options{})
	apply(t, m) // none yet, so that friends come in
	var ring *record.Ring
	bob := coretest.New(t, coretest.WithNow(now), coretest.Quiet(), coretest.WithPlugins(m.Plugins),
		coretest.WithSettings(func(s *ours.Settings) { s.Levels.Default = scope.LevelFull }),
		coretest.WithRecord(func(s core.Store) gateway.Recorder {
			var err error
			ring, err = record.Open(t.Context(), s.(record.Store), record.Settings{Keep: 72 * time.Hour, Payloads: true}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			ring.TextBytes = hooks.TextBytes
			return ring
		}))
	bob.Dispatcher.Set()
	wide := []core.Grant{
		{Intent: core.IntentAgentComms, Enabled: true, RateLimit: &core.RateLimit{Requests: 1000, WindowSeconds: 60}, ByteLimit: &core.ByteLimit{Bytes: 1 << 30, WindowSeconds: 60}},
		{Intent: core.IntentMessage, Enabled: true, RateLimit: &core.RateLimit{Requests: 1000, WindowSeconds: 60}, ByteLimit: &core.ByteLimit{Bytes: 1 << 30, WindowSeconds: 60}}}
	var peers []*coretest.Gateway
	really := map[core.Nonce]core.Decision{} // what became of each message
	for _, alias := range []string{"alice", "carol", "dave"} {
		p := coretest.New(t, coretest.WithNow(now), coretest.Quiet())
		coretest.Ask(t, p, bob)
		if _, err := bob.ApprovePeer(t.Context(), p.Key(), gateway.Approval{Grants: wide, Alias: alias}); err != nil {
			t.Fatal(err)
		}
		peers = append(peers, p)
	}
	if _, err := bob.Tag(t.Context(), peers[2].Key(), []string{"team"}, nil); err != nil {
		t.Fatal(err)
	}
	panel(t, m)
	set(now().Add(time.Hour))
	began := now()
	stranger := coretest.New(t, coretest.WithNow(now), coretest.Quiet())
	if _, err := stranger.RequestFederation(t.Context(), gateway.Ask{URL: bob.URL, Expect: bob.Key()}); err == nil {
		t.Fatal("a stranger that offers nothing was not refused")
	}

	texts := []string{"how are things?", "see https://a.example/1 and https://b.example/2 and https://c.example/3", "look: https://evil.example/x", strings.Repeat("long ", 1000)}
	topics := []string{"general", "work/plan", "gossip", "deals"}
	asked := map[core.Hook]int{core.HookRequest: 1}
	for n := range 220 {
		set(now().Add(14 * time.Minute))
		from := peers[(n*7)%3]
		if n%20 < 6 { // a burst
			set(now().Add(-13 * time.Minute))
			from = peers[n%40/20*2]
		}
		message := core.Message{Intent: core.IntentAgentComms, From: from.Key().ID(), To: bob.Key().ID(), Nonce: envelope.NewNonce(), Timestamp: core.FormatTime(now()),
			Payload: core.Raw(fmt.Sprintf(`{"topic":%q,"message":%q}`, topics[(n/3)%4*(n%5)/4%4], texts[n%11*n%13%4]))}
		if n%9 == 0 {
			message.Intent, message.Payload = core.IntentMessage, core.Raw(fmt.Sprintf(`{"text":%q}`, texts[n/9%4]))
		}
		sealer := envelope.Sealer{Key: from.Private, Now: now}
		body, err := sealer.SealMessage(bob.Key(), message)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := bob.ReceiveMessage(t.Context(), body)
		if err != nil {
			t.Fatalf("message %d: %v", n, err)
		}
		asked[core.HookMessage]++
		switch answer.Status {
		case http.StatusOK:
			really[message.Nonce] = core.Allow
		case http.StatusForbidden:
			really[message.Nonce] = core.Deny
		default:
			t.Fatalf("message %d: %d %s", n, answer.Status, answer.Body)
		}
	}
	kept, err := bob.Store.Inbox(t.Context(), core.InboxFilter{Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]core.Raw{}
	for _, one := range kept {
		byID[one.ID] = one.Message.Payload
		if one.Status == core.InboxHeld {
			really[one.Message.Nonce] = core.Hold
		}
	}

	// Since then the operator has called two peers something else.
	if _, err := bob.SetAlias(t.Context(), peers[1].Key(), "caroline"); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.Tag(t.Context(), peers[2].Key(), nil, []string{"team"}); err != nil {
		t.Fatal(err)
	}
	list, err := ring.Page(t.Context(), time.Time{}, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	list = slices.DeleteFunc(list, func(d record.Decision) bool { return d.At.Before(began) })
	slices.Reverse(list)
	again := newManager(t, hooks.Options{})
	panel(t, again)
	questions := make([]core.Question, len(list))
	for i := range list {
		questions[i] = list[i].Question(byID[list[i].InboxID])
	}
	again.Remember(questions)
	by := map[string]int{}
	for i, d := range list {
		asked[d.Kind]--
		v, steps, err := again.Judge(t.Context(), questions[i], false)
		if err != nil {
			t.Fatalf("%s: %v after %+v", d.ID, err, steps)
		}
		if v.Policy != d.Policy || v.Rule != d.Rule || v.Decision != d.Verdict {
			t.Errorf("%s at %v: %s by %q %q, was %s by %q %q", d.ID, d.At, v.Decision, v.Policy, v.Rule, d.Verdict, d.Policy, d.Rule)
		}
		fate := v.Decision
		if d.Kind == core.HookMessage {
			if fate == core.Abstain {
				fate = core.Allow
			}
			if fate != really[d.Message.Nonce] {
				t.Errorf("%s at %v: the replay says %s, and it was %s", d.ID, d.At, fate, really[d.Message.Nonce])
			}
			delete(really, d.Message.Nonce)
		}
		by[fmt.Sprintf("%s %s %s", fate, v.Policy, v.Rule)]++
	}
	if len(really) > 0 || asked[core.HookMessage] != 0 || asked[core.HookRequest] != 0 {
		t.Errorf("not on record: %d messages, %v", len(really), asked)
	}
	for _, some := range []string{"hold rules too many", "deny rules night", "hold rego-house-rules ", "deny rego-house-rules ", "hold extism-links ", "deny extism-links ", "allow office-hours "} {
		if by[some] == 0 {
			t.Errorf("none came out as %q: %v", some, by)
		}
	}
}
