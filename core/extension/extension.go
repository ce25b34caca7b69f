// Package extension puts plugins to the gateway's hooks: it loads those that the
// operator has configured or installed, off the message path, and offers them as
// the policies, notifiers and handlers of core. core/plugin runs the modules and
// knows JSON; this room knows what the JSON says.
//
// While a policy plugin is not ready, nobody can say, and letters that it would
// judge are answered 503. docs/threat-model.md#p3
package extension

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// Wanted is a plugin that the operator wants in force.
type Wanted struct {
	Spec  plugin.Spec
	Order int           // policies run by it, lowest first; equal ones by name
	Hooks []plugin.Hook // at most these; empty: all that the manifest names
	// Watch loads the plugin anew when its file changes. A pinned module is never
	// watched: a changed one needs a new grant.
	Watch bool
}

// Options are a manager's settings.
type Options struct {
	Store    core.Store
	CacheDir string // of compiled modules; empty: none
	Logger   *slog.Logger
	Client   func(allowPrivate bool) *http.Client // nil: the plugin room's guarded client
	// HookAgent gives the agent's id behind a message's toAgent, for notifiers.
	HookAgent func(toAgent string) string
	// Changed is called when the set of notifiers has changed.
	Changed func()
}

// Manager holds the plugins in force. Safe for concurrent use.
type Manager struct {
	o    Options
	host *plugin.Host
	stop context.CancelFunc
	ctx  context.Context
	wg   sync.WaitGroup

	mu      sync.Mutex // guards all below
	slots   []*slot    // in order
	applied bool
}

// slot is a wanted plugin and how far it is.
type slot struct {
	want    Wanted
	module  *plugin.Module // read, not run: hooks and hash are known at once
	hooks   []plugin.Hook
	loaded  *plugin.Plugin // nil: not ready
	err     error          // why it is not ready; nil: it is being loaded
	stamp   stamp          // of the file, when it was read
	before  Record         // what is on record
	since   Record         // the plugin's own counters when that was written
	refused atomic.Int64   // letters that it refused since then
}

type stamp struct {
	size int64
	mod  time.Time
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if path == "" || err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime()}
}

// New returns a manager without plugins.
func New(o Options) (*Manager, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	host, err := plugin.NewHost(plugin.Options{CacheDir: o.CacheDir, Logger: o.Logger, HTTPClient: o.Client})
	if err != nil {
		return nil, err
	}
	m := &Manager{o: o, host: host}
	m.ctx, m.stop = context.WithCancel(context.Background())
	return m, nil
}

// Apply puts these plugins in force, in place of those before. It reads every
// module and refuses the whole list when one cannot be read, is not what its pin
// says, or has not the hooks that are wanted of it; nothing has changed then.
// Loading goes on in the background: Ready waits for it.
//
// docs/threat-model.md#p4
func (m *Manager) Apply(wanted []Wanted) error {
	slots := make([]*slot, 0, len(wanted))
	for _, w := range wanted {
		s, err := m.read(w)
		if err != nil {
			return fmt.Errorf("plugin %s: %w", w.Spec.Name, err)
		}
		slots = append(slots, s)
	}
	slices.SortStableFunc(slots, func(a, b *slot) int {
		return cmp.Or(cmp.Compare(a.want.Order, b.want.Order), cmp.Compare(a.want.Spec.Name, b.want.Spec.Name))
	})
	m.mu.Lock()
	old := m.slots
	m.slots, m.applied = slots, true
	for _, s := range slots {
		m.wg.Go(func() { m.load(s) })
	}
	m.mu.Unlock()
	for _, s := range old {
		if s.loaded != nil {
			m.record(context.Background(), s)
			s.loaded.Close()
		}
	}
	m.changed()
	return nil
}

// read looks at a module without running any of it.
func (m *Manager) read(w Wanted) (*slot, error) {
	module, err := plugin.Inspect(w.Spec)
	if err != nil {
		return nil, err
	}
	s := &slot{want: w, module: module, hooks: module.Manifest.Hooks, stamp: stampOf(w.Spec.Path)}
	if len(w.Hooks) > 0 {
		s.hooks = w.Hooks
		for _, h := range w.Hooks {
			if !slices.Contains(module.Manifest.Hooks, h) {
				return nil, fmt.Errorf("it has no hook %q; it has %v", h, module.Manifest.Hooks)
			}
		}
	}
	s.before = m.recorded(context.Background(), w.Spec.Name)
	return s, nil
}

func (m *Manager) load(s *slot) {
	spec := s.want.Spec
	if spec.KV == nil {
		spec.KV = &storeKV{store: m.o.Store, plugin: spec.Name}
	}
	p, err := m.host.Load(m.ctx, spec)
	m.mu.Lock()
	current := slices.Contains(m.slots, s)
	s.loaded, s.err = p, err
	m.mu.Unlock()
	switch {
	case err != nil && m.ctx.Err() == nil:
		m.o.Logger.Error("plugin not loaded", "plugin", spec.Name, "err", err)
	case err != nil:
	case !current:
		p.Close()
	default:
		info := p.Info()
		m.o.Logger.Info("plugin is ready", "plugin", spec.Name, "hooks", s.hooks, "version", info.Version, "took", info.LoadTook.Round(time.Millisecond))
		for _, missing := range info.Missing {
			m.o.Logger.Warn("plugin asks for what is not granted", "plugin", spec.Name, "asks", missing)
		}
		m.changed()
	}
}

func (m *Manager) changed() {
	if m.o.Changed != nil {
		m.o.Changed()
	}
}

// Ready waits until every plugin is loaded or has failed, or ctx is done.
func (m *Manager) Ready(ctx context.Context) error {
	done := make(chan struct{})
	go func() { m.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Plugins gives the policies and handlers in force. It returns an error of kind
// Unavailable while one that guards letters is not ready.
func (m *Manager) Plugins() (gateway.Plugins, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out gateway.Plugins
	for _, s := range m.slots {
		guards := slices.Contains(s.hooks, plugin.Policy)
		if s.loaded == nil {
			if guards {
				return gateway.Plugins{}, &core.Error{Kind: core.Unavailable, Public: "Policy unavailable", RetryAfter: 5 * time.Second,
					Err: fmt.Errorf("extension: policy %s is not ready: %w", s.want.Spec.Name, cmp.Or(s.err, errLoading))}
			}
			continue
		}
		if guards {
			out.Policies = append(out.Policies, policyOf{s.want.Spec.Name, s.loaded, &s.refused})
		}
		if slices.Contains(s.hooks, plugin.Handle) {
			out.Handlers = append(out.Handlers, handlerOf{s.want.Spec.Name, s.loaded})
		}
	}
	return out, nil
}

var errLoading = errors.New("being loaded")

// Intents are those that handlers answer, whether they are ready or not.
func (m *Manager) Intents() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, s := range m.slots {
		if slices.Contains(s.hooks, plugin.Handle) {
			out = append(out, s.module.Manifest.Intents...)
		}
	}
	return out
}

// Notifiers are the notifiers in force. One that is not ready yet answers
// "later", so that what it is owed waits in the queue.
func (m *Manager) Notifiers() []core.Notifier {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []core.Notifier
	for _, s := range m.slots {
		if slices.Contains(s.hooks, plugin.Notify) {
			out = append(out, notifierOf{m, s})
		}
	}
	return out
}

// Reload loads a plugin anew from its file and swaps it in when all of it worked.
func (m *Manager) Reload(ctx context.Context, name string) error {
	s := m.slot(name)
	if s == nil {
		return core.Refusef(core.NotFound, "no plugin named %q is in force", name)
	}
	fresh, err := m.read(s.want)
	if err != nil {
		return err
	}
	m.mu.Lock()
	loaded := s.loaded
	m.mu.Unlock()
	if loaded == nil {
		m.mu.Lock()
		s.module, s.stamp, s.err = fresh.module, fresh.stamp, nil
		m.mu.Unlock()
		m.load(s)
		m.mu.Lock()
		defer m.mu.Unlock()
		return s.err
	}
	m.record(ctx, s)
	if err := loaded.Reload(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	s.module, s.stamp, s.hooks = fresh.module, fresh.stamp, fresh.hooks
	m.mu.Unlock()
	m.changed()
	return nil
}

func (m *Manager) slot(name string) *slot {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.slots {
		if s.want.Spec.Name == name {
			return s
		}
	}
	return nil
}

const (
	watchEvery  = 3 * time.Second
	recordEvery = time.Minute
)

// Run watches files and keeps records until ctx is done; then it closes every
// plugin.
func (m *Manager) Run(ctx context.Context) error {
	watch, record := time.NewTicker(watchEvery), time.NewTicker(recordEvery)
	defer watch.Stop()
	defer record.Stop()
	for {
		select {
		case <-ctx.Done():
			m.close()
			return nil
		case <-watch.C:
			m.reloadChanged(ctx)
		case <-record.C:
			m.recordAll(ctx)
		}
	}
}

func (m *Manager) reloadChanged(ctx context.Context) {
	m.mu.Lock()
	var changed []*slot
	for _, s := range m.slots {
		if now := stampOf(s.want.Spec.Path); s.want.Watch && now != s.stamp && now != (stamp{}) {
			s.stamp = now // a file that does not load is tried again when it changes again
			changed = append(changed, s)
		}
	}
	m.mu.Unlock()
	for _, s := range changed {
		if err := m.Reload(ctx, s.want.Spec.Name); err != nil {
			m.o.Logger.Error("changed plugin not loaded; the one before stays", "plugin", s.want.Spec.Name, "err", err)
		}
	}
}

func (m *Manager) recordAll(ctx context.Context) {
	m.mu.Lock()
	slots := slices.Clone(m.slots)
	m.mu.Unlock()
	for _, s := range slots {
		m.record(ctx, s)
	}
}

// Close ends every plugin and waits for what is being loaded.
func (m *Manager) close() {
	if m.ctx.Err() != nil {
		return // closed already
	}
	m.stop()
	m.wg.Wait()
	m.recordAll(context.Background())
	m.mu.Lock()
	slots := m.slots
	m.slots = nil
	m.mu.Unlock()
	for _, s := range slots {
		if s.loaded != nil {
			s.loaded.Close()
		}
	}
	m.host.Close()
}

// Close ends every plugin. Run does so itself when it returns; Close is for a
// manager that never ran.
func (m *Manager) Close() { m.close() }

// View is a plugin as the operator sees it.
type View struct {
	Name        string        `json:"name"`
	Version     string        `json:"version,omitempty"`
	State       string        `json:"state"` // ready, loading, failed, resting
	Error       string        `json:"error,omitempty"`
	Kind        string        `json:"kind"`
	Hooks       []plugin.Hook `json:"hooks"`
	Intents     []string      `json:"intents,omitempty"`
	Order       int           `json:"order"`
	Path        string        `json:"path,omitempty"` // empty: shipped
	SHA256      string        `json:"sha256"`
	Size        int           `json:"size"` // bytes
	Missing     []string      `json:"missing,omitempty"`
	Calls       int64         `json:"calls"`    // ever
	Refusals    int64         `json:"refusals"` // letters that it refused, ever
	Failures    int64         `json:"failures"` // calls that failed, ever
	Instances   int           `json:"instances"`
	LoadMillis  int64         `json:"loadMillis,omitempty"`
	LastFailure string        `json:"lastFailure,omitempty"`
}

// List shows every plugin, in order.
func (m *Manager) List() []View {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]View, 0, len(m.slots))
	for _, s := range m.slots {
		v := View{Name: s.want.Spec.Name, State: "loading", Kind: string(s.module.Kind), Hooks: s.hooks, Order: s.want.Order,
			Path: s.want.Spec.Path, SHA256: s.module.SHA256, Version: s.module.Manifest.Version, Intents: s.module.Manifest.Intents}
		total := s.total()
		v.Calls, v.Failures, v.Refusals = total.Calls, total.Failures, total.Refusals
		switch {
		case s.err != nil:
			v.State, v.Error = "failed", s.err.Error()
		case s.loaded != nil:
			info := s.loaded.Info()
			v.State, v.Size, v.Missing, v.Instances = "ready", info.Size, info.Missing, info.Instances
			v.LoadMillis, v.LastFailure = info.LoadTook.Milliseconds(), info.LastError
			if info.SetAsideFor > 0 {
				v.State = "resting"
			}
		}
		out = append(out, v)
	}
	return out
}
