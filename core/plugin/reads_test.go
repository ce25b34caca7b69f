package plugin_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/plugin/internal/asm"
)

// repeating answers with what it is asked with.
var repeating = guest(2048, asm.Call(fRead), 2048, asm.Get(0), asm.Call(fWrite), 0)

const asked = `{"now":"n","peer":{"alias":"bob","tags":["a"]},"message":{"intent":"message","payload":{"text":"hi"}}}`

// A policy is asked with what it names. One that looks at more is never left to decide by what it does not see for long:
// what it answers to everything counts as soon as it is another answer, or, where it is tried out, is a failure.
func TestReadsLeavesOutNothingThatDecides(t *testing.T) {
	h := newHost(t)
	policy := func(wasm []byte, tried bool, log *sink, reads ...string) *plugin.Plugin {
		return load(t, h, plugin.Spec{Bytes: wasm, Tried: tried, Logger: log.logger(), Manifest: &plugin.Manifest{Name: "x", Hooks: []plugin.Hook{plugin.Message}, Reads: reads}})
	}
	var log sink
	p := policy(repeating, false, &log, "peer.tags")
	for range 3 {
		if got := call(t, p, plugin.Message, asked); got != asked {
			t.Errorf("answered %s, want what it says of everything", got)
		}
	}
	if text := log.String(); strings.Count(text, "asked with everything from now on") != 1 || !strings.Contains(text, "peer.tags") {
		t.Errorf("the log has %s", text)
	}
	tried := policy(repeating, true, &log, "peer.tags")
	if _, err := tried.Call(t.Context(), plugin.Message, []byte(asked)); err == nil || !strings.Contains(err.Error(), `looks at more than "reads"`) {
		t.Errorf("tried: %v", err)
	}
	wantKind(t, func() error { _, err := tried.Call(t.Context(), plugin.Message, []byte(asked)); return err }(), plugin.BadAnswer)

	fixed := policy(guest(answering), true, &log, "message.intent")
	for i := range 200 {
		r, err := fixed.Call(t.Context(), plugin.Message, []byte(asked))
		if err != nil || string(r.Output) != allow {
			t.Fatalf("call %d: %s, %v", i, r.Output, err)
		}
	}

	seen := policy(repeating, false, &log, "peer", "message", "now")
	for range 20 { // all of this input is named, though not in its order
		if got := call(t, seen, plugin.Message, `{"now":"n","peer":{"alias":"bob"}}`); got != `{"now":"n","peer":{"alias":"bob"}}` {
			t.Fatal(got)
		}
	}
	if got := call(t, seen, plugin.Message, `{"now":"n","peer":{"alias":"bob"},"later":1}`); got != `{"now":"n","peer":{"alias":"bob"}}` {
		t.Errorf("the 21st call has %s", got)
	}
	for n := 22; n < 64; n++ {
		call(t, seen, plugin.Message, `{"now":"n"}`)
	}
	if got := call(t, seen, plugin.Message, `{"now":"n","later":1}`); got != `{"now":"n","later":1}` {
		t.Errorf("the 64th call has %s, want everything", got)
	}

	// Its self-tests are held to it, too.
	_, err := h.Load(context.Background(), plugin.Spec{Bytes: repeating, Manifest: &plugin.Manifest{Name: "x", Hooks: []plugin.Hook{plugin.Message}, Reads: []string{"peer.tags"},
		SelfTests: []plugin.SelfTest{{Hook: plugin.Message, Input: map[string]any{"now": "n"}, Expect: map[string]any{}}}}})
	if err == nil || !strings.Contains(err.Error(), `self-test 1`) || !strings.Contains(err.Error(), `looks at more than "reads"`) {
		t.Errorf("a self-test: %v", err)
	}
}

// What is asked twice must change nothing.
func TestReadsIsForPoliciesThatKeepNothing(t *testing.T) {
	h := newHost(t)
	for want, m := range map[string]plugin.Manifest{
		`it answers the hook "notify"`: {Hooks: []plugin.Hook{plugin.Message, plugin.Notify}},
		`it asks for [kv]`:             {Hooks: []plugin.Hook{plugin.Message}, KV: &plugin.KVAsk{MaxBytes: 100}},
	} {
		m.Name, m.Reads = "x", []string{"now"}
		_, err := h.Load(context.Background(), plugin.Spec{Bytes: guest(answering), Manifest: &m})
		wantKind(t, err, plugin.BadManifest)
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A Rego module that names what its manifest leaves out does not load: a rule that is to deny would be undefined.
func TestRegoReads(t *testing.T) {
	h := newHost(t)
	texts := func(names ...string) rego {
		return rego{memory: func(m *asm.Module) {
			m.Memory(2, -1)
			m.Data(4096+512, "result\x00"+strings.Join(names, "\x00")+"\x00")
		}}
	}
	for _, c := range []struct {
		module rego
		reads  string
		want   string // the member that is to be named
	}{
		{texts("message", "intent"), "message.intent", ""},
		{texts("message", "intent", "payload"), "message.intent", "message.payload"},
		{texts("message", "payload"), "message", ""},
		{texts("peer", "tags", "message", "topic"), "message", "peer.tags"},
		{texts("tags", "email", "id", "kind"), "now", "kind"},
		{texts("tags", "email", "id"), "now", ""}, // without peer and message it cannot get there
		{texts("peer", "names", "email"), "peer.alias", "peer.names.email"},
		{texts("peer", "names", "email"), "peer.names", ""},
		{texts("peer", "message", "id"), "message.id", "peer.id"}, // which of the two it means cannot be told
		{texts("peer tags", "peer.tags", "Tags", "mypeer", "tags"), "now", ""},
	} {
		p, err := h.Load(context.Background(), plugin.Spec{Bytes: c.module.bytes(), Manifest: &plugin.Manifest{Name: "x", Reads: strings.Fields(c.reads)}})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("reads %s: %v", c.reads, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), fmt.Sprintf("add %q", c.want))):
			t.Errorf("reads %s: %v, want to add %s", c.reads, err, c.want)
		}
		if p != nil {
			p.Close()
		}
	}
}
