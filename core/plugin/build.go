package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/opengatewayprotocol/ogp/core"
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
		name: name, manifest: &manifest, limits: limits, kind: m.Kind, sha256: m.SHA256, size: len(m.wasm),
		loaded: began, grants: spec.Grants, secrets: spec.Secrets, store: spec.KV, clients: h.clients(), turns: h.turns, answer: spec.Answer, roundTrip: spec.RoundTrip,
		idle: make(chan *instance, limits.Instances), slots: make(chan struct{}, limits.Instances),
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
	if v.defaults, err = mergeConfig(manifest.Config, nil); err != nil {
		return fail(BadManifest, "config: %w", err)
	}
	if v.config, err = mergeConfig(manifest.Config, spec.Config); err != nil {
		return fail(BadManifest, "config: %w", err)
	}
	metered, err := meter.Rewrite(m.wasm, meter.Config{MaxMemoryPages: limits.pages(), MaxStack: limits.stack()})
	if err != nil {
		return fail(BadModule, "%w", err)
	}
	if err := h.prepare(ctx, v, metered); err != nil {
		return nil, notCompiled(name, err)
	}
	if err := v.ready(ctx); err != nil {
		v.close()
		return nil, err
	}
	v.took = time.Since(began)
	return v, nil
}

// notCompiled gives a failure to compile its kind: the module's fault, unless it is the machine's or the caller's.
func notCompiled(name string, err error) *Error {
	var known *core.Error
	switch {
	case errors.As(err, &known):
		return &Error{Plugin: name, Kind: known.Kind, Text: "compiling", RetryAfter: known.RetryAfter, Err: err}
	case isFiles(err), isScarce(err):
		return &Error{Plugin: name, Kind: core.Unavailable, Text: "compiling", Err: err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{Plugin: name, Kind: Canceled, Text: "compiling", Err: err}
	}
	return &Error{Plugin: name, Kind: BadModule, Text: firstLine(err)}
}

// prepare has the module compiled by another process, where the cache has nothing, and gives it the host functions
// that it imports.
func (h *Host) prepare(ctx context.Context, v *version, m *meter.Metered) error {
	for try := 1; ; try++ {
		e, err := h.compiler.get(ctx, v.name, m)
		if err != nil {
			return err
		}
		err = v.open(e, m.Wasm)
		e.release()
		if !errors.Is(err, context.Canceled) || try == 2 {
			return err
		}
		// The entry's sum holds and wazero does not find the module in it.
		h.log.Warn("a compiled module was another's and is compiled again", "plugin", v.name)
		_ = os.RemoveAll(e.dir)
	}
}

// open reads the compiled module from its entry. It is context.Canceled when the entry is not the module's.
func (v *version) open(e *entry, wasm []byte) (err error) {
	v.base = context.Background()
	if v.cache, err = wazero.NewCompilationCacheWithDir(e.dir); err != nil {
		return err
	}
	v.rt = wazero.NewRuntimeWithConfig(v.base, runtimeConfig(v.cache, v.limits.pages()))
	defer func() {
		if err != nil {
			v.rt.Close(v.base)
			v.cache.Close(v.base)
		}
	}()
	if v.compiled, err = v.rt.CompileModule(found, wasm); err != nil {
		return err
	}
	if err = v.check(); err != nil {
		return err
	}
	return v.provide()
}

// hostModules are all functions of the host.
var hostModules = map[string]map[string]hostFunc{
	abiModule:    abiFuncs,
	wasiModule:   wasiFuncs,
	meter.Module: {meter.Yield: {":", func(in *instance, mod api.Module, _ []uint64) { in.look(mod) }}},
}

// check looks at what the compiled module imports and exports.
func (v *version) check() error {
	if len(v.compiled.ImportedMemories()) > 0 {
		return errors.New("imports a memory: a plugin brings its own and exports it")
	}
	for _, f := range v.compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		hf, ok := hostModules[module][name]
		switch {
		case !ok && module == abiModule:
			return fmt.Errorf("imports %s.%s, which this host does not have: is it made for a newer one?", module, name)
		case !ok:
			return fmt.Errorf("imports %s.%s: there is only %s and %s", module, name, abiModule, wasiModule)
		}
		if p, r := hf.types(); !slices.Equal(p, f.ParamTypes()) || !slices.Equal(r, f.ResultTypes()) {
			return fmt.Errorf("imports %s.%s with another type than %s", module, name, hf.sig)
		}
		if module != meter.Module {
			v.imports = append(v.imports, module+"."+name)
		}
	}
	sort.Strings(v.imports)
	if v.compiled.ExportedMemories()["memory"] == nil {
		return errors.New("does not export its memory as \"memory\"")
	}
	fs := v.compiled.ExportedFunctions()
	typed := func(name string, params, results int) error {
		f := fs[name]
		if len(f.ParamTypes()) != params || len(f.ResultTypes()) != results ||
			slices.ContainsFunc(slices.Concat(f.ParamTypes(), f.ResultTypes()), func(t api.ValueType) bool { return t != api.ValueTypeI32 }) {
			return fmt.Errorf("exports %s with another type than (%d i32) -> (%d i32)", name, params, results)
		}
		return nil
	}
	if v.kind != KindABI {
		return typed("_start", 0, 0)
	}
	for _, h := range v.manifest.Hooks {
		name := exportOf(h, v.exports)
		if name == "" {
			return fmt.Errorf("the manifest names the hook %q, but the module does not export %s", h, h.Rule().Exports[0])
		}
		if err := typed(name, 1, 1); err != nil {
			return err
		}
	}
	if fs["ogp_init"] != nil {
		if err := typed("ogp_init", 1, 1); err != nil {
			return err
		}
	}
	if fs["_initialize"] != nil {
		return typed("_initialize", 0, 0)
	}
	return nil
}

// exports says whether the compiled module has a function of this name.
func (v *version) exports(name string) bool { return v.compiled.ExportedFunctions()[name] != nil }

// provide makes the host modules, with no more in them than is imported.
func (v *version) provide() error {
	builders := map[string]wazero.HostModuleBuilder{}
	seen := map[string]bool{}
	for _, f := range v.compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		if seen[module+"."+name] {
			continue
		}
		seen[module+"."+name] = true
		if builders[module] == nil {
			builders[module] = v.rt.NewHostModuleBuilder(module)
		}
		hf := hostModules[module][name]
		p, r := hf.types()
		builders[module].NewFunctionBuilder().WithGoModuleFunction(hf, p, r).Export(name)
	}
	for _, b := range builders {
		if _, err := b.Instantiate(v.base); err != nil {
			return err
		}
	}
	return nil
}

// over lays these limits over others.
func (l Limits) over(m Limits) Limits {
	if l.Timeout != 0 {
		m.Timeout = l.Timeout
	}
	if l.MemoryMiB != 0 {
		m.MemoryMiB = l.MemoryMiB
	}
	if l.Fuel != 0 {
		m.Fuel = l.Fuel
	}
	if l.Instances != 0 {
		m.Instances = l.Instances
	}
	if l.MaxCalls != 0 {
		m.MaxCalls = l.MaxCalls
	}
	return m
}

// mergeConfig lays the operator's configuration over the defaults, name by name.
func mergeConfig(defaults map[string]any, config []byte) ([]byte, error) {
	merged := map[string]jsontext.Value{}
	base, err := json.Marshal(defaults, json.Deterministic(true), json.FormatNilMapAsNull(false))
	if err != nil {
		return nil, err
	}
	for _, b := range [][]byte{base, config} {
		if len(bytes.TrimSpace(b)) == 0 {
			continue
		}
		var m map[string]jsontext.Value
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, err
		}
		for k, x := range m {
			merged[k] = x
		}
	}
	return json.Marshal(merged, json.Deterministic(true))
}
