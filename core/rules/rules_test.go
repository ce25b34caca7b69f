package rules_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/rules"
)

var now = time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC) // a Saturday

func compile(t testing.TB, o rules.Options, list ...rules.Rule) *rules.Set {
	t.Helper()
	s, problems := rules.Compile(list, o)
	if len(problems) > 0 {
		t.Fatalf("problems %+v", problems)
	}
	return s
}

func said(text string) rules.Input {
	return rules.Input{
		Question: core.Question{Kind: core.HookMessage, Now: now, Bytes: 400, Topic: "deals",
			Peer:    &core.Peer{Alias: "bob", Trust: core.Approved, URL: "https://bob.example", Names: core.Names{Organization: "Acme"}},
			Message: &core.Message{Intent: core.IntentAgentComms, Nonce: "n1", ToAgent: "scribe", Payload: core.Raw(`{"topic":"deals","message":"` + text + `","amount":12.5,"tags":["a","b"]}`)}},
		Words:  func() (string, string) { return text, "high" },
		Recent: func(w time.Duration, intent string) int { return int(w/time.Hour) + len(intent) },
	}
}

func asked(url string, verified bool) rules.Input {
	return rules.Input{Question: core.Question{Kind: core.HookRequest, Now: now, URLVerified: verified,
		Peer:    &core.Peer{URL: url, Trust: core.Pending, Offered: []string{"message", "calendar"}},
		Request: &core.Request{Invite: &core.Invited{Token: "a3f7k2"}}}}
}

// Each name and function says what it is documented to say.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		when string
		in   rules.Input
		want bool
	}{
		{`kind == "message"`, said("hi"), true},
		{`now < timestamp("2026-11-28T10:00:00Z")`, said("hi"), true},
		{`peer.alias == "bob" && peer.names.organization == "Acme"`, said("hi"), true},
		{`peer.alias in ["alice", "carol"]`, said("hi"), false},
		{`peer.state == "approved" && peer.gatewayUrl.startsWith("https://")`, said("hi"), true},
		{`message.intent == "agent-comms" && size(message.text) > 4`, said("hello"), true},
		{`size(message.text) > 4`, said("hell"), false},
		{`message.textBytes == 3`, said("hé"), true},
		{`message.topic == "deals" && message.priority == "high"`, said("hi"), true},
		{`message.signedBytes == 400 && message.toAgent == "scribe" && !message.replyWanted`, said("hi"), true},
		{`message.payload.amount > 12`, said("hi"), true},
		{`has(message.payload.missing)`, said("hi"), false},
		{`"b" in message.payload.tags`, said("hi"), true},
		{`message.payload.tags.exists(t, t == "c")`, said("hi"), false},
		{`message.text.matches("(?i)^pay +\\d+$")`, said("PAY 100"), true},
		{`message.text.lower().contains("secret")`, said("a SECRET thing"), true},
		{`recent("2h") == 2 && recent("1h", "ab") == 3`, said("hi"), true},
		{`hours("Sat 09:00-10:00")`, said("hi"), true},
		{`hours("Mon-Fri 00:00-24:00")`, said("hi"), false},
		{`hours("Fri 22:00-09:31")`, said("hi"), true},
		{`hours("Fri 22:00-09:30")`, said("hi"), false},
		{`hours("10:00-11:00", "Europe/Paris")`, said("hi"), true},
		{`hours("Mon 08:00-09:00; Sat 09:00-09:31")`, said("hi"), true},
		{`hours("Fri-Mon 09:00-10:00")`, said("hi"), true},
		{`request.domain.isUnder("example.org")`, asked("https://GW.example.org:8443/x", false), true},
		{`request.domain.isUnder("example.org")`, asked("https://notexample.org", false), false},
		{`request.urlVerified && "calendar" in request.offeredIntents && request.invite == "a3f7k2"`, asked("https://a.example", true), true},
		{`request.offeredIntents.all(i, i in ["message"])`, asked("https://a.example", true), false},
	} {
		s := compile(t, rules.Options{Zone: time.UTC}, rules.Rule{Name: "r", When: c.when, Then: rules.Deny})
		v, err := s.Decide(context.Background(), c.in)
		if err != nil || (v.Decision == core.Deny) != c.want || v.Failed {
			t.Errorf("%s: %+v, %v, want %v", c.when, v, err, c.want)
		}
	}
}

// The first rule that holds decides, and one is asked about what it is about.
func TestOrder(t *testing.T) {
	s := compile(t, rules.Options{Approves: true},
		rules.Rule{Name: "bob", When: `peer.alias == "bob" && message.intent == "agent-comms"`, Then: rules.Allow},
		rules.Rule{Name: "known", When: `request.urlVerified && request.domain.isUnder("example.org")`, Then: rules.Approve},
		rules.Rule{Name: "all", When: `true`, Then: rules.Hold, Reason: "looked at first"})
	other := said("hi")
	other.Peer = &core.Peer{Alias: "eve"}
	for _, c := range []struct {
		in   rules.Input
		want core.Verdict
	}{
		{said("hi"), core.Verdict{Decision: core.Allow, Rule: "bob", Reason: "bob"}},
		{other, core.Verdict{Decision: core.Hold, Rule: "all", Reason: "looked at first"}},
		{asked("https://a.example.org", true), core.Verdict{Decision: core.Allow, Rule: "known", Reason: "known"}},
		{asked("https://a.example.org", false), core.Verdict{Decision: core.Hold, Rule: "all", Reason: "looked at first"}},
	} {
		v, err := s.Decide(context.Background(), c.in)
		if err != nil || v.Decision != c.want.Decision || v.Rule != c.want.Rule || v.Reason != c.want.Reason {
			t.Errorf("%+v, %v, want %+v", v, err, c.want)
		}
	}
	if v, err := compile(t, rules.Options{}).Decide(context.Background(), said("hi")); err != nil || v.Decision != core.Abstain {
		t.Errorf("no rules: %+v, %v", v, err)
	}
}

// Mistakes are named with their place and what is meant.
func TestProblems(t *testing.T) {
	for _, c := range []struct {
		when, then string
		column     int
		what, hint string
	}{
		{`message.intent = "x"`, rules.Deny, 16, "", ""},
		{`peer.alias == "x" && message.txt == ""`, rules.Deny, 22, `unknown name "message.txt"`, `did you mean "message.text"?`},
		{`mesage.text == ""`, rules.Deny, 1, `unknown name`, `message.text`},
		{`size(message.text)`, rules.Deny, 1, "neither true nor false", ""},
		{`message.text > 3`, rules.Deny, 14, "no matching overload", ""},
		{`hours("Mo 9-17")`, rules.Deny, 7, "days are Mon", ""},
		{`hours("Mon 9:00-17:00")`, rules.Deny, 7, "want days and hours", ""},
		{`hours("Mon 09:00-17:00", "Mars/Base")`, rules.Deny, 26, "unknown time zone", ""},
		{`hours(peer.alias)`, rules.Deny, 11, "in quotes", ""},
		{`recent("90y") > 3`, rules.Deny, 8, "at most 31d", ""},
		{`message.text.matches("(")`, rules.Deny, 22, "not a regular expression", "RE2"},
		{`message.text.matches(message.payload.p)`, rules.Deny, 37, "not written in the rule", "in quotes"},
		{`["a"].exists(p, matches(message.text, p))`, rules.Deny, 39, "not written in the rule", "in quotes"},
		{`message.text.matches("a" + peer.names.email)`, rules.Deny, 26, "not written in the rule", "in quotes"},
		{`request.invite == message.text`, rules.Deny, 0, "can never hold", "two rules"},
		{`request.domain == "a.example"`, rules.Approve, 0, "anybody can claim", "urlVerified"},
		{`request.urlVerified`, rules.Allow, 0, "about messages", "approve"},
		{`message.text == ""`, rules.Approve, 0, "about a message", ""},
		{`@in == @in`, rules.Deny, 1, "", ""},
		{strings.Repeat("(", 60) + "true" + strings.Repeat(")", 60), rules.Deny, -1, "recursion", ""},
	} {
		_, problems := rules.Compile([]rules.Rule{{Name: "ok", When: "true", Then: rules.Hold}, {Name: "bad", When: c.when, Then: c.then}}, rules.Options{Approves: true})
		if len(problems) == 0 {
			t.Errorf("%s: no problem", c.when)
			continue
		}
		p := problems[0]
		if p.Rule != 1 || c.column >= 0 && p.Column != c.column || !strings.Contains(p.What, c.what) || !strings.Contains(p.Hint, c.hint) {
			t.Errorf("%s: %+v, want column %d, %q, hint %q", c.when, p, c.column, c.what, c.hint)
		}
	}
	if _, p := rules.Compile([]rules.Rule{{Name: "a", When: `request.urlVerified`, Then: rules.Approve}}, rules.Options{}); len(p) != 1 || p[0].Member != "then" {
		t.Errorf("approves without the power: %+v", p)
	}
}

// What cannot be evaluated is left to the human, and says why.
func TestCannotBeEvaluated(t *testing.T) {
	for when, reason := range map[string]string{
		`message.payload.missing == 1`:           `no member "missing"`,
		`message.payload.amount.startsWith("x")`: "no such overload",
		`message.payload.tags[7] == "a"`:         "index out of bounds",
	} {
		v, err := compile(t, rules.Options{}, rules.Rule{Name: "r", When: when, Then: rules.Deny}).Decide(context.Background(), said("hi"))
		if err != nil || v.Decision != core.Hold || !v.Failed || !strings.Contains(v.Reason, reason) {
			t.Errorf("%s: %+v, %v, want held with %q", when, v, err, reason)
		}
	}
}

// However an expression and a message are made, the work is bounded.
func TestWorkIsBounded(t *testing.T) {
	list := strings.TrimSuffix(strings.Repeat(`"aaaaaaaaaa",`, 5000), ",")
	in := said(strings.Repeat("a", 1<<20))
	in.Message.Payload = core.Raw(`{"l":[` + list + `]}`)
	for _, when := range []string{
		`message.payload.l.all(a, message.payload.l.all(b, message.payload.l.all(c, a == b && b == c)))`,
		`message.payload.l.map(a, message.payload.l.map(b, a + b)).size() == 1`,
		`message.payload.l.all(a, message.text.matches("(a|aa)+$"))`,
		`message.payload.l.all(a, message.text.lower() == message.text)`,
		`message.payload.l.map(a, message.text + message.text).size() == 1`,
	} {
		s := compile(t, rules.Options{}, rules.Rule{Name: "r", When: when, Then: rules.Deny})
		start := time.Now()
		v, err := s.Decide(context.Background(), in)
		if took := time.Since(start); took > 30*time.Second || // without a bound: hours
			err != nil || !v.Failed {
			t.Errorf("%s: %+v, %v after %s", when, v, err, took)
		} else {
			t.Logf("%s: %s after %s", when, v.Reason, took)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := s.Decide(ctx, in); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want canceled", when, err)
		}
	}
}

// A payload that was not recorded is known to be missing, where a rule wants it.
func TestWithheld(t *testing.T) {
	in := said("hi")
	in.Withheld, in.TextBytes, in.Message.Payload = true, 5000, nil
	in.Words = nil
	for when, want := range map[string]error{`message.text == "x"`: rules.ErrWithheld, `message.textBytes > 4000`: nil, `message.intent == "x" && message.text == "x"`: nil} {
		_, err := compile(t, rules.Options{}, rules.Rule{Name: "r", When: when, Then: rules.Deny}).Decide(context.Background(), in)
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", when, err, want)
		}
	}
}

func tenRules() []rules.Rule {
	list := []rules.Rule{
		{Name: "long", When: `message.intent == "agent-comms" && size(message.text) > 4000`, Then: rules.Hold},
		{Name: "night", When: `!hours("Mon-Sun 06:00-23:00", "Europe/Paris")`, Then: rules.Hold},
		{Name: "many", When: `recent("1h") > 50`, Then: rules.Deny},
		{Name: "keys", When: `message.text.contains("PRIVATE KEY")`, Then: rules.Deny},
		{Name: "topic", When: `message.topic in ["hiring", "legal"]`, Then: rules.Hold},
	}
	for i := range 5 {
		list = append(list, rules.Rule{Name: fmt.Sprint("peer ", i), When: fmt.Sprintf(`peer.alias == "peer%d" && message.priority == "high"`, i), Then: rules.Deny})
	}
	return list
}

func BenchmarkTenRules(b *testing.B) {
	s := compile(b, rules.Options{Zone: time.UTC}, tenRules()...)
	in := said(strings.Repeat("a fair word ", 40))
	b.ReportAllocs()
	for b.Loop() {
		if v, err := s.Decide(context.Background(), in); err != nil || v.Decision != core.Abstain {
			b.Fatal(v, err)
		}
	}
}

// A regular expression over half a kilobyte costs more than all of those.
func BenchmarkRegexp(b *testing.B) {
	s := compile(b, rules.Options{Zone: time.UTC}, rules.Rule{Name: "keys", When: `message.text.matches("(?i)api[_-]?key|BEGIN [A-Z ]*PRIVATE")`, Then: rules.Deny})
	in := said(strings.Repeat("a fair word ", 40))
	for b.Loop() {
		if _, err := s.Decide(context.Background(), in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		compile(b, rules.Options{Zone: time.UTC}, tenRules()...)
	}
}

// Functions that look at every byte of a text are paid for by its size, within loops, too.
func TestTextsArePaidForBySize(t *testing.T) {
	s := compile(t, rules.Options{}, rules.Rule{Name: "r", When: `message.payload.l.exists(x, message.text.lower() == string(x))`, Then: rules.Deny})
	in := said(strings.Repeat("A", 32<<10))
	in.Message.Payload = core.Raw(`{"l":[` + strings.Repeat("1,", 16000) + `1]}`)
	began := time.Now()
	v, err := s.Decide(context.Background(), in)
	if err != nil || !v.Failed || !strings.Contains(v.Reason, "too much work") {
		t.Errorf("%+v, %v, want that it is too much work, after %v", v, err, time.Since(began))
	}
	if v, err = s.Decide(context.Background(), said("HI")); err != nil || v.Failed && !strings.Contains(v.Reason, "no member") {
		t.Errorf("%+v, %v", v, err)
	}
}

// Hours are those of the clock on the wall, where it is put forward or back, too.
func TestHoursWhenTheClockIsChanged(t *testing.T) {
	for _, c := range []struct {
		at, hours string
		want      bool
	}{
		{"2026-03-29T00:59:00Z", "Sun 01:00-02:00", true}, // then it is 03:00
		{"2026-03-29T01:00:00Z", "Sun 01:00-02:00", false},
		{"2026-03-29T01:00:00Z", "Sun 02:00-03:00", false}, // an hour that this day has not
		{"2026-03-29T01:00:00Z", "Sat 22:00-03:00", false},
		{"2026-03-29T00:59:00Z", "Sat 22:00-03:00", true},
		{"2026-03-29T01:30:00Z", "Sat 22:00-04:00", true},
		{"2026-10-25T00:30:00Z", "Sun 02:00-03:00", true}, // an hour that this day has twice
		{"2026-10-25T01:30:00Z", "Sun 02:00-03:00", true},
		{"2026-10-25T02:00:00Z", "Sun 02:00-03:00", false},
		{"2026-10-25T02:00:00Z", "Sun 03:00-24:00", true},
	} {
		s := compile(t, rules.Options{Zone: time.UTC}, rules.Rule{Name: "r", When: fmt.Sprintf("hours(%q, %q)", c.hours, "Europe/Paris"), Then: rules.Deny})
		in := said("hi")
		in.Now, _ = time.Parse(time.RFC3339, c.at)
		if v, err := s.Decide(t.Context(), in); err != nil || (v.Decision == core.Deny) != c.want {
			t.Errorf("%s is within %s: %+v, %v, want %v", c.at, c.hours, v, err, c.want)
		}
	}
}
