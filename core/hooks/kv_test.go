package hooks

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// Keys and values together stay within the bound, the operator's where he has set
// one, and one plugin sees nothing of another's.
func TestKVIsBoundedAndApart(t *testing.T) {
	ctx, store := t.Context(), memory.New()
	a, b := &storeKV{store: store, plugin: "a"}, &storeKV{store: store, plugin: "b"}
	set := func(s *storeKV, key string, n int, most int64, want error) {
		t.Helper()
		if err := s.Set(ctx, key, []byte(strings.Repeat("x", n)), most); !errors.Is(err, want) {
			t.Errorf("Set(%s, %d bytes of %d) = %v, want %v", key, n, most, err, want)
		}
	}
	set(a, "one", 7, 10, nil)
	set(a, "two", 1, 10, plugin.Limit)
	set(a, "one", 8, 10, plugin.Limit)
	set(a, "one", 0, 10, nil) // a value can be empty, and is there
	set(a, "two", 4, 10, nil)
	set(b, "one", 7, 10, nil) // its own bound
	if v, ok, err := a.Get(ctx, "one"); !ok || err != nil || len(v) != 0 {
		t.Errorf("Get = %q, %v, %v; want an empty value", v, ok, err)
	}
	a.max.Store(5)
	set(a, "three", 1, 1000, plugin.Limit)
	a.max.Store(100)
	set(a, "three", 50, 10, nil)
	if keys, err := a.List(ctx, "t", 1); err != nil || !slices.Equal(keys, []string{"three"}) {
		t.Errorf("List = %v, %v; want the first of two", keys, err)
	}
	if err := a.Delete(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := a.Get(ctx, "one"); ok || err != nil {
		t.Errorf("Get after Delete = %v, %v; want none", ok, err)
	}
	if v, ok, err := b.Get(ctx, "one"); !ok || err != nil || len(v) != 7 {
		t.Errorf("b has %q, %v, %v; want its own", v, ok, err)
	}
}

// An answer that says nothing known, or that answers something else, is no answer, so
// that nothing passes.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		hook core.Hook
		text string
		want string // empty: it is a good one
	}{
		{core.HookMessage, `{"decision":"allow"}`, ""}, {core.HookMessage, `{"decision":"deny","code":"x","more":1}`, ""},
		{core.HookMessage, `{"decision":"hold"}`, ""}, {core.HookMessage, `{"decision":"abstain","level":"summary"}`, ""},
		{core.HookMessage, `{}`, `decision ""`}, {core.HookMessage, `{"decision":"Allow"}`, `decision "Allow"`}, {core.HookMessage, `{"Decision":"allow"}`, `decision ""`},
		{core.HookMessage, `{"decision":"refuse"}`, "want allow, deny, hold or abstain"}, {core.HookMessage, `{"decision":7}`, `"decision" has the wrong type`},
		{core.HookMessage, `{"decision":"deny","decision":"allow"}`, "duplicate"}, {core.HookMessage, `[]`, "wrong type"}, {core.HookMessage, ``, "EOF"},
		{core.HookMessage, `{"decision":"allow","grants":[{"intent":"message"}]}`, "grants are an answer to a request"},
		{core.HookMessage, `{"decision":"allow","level":"root"}`, `level "root"`}, {core.HookMessage, `{"status":"delivered"}`, `decision ""`},
		{core.HookRequest, `{"decision":"allow","grants":[{"intent":"message","rateLimit":{"requests":1,"windowSeconds":2}},{"intent":"x","enabled":false}]}`, ""},
		{core.HookRequest, `{"decision":"allow","grants":[{"intent":7}]}`, `"grants/0/intent" has the wrong type`}, {core.HookRequest, `{"decision":"allow","grants":[{}]}`, "names no intent"},
		{core.HookRequest, `{"decision":"allow","grants":[{"intent":"x","enabled":false}]}`, "none of its grants"}, {core.HookRequest, `{"decision":"hold","grants":[{"intent":"x"}]}`, "beside"},
		{core.HookRequest, `{"decision":"allow","level":"full"}`, "a level is an answer to a message"},
		{core.HookNotify, `{"status":"delivered"}`, ""}, {core.HookNotify, `{"status":"retry","retryAfterSeconds":1.5}`, ""}, {core.HookNotify, `{"status":"ok"}`, `status "ok"`},
		{core.HookNotify, `{"decision":"allow"}`, `status ""`}, {core.HookNotify, `{"status":"retry","retryAfterSeconds":"1"}`, "wrong type"},
		{core.HookNotify, `{"status":"retry","retryAfterSeconds":-5}`, "retryAfterSeconds -5"}, {core.HookNotify, `{"status":"retry","retryAfterSeconds":-5e-9}`, "retryAfterSeconds"},
		{core.HookNotify, `{"status":"delivered","tokens":-1}`, "tokens -1"}, {core.HookNotify, `{"status":"delivered","tokens":"many"}`, "wrong type"},
		{core.HookNotify, `{"status":"failed"}`, "without a detail"}, {core.HookNotify, `{"status":"setup"}`, "without a detail"}, {core.HookNotify, `{"status":"setup","detail":"set x"}`, ""},
		{core.HookNotify, `{"status":"delivered","detail":[]}`, "wrong type"}, {core.HookNotify, `{"status":"ok","data":{}}`, `status "ok"`}, {core.HookNotify, `null`, `status ""`},
		{core.HookMessage, `{"decision":"deny","code":"` + strings.Repeat("x", 5000) + `"}`, "a code of 5000 bytes"}, {core.HookMessage, `{"decision":"deny","code":"` + strings.Repeat("x", 64) + `"}`, ""},
		{core.HookMessage, `{"decision":"deny","code":"too big"}`, `code "too big"`}, {core.HookMessage, `{"decision":"deny","code":"é"}`, "code"}, {core.HookMessage, `{"decision":"deny","code":7}`, "wrong type"},
		{core.HookMessage, `{"decision":"deny","reason":"` + strings.Repeat("x", 5000) + `"}`, ""}, {core.HookMessage, `{"decision":"deny","reason":["x"]}`, "wrong type"}, {core.HookMessage, `null`, `decision ""`},
		{core.HookRequest, `{"decision":"deny","code":"a b"}`, `code "a b"`}, {core.HookRequest, `{"decision":"approve"}`, `decision "approve"`}, {core.HookRequest, `{"status":"ok"}`, `decision ""`},
		{core.HookRequest, `{"decision":"allow","grants":{}}`, "wrong type"}, {core.HookRequest, `{"decision":"allow","grants":[7]}`, "wrong type"}, {core.HookRequest, `{"decision":"deny","grants":[{"intent":"x"}]}`, "beside"},
		{core.HookRequest, `{"decision":"allow","grants":[{"intent":"x","rateLimit":{"requests":-1,"windowSeconds":60}}]}`, "grant 1: rateLimit"}, {core.HookRequest, `{"decision":"allow","grants":[{"intent":"x","rateLimit":{"requests":1}}]}`, "grant 1: rateLimit"},
		{core.HookRequest, `{"decision":"allow","grants":[{"intent":"x","rateLimit":{"requests":1,"windowSeconds":99999999}}]}`, "31 days"}, {core.HookRequest, `{"decision":"allow","grants":[{"intent":"x","topics":[""]}]}`, "empty topic"},
		{core.HookRequest, `{"decision":"allow","grants":[{"intent":"x"},{"intent":"y","expiresAt":"tomorrow"}]}`, `grant 2: expiresAt "tomorrow"`}, {core.HookRequest, `{"decision":"allow","grants":[{"intent":"x","expiresAt":"2027-01-31T00:00:00.000Z"}]}`, ""},
		{core.HookHandle, `{"status":"error"}`, "without an error"}, {core.HookHandle, `{"status":"error","error":""}`, "without an error"}, {core.HookHandle, `{"status":"ok","error":"no"}`, "an error beside"},
		{core.HookHandle, `{"decision":"allow"}`, `status ""`}, {core.HookHandle, `{"status":true}`, "wrong type"}, {core.HookHandle, `null`, `status ""`}, {core.HookHandle, `{"status":"error","error":"no"}`, ""},
		{core.HookHandle, `{"status":"ok","data":[1]}`, ""}, {core.HookHandle, `{"status":"delivered"}`, "want ok or error"}, {core.HookHandle, `{"status":"error","error":7}`, "wrong type"},
		{"vote", `{}`, "no hook"},
	} {
		_, err := Answer(c.hook, []byte(c.text))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("Answer(%s, %s) = %v; want %q", c.hook, c.text, err, c.want)
		}
	}
	v, err := readApproval([]byte(`{"decision":"allow","grants":[{"intent":"message","rateLimit":{"requests":1,"windowSeconds":2}},{"intent":"x","enabled":false}]}`))
	if err != nil || len(v.Grants) != 1 || !v.Grants[0].Enabled || v.Grants[0].RateLimit.Requests != 1 {
		t.Errorf("readApproval = %+v, %v; want one grant", v, err)
	}
	v, err = readApproval([]byte(`{"decision":"allow","grants":[{"intent":"message","byteLimit":{"bytes":1024,"windowSeconds":60}}]}`))
	if err != nil || len(v.Grants) != 1 || v.Grants[0].ByteLimit == nil || *v.Grants[0].ByteLimit != (core.ByteLimit{Bytes: 1024, WindowSeconds: 60}) {
		t.Errorf("readApproval = %+v, %v; want a grant with a size", v, err)
	}
	for _, bad := range []string{`{"bytes":0,"windowSeconds":60}`, `{"bytes":-1,"windowSeconds":60}`, `{"bytes":1,"windowSeconds":0}`, `{"bytes":1,"windowSeconds":99999999}`} {
		if v, err := readApproval([]byte(`{"decision":"allow","grants":[{"intent":"message","byteLimit":` + bad + `}]}`)); err == nil {
			t.Errorf("a size of %s is taken: %+v", bad, v)
		}
	}
}

// Without the power to approve strangers an approval says nothing; with it, it grants
// no more than the operator's bound.
func TestP3ApprovalsAreBounded(t *testing.T) {
	grant := func(intent string, n int) core.Grant {
		return core.Grant{Intent: intent, Enabled: true, RateLimit: &core.RateLimit{Requests: n, WindowSeconds: 60}}
	}
	most := []core.Grant{grant("message", 10)}
	wide := core.Verdict{Decision: core.Allow, Grants: []core.Grant{grant("message", 100), grant("task-request", 100)}}
	if v := bounded(wide, false, most); v.Decision != core.Abstain || v.Grants != nil {
		t.Errorf("without the power: %+v, want abstain", v)
	}
	large := core.Verdict{Decision: core.Allow, Grants: []core.Grant{{Intent: "message", Enabled: true, ByteLimit: &core.ByteLimit{Bytes: 64 << 20, WindowSeconds: 3600}}}}
	if v := bounded(large, true, most); len(v.Grants) != 1 || v.Grants[0].ByteLimit == nil || *v.Grants[0].ByteLimit != core.DefaultBytes {
		t.Errorf("a size over the bound: %+v, want the default size", v)
	}
	if v := bounded(wide, true, most); v.Decision != core.Allow || len(v.Grants) != 1 || v.Grants[0].RateLimit.Requests != 10 {
		t.Errorf("within a bound: %+v, want message at 10", v)
	}
	if v := bounded(core.Verdict{Decision: core.Allow}, true, most); len(v.Grants) != 1 || v.Grants[0].Intent != "message" {
		t.Errorf("no grants named: %+v, want the bound", v)
	}
	if v := bounded(core.Verdict{Decision: core.Allow, Grants: []core.Grant{grant("task-request", 1)}}, true, most); v.Decision != core.Hold {
		t.Errorf("nothing within the bound: %+v, want hold", v)
	}
	if v := bounded(core.Verdict{Decision: core.Allow}, true, nil); v.Decision != core.Allow || v.Grants != nil {
		t.Errorf("no bound and no grants: %+v, want the gateway's defaults", v)
	}
	if v := bounded(core.Verdict{Decision: core.Deny, Code: "x"}, false, most); v.Decision != core.Deny {
		t.Errorf("deny: %+v, which needs no power", v)
	}
}

// A crash before the record leaves what was: another version lies beside it.
func TestPlaceLeavesWhatWas(t *testing.T) {
	dir := t.TempDir()
	one, two := &Files{Wasm: []byte("one")}, &Files{Wasm: []byte("one"), Manifest: []byte("two")}
	if one.Digest() == two.Digest() {
		t.Error("another manifest has the same digest")
	}
	first, err := one.Place(dir, "p")
	if err != nil {
		t.Fatal(err)
	}
	second, err := two.Place(dir, "p")
	if err != nil || second == first {
		t.Fatalf("Place = %s, %v; want another path than %s", second, err, first)
	}
	for _, path := range []string{first, second} {
		if f, err := ReadFiles(path); err != nil || string(f.Wasm) != "one" {
			t.Errorf("ReadFiles(%s) = %v, %v", path, f, err)
		}
	}
	if err := Sweep(dir, "p", second); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFiles(first); !errors.Is(err, core.NotFound) {
		t.Errorf("ReadFiles after Sweep = %v, want NotFound", err)
	}
	if f, err := ReadFiles(second); err != nil || f.Digest() != two.Digest() {
		t.Errorf("ReadFiles = %v, %v; want what was kept", f, err)
	}
}

// What is shown to the operator is what differs.
func TestDiffer(t *testing.T) {
	ask := &plugin.Module{SHA256: "b", Manifest: &plugin.Manifest{Name: "p", KV: &plugin.KVAsk{}, HTTP: []plugin.HTTPAsk{{URL: "https://a.example/", Secrets: []string{"token"}}}}}
	d := Differ(ask, nil)
	if !d.New || !d.Module || len(d.Wider) != 6 || !d.Asks(ask.Manifest.Asks()) {
		t.Errorf("Differ = %+v, want all of it new", d)
	}
	now := &Installed{SHA256: "b", Grants: ask.Manifest.Asks()}
	if d := Differ(ask, now); d.New || d.Module || len(d.Wider)+len(d.Narrower) != 0 || d.Asks(ask.Manifest.Asks()) {
		t.Errorf("Differ = %+v, want nothing", d)
	}
	now.Grants.HTTP = []plugin.HTTPGrant{{URL: "https://b.example/"}}
	if d := Differ(ask, now); len(d.Wider) != 2 || len(d.Narrower) != 1 || !d.Asks(ask.Manifest.Asks()) {
		t.Errorf("Differ = %+v, want a and its secret wider, b narrower", d)
	}
	now.SHA256, now.Grants = "a", ask.Manifest.Asks()
	if d := Differ(ask, now); !d.Module || !d.Asks(ask.Manifest.Asks()) {
		t.Errorf("Differ = %+v, want another module, which is asked about", d)
	}
	none := &plugin.Module{SHA256: "b", Manifest: &plugin.Manifest{Name: "p"}}
	if d := Differ(none, nil); !d.New || d.Asks(none.Manifest.Asks()) {
		t.Errorf("Differ = %+v, want nothing to ask", d)
	}
}
