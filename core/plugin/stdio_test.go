package plugin_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

func program(t *testing.T, stdio string, instances int) *plugin.Plugin {
	return load(t, newHost(t), plugin.Spec{
		Bytes:    read(t, guests+"program.wasm"),
		Manifest: &plugin.Manifest{Name: "x", ABI: "stdio", Stdio: stdio, Hooks: []plugin.Hook{plugin.Message, plugin.Notify}},
		Limits:   plugin.Limits{Timeout: plugin.Duration(time.Second), Fuel: 1e12, Instances: instances},
	})
}

// stdioFailures hold for both kinds of programs.
var stdioFailures = []struct {
	input string
	kind  core.Kind
	text  string
}{
	{`{"do":"crash"}`, plugin.Trap, "stderr: about to crash"},
	{`{"do":"hang"}`, plugin.Timeout, ""},
	{`{"do":"sleep"}`, plugin.Timeout, ""},
	{`{"do":"flood"}`, plugin.Limit, "an output of more than"},
}

func TestStdioOnce(t *testing.T) {
	p := program(t, "once", 2)
	if i := p.Info(); i.Kind != plugin.KindStdioOnce {
		t.Errorf("kind = %s", i.Kind)
	}
	for range 3 {
		if got := call(t, p, plugin.Message, `{}`); got != `{"calls":1,"args":"plugin message","bytes":2}` {
			t.Errorf("answer = %s", got)
		}
	}
	if got := call(t, p, plugin.Notify, `{"do":"last"}`); got != `{"calls":1}` {
		t.Errorf("answer = %s", got)
	}
	for _, c := range append(stdioFailures, struct {
		input string
		kind  core.Kind
		text  string
	}{`{"do":"exit"}`, plugin.Failed, "notify: failed: no such file"}) {
		_, err := p.Call(t.Context(), plugin.Notify, []byte(c.input))
		wantKind(t, err, c.kind)
		if err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: error %q, want it to say %q", c.input, err, c.text)
		}
	}
	for _, quiet := range []string{"quiet", "silent"} {
		if r, err := p.Call(t.Context(), plugin.Message, []byte(`{"do":"`+quiet+`"}`)); err != nil || !r.NotMine() {
			t.Errorf("%s: %+v, %v: want not mine", quiet, r, err)
		}
	}
}

func TestStdioLines(t *testing.T) {
	p := program(t, "lines", 1)
	if i := p.Info(); i.Kind != plugin.KindStdioLines {
		t.Errorf("kind = %s", i.Kind)
	}
	for n := range 3 {
		want := `{"calls":` + string(rune('1'+n)) + `,"args":"plugin ","bytes":3}`
		if got := call(t, p, plugin.Message, `{}`); got != want {
			t.Errorf("answer = %s, want %s", got, want)
		}
	}
	if got := call(t, p, plugin.Message, "{\n  \"a\": [\n1 ]\n}"); got != `{"calls":4,"args":"plugin ","bytes":10}` {
		t.Errorf("an input of several lines: %s", got)
	}
	if r, err := p.Call(t.Context(), plugin.Message, []byte(`{"do":"quiet"}`)); err != nil || !r.NotMine() {
		t.Errorf("an empty line: %+v, %v: want not mine", r, err)
	}
	if got := call(t, p, plugin.Notify, `{"do":"last"}`); got != `{"calls":6}` {
		t.Errorf("the last answer: %s", got)
	}
	for _, c := range append(stdioFailures, struct {
		input string
		kind  core.Kind
		text  string
	}{`{"do":"exit"}`, plugin.Trap, "exit status 7: stderr: no such file"}) {
		_, err := p.Call(t.Context(), plugin.Notify, []byte(c.input))
		wantKind(t, err, c.kind)
		if err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: error %q, want it to say %q", c.input, err, c.text)
		}
		if got := call(t, p, plugin.Message, `{}`); got != `{"calls":1,"args":"plugin ","bytes":3}` {
			t.Errorf("after %s: %s, want a new program", c.input, got)
		}
	}
	// A program that reads on without an answer will never give one.
	_, err := p.Call(t.Context(), plugin.Message, []byte(`{"do":"silent"}`))
	wantKind(t, err, plugin.BadAnswer)
}

func TestStdioLinesAtOnce(t *testing.T) {
	p := program(t, "lines", 3)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for range 50 {
				if r, err := p.Call(t.Context(), plugin.Message, []byte(`{}`)); err != nil || !strings.HasPrefix(string(r.Output), `{"calls":`) {
					t.Errorf("%s, %v", r.Output, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestP1NoFiles has a program find no files and no environment.
func TestP1NoFiles(t *testing.T) {
	t.Setenv("HOME", "/root")
	for _, kind := range []string{"once", "lines"} {
		if got := call(t, program(t, kind, 1), plugin.Notify, `{"do":"open"}`); got != `{"opened":false,"home":false}` {
			t.Errorf("%s: %s", kind, got)
		}
	}
}
