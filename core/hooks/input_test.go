package hooks

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// What is written by hand is what the types say.
func TestQuestionsAreWhatTheTypesSay(t *testing.T) {
	peer := &core.Peer{Alias: "bob", URL: "https://bob.example", Trust: core.Approved, Names: core.Names{DisplayName: "\"B\x1b\u2028\xffob"},
		Granted: &core.Bundle{Scopes: []core.Grant{{Intent: "message", Enabled: true, Topics: []string{"a"}}}}, Offered: []string{"message", "x\n"}}
	messages := []*core.Message{
		{Intent: "message", Nonce: "n", Timestamp: "2026-11-21T20:47:35.730Z", Payload: core.Raw(`{"text":"hi \u00e9"}`)},
		{Intent: "agent-comms", Nonce: "\"\\\x00", ToAgent: "a\tb", ConversationID: "c", ReplyTo: "https://x", Payload: core.Raw(`{"topic":"deals","priority":"high"}`)},
		{Intent: "agent-comms", Payload: core.Raw(`7`)}, {Payload: core.Raw(`"h\u00e9"`)}, {},
	}
	questions := []core.Question{
		{Kind: "request", Peer: peer, Request: &core.Request{}},
		{Kind: "request", Peer: peer, Request: &core.Request{Invite: &core.Invited{Token: "a3f7k2"}}, URLVerified: true},
		{Kind: "message", Peer: nil, Message: messages[0]},
	}
	for _, m := range messages {
		questions = append(questions, core.Question{Kind: "message", Peer: peer, Message: m, Bytes: 61})
	}
	texts := new(texts)
	for _, q := range questions {
		q.Now = time.Date(2026, 11, 21, 20, 47, 35, 730e6, time.UTC)
		want := map[string]any{"abi": 1, "hook": q.Kind, "kind": q.Kind, "now": core.FormatTime(q.Now), "peer": viewPeer(q.Peer)}
		if q.Message != nil {
			v := viewMessage(q.Message)
			v.SignedBytes = q.Bytes
			want["message"] = v
		}
		if q.Request != nil {
			r := requestView{OfferedIntents: q.Peer.Offered, URLVerified: q.URLVerified}
			if q.Request.Invite != nil {
				r.Invite = q.Request.Invite.Token
			}
			want["request"] = r
		}
		for range 2 { // the second time from what is kept
			got, err := texts.question(q)
			if err != nil {
				t.Fatal(err)
			}
			if g, w := plain(t, got), plain(t, marshal(t, want)); !reflect.DeepEqual(g, w) {
				t.Errorf("question = %v\nwant       %v", g, w)
			}
		}
	}
}

// Every member of what a policy is asked can be named in a manifest's reads, and nothing else.
func TestEveryMemberOfAQuestionCanBeNamed(t *testing.T) {
	names := map[string]bool{"abi": true, "hook": true, "kind": true, "now": true}
	var add func(at string, of reflect.Type)
	add = func(at string, of reflect.Type) {
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if kind := of.Field(i).Type; kind.Kind() == reflect.Struct {
				add(at+name+".", kind)
			} else {
				names[at+name] = true
			}
		}
	}
	add("peer.", reflect.TypeFor[peerView]())
	add("message.", reflect.TypeFor[messageView]())
	add("request.", reflect.TypeFor[requestView]())
	for _, none := range []string{"message.agentId", "message.level", "message.inboxId"} { // for notifiers
		if !names[none] {
			t.Errorf("%s is not in the types", none)
		}
		delete(names, none)
	}
	for name := range names {
		if _, err := plugin.ParseManifest([]byte("name = \"x\"\nreads = [\"" + name + "\"]")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, other := range []string{name + ".x", name + "x", strings.ToUpper(name)} {
			if _, err := plugin.ParseManifest([]byte("name = \"x\"\nreads = [\"" + other + "\"]")); err == nil {
				t.Errorf("%s can be named", other)
			}
		}
	}
	if len(names) < 25 {
		t.Errorf("%d names", len(names))
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v, lenient)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// plain reads a text, and leaves out what is empty, as absent, "" and null are alike.
func plain(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return dense(v)
}

func dense(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for k, x := range m {
		if m[k] = dense(x); m[k] == nil || m[k] == "" {
			delete(m, k)
		}
	}
	return m
}
