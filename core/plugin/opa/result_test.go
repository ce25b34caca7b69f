package opa

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
)

// TestVerdict puts results of every form to every kind of entry point.
func TestVerdict(t *testing.T) {
	const message, request = core.HookMessage, core.HookRequest
	for _, c := range []struct {
		hook         core.Hook
		path, result string // "" is undefined
		want         string // or a part of the error, after "error: "
	}{
		{message, "ogp/message", `{"allow":true}`, `{"decision":"allow"}`},
		{message, "ogp/message", `{"allow":false}`, `{"decision":"deny"}`},
		{message, "ogp/message", `{"allow":false,"reason":"no","code":"no_way"}`, `{"decision":"deny","reason":"no","code":"no_way"}`},
		{message, "ogp/message", `{"allow":true,"deny":["b","a"]}`, `{"decision":"deny","reason":"a; b"}`},
		{message, "ogp/message", `{"allow":true,"deny":[]}`, `{"decision":"allow"}`},
		{message, "ogp/message", `{"deny":[],"hold":[]}`, `{"decision":"abstain"}`},
		{message, "ogp/message", `{"deny":[],"hold":["later"]}`, `{"decision":"hold","reason":"later"}`},
		{message, "ogp/message", `{"deny":["no"],"hold":["later"]}`, `{"decision":"deny","reason":"no"}`},
		{message, "ogp/message", `{"deny":[{"msg":"of conftest"}]}`, `{"decision":"deny","reason":"of conftest"}`},
		{message, "ogp/message", `{"deny":true}`, `{"decision":"deny"}`},
		{message, "ogp/message", `{"deny":"because"}`, `{"decision":"deny","reason":"because"}`},
		{message, "ogp/message", `{"hold":false,"helper":[1,2]}`, `{"decision":"abstain"}`},
		{message, "ogp/message", `{"decision":"hold","reason":"r"}`, `{"decision":"hold","reason":"r"}`},
		{message, "ogp/message", `{"decision":{"decision":"deny","code":"c"},"helper":1}`, `{"decision":"deny","code":"c"}`},
		{message, "ogp/message", `{"decision":{"allow":true,"level":"summary"}}`, `{"decision":"allow","level":"summary"}`},
		// A decision beside rules takes nothing away from them.
		{message, "ogp/message", `{"decision":"allow","deny":["no"]}`, `{"decision":"deny","reason":"no"}`},
		{message, "ogp/message", `{"decision":"allow","hold":["later"]}`, `{"decision":"hold","reason":"later"}`},
		{message, "ogp/message", `{"decision":"deny","hold":["later"],"reason":"r"}`, `{"decision":"deny","reason":"r"}`},
		{message, "ogp/message", `{"decision":"allow","deny":[],"hold":false,"allow":true}`, `{"decision":"allow"}`},
		{message, "ogp/message", `{"decision":{"allow":true},"deny":true}`, `{"decision":"deny"}`},
		{message, "ogp/message", `{"decision":{"deny":["inner"]},"hold":true}`, `{"decision":"deny","reason":"inner"}`},
		{message, "ogp/message", `{"decision":"allow","allow":false}`, "error: its decision is to allow, and its allow is not true"},
		{message, "ogp/message", `{"decision":"deny","allow":false}`, `{"decision":"deny"}`},
		{message, "ogp/message", `{"decision":"hold","allow":false}`, `{"decision":"hold"}`},
		{request, "ogp/request", `{"decision":"allow","grants":[{"intent":"message"}],"deny":["x"]}`, `{"decision":"deny","reason":"x"}`},
		{message, "ogp/message", `{"Deny":["no"],"allow":true}`, `error: unknown name "Deny": did you mean "deny"?`},
		{message, "ogp/message", `{"decision":{"ALLOW":true}}`, `error: did you mean "allow"?`},
		{message, "ogp/message", `{"denied":true,"allow":true}`, `{"decision":"allow"}`}, // its own helper
		{message, "ogp/message/decision", `"hold"`, `{"decision":"hold"}`},
		{message, "ogp/message/ok", `true`, `{"decision":"allow"}`},
		{message, "ogp/message/ok", `false`, `{"decision":"deny"}`},
		{message, "ogp/allow", `true`, `{"decision":"allow"}`},
		{message, "ogp/allow", `false`, `{"decision":"deny"}`},
		{message, "ogp/deny", `true`, `{"decision":"deny"}`},
		{message, "ogp/deny", `["x"]`, `{"decision":"deny","reason":"x"}`},
		{message, "ogp/deny", `[]`, `{"decision":"abstain"}`},
		{message, "ogp/deny", `false`, `{"decision":"abstain"}`},
		{message, "ogp/hold", `["x"]`, `{"decision":"hold","reason":"x"}`},
		// Undefined permits nothing, and a stranger stays with the human.
		{message, "ogp/allow", ``, `{"decision":"deny","reason":"ogp/allow is undefined"}`},
		{message, "ogp/message", ``, `{"decision":"deny","reason":"ogp/message is undefined"}`},
		{request, "ogp/allow", ``, `{"decision":"hold","reason":"ogp/allow is undefined"}`},
		{request, "ogp/deny", ``, `{"decision":"abstain"}`},
		{message, "ogp/deny", ``, `{"decision":"abstain"}`},
		// Grants go with a permission alone, and none of them is passed on as none.
		{request, "ogp/request", `{"allow":true,"grants":[{"intent":"message"}]}`, `{"decision":"allow","grants":[{"intent":"message"}]}`},
		{request, "ogp/request", `{"allow":true,"grants":[]}`, `{"decision":"allow","grants":[]}`},
		{request, "ogp/request", `{"allow":false,"grants":[{"intent":"message"}]}`, `{"decision":"deny"}`},
		{request, "ogp/request", `{"allow":true,"deny":["x"],"grants":[{"intent":"message"}]}`, `{"decision":"deny","reason":"x"}`},
		// What is no answer is a failure.
		{message, "ogp/message", `{}`, "error: decision, allow, deny or hold"},
		{message, "ogp/message", `{"decison":"deny"}`, "error: decision, allow, deny or hold"},
		{message, "ogp/message", `{"allow":"yes"}`, "error: allow: want true or false"},
		{message, "ogp/message", `{"allow":true,"deny":{"a":1}}`, "error: deny: want true"},
		{message, "ogp/message", `{"allow":true,"deny":[1]}`, "error: deny: want texts"},
		{message, "ogp/message", `{"allow":true,"reason":7}`, "error: ogp/message: "},
		{message, "ogp/message", `{"decision":7}`, "error: decision: want a string"},
		{message, "ogp/message", `{"decision":{"decision":{}}}`, "error: within a decision"},
		{message, "ogp/message", `7`, "error: allow: want true or false"},
		{message, "ogp/message", `["x"]`, "error: allow: want true or false"},
		{message, "ogp/message", `null`, "error: allow: want true or false"},
		{message, "ogp/message", `{"allow":true}}`, "error: not what a module of opa build gives"},
	} {
		set := "[]"
		if c.result != "" {
			set = `[{"result":` + c.result + `}]`
		}
		got, err := verdict(c.hook, c.path, []byte(set))
		if want, bad := strings.CutPrefix(c.want, "error: "); bad {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %s: %s, %v: want the error %q", c.path, c.result, got, err, want)
			}
			continue
		}
		if err != nil || string(got) != c.want {
			t.Errorf("%s %s: %s, %v: want %s", c.path, c.result, got, err, c.want)
		}
	}
}

// TestBuiltins calls the host's functions as a policy does; "" is undefined.
func TestBuiltins(t *testing.T) {
	for _, c := range []struct{ name, args, want string }{
		{"sprintf", `["%d of %s, %v %v %.1f", [3,"x",[1,"a"],{"k":true},0.25]]`, `3 of x, [1, "a"] {"k": true} 0.2`},
		{"sprintf", `["%d", [123456789012345678901234567890]]`, `123456789012345678901234567890`},
		{"sprintf", `["%1000d", [1]]`, ""},
		{"sprintf", `["%*d", [9,1]]`, ""},
		{"sprintf", `["%[1]s%[1]s", ["x"]]`, ""},
		{"sprintf", `["x", 7]`, ""},
		{"time.clock", `[[1764288000000000000,"Europe/Vienna"]]`, `[1 0 0]`},
		{"time.clock", `[1764288000000000000]`, `[0 0 0]`},
		{"time.clock", `[[1764288000000000000,"../etc/passwd"]]`, ""},
		{"time.clock", `["x"]`, ""},
		{"time.date", `[1764288000000000000]`, `[2025 11 28]`},
		{"time.weekday", `[[1764288000000000000,"Asia/Tokyo"]]`, `Friday`},
		{"time.add_date", `[1764288000000000000,0,0,1]`, `1764374400000000000`},
		{"time.add_date", `[1764288000000000000,99999,0,1]`, ""},
		{"time.parse_rfc3339_ns", `["2025-11-28T00:00:00Z"]`, `1764288000000000000`},
		{"time.parse_rfc3339_ns", `["soon"]`, ""},
		{"time.parse_duration_ns", `["1m"]`, `60000000000`},
		{"crypto.sha256", `["abc"]`, `ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad`},
		{"crypto.hmac.sha256", `["what do ya want for nothing?","Jefe"]`, `5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843`},
	} {
		args := elements(t, c.args)
		if provided[c.name].args != len(args) {
			t.Errorf("%s takes %d", c.name, provided[c.name].args)
		}
		v, err := provided[c.name].f(&policy{zones: map[string]*time.Location{}}, args)
		if got := fmt.Sprint(v); err == nil && got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s%s: %s, %v: want %q", c.name, c.args, got, err, c.want)
		}
	}
}

func elements(t *testing.T, list string) (out []jsontext.Value) {
	t.Helper()
	d := jsontext.NewDecoder(strings.NewReader(list))
	if _, err := d.ReadToken(); err != nil {
		t.Fatal(err)
	}
	for d.PeekKind() != ']' {
		v, err := d.ReadValue()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, v.Clone())
	}
	return out
}
