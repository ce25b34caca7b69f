// Package hooks puts plugins to the gateway's hooks: it loads those that the
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
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
	// Settings are the names of those that the operator has written for it; the gateway may
	// add others to its configuration.
	Settings []string
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
	// Command is what a command for this gateway begins with, for notifiers; empty: "ogp".
	Command string
	// AtMost bounds what approving policies grant, where the operator has granted the
	// power without a bound: the gateway's default grants. Nil: there is no such bound.
	AtMost func() []core.Grant
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
	texts   texts

	turn sync.Mutex // held over a reload, so that one at a time is read and swapped

	telling sync.Mutex      // guards told, and orders the calls of Options.Changed
	told    []core.Notifier // what it was last called for

	mu     sync.Mutex // guards all below
	slots  []*slot    // in order
	closed bool

	rules     *rulesOf // nil: none
	rulesDone *done    // what they have done, over reloads
}

// inForce is what Plugins answers with.
type inForce struct {
	plugins gateway.Plugins
	err     error
}

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
	m := &Manager{o: o, host: host, texts: texts{agent: o.HookAgent, command: o.Command}}
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
			return ofPlugin{w.Spec.Name, err}
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
	return m.await(ctx, func(*slot) bool { return true })
}

// Deciding waits until every policy and every handler is loaded or has failed, or ctx is
// done.
func (m *Manager) Deciding(ctx context.Context) error {
	return m.await(ctx, func(s *slot) bool {
		return s.has(core.HookHandle) || slices.ContainsFunc(policies, func(p point[core.Question, core.Verdict]) bool { return s.has(p.hook) })
	})
}

func (m *Manager) await(ctx context.Context, which func(*slot) bool) error {
	m.mu.Lock()
	slots := slices.DeleteFunc(slices.Clone(m.slots), func(s *slot) bool { return !which(s) })
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
	f := &inForce{plugins: gateway.Plugins{Policies: map[core.Hook][]core.Policy{}}}
	var handlers []handlerOf
	for _, s := range m.slots {
		name := s.want.Spec.Name
		var asked []core.Hook
		for _, p := range policies {
			if s.has(p.hook) {
				asked = append(asked, p.hook)
			}
		}
		if s.loaded == nil {
			if len(asked) > 0 && f.err == nil {
				f.err = notReady("policy "+name, cmp.Or(s.err, errLoading))
			}
			continue
		}
		p := policyOf{name: name, p: s.loaded, approves: s.approves(), atMost: s.want.Spec.Grants.AtMost, most: m.o.AtMost, t: &m.texts, tally: s.tally, log: m.o.Logger, hooks: asked}
		for _, h := range asked {
			f.plugins.Policies[h] = append(f.plugins.Policies[h], p)
		}
		if s.has(core.HookHandle) {
			handlers = append(handlers, handlerOf{name: name, p: s.loaded, t: &m.texts})
		}
	}
	for i, h := range handlers {
		h.behind = handlers[i+1:]
		f.plugins.Handlers = append(f.plugins.Handlers, h)
	}
	m.place(f.plugins.Policies)
	if f.err != nil {
		f.plugins = gateway.Plugins{}
	}
	m.inForce.Store(f)
}

var errLoading = errors.New("being loaded")

func notReady(who string, why error) error {
	return &core.Error{Kind: core.Unavailable, Public: "Policy unavailable", RetryAfter: 5 * time.Second,
		Err: fmt.Errorf("hooks: %s not ready: %w", who, why)}
}

// Notifiers are the notifiers in force. One that is not ready yet answers
// "later", so that what is for it waits in the queue.
func (m *Manager) Notifiers() []core.Notifier {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []core.Notifier
	for _, s := range m.slots {
		if s.has(core.HookNotify) {
			out = append(out, notifierOf{m, s})
		}
	}
	return out
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

func (m *Manager) recordAll(ctx context.Context) {
	m.mu.Lock()
	slots := slices.Clone(m.slots)
	m.mu.Unlock()
	for _, s := range slots {
		m.record(ctx, s)
	}
	m.recordRules(ctx)
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
