package plugin

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin/compile"
	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
)

func (h *Host) make(ctx context.Context, spec Spec) (v *version, err error) {
	began := time.Now()
	m, err := inspect(spec)
	if err != nil {
		return nil, err
	}
	name := spec.Name
	if name == "" {
		name = m.Manifest.Name
	}
	fail := func(kind core.Kind, format string, a ...any) (*version, error) {
		return nil, &Error{Plugin: name, Kind: kind, Err: fmt.Errorf(format, a...)}
	}
	manifest := *m.Manifest
	limits := spec.Limits.over(manifest.Limits)
	if err := limits.check(); err != nil {
		return fail(BadManifest, "%w", err)
	}
	v = &version{
		name: name, manifest: &manifest, limits: limits, kind: m.kind, sha256: m.SHA256, size: len(m.wasm),
		loaded: began, grants: spec.Grants, secrets: spec.Secrets, store: spec.KV, clients: h.clients(), turns: h.turns, answer: spec.Answer, roundTrip: spec.RoundTrip,
		reads: newPart(&manifest), idle: make(chan *instance, limits.Instances), slots: make(chan struct{}, limits.Instances),
	}
	for range limits.Instances {
		v.slots <- struct{}{}
	}
	for _, g := range spec.Grants.HTTP {
		p, err := parseGrant(g)
		if err != nil {
			return fail(Denied, "%w", err)
		}
		v.urls = append(v.urls, p)
	}
	logger := spec.Logger
	if logger == nil {
		logger = h.log.With("plugin", name)
	}
	v.log = newGuestLog(logger)
	if v.defaults, err = json.Marshal(manifest.Config, json.Deterministic(true)); err != nil {
		return fail(BadManifest, "config: %w", err)
	}
	if v.config, err = Overlay(v.defaults, spec.Config); err != nil {
		return fail(BadManifest, "config: %w", err)
	}
	if err := h.prepare(ctx, v, m.wasm); err != nil {
		return nil, notCompiled(name, err)
	}
	if err := v.ready(ctx); err != nil {
		v.close()
		return nil, err
	}
	if v.reads != nil {
		v.reads.strict = spec.Tried
	}
	v.took = time.Since(began)
	return v, nil
}

// notCompiled gives a failure to compile its kind: the module's fault, unless it is the machine's or the caller's.
func notCompiled(name string, err error) *Error {
	var known *core.Error
	var said *Error
	switch {
	case errors.As(err, &said):
		return said
	case errors.As(err, &known):
		return &Error{Plugin: name, Kind: known.Kind, Text: "compiling", RetryAfter: known.RetryAfter, Err: err}
	case compile.Passes(err):
		return &Error{Plugin: name, Kind: core.Unavailable, Text: "compiling", Err: err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{Plugin: name, Kind: Canceled, Text: "compiling", Err: err}
	}
	return &Error{Plugin: name, Kind: BadModule, Text: firstLine(err)}
}

// prepare has the module compiled by another process, where the cache has nothing, and gives it the host functions
// that it imports.
func (h *Host) prepare(ctx context.Context, v *version, wasm []byte) error {
	key := fmt.Sprintf("%s %s, %d pages, %d bytes of stack", v.sha256, v.kind.name, v.pages(), v.limits.stack())
	for try := 1; ; try++ {
		e, err := h.compiler.Get(ctx, v.name, key, func() (*meter.Metered, error) { return v.rewrite(wasm) })
		if err != nil {
			return err
		}
		err = v.open(e)
		e.Release()
		if !errors.Is(err, context.Canceled) || try == 2 {
			return err
		}
		// The entry's sum holds and wazero does not find the module in it.
		h.log.Warn("a compiled module was another's and is compiled again", "plugin", v.name)
		_ = os.RemoveAll(e.Dir)
	}
}

// rewrite gives the module as it is compiled. Its errors are of type *Error.
func (v *version) rewrite(wasm []byte) (m *meter.Metered, err error) {
	if v.kind.prepare != nil {
		wasm, err = v.kind.prepare(wasm, v.pages())
	}
	if err == nil {
		m, err = meter.Rewrite(wasm, meter.Config{MaxMemoryPages: v.pages(), MaxStack: v.limits.stack()})
	}
	if err != nil {
		return nil, &Error{Plugin: v.name, Kind: BadModule, Err: err}
	}
	return m, nil
}

// open reads the compiled module from its entry. It is context.Canceled when the entry is not the module's.
func (v *version) open(e *compile.Entry) (err error) {
	if v.code, err = e.Open(v.pages()); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			v.code.Close()
		}
	}()
	if err = v.check(); err != nil {
		return err
	}
	return v.provide()
}

// over lays these limits over others.
func (l Limits) over(m Limits) Limits {
	return Limits{
		Timeout:   cmp.Or(l.Timeout, m.Timeout),
		MemoryMiB: cmp.Or(l.MemoryMiB, m.MemoryMiB),
		Fuel:      cmp.Or(l.Fuel, m.Fuel),
		Instances: cmp.Or(l.Instances, m.Instances),
		MaxCalls:  cmp.Or(l.MaxCalls, m.MaxCalls),
	}
}

// Overlay lays one JSON object over another, member by member. An empty text is an empty object.
func Overlay(base, over []byte) ([]byte, error) {
	merged := map[string]jsontext.Value{}
	for _, b := range [][]byte{base, over} {
		if len(bytes.TrimSpace(b)) == 0 {
			continue
		}
		var m map[string]jsontext.Value
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, err
		}
		maps.Copy(merged, m)
	}
	return json.Marshal(merged, json.Deterministic(true))
}
