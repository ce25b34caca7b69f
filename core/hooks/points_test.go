package hooks

import (
	"errors"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// Every hook of core's list has a question and an answer here.
func TestEveryHookIsAPoint(t *testing.T) {
	if n := len(policies) + len(others); n != len(core.Hooks) {
		t.Fatalf("%d points for %d hooks", n, len(core.Hooks))
	}
	for _, r := range core.Hooks {
		if pointOf(r.Hook) == nil || r.Hook.Rule().Exports == nil {
			t.Errorf("the hook %q is no point, or nothing exports it", r.Hook)
		}
	}
}

// A new hook is a line in core.Hooks, a line in points.go, and a call: nothing else knows
// the hooks by name.
func TestANewHookIsTwoLinesAndACall(t *testing.T) {
	rules, before := core.Hooks, others
	defer func() { core.Hooks, others = rules, before }()
	core.Hooks = append(rules[:len(rules):len(rules)], core.HookRule{Hook: "greet", Exports: []string{"ogp_greet"}, Pure: true})
	greet := point[string, int]{"greet",
		func(_ *texts, who string) ([]byte, error) { return json.Marshal(map[string]string{"who": who}) },
		func(output []byte) (int, error) {
			var v struct{ Times int }
			err := json.Unmarshal(output, &v)
			if err == nil && v.Times == 0 {
				err = errors.New("no times")
			}
			return v.Times, err
		}, -1}
	others = append(others[:len(others):len(others)], greet)

	h, err := plugin.NewHost(plugin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	answer := `{"Times":7}`
	wasm := "\x00asm\x01\x00\x00\x00" + "\x01\x0b\x02\x60\x02\x7f\x7f\x00\x60\x01\x7f\x01\x7f" + "\x02\x10\x01\x06ogp_v1\x05write\x00\x00" +
		"\x03\x02\x01\x01" + "\x05\x03\x01\x00\x01" + "\x07\x16\x02\x06memory\x02\x00\x09ogp_greet\x00\x01" +
		"\x0a\x0c\x01\x0a\x00\x41\x00\x41" + string(rune(len(answer))) + "\x10\x00\x41\x00\x0b" + "\x0b" + string(rune(6+len(answer))) + "\x01\x00\x41\x00\x0b" + string(rune(len(answer))) + answer
	p, err := h.Load(t.Context(), plugin.Spec{Name: "greeter", Bytes: []byte(wasm), Answer: Answer})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := greet.ask(t.Context(), new(texts), p, "bob"); n != 7 || err != nil {
		t.Errorf("greet = %d, %v; want 7", n, err)
	}
	if _, err := Answer("greet", []byte(`{}`)); err == nil {
		t.Error("an answer without times was taken")
	}
}
