package plugin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// maxModule is the largest module: Go with net/http makes 10 MB, and 16 MiB compile in some 10 s.
const maxModule = 16 << 20

// Options are a host's settings. The zero value is usable.
type Options struct {
	// CacheDir is where compiled modules are kept; it is made with mode 0700 and refused when others may enter
	// it, since it holds machine code. Empty means that nothing is kept.
	CacheDir string
	// Logger gets what an operator should know. Nil means none.
	Logger *slog.Logger
	// HTTPClient is used where a Spec has none. Nil means GuardedClient.
	HTTPClient func(allowPrivate bool) *http.Client
	// Now is the time for the rests of failing plugins. Nil means time.Now.
	Now func() time.Time
}

// Host loads plugins. It is safe for concurrent use.
type Host struct {
	opts    Options
	log     *slog.Logger
	now     func() time.Time
	compile chan struct{} // held while a module is compiled, which nothing can interrupt

	mu      sync.Mutex // guards the rest
	closed  bool
	plugins map[*Plugin]struct{}
	builds  sync.WaitGroup
}

// NewHost makes a host. It fails when CacheDir cannot be used.
func NewHost(o Options) (*Host, error) {
	h := &Host{opts: o, log: o.Logger, now: o.Now, compile: make(chan struct{}, 1), plugins: map[*Plugin]struct{}{}}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.now == nil {
		h.now = time.Now
	}
	if o.CacheDir != "" {
		if err := os.MkdirAll(o.CacheDir, 0o700); err != nil {
			return nil, fmt.Errorf("plugin: cache: %w", err)
		}
		st, err := os.Stat(o.CacheDir)
		if err != nil {
			return nil, fmt.Errorf("plugin: cache: %w", err)
		}
		if runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
			return nil, fmt.Errorf("plugin: cache: %s has mode %#o, want 0700: it holds machine code (chmod 700 it)", o.CacheDir, st.Mode().Perm())
		}
	}
	return h, nil
}

// Load reads, checks, compiles and starts a plugin and runs its self-tests. It may take seconds where the cache
// has nothing; modules are compiled one at a time. When ctx ends first, Load returns and what was being made is
// freed behind it. Errors are of type *Error: BadManifest, BadModule, Denied (another module than the pinned
// one), or what the start or a self-test failed with.
func (h *Host) Load(ctx context.Context, spec Spec) (*Plugin, error) {
	v, err := h.build(ctx, spec)
	if err != nil {
		return nil, err
	}
	p := &Plugin{host: h, name: v.name, spec: spec, current: v, reload: make(chan struct{}, 1)}
	h.mu.Lock()
	closed := h.closed
	if !closed {
		h.plugins[p] = struct{}{}
	}
	h.mu.Unlock()
	if closed {
		v.close()
		return nil, &Error{Plugin: v.name, Kind: Closed}
	}
	return p, nil
}

// Close closes every plugin and waits for what is being loaded.
func (h *Host) Close() {
	h.mu.Lock()
	h.closed = true
	all := make([]*Plugin, 0, len(h.plugins))
	for p := range h.plugins {
		all = append(all, p)
	}
	h.mu.Unlock()
	for _, p := range all {
		p.Close()
	}
	h.builds.Wait()
}

func (h *Host) forget(p *Plugin) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.plugins, p)
}

// build makes a version in a goroutine of its own, because a compilation cannot be interrupted and its caller
// may be.
func (h *Host) build(ctx context.Context, spec Spec) (*version, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, &Error{Plugin: spec.Name, Kind: Closed}
	}
	h.builds.Add(1)
	h.mu.Unlock()
	type made struct {
		v   *version
		err error
	}
	done := make(chan made)
	go func() {
		defer h.builds.Done()
		v, err := h.make(ctx, spec)
		select {
		case done <- made{v, err}:
		case <-ctx.Done():
			if v != nil {
				v.close()
			}
		}
	}()
	select {
	case m := <-done:
		return m.v, m.err
	case <-ctx.Done():
		return nil, &Error{Plugin: spec.Name, Kind: Canceled, Text: "loading", Err: ctx.Err()}
	}
}

func (h *Host) make(ctx context.Context, spec Spec) (v *version, err error) {
	began := time.Now()
	m, err := Inspect(spec)
	if err != nil {
		return nil, err
	}
	name := spec.Name
	if name == "" {
		name = m.Manifest.Name
	}
	fail := func(kind Kind, format string, a ...any) (*version, error) {
		return nil, &Error{Plugin: name, Kind: kind, Err: fmt.Errorf(format, a...)}
	}
	manifest := *m.Manifest
	limits := spec.Limits.over(manifest.Limits)
	if err := limits.check(); err != nil {
		return fail(BadManifest, "%w", err)
	}
	v = &version{
		name: name, manifest: &manifest, limits: limits, kind: m.Kind, sha256: m.SHA256, size: len(m.wasm),
		loaded: began, grants: spec.Grants, secrets: spec.Secrets, store: spec.KV, clients: map[bool]*http.Client{},
		newClient: spec.HTTPClient,
		idle:      make(chan *instance, limits.Instances), slots: make(chan struct{}, limits.Instances),
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
	if v.newClient == nil {
		v.newClient = h.opts.HTTPClient
	}
	if v.newClient == nil {
		v.newClient = GuardedClient
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
	metered, err := meter.Instrument(m.wasm, meter.Config{MaxMemoryPages: uint32(limits.MemoryMiB) * 16})
	if err != nil {
		return fail(BadModule, "%w", err)
	}
	if err := h.prepare(ctx, v, metered); err != nil {
		return nil, &Error{Plugin: name, Kind: BadModule, Text: firstLine(err)}
	}
	if err := v.ready(ctx); err != nil {
		v.close()
		return nil, err
	}
	v.took = time.Since(began)
	return v, nil
}

// prepare compiles the module and gives it the host functions that it imports. One module at a time.
func (h *Host) prepare(ctx context.Context, v *version, wasm []byte) (err error) {
	select {
	case h.compile <- struct{}{}:
		defer func() { <-h.compile }()
	case <-ctx.Done():
		return ctx.Err()
	}
	v.base = context.Background()
	v.cache = wazero.NewCompilationCache()
	if h.opts.CacheDir != "" {
		if v.cache, err = wazero.NewCompilationCacheWithDir(h.opts.CacheDir); err != nil {
			return err
		}
	}
	v.rt = wazero.NewRuntimeWithConfig(v.base, wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2|experimental.CoreFeaturesExtendedConst).
		WithMemoryLimitPages(uint32(v.limits.MemoryMiB)*16).
		WithDebugInfoEnabled(false).
		WithCompilationCache(v.cache))
	defer func() {
		if err != nil {
			v.rt.Close(v.base)
			v.cache.Close(v.base)
		}
	}()
	if v.compiled, err = v.rt.CompileModule(v.base, wasm); err != nil {
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
		if fs[exports[h]] == nil {
			return fmt.Errorf("the manifest names the hook %q, but the module does not export %s", h, exports[h])
		}
		if err := typed(exports[h], 1, 1); err != nil {
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

// ready makes the first instance and runs the self-tests. They are the author's
// and know the author's configuration alone, so they run under the manifest's
// defaults, unless the plugin does not start with those.
func (v *version) ready(ctx context.Context) error {
	configured := v.config
	if len(v.manifest.SelfTests) > 0 && !bytes.Equal(v.defaults, configured) {
		v.config = v.defaults
		if first, err := v.first(ctx); err == nil {
			v.give(first, true)
			err := v.selfTests(ctx)
			v.drain()
			v.config = configured
			if err != nil {
				return err
			}
			first, err = v.first(ctx)
			if err == nil {
				v.give(first, true)
			}
			return err
		}
		v.config = configured
	}
	first, err := v.first(ctx)
	if err != nil {
		return err
	}
	v.give(first, true)
	return v.selfTests(ctx)
}

// first makes an instance that nobody waits for.
func (v *version) first(ctx context.Context) (*instance, error) {
	<-v.slots
	return v.make(ctx, time.Now().Add(startTimeout))
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
	hook := t.Hook
	if h, ok := t.Input["hook"].(string); ok && hook == "" {
		hook = Hook(h)
	}
	if hook == "" && len(v.manifest.Hooks) == 1 {
		hook = v.manifest.Hooks[0]
	}
	if !v.manifest.hasHook(hook) {
		return fmt.Errorf("which hook? the plugin answers %q", v.manifest.Hooks)
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

// Module is a module that was read and not loaded.
type Module struct {
	// Manifest is the one given, found beside the module, or found inside; else one that asks for nothing and
	// has every hook that the module exports.
	Manifest *Manifest
	Kind     ModuleKind
	SHA256   string // in lower case hex
	Size     int    // in bytes
	Imports  []string
	wasm     []byte
}

// Inspect reads a plugin without running or compiling any of it. It checks the pin.
func Inspect(spec Spec) (*Module, error) {
	wasm := spec.Bytes
	if wasm == nil {
		var err error
		if wasm, err = readModule(spec.Path); err != nil {
			return nil, &Error{Plugin: spec.Name, Kind: BadModule, Err: err}
		}
	}
	if len(wasm) > maxModule {
		return nil, &Error{Plugin: spec.Name, Kind: BadModule, Text: fmt.Sprintf("a module of %d bytes, at most %d", len(wasm), maxModule), Err: Limit}
	}
	sum := sha256.Sum256(wasm)
	m := &Module{SHA256: hex.EncodeToString(sum[:]), Size: len(wasm), wasm: wasm}
	if spec.SHA256 != "" && !strings.EqualFold(spec.SHA256, m.SHA256) {
		return nil, &Error{Plugin: spec.Name, Kind: Denied, Text: fmt.Sprintf("the module's SHA-256 is %s, pinned is %s", m.SHA256, strings.ToLower(spec.SHA256))}
	}
	shape, err := meter.Read(wasm)
	if err != nil {
		return nil, &Error{Plugin: spec.Name, Kind: BadModule, Err: err}
	}
	m.Imports = shape.Imports
	if m.Manifest, err = findManifest(spec, shape); err != nil {
		return nil, err
	}
	if m.Kind, err = kindOf(shape, m.Manifest); err != nil {
		return nil, &Error{Plugin: spec.Name, Kind: BadModule, Err: err}
	}
	if len(m.Manifest.Hooks) == 0 {
		m.Manifest.Hooks = exportedHooks(shape)
	}
	if len(m.Manifest.Hooks) == 0 {
		return nil, &Error{Plugin: spec.Name, Kind: BadManifest, Text: "it answers no hook: name its hooks in the manifest, or export one of ogp_policy, ogp_notify and ogp_handle"}
	}
	return m, nil
}

func readModule(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxModule+1))
}

// manifestSection is the custom section that can hold the manifest.
const manifestSection = "ogp.plugin"

func findManifest(spec Spec, shape *meter.Shape) (*Manifest, error) {
	if spec.Manifest != nil {
		m := *spec.Manifest
		if m.Name == "" {
			m.Name = spec.Name
		}
		if err := m.check(); err != nil {
			return nil, &Error{Plugin: spec.Name, Kind: BadManifest, Text: err.Error()}
		}
		return &m, nil
	}
	if spec.Bytes == nil {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(spec.Path), "plugin.toml"))
		if err == nil {
			return ParseManifest(text)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, &Error{Plugin: spec.Name, Kind: BadManifest, Err: err}
		}
	}
	if text, ok := shape.Custom[manifestSection]; ok {
		return ParseManifest(text)
	}
	m := &Manifest{Name: spec.Name}
	if m.Name == "" {
		m.Name = strings.TrimSuffix(filepath.Base(spec.Path), ".wasm")
	}
	if err := m.check(); err != nil {
		return nil, &Error{Plugin: spec.Name, Kind: BadManifest, Text: err.Error()}
	}
	return m, nil
}

// ModuleKind is how a module is run.
type ModuleKind string

// The kinds of modules.
const (
	KindABI        ModuleKind = "ogp_v1"      // imports ogp_v1, instances are pooled
	KindStdioOnce  ModuleKind = "stdio"       // a program, run anew for every call
	KindStdioLines ModuleKind = "stdio-lines" // a program that stays alive
)

func kindOf(s *meter.Shape, m *Manifest) (ModuleKind, error) {
	abi := len(exportedHooks(s)) > 0 || slices.ContainsFunc(s.Imports, func(i string) bool { return strings.HasPrefix(i, abiModule+".") })
	_, program := s.Exports["_start"]
	switch {
	case m.ABI == abiModule && !abi:
		return "", errors.New("the manifest says ogp_v1, but the module neither imports ogp_v1 nor exports a hook")
	case (m.ABI == "stdio" || m.Stdio != "") && !program:
		return "", errors.New("the manifest says stdio, but the module does not export _start")
	case m.ABI != "stdio" && m.Stdio == "" && abi:
		return KindABI, nil
	case !program:
		return "", errors.New("it is neither a plugin for ogp_v1 nor a program: it exports no hook and no _start")
	case m.Stdio == "lines":
		return KindStdioLines, nil
	}
	return KindStdioOnce, nil
}

func exportedHooks(s *meter.Shape) (out []Hook) {
	for _, h := range hooks {
		if _, ok := s.Exports[exports[h]]; ok {
			out = append(out, h)
		}
	}
	return out
}
