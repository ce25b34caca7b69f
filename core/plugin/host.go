package plugin

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core/plugin/compile"
)

// Options are a host's settings. The zero value is usable.
type Options struct {
	// CacheDir is where compiled modules are kept; it is made with mode 0700 and refused when others may enter
	// it, since it holds machine code. Empty means that nothing is kept.
	CacheDir string
	// Logger gets what an operator should know. Nil means none.
	Logger *slog.Logger
	// Now is the time for the rests of failing plugins. Nil means time.Now.
	Now func() time.Time
}

// Host loads plugins. It is safe for concurrent use.
type Host struct {
	opts     Options
	log      *slog.Logger
	now      func() time.Time
	clients  func() *clients // made when the first plugin needs them
	compiler *compile.Compiler
	turns    *turns

	mu      sync.Mutex // guards the rest
	closed  bool
	plugins map[*Plugin]struct{}
	builds  sync.WaitGroup
}

// CompileChildMain must be the first thing that main does in a program that loads plugins. Where the program was
// started by a [Host] to compile a module, it does that and ends; otherwise it returns at once.
// docs/threat-model.md#d3
func CompileChildMain() { compile.ChildMain() }

// NewHost makes a host. It fails when CacheDir cannot be used.
func NewHost(o Options) (*Host, error) {
	h := &Host{opts: o, log: o.Logger, now: o.Now, clients: sync.OnceValue(newClients), turns: newTurns(runtime.GOMAXPROCS(0)), plugins: map[*Plugin]struct{}{}}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.now == nil {
		h.now = time.Now
	}
	var err error
	if h.compiler, err = compile.New(o.CacheDir, h.log); err != nil {
		return nil, err
	}
	return h, nil
}

// Load reads, checks, compiles and starts a plugin and runs its self-tests. It may take seconds where the cache
// has nothing, and waits for other loads at most a few. When ctx ends first, Load returns and what was being made
// is freed behind it. Errors are of type *Error: BadManifest, BadModule, Denied (another module than the pinned
// one), Limit (compiling takes too much), core.Unavailable (another try may work: no space, no descriptors), or
// what the start or a self-test failed with.
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
	h.clients().close()
}

func (h *Host) forget(p *Plugin) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.plugins, p)
}

// build makes a version in a goroutine of its own, because not all of it can be interrupted and its caller may be.
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
