// Package extension puts plugins to the gateway's hooks: it loads those that the
// operator has configured or installed, off the message path, and offers them as
// the policies, notifiers and handlers of core. core/plugin runs the modules and
// knows JSON; this room knows what the JSON says.
//
// While a policy plugin is not ready, nobody can say, and envelopes that it would
// judge are answered 503. docs/threat-model.md#p3
package hooks

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// Where a wanted plugin is from.
const (
	FromConfig  = "config"    // a [plugins.<name>] table with a path
	FromInstall = "installed" // "ogp plugin install"
	FromBinary  = "shipped"   // it ships with ogp
)

// Wanted is a plugin that the operator wants in force.
type Wanted struct {
	Spec   plugin.Spec
	Source string        // FromConfig, FromInstall or FromBinary
	Order  int           // policies run by it, lowest first; equal ones by name
	Hooks  []plugin.Hook // at most these; empty: all that the manifest names
	// MaxKV bounds the plugin's key-value store, in bytes of keys and values. Zero
	// means what its manifest asks for.
	MaxKV int64
	// Watch loads the plugin anew when its module or its plugin.toml changes. A
	// pinned module is never watched: a changed one needs a new grant.
	Watch bool
}

// Options are a manager's settings.
type Options struct {
	Store    core.Store
	CacheDir string // of compiled modules; empty: none
	Logger   *slog.Logger
	// HookAgent gives the agent's id behind a message's toAgent, for notifiers.
	HookAgent func(toAgent string) string
	// Changed is called when the set of notifiers has changed.
	Changed func()
	// WatchEvery is how often files are looked at. Zero means 3 seconds.
	WatchEvery time.Duration
}

// Manager holds the plugins in force. Safe for concurrent use.
type Manager struct {
	o       Options
	host    *plugin.Host
	stop    context.CancelFunc
	ctx     context.Context
	wg      sync.WaitGroup
	inForce atomic.Pointer[inForce]

	turn sync.Mutex // held over a reload, so that one at a time is read and swapped

	telling sync.Mutex      // guards told, and orders the calls of Options.Changed
	told    []core.Notifier // what it was last called for

	mu     sync.Mutex // guards all below
	slots  []*slot    // in order
	closed bool
}

// inForce is what Plugins answers with.
type inForce struct {
	plugins gateway.Plugins
	err     error
}

// slot is a wanted plugin and how far it is.
type slot struct {
	name   string            // never changes
	want   Wanted            // guarded by Manager.mu: a reload changes it while calls run
	sum    [sha256.Size]byte // of all that a load depends on
	module *plugin.Module    // read, not run: hooks and hash are known at once
	loaded *plugin.Plugin    // nil: not ready. While another version is being loaded: the one before
	err    error             // why it is not as it should be
	stamp  stamp             // of the files, when they were read
	tally  *tally
	after  <-chan struct{} // closed when the slot before it of this name is done
	done   chan struct{}   // closed when loading has ended, either way
}

// hooks are those in force: of the version that is loaded, as far as wanted.
func (s *slot) hooks() []plugin.Hook {
	has := s.module.Manifest.Hooks
	if s.loaded != nil {
		if m := s.loaded.Manifest(); m != nil {
			has = m.Hooks
		}
	}
	if len(s.want.Hooks) == 0 {
		return has
	}
	var out []plugin.Hook
	for _, h := range has {
		if slices.Contains(s.want.Hooks, h) {
			out = append(out, h)
		}
	}
	return out
}

func (s *slot) has(h plugin.Hook) bool { return slices.Contains(s.hooks(), h) }

// manifest is that of the version in force.
func (s *slot) manifest() *plugin.Manifest {
	if s.loaded != nil {
		if m := s.loaded.Manifest(); m != nil {
			return m
		}
	}
	return s.module.Manifest
}

// stamp tells a module and its plugin.toml from changed ones.
type stamp struct{ module, manifest fileStamp }

type fileStamp struct {
	size int64
	mod  time.Time
}

func stampOf(path string) stamp {
	if path == "" {
		return stamp{}
	}
	one := func(path string) fileStamp {
		info, err := os.Stat(path)
		if err != nil {
			return fileStamp{}
		}
		return fileStamp{info.Size(), info.ModTime()}
	}
	return stamp{one(path), one(filepath.Join(filepath.Dir(path), manifestFile))}
}

// manifestFile is looked for beside a module.
const manifestFile = "plugin.toml"

// New returns a manager without plugins, which lets nothing pass before Apply has
// said what is wanted.
func New(o Options) (*Manager, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.WatchEvery == 0 {
		o.WatchEvery = 3 * time.Second
	}
	host, err := plugin.NewHost(plugin.Options{CacheDir: o.CacheDir, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	m := &Manager{o: o, host: host}
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.inForce.Store(&inForce{err: notReady("the plugins", errLoading)})
	return m, nil
}

// Apply puts these plugins in force, in place of those before. It reads every
// module and refuses the whole list when one cannot be read, is not what its pin
// says, or has not the hooks that are wanted of it; nothing has changed then.
// Loading goes on in the background: Ready waits for it. A plugin that was in
// force and is wanted as it was goes on; one that is wanted otherwise is in force
// as it was until its new version has loaded, and stays so if that fails.
//
// docs/threat-model.md#p4
func (m *Manager) Apply(wanted []Wanted) error {
	slots := make([]*slot, 0, len(wanted))
	for _, w := range wanted {
		s, err := m.read(w)
		if err != nil {
			return fmt.Errorf("plugin %s: %w", w.Spec.Name, err)
		}
		if slices.ContainsFunc(slots, func(o *slot) bool { return o.want.Spec.Name == w.Spec.Name }) {
			return core.Refusef(core.Conflict, "two plugins are named %q", w.Spec.Name)
		}
		slots = append(slots, s)
	}
	slices.SortStableFunc(slots, func(a, b *slot) int {
		return cmp.Or(cmp.Compare(a.want.Order, b.want.Order), cmp.Compare(a.want.Spec.Name, b.want.Spec.Name))
	})
	m.turn.Lock()
	defer m.turn.Unlock()
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return core.Refuse(core.Unavailable, "the plugins are closed")
	}
	var gone []*slot
	for _, was := range m.slots {
		i := slices.IndexFunc(slots, func(s *slot) bool { return s.want.Spec.Name == was.want.Spec.Name })
		switch {
		case i >= 0 && was.loaded != nil && was.err == nil && was.sum == slots[i].sum:
			was.want = slots[i].want // its order, hooks, pin
			slots[i] = was
		case i >= 0:
			slots[i].loaded, slots[i].after = was.loaded, was.done
			slots[i].tally = was.tally
		default:
			gone = append(gone, was)
		}
	}
	was := m.slots
	m.slots = slots
	for _, s := range slots {
		if !slices.Contains(was, s) {
			m.wg.Go(func() { m.load(s) })
		}
	}
	m.publish()
	m.mu.Unlock()
	for _, s := range gone {
		m.record(context.Background(), s)
		m.mu.Lock()
		p := s.loaded
		m.mu.Unlock()
		if p != nil {
			p.Close()
		}
	}
	m.changed()
	return nil
}

// read looks at a module without running any of it.
func (m *Manager) read(w Wanted) (*slot, error) {
	before := stampOf(w.Spec.Path)
	module, err := plugin.Inspect(w.Spec)
	if err != nil {
		return nil, err
	}
	for _, h := range w.Hooks {
		if !slices.Contains(module.Manifest.Hooks, h) {
			return nil, fmt.Errorf("it has no hook %q; it has %v", h, module.Manifest.Hooks)
		}
	}
	sum, err := sumOf(w, module)
	if err != nil {
		return nil, err
	}
	name := w.Spec.Name
	return &slot{name: name, want: w, sum: sum, module: module, stamp: before, done: make(chan struct{}),
		tally: &tally{before: m.recorded(context.Background(), name), kv: storeKV{store: m.o.Store, plugin: name}}}, nil
}

// sumOf is a digest of all that a load depends on.
func sumOf(w Wanted, module *plugin.Module) ([sha256.Size]byte, error) {
	text, err := json.Marshal(struct {
		SHA256, Path, Config string
		Manifest             *plugin.Manifest
		Grants               plugin.Grants
		Limits               plugin.Limits
		MaxKV                int64
	}{module.SHA256, w.Spec.Path, string(w.Spec.Config), module.Manifest, w.Spec.Grants, w.Spec.Limits, w.MaxKV}, json.Deterministic(true))
	return sha256.Sum256(text), err
}

// spec is what the host loads.
func (m *Manager) spec(s *slot) plugin.Spec {
	m.mu.Lock()
	defer m.mu.Unlock()
	spec := s.want.Spec
	if spec.KV == nil {
		s.tally.kv.max.Store(s.want.MaxKV)
		spec.KV = &s.tally.kv
	}
	return spec
}

// load loads a slot for the first time, in place of what it has taken over.
func (m *Manager) load(s *slot) {
	defer close(s.done)
	if s.after != nil {
		<-s.after
	}
	m.mu.Lock()
	p, current := s.loaded, slices.Contains(m.slots, s)
	m.mu.Unlock()
	if !current {
		return
	}
	_ = m.loadNow(m.ctx, s, p) // is in s.err
}

// loadNow loads a slot, in place of p where there is one.
func (m *Manager) loadNow(ctx context.Context, s *slot, p *plugin.Plugin) error {
	name := s.name
	var err error
	if p != nil {
		err = p.Replace(ctx, m.spec(s))
	} else {
		p, err = m.host.Load(ctx, m.spec(s))
	}
	m.mu.Lock()
	if p != nil {
		s.loaded = p
	}
	current := slices.Contains(m.slots, s)
	held := slices.ContainsFunc(m.slots, func(o *slot) bool { return o.loaded == p })
	s.err = err
	m.publish()
	m.mu.Unlock()
	switch {
	case err != nil && m.ctx.Err() == nil:
		text := "plugin not loaded"
		if p != nil {
			text = "plugin not loaded; the one before stays"
		}
		m.o.Logger.Error(text, "plugin", name, "err", err)
	case err != nil:
	case !held:
		p.Close()
	case !current:
	default:
		info := p.Info()
		m.o.Logger.Info("plugin is ready", "plugin", name, "hooks", info.Hooks, "version", info.Version, "took", info.LoadTook.Round(time.Millisecond))
		for _, missing := range info.Missing {
			m.o.Logger.Warn("plugin asks for what is not granted", "plugin", name, "asks", missing)
		}
		m.changed()
	}
	return err
}

// changed tells of another set of notifiers. A notifier that only has another
// version stays the same one.
func (m *Manager) changed() {
	m.telling.Lock()
	defer m.telling.Unlock()
	if now := m.Notifiers(); m.o.Changed != nil && !slices.Equal(now, m.told) {
		m.told = now
		m.o.Changed()
	}
}

// Ready waits until every plugin is loaded or has failed, or ctx is done.
func (m *Manager) Ready(ctx context.Context) error {
	m.mu.Lock()
	slots := slices.Clone(m.slots)
	m.mu.Unlock()
	for _, s := range slots {
		select {
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Plugins gives the policies and handlers in force. It returns an error of kind
// Unavailable while one that guards envelopes is not ready.
func (m *Manager) Plugins() (gateway.Plugins, error) {
	f := m.inForce.Load()
	return f.plugins, f.err
}

// publish makes what Plugins answers. Called with mu held.
func (m *Manager) publish() {
	f := &inForce{}
	for _, s := range m.slots {
		name := s.want.Spec.Name
		if s.loaded == nil {
			if s.has(plugin.Policy) && f.err == nil {
				f.err = notReady("policy "+name, cmp.Or(s.err, errLoading))
			}
			continue
		}
		if s.has(plugin.Policy) {
			f.plugins.Policies = append(f.plugins.Policies, policyOf{name, s.loaded, &s.tally.refused})
		}
		if s.has(plugin.Handle) {
			f.plugins.Handlers = append(f.plugins.Handlers, handlerOf{name, s.loaded})
		}
	}
	if f.err != nil {
		f.plugins = gateway.Plugins{}
	}
	m.inForce.Store(f)
}

var errLoading = errors.New("being loaded")

func notReady(who string, why error) error {
	return &core.Error{Kind: core.Unavailable, Public: "Policy unavailable", RetryAfter: 5 * time.Second,
		Err: fmt.Errorf("extension: %s not ready: %w", who, why)}
}

// Intents are those that handlers answer, whether they are ready or not.
func (m *Manager) Intents() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, s := range m.slots {
		if s.has(plugin.Handle) {
			out = append(out, s.manifest().Intents...)
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
		if s.has(plugin.Notify) {
			out = append(out, notifierOf{m, s})
		}
	}
	return out
}

// Reload loads a plugin anew from its file and swaps it in when all of it worked;
// otherwise the one before stays in force and the error says why. It returns an
// error of kind NotFound for a plugin that is not in force.
func (m *Manager) Reload(ctx context.Context, name string) error {
	s := m.slot(name)
	if s == nil {
		e := core.Refusef(core.NotFound, "no plugin named %q is in force", name)
		e.Hint = `"ogp plugin list" shows them`
		return e
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	m.turn.Lock()
	defer m.turn.Unlock()
	fresh, err := m.read(s.want)
	m.mu.Lock()
	if !slices.Contains(m.slots, s) {
		m.mu.Unlock()
		return core.Refusef(core.Conflict, "plugin %q was changed meanwhile", name)
	}
	if err != nil {
		s.err = err
		m.publish()
		m.mu.Unlock()
		return err
	}
	p := s.loaded
	m.mu.Unlock()
	m.record(ctx, s)
	if err := m.loadNow(ctx, s, p); err != nil {
		return err
	}
	m.mu.Lock()
	s.module, s.stamp, s.sum = fresh.module, fresh.stamp, fresh.sum
	m.mu.Unlock()
	return nil
}

// Try loads a plugin, runs its self-tests on a store of their own, and throws it
// away: what would come of Apply.
func (m *Manager) Try(ctx context.Context, w Wanted) error {
	if _, err := m.read(w); err != nil {
		return err
	}
	w.Spec.KV = &plugin.MemoryKV{}
	p, err := m.host.Load(ctx, w.Spec)
	if err != nil {
		return err
	}
	p.Close()
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

const recordEvery = time.Minute

// Run watches files and keeps records until ctx is done; then it closes every
// plugin.
func (m *Manager) Run(ctx context.Context) error {
	watch, record := time.NewTicker(m.o.WatchEvery), time.NewTicker(recordEvery)
	defer watch.Stop()
	defer record.Stop()
	for {
		select {
		case <-ctx.Done():
			m.Close()
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
		if now := stampOf(s.want.Spec.Path); s.want.Watch && now != s.stamp && now.module != (fileStamp{}) {
			s.stamp = now // a file that does not load is tried again when it changes again
			changed = append(changed, s)
		}
	}
	m.mu.Unlock()
	for _, s := range changed {
		if err := m.Reload(ctx, s.name); err != nil {
			m.o.Logger.Error("changed plugin not loaded; the one before stays", "plugin", s.name, "err", err)
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

// Close ends every plugin, waits for what is being loaded, and writes the records
// down. Run does so itself when it returns; more than once does no harm.
func (m *Manager) Close() {
	m.stop()
	m.mu.Lock()
	closed := m.closed
	m.closed = true
	m.mu.Unlock()
	m.wg.Wait()
	if closed {
		return
	}
	m.recordAll(context.Background())
	m.mu.Lock()
	m.slots = nil
	m.inForce.Store(&inForce{err: notReady("the plugins", errClosed)})
	m.mu.Unlock()
	m.host.Close()
}

var errClosed = errors.New("closed")

// View is a plugin as the operator sees it.
type View struct {
	Name        string        `json:"name"`
	Version     string        `json:"version,omitempty"`
	State       string        `json:"state"` // ready, loading, failed, resting; offline: off
	Error       string        `json:"error,omitempty"`
	Source      string        `json:"source"` // config, installed, shipped
	Kind        string        `json:"kind"`
	Hooks       []plugin.Hook `json:"hooks"`
	Intents     []string      `json:"intents,omitempty"`
	Order       int           `json:"order"`
	Path        string        `json:"path,omitempty"` // empty: shipped
	SHA256      string        `json:"sha256"`
	Pinned      bool          `json:"pinned"`
	Size        int           `json:"size"`              // bytes
	Missing     []string      `json:"missing,omitempty"` // asked and not granted
	Calls       int64         `json:"calls"`             // ever
	Refusals    int64         `json:"refusals"`          // envelopes that it refused, ever
	Failures    int64         `json:"failures"`          // calls that failed, ever
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
		v := s.view()
		switch {
		case s.loaded != nil:
			info := s.loaded.Info()
			v.State, v.SHA256, v.Size, v.Missing, v.Instances = "ready", info.SHA256, info.Size, info.Missing, info.Instances
			v.Kind, v.LoadMillis, v.LastFailure = string(info.Kind), info.LoadTook.Milliseconds(), info.LastError
			if info.SetAsideFor > 0 {
				v.State = "resting"
			}
		case s.err != nil:
			v.State = "failed"
		}
		if s.err != nil {
			v.Error = s.err.Error()
		}
		out = append(out, v)
	}
	return out
}

// view is what is known of a slot without its plugin. Called with mu held.
func (s *slot) view() View {
	spec, manifest, total := s.want.Spec, s.manifest(), s.total()
	return View{Name: spec.Name, State: "loading", Source: s.want.Source, Kind: string(s.module.Kind), Hooks: s.hooks(),
		Intents: manifest.Intents, Order: s.want.Order, Path: spec.Path, SHA256: s.module.SHA256, Size: s.module.Size,
		Pinned: spec.SHA256 != "", Version: manifest.Version, Missing: spec.Grants.Missing(manifest.Asks()),
		Calls: total.Calls, Refusals: total.Refusals, Failures: total.Failures}
}

// Look shows what would be in force, without loading any of it. A plugin that
// cannot be read is shown as failed.
func Look(ctx context.Context, store core.Store, wanted []Wanted) []View {
	m := &Manager{o: Options{Store: store}}
	out := make([]View, 0, len(wanted))
	for _, w := range wanted {
		s, err := m.read(w)
		if err != nil {
			out = append(out, View{Name: w.Spec.Name, State: "failed", Error: err.Error(), Source: w.Source, Order: w.Order,
				Path: w.Spec.Path, SHA256: w.Spec.SHA256, Pinned: w.Spec.SHA256 != "", Hooks: w.Hooks})
			continue
		}
		v := s.view()
		v.State = "off"
		out = append(out, v)
	}
	slices.SortStableFunc(out, func(a, b View) int { return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Name, b.Name)) })
	return out
}
