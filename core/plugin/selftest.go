package plugin

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
)

// ready makes the first instance and runs the self-tests. They are the author's
// and know the author's configuration alone, so they run under the manifest's
// defaults, unless the plugin does not start with those.
func (v *version) ready(ctx context.Context) error {
	configured := v.config
	if len(v.manifest.SelfTests) > 0 && !bytes.Equal(v.defaults, configured) {
		v.config = v.defaults
		if v.first(ctx) == nil {
			err := v.selfTests(ctx)
			v.drain()
			v.config = configured
			if err != nil {
				return err
			}
			return v.first(ctx)
		}
		v.config = configured
	}
	if err := v.first(ctx); err != nil {
		return err
	}
	return v.selfTests(ctx)
}

// first makes an instance that nobody waits for.
func (v *version) first(ctx context.Context) error {
	<-v.slots
	in, err := v.make(ctx, time.Now().Add(startTimeout))
	if err == nil {
		v.give(in, true)
	}
	return err
}

// drain drops every idle instance. No call may be running.
func (v *version) drain() {
	for {
		select {
		case in := <-v.idle:
			v.give(in, false)
		default:
			return
		}
	}
}

func (v *version) selfTests(ctx context.Context) error {
	for i, t := range v.manifest.SelfTests {
		if err := v.selfTest(ctx, t); err != nil {
			return &Error{Plugin: v.name, Hook: t.Hook, Kind: BadModule, Text: fmt.Sprintf("self-test %d", i+1), Err: err}
		}
	}
	return nil
}

func (v *version) selfTest(ctx context.Context, t SelfTest) error {
	input, err := json.Marshal(t.Input, json.Deterministic(true))
	if err != nil {
		return err
	}
	hook, err := v.manifest.HookOf(string(t.Hook), input)
	if err != nil {
		return err
	}
	r, err := v.call(ctx, hook, input, time.Now())
	if err != nil {
		return err
	}
	want, err := json.Marshal(t.Expect, json.Deterministic(true))
	if err != nil {
		return err
	}
	var have, wanted any
	if len(r.Output) > 0 {
		if err := json.Unmarshal(r.Output, &have); err != nil {
			return err
		}
	} else {
		have = map[string]any{}
	}
	if err := json.Unmarshal(want, &wanted); err != nil {
		return err
	}
	if where := differs("", have, wanted); where != "" {
		return fmt.Errorf("at %s: got %s, want %s", where, r.Output, want)
	}
	return nil
}

// differs gives the path of the first member of want that have does not hold, or "".
func differs(at string, have, want any) string {
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			return at + "."
		}
		for k, x := range w {
			if d := differs(at+"."+k, h[k], x); d != "" {
				return d
			}
		}
		return ""
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(w) {
			return at
		}
		for i := range w {
			if d := differs(fmt.Sprintf("%s[%d]", at, i), h[i], w[i]); d != "" {
				return d
			}
		}
		return ""
	}
	if have != want {
		return at
	}
	return ""
}
