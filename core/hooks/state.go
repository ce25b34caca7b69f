package hooks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/rules"
)

// storeKV is a plugin's key-value store in the gateway's own.
type storeKV struct {
	store  core.Store
	plugin string
	max    atomic.Int64 // the operator's bound, in bytes; 0: the manifest's
	mu     sync.Mutex   // held over Set, from counting to commit
}

var _ plugin.KV = (*storeKV)(nil)

// Get gives a value, and whether there is one.
func (s *storeKV) Get(ctx context.Context, key string) ([]byte, bool, error) {
	v, err := s.store.KV(ctx, s.plugin, key)
	if errors.Is(err, core.NotFound) {
		return nil, false, nil
	}
	return v, err == nil, err
}

// Set writes a value, or refuses with plugin.Limit past the bound: most, or the
// operator's where he has set one.
func (s *storeKV) Set(ctx context.Context, key string, value []byte, most int64) error {
	if own := s.max.Load(); own > 0 {
		most = own
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sizes, err := s.store.KVList(ctx, s.plugin, "")
	if err != nil {
		return err
	}
	total := int64(len(key) + len(value))
	for k, n := range sizes {
		if k != key {
			total += int64(len(k) + n)
		}
	}
	if total > most {
		return fmt.Errorf("hooks: kv: %d bytes of at most %d: %w", total, most, plugin.Limit)
	}
	if value == nil {
		value = []byte{} // nil would delete
	}
	return s.store.Commit(ctx, &core.Change{KV: []core.KVPut{{Plugin: s.plugin, Key: key, Value: value}}})
}

// Delete removes a key if it is there.
func (s *storeKV) Delete(ctx context.Context, key string) error {
	return s.store.Commit(ctx, &core.Change{KV: []core.KVPut{{Plugin: s.plugin, Key: key}}})
}

// List gives at most limit keys that begin with prefix, sorted.
func (s *storeKV) List(ctx context.Context, prefix string, limit int) ([]string, error) {
	sizes, err := s.store.KVList(ctx, s.plugin, prefix)
	if err != nil {
		return nil, err
	}
	keys := slices.Sorted(maps.Keys(sizes))
	return keys[:min(len(keys), limit)], nil
}

// own is the name that our own records have in the store; no plugin can have it,
// as names hold no underscore.
const own = "_ogp"

// Record is what a plugin has done, over all runs.
type Record struct {
	Calls    int64 `json:"calls"`
	Refusals int64 `json:"refusals"`
	Failures int64 `json:"failures"`
}

func (m *Manager) recorded(ctx context.Context, name string) Record {
	var r Record
	if text, err := m.o.Store.KV(ctx, own, "record/"+name); err == nil {
		_ = json.Unmarshal(text, &r) // a record that cannot be read starts anew
	}
	return r
}

// tally counts what a plugin does, over reloads and over changes of what is wanted
// of it.
type tally struct {
	kv      storeKV
	refused atomic.Int64 // envelopes that it refused since the record was written
	ignored atomic.Int64 // approvals that it had not the power for

	// Guarded by the manager's mu.
	before Record         // what is on record
	since  Record         // the counters of its plugin when that was written
	of     *plugin.Plugin // whose counters those are
}

// total is what a plugin has done over all runs. Called with mu held.
func (s *slot) total() Record {
	r := s.tally.before
	r.Refusals += s.tally.refused.Load()
	if s.loaded != nil {
		info, since := s.loaded.Info(), s.tally.since
		if s.tally.of != s.loaded {
			since = Record{}
		}
		r.Calls += info.Calls - since.Calls
		r.Failures += info.Failures - since.Failures
	}
	return r
}

// record keeps what a plugin has done so far, if it has done anything since.
func (m *Manager) record(ctx context.Context, s *slot) {
	m.mu.Lock()
	t, total := s.tally, s.total()
	if total == t.before {
		m.mu.Unlock()
		return
	}
	calls, failures := total.Calls-t.before.Calls, total.Failures-t.before.Failures
	t.refused.Add(t.before.Refusals - total.Refusals)
	if s.loaded != t.of {
		t.of, t.since = s.loaded, Record{}
	}
	t.since.Calls += calls
	t.since.Failures += failures
	t.before = total
	m.mu.Unlock()
	m.write(ctx, s.name, total)
}

// write puts what a plugin, or the rules, have done on record.
func (m *Manager) write(ctx context.Context, name string, total Record) {
	text, err := json.Marshal(total, json.Deterministic(true))
	if err == nil {
		err = m.o.Store.Commit(ctx, &core.Change{KV: []core.KVPut{{Plugin: own, Key: "record/" + name, Value: text}}})
	}
	if err != nil {
		m.o.Logger.Warn("plugin record not kept", "plugin", name, "err", err)
	}
}

// Installed is a plugin that "ogp plugin install" has put into the state
// directory, with what the operator granted it then.
type Installed struct {
	Name   string        `json:"name"`
	Path   string        `json:"path"` // of the module
	SHA256 string        `json:"sha256"`
	Order  int           `json:"order"`
	Hooks  []plugin.Hook `json:"hooks,omitempty"`
	Grants plugin.Grants `json:"grants"`
	Config core.Raw      `json:"config,omitempty"`
}

// CheckName returns an error of kind Malformed for a name that no plugin can have.
func CheckName(name string) error {
	if name == rules.Name {
		return core.Refusef(core.Malformed, "plugin name %q: the rules of the configuration have it", name)
	}
	if !core.IsPluginName(name) {
		return core.Refusef(core.Malformed, "plugin name %q: want %s", name, core.PluginNameForm)
	}
	return nil
}

// ListInstalled reads what is installed, by name.
func ListInstalled(ctx context.Context, s core.Store) ([]Installed, error) {
	keys, err := s.KVList(ctx, own, "installed/")
	if err != nil {
		return nil, err
	}
	out := make([]Installed, 0, len(keys))
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		text, err := s.KV(ctx, own, key)
		if err != nil {
			return nil, err
		}
		var in Installed
		if err := json.Unmarshal(text, &in); err != nil {
			return nil, fmt.Errorf("hooks: record of plugin %s: %w", strings.TrimPrefix(key, "installed/"), err)
		}
		out = append(out, in)
	}
	return out, nil
}

// Install records a plugin that was put into the state directory.
func Install(ctx context.Context, s core.Store, in Installed) error {
	if err := CheckName(in.Name); err != nil {
		return err
	}
	text, err := json.Marshal(in, json.Deterministic(true))
	if err != nil {
		return err
	}
	return s.Commit(ctx, &core.Change{KV: []core.KVPut{{Plugin: own, Key: "installed/" + in.Name, Value: text}}})
}

// Uninstall removes an installed plugin: that it is installed, its record and its key-value store.
func Uninstall(ctx context.Context, s core.Store, name string) error {
	change := &core.Change{KV: []core.KVPut{{Plugin: own, Key: "installed/" + name}, {Plugin: own, Key: "record/" + name}}}
	keys, err := s.KVList(ctx, name, "")
	if err != nil {
		return err
	}
	for k := range keys {
		change.KV = append(change.KV, core.KVPut{Plugin: name, Key: k})
	}
	return s.Commit(ctx, change)
}
