package sdk_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/handle"
	"github.com/opengatewayprotocol/ogp/sdk/notify"
	"github.com/opengatewayprotocol/ogp/sdk/policy"
	"github.com/opengatewayprotocol/ogp/sdk/sdktest"
)

func TestPolicySeesTheWholeInput(t *testing.T) {
	var got *sdk.Incoming
	policy.OnMessage(func(in *sdk.Incoming) sdk.Decision { got = in; return sdk.Abstain() })
	out, status := sdk.Run(sdk.HookMessage, `{"abi":1,"hook":"message","kind":"message","now":"2026-11-21T20:47:35.730Z",
		"peer":{"alias":"bob","fingerprint":"f","id":"302a","state":"approved","gatewayUrl":"https://b.example","names":{"displayName":"Bob's","email":"b@x"},
		"grants":["message",{"intent":"agent-comms","enabled":true}]},
		"message":{"id":"n1","intent":"agent-comms","topic":"deals","priority":"high","conversationId":"c","toAgent":"scribe","level":"summary","timestamp":"2026-11-21T20:47:35Z","textBytes":5,"signedBytes":417,"payload":{"topic":"deals","message":"hello"}}}`)
	if status != 0 || out != `{"decision":"abstain"}` {
		t.Fatalf("Run = %s %d, want abstain", out, status)
	}
	if got.Now.String() != "2026-11-21T20:47:35.730Z" || got.Peer.Alias != "bob" || got.Peer.GatewayURL != "https://b.example" ||
		got.Peer.Names.Display != "Bob's" || got.Peer.Names.Email != "b@x" || strings.Join(got.Peer.Intents(), " ") != "message agent-comms" {
		t.Errorf("request = %+v", got)
	}
	if m := got.Message; m.ID != "n1" || m.Intent != "agent-comms" || m.Topic != "deals" || m.Priority != "high" || m.ConversationID != "c" ||
		m.ToAgent != "scribe" || m.Level != "summary" || m.TextBytes != 5 || m.SignedBytes != 417 || m.Text() != "hello" || m.Timestamp().String() != "2026-11-21T20:47:35.000Z" {
		t.Errorf("message = %+v", m)
	}
}

func TestDecisionsAsJSON(t *testing.T) {
	for want, d := range map[string]sdk.Decision{
		`{"decision":"abstain"}`:                                {},
		`{"decision":"allow"}`:                                  sdk.Allow(),
		`{"decision":"deny","reason":"r","code":"c"}`:           sdk.Deny("c", "r"),
		`{"decision":"hold","reason":"r","code":"c"}`:           sdk.Hold("c", "r"),
		`{"decision":"allow","reason":"so","level":"escalate"}`: {Verdict: sdk.VerdictAllow, Reason: "so", Level: "escalate"},
	} {
		policy.OnMessage(func(*sdk.Incoming) sdk.Decision { return d })
		if got, status := sdk.Run(sdk.HookMessage, `{}`); got != want || status != 0 {
			t.Errorf("%+v = %s %d, want %s", d, got, status, want)
		}
	}
	policy.OnMessage(func(*sdk.Incoming) sdk.Decision { return sdk.CannotSay("no list yet") })
	if got, status := sdk.Run(sdk.HookMessage, `{}`); got != "no list yet" || status != 1 {
		t.Errorf("CannotSay = %s %d, want the text and 1", got, status)
	}
	if got, status := sdk.Run(sdk.HookMessage, `{`); status != 1 || !strings.Contains(got, "not json") {
		t.Errorf("no JSON = %s %d, want a failure", got, status)
	}
	for want, a := range map[string]sdk.Approval{
		`{"decision":"abstain"}`: sdk.NoOpinion(),
		`{"decision":"allow","grants":[{"intent":"message","enabled":true,"rateLimit":{"requests":10,"windowSeconds":60}},{"intent":"agent-comms","enabled":true,"topics":["a"],"byteLimit":{"bytes":1024,"windowSeconds":3600}}]}`: sdk.Approve(
			sdk.Grant{Intent: "message", Requests: 10, WindowSeconds: 60}, sdk.Grant{Intent: "agent-comms", Topics: []string{"a"}, Bytes: 1024, BytesSeconds: 3600}),
		`{"decision":"allow","grants":[]}`:            sdk.Approve(nil...),
		`{"decision":"allow"}`:                        sdk.ApproveAtMost(),
		`{"decision":"deny","reason":"r","code":"c"}`: sdk.Reject("c", "r"),
		`{"decision":"hold","reason":"r","code":"c"}`: sdk.Wait("c", "r"),
	} {
		policy.OnRequest(func(*sdk.Request) sdk.Approval { return a })
		if got, status := sdk.Run(sdk.HookRequest, `{}`); got != want || status != 0 {
			t.Errorf("%+v = %s %d, want %s", a, got, status, want)
		}
	}
	policy.OnRequest(func(*sdk.Request) sdk.Approval { return sdk.CannotJudge("no list yet") })
	if got, status := sdk.Run(sdk.HookRequest, `{}`); got != "no list yet" || status != 1 {
		t.Errorf("CannotJudge = %s %d, want the text and 1", got, status)
	}
}

func TestRequestPolicySeesWhatWasAsked(t *testing.T) {
	var got *sdk.Request
	policy.OnRequest(func(r *sdk.Request) sdk.Approval { got = r; return sdk.NoOpinion() })
	sdk.Run(sdk.HookRequest, `{"hook":"request","now":"2026-11-21T20:47:35.730Z","peer":{"gatewayUrl":"https://b.example"},"request":{"offeredIntents":["message"],"invite":"a3f7k2","urlVerified":true}}`)
	if got.Peer.GatewayURL != "https://b.example" || got.Now == 0 || len(got.OfferedIntents) != 1 || got.Invite != "a3f7k2" || !got.URLVerified {
		t.Errorf("request = %+v", got)
	}
}

func TestNotifierTakesOneOrABatch(t *testing.T) {
	var ids []string
	refuse := ""
	notify.Is(func(e *sdk.Event) sdk.Outcome {
		ids = append(ids, e.ID+" "+e.Type+" "+e.Peer.Alias+" "+e.Text)
		if e.ID == refuse {
			return sdk.Retry(7, "busy")
		}
		return sdk.Delivered()
	})
	for _, input := range []string{
		`{"event":{"id":"1","type":"reply","at":5},"peer":{"alias":"bob"},"text":"t","attempt":2}`,
		`{"events":[{"event":{"id":"1","type":"reply"},"peer":{"alias":"bob"},"text":"t"}],"attempt":1}`,
		`{"events":[{"id":"1","type":"reply","peer":{"alias":"bob"},"text":"t"}],"attempt":1}`,
	} {
		ids = nil
		if out, status := sdk.Run(sdk.HookNotify, input); out != `{"status":"delivered"}` || status != 0 {
			t.Errorf("Run(%s) = %s %d, want delivered", input, out, status)
		}
		if len(ids) != 1 || ids[0] != "1 reply bob t" {
			t.Errorf("Run(%s) told %q", input, ids)
		}
	}
	for want, o := range map[string]sdk.Outcome{
		`{"status":"delivered","reply":{"text":"at \"nine\""}}`:           sdk.Answered(`at "nine"`),
		`{"status":"delivered","reply":{"data":{"n":1}}}`:                 sdk.AnsweredWith(new(sdk.Object).Int("n", 1)),
		`{"status":"delivered","reply":{"error":"no"}}`:                   sdk.AnsweredNo("no"),
		`{"status":"delivered","tokens":12}`:                              {Status: sdk.StatusDelivered, Tokens: 12},
		`{"status":"working","retryAfterSeconds":3,"detail":"it thinks"}`: sdk.Working(3, "it thinks"),
	} {
		notify.Is(func(*sdk.Event) sdk.Outcome { return o })
		if out, _ := sdk.Run(sdk.HookNotify, `{"event":{"id":"1"}}`); out != want {
			t.Errorf("%s, want %s", out, want)
		}
	}
	notify.Is(func(e *sdk.Event) sdk.Outcome {
		ids = append(ids, e.ID)
		if e.ID == refuse {
			return sdk.Retry(7, "busy")
		}
		return sdk.Delivered()
	})
	ids, refuse = nil, "2"
	out, _ := sdk.Run(sdk.HookNotify, `{"events":[{"event":{"id":"1"}},{"event":{"id":"2"}},{"event":{"id":"3"}}]}`)
	if out != `{"status":"retry","retryAfterSeconds":7,"detail":"busy","notified":["1"]}` || len(ids) != 2 {
		t.Errorf("batch = %s after %d events, want retry after 2", out, len(ids))
	}
	notify.Is(func(*sdk.Event) sdk.Outcome { return sdk.Outcome{} })
	if out, _ := sdk.Run(sdk.HookNotify, `{}`); out != `{"status":"failed"}` {
		t.Errorf("zero outcome = %s, want failed: silence is no delivery", out)
	}
}

func TestHandlerAnswers(t *testing.T) {
	answer := sdk.NotMine()
	handle.Is(func(*sdk.Incoming) sdk.Answer { return answer })
	for _, c := range []struct {
		answer sdk.Answer
		want   string
		status int32
	}{
		{sdk.NotMine(), "", -1},
		{sdk.Reply(new(sdk.Object).Int("n", 1)), `{"status":"ok","data":{"n":1}}`, 0},
		{sdk.ReplyError("no such day"), `{"status":"error","error":"no such day"}`, 0},
	} {
		answer = c.answer
		if out, status := sdk.Run(sdk.HookHandle, `{"message":{"intent":"x"}}`); out != c.want || status != c.status {
			t.Errorf("Run = %q %d, want %q %d", out, status, c.want, c.status)
		}
	}
	if _, status := sdk.Run("nonesuch", `{}`); status != -1 {
		t.Errorf("unknown hook = %d, want -1", status)
	}
}

func TestOnInitRefuses(t *testing.T) {
	sdk.OnInit(func(c sdk.Value) error {
		if c.Get("max").Int() == 0 {
			return errors.New("config max is missing")
		}
		return nil
	})
	t.Cleanup(func() { sdk.OnInit(nil) })
	if err := sdk.Start(`{}`); err == nil || err.Error() != "config max is missing" {
		t.Errorf("Start = %v, want config max is missing", err)
	}
	if err := sdk.Start(`{"max":3}`); err != nil || sdk.Config().Get("max").Int() != 3 {
		t.Errorf("Start = %v, config %s", err, sdk.Config().JSON())
	}
}

func TestServicesSpeakToTheHost(t *testing.T) {
	var seen *http.Request
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Clone(r.Context())
		w.Header().Set("Retry-After", "9")
		w.WriteHeader(429)
		_, _ = w.Write([]byte("slow down"))
	}))
	defer srv.Close()
	host := &sdktest.Host{
		KV: map[string]string{}, Secrets: map[string]string{"t": "s3cret"}, Now: time.UnixMilli(1_700_000_000_123),
		HTTP: srv.Client().Transport.RoundTrip,
	}
	defer sdk.Use(host)()
	r, err := sdk.HTTP(sdk.HTTPRequest{
		Method: "POST", URL: srv.URL + "/x", Headers: []string{"Authorization", "Bearer {secret:t}", "A", "b"}, Body: "hi", TimeoutMs: 1000,
		HMAC: sdk.HMAC{Secret: "t", Header: "X-Hub-Signature-256", Prefix: "sha256="},
	})
	if err != nil || r.Status != 429 || r.Header("retry-after") != "9" || r.Body != "slow down" {
		t.Fatalf("HTTP = %+v %v", r, err)
	}
	// echo -n hi | openssl dgst -sha256 -hmac s3cret
	const mac = "sha256=c12b1c71bb7471069ac81e29f270850182a5fac70d071c488c7fe3184a93d523"
	if seen.Header.Get("Authorization") != "Bearer s3cret" || seen.Header.Get("X-Hub-Signature-256") != mac || seen.Header.Get("A") != "b" {
		t.Errorf("headers = %v", seen.Header)
	}
	if err := sdk.KVSet("day/1", "busy"); err != nil {
		t.Fatal(err)
	}
	if v, ok, err := sdk.KVGet("day/1"); v != "busy" || !ok || err != nil {
		t.Errorf("KVGet = %q %v %v, want busy", v, ok, err)
	}
	if keys, err := sdk.KVList("day/"); len(keys) != 1 || err != nil {
		t.Errorf("KVList = %q %v", keys, err)
	}
	if err := sdk.KVDelete("day/1"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := sdk.KVGet("day/1"); ok || err != nil {
		t.Errorf("KVGet after delete = %v %v, want none", ok, err)
	}
	if yes, err := sdk.HasSecret("t"); !yes || err != nil {
		t.Errorf("HasSecret = %v %v", yes, err)
	}
	if now, err := sdk.Now(); err != nil || now != 1_700_000_000_123 {
		t.Errorf("Now = %d %v", now, err)
	}
	if b, err := sdk.Rand(16); err != nil || len(b) != 16 {
		t.Errorf("Rand = %x %v", b, err)
	}
	sdk.Warn("look")
	if len(host.Logs) != 1 || host.Logs[0] != "look" {
		t.Errorf("logs = %q", host.Logs)
	}
}

func TestServicesSayWhatTheHostRefused(t *testing.T) {
	defer sdk.Use(&sdktest.Host{})()
	_, _, err := sdk.KVGet("x")
	var ce *sdk.CallError
	if !errors.As(err, &ce) || ce.Code != sdk.CallNotGranted || err.Error() != "kv.get: not granted: no kv in the grants" {
		t.Errorf("KVGet = %v, want not granted", err)
	}
	if _, err := sdk.CallHost("future.op", "{}"); !errors.As(err, &ce) || ce.Code != sdk.CallUnknown {
		t.Errorf("future.op = %v, want unknown", err)
	}
}

func TestRunCase(t *testing.T) {
	policy.OnMessage(func(in *sdk.Incoming) sdk.Decision {
		if in.Message.TextBytes > sdk.Config().Get("max").Int() {
			return sdk.Deny("too_big", "x")
		}
		return sdk.Allow()
	})
	sdktest.Case(t, `{"config":{"max":10},"input":{"hook":"message","message":{"intent":"message","textBytes":11}},"expect":{"decision":"deny","code":"too_big"}}`)
	sdktest.Case(t, `{"config":{"max":10},"input":{"hook":"message","message":{"intent":"message","textBytes":10}},"expect":{"decision":"allow"}}`)
}

// A native run decides as the gateway does: a case need not say how long a text is, and what
// this run cannot give is an error.
func TestRunCaseIsAsInTheGateway(t *testing.T) {
	policy.OnMessage(func(in *sdk.Incoming) sdk.Decision {
		return sdk.Deny(fmt.Sprint(in.Message.TextBytes), in.Message.Text())
	})
	for text, want := range map[string]string{
		`{"input":{"hook":"message","message":{"intent":"message","payload":{"text":"hél"}}}}`:    `{"decision":"deny","reason":"hél","code":"4"}`,
		`{"hook":"policy","message":{"intent":"message","payload":{"text":"","message":"four"}}}`: `{"decision":"deny","reason":"four","code":"4"}`,
		`{"hook":"message","message":{"intent":"message","payload":{"n":1}}}`:                     `{"decision":"deny","reason":"{\"n\":1}","code":"7"}`,
		`{"hook":"message","message":{"intent":"message","payload":"word"}}`:                      `{"decision":"deny","reason":"word","code":"4"}`,
		`{"hook":"message","message":{"intent":"message","textBytes":9,"payload":{"text":"x"}}}`:  `{"decision":"deny","reason":"x","code":"9"}`,
		`{"hook":"mesage","message":{"intent":"message","payload":{"text":"x"}}}`:                 `hook "mesage": the plugin answers `,
		`{"input":{"hook":"message","message":{"intent":"message"}},"kv":{"a":"b"}}`:              `the case has "kv"`,
		`{"input":{"hook":"message","message":{"intent":"message"}},"http":[{"status":200}]}`:     `the case has "http"`,
	} {
		out, err := sdk.RunCase(text)
		if err != nil {
			out = err.Error()
		}
		if !strings.HasPrefix(out, want) {
			t.Errorf("%s: %s, want %s", text, out, want)
		}
	}
}

// A text that is no input of the hook is a mistake, and no answer.
func TestRunCaseRefusesWhatIsNoInput(t *testing.T) {
	policy.OnMessage(func(*sdk.Incoming) sdk.Decision { return sdk.Allow() })
	policy.OnRequest(func(*sdk.Request) sdk.Approval { return sdk.Approval{Verdict: sdk.VerdictAllow} })
	for _, text := range []string{`{"hook":"message"}`, `{"hook":"message","message":"hi"}`, `{"hook":"message","message":{"intent":7}}`,
		`{"hook":"request"}`, `{"hook":"request","peer":[]}`, `{"input":{"hook":"message","message":null}}`} {
		if out, err := sdk.RunCase(text); err == nil {
			t.Errorf("%s: %s, want an error", text, out)
		}
	}
}

func TestContains(t *testing.T) {
	parse := func(s string) sdk.Value {
		v, err := sdk.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	got := parse(`{"a":1,"b":["x",{"c":true,"d":null}],"e":"é"}`)
	for want, yes := range map[string]bool{
		`{}`: true, `{"a":1}`: true, `{"a":2}`: false, `{"b":["x",{"c":true}]}`: true, `{"b":["x"]}`: false,
		`{"b":[{"c":true},"x"]}`: false, `{"e":"\u00e9"}`: true, `{"z":null}`: false, `[]`: false,
	} {
		if sdktest.Contains(got, parse(want)) != yes {
			t.Errorf("Contains(%s) = %v, want %v", want, !yes, yes)
		}
	}
}

func TestRedirectsSayWhereTheyLead(t *testing.T) {
	for status, want := range map[int64]string{
		301: "redirects are not followed: this one does not say where it leads; check the URL",
		302: "with a redirect to nowhere",
	} {
		if got := sdk.OutcomeOf(&sdk.HTTPResponse{Status: status}, nil).Detail; !strings.Contains(got, want) {
			t.Errorf("%d: %s, want %s", status, got, want)
		}
	}
}
