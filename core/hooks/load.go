package hooks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

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

// approves reports whether a policy has the power to approve strangers: it asks for it,
// and was granted it.
func (s *slot) approves() bool { return s.want.Spec.Grants.Approves && s.manifest().Approves }

// replies reports whether a notifier may answer messages: it asks for it, and was granted
// it.
func (s *slot) replies() bool { return s.want.Spec.Grants.Replies && s.manifest().Replies }

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

// fileChanged reports whether the module's file holds another module now than the one
// that is loaded.
func (s *slot) fileChanged(loaded string) bool {
	now := stampOf(s.want.Spec.Path)
	if now.module == s.stamp.module {
		return false
	}
	text, err := os.ReadFile(s.want.Spec.Path)
	sum := sha256.Sum256(text)
	return err != nil || !strings.EqualFold(hex.EncodeToString(sum[:]), loaded)
}

// manifestFile is looked for beside a module.
const manifestFile = "plugin.toml"

// Check says what Apply would refuse, without running anything.
func Check(wanted []Wanted) error {
	for _, w := range wanted {
		if _, err := inspect(w); err != nil {
			return ofPlugin{w.Spec.Name, err}
		}
	}
	return nil
}

// inspect looks at a module without running any of it.
func inspect(w Wanted) (*plugin.Module, error) {
	module, err := plugin.Inspect(w.Spec)
	if err != nil {
		return nil, err
	}
	for _, h := range w.Hooks {
		if !slices.Contains(module.Manifest.Hooks, h) {
			return nil, fmt.Errorf("it has no hook %q; it has %v", h, module.Manifest.Hooks)
		}
	}
	return module, nil
}

func (m *Manager) read(w Wanted) (*slot, error) {
	before := stampOf(w.Spec.Path)
	module, err := inspect(w)
	if err != nil {
		return nil, err
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
	spec.Answer = Answer
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
	if err := m.loadNow(m.ctx, s, p); errors.Is(err, core.Unavailable) { // else it is in s.err
		m.wg.Go(func() { m.loadAgain(s) })
	}
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

// Reload loads a plugin anew from its file and swaps it in when all of it worked;
// otherwise the one before stays in force and the error says why. It returns an
// error of kind NotFound for a plugin that is not in force.
func (m *Manager) Reload(ctx context.Context, name string) error {
	s := m.slot(name)
	if s == nil {
		return core.Refusef(core.NotFound, "no plugin named %q is in force", name).WithHint(`"ogp plugin list" shows them`)
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
	w.Spec.KV, w.Spec.Answer = &plugin.MemoryKV{}, Answer
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
