package extension

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// storeKV is a plugin's key-value store in the gateway's own.
type storeKV struct {
	store  core.Store
	plugin string
	mu     sync.Mutex // held over Set, from counting to commit
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

// Set writes a value, or refuses with plugin.Limit past the bound.
func (s *storeKV) Set(ctx context.Context, key string, value []byte, most int64) error {
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
		return fmt.Errorf("extension: kv: %d bytes of at most %d: %w", total, most, plugin.Limit)
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
	keys := make([]string, 0, len(sizes))
	for k := range sizes {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if len(keys) > limit {
		keys = keys[:limit]
	}
	return keys, nil
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

// total is what a plugin has done over all runs. Called with mu held.
func (s *slot) total() Record {
	r := s.before
	r.Refusals += s.refused.Load()
	if s.loaded != nil {
		info := s.loaded.Info()
		r.Calls += info.Calls - s.since.Calls
		r.Failures += info.Failures - s.since.Failures
	}
	return r
}

// record keeps what a plugin has done so far, if it has done anything since.
func (m *Manager) record(ctx context.Context, s *slot) {
	m.mu.Lock()
	total := s.total()
	if total == s.before {
		m.mu.Unlock()
		return
	}
	s.refused.Add(s.before.Refusals - total.Refusals)
	s.before = total
	if s.loaded != nil {
		info := s.loaded.Info()
		s.since = Record{Calls: info.Calls, Failures: info.Failures}
	}
	m.mu.Unlock()
	text, err := json.Marshal(total)
	if err == nil {
		err = m.o.Store.Commit(ctx, &core.Change{KV: []core.KVPut{{Plugin: own, Key: "record/" + s.want.Spec.Name, Value: text}}})
	}
	if err != nil {
		m.o.Logger.Warn("plugin record not kept", "plugin", s.want.Spec.Name, "err", err)
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

// ListInstalled reads what is installed, by name.
func ListInstalled(ctx context.Context, s core.Store) ([]Installed, error) {
	keys, err := s.KVList(ctx, own, "installed/")
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(keys))
	for k := range keys {
		names = append(names, strings.TrimPrefix(k, "installed/"))
	}
	slices.Sort(names)
	out := make([]Installed, 0, len(names))
	for _, name := range names {
		text, err := s.KV(ctx, own, "installed/"+name)
		if err != nil {
			return nil, err
		}
		var in Installed
		if err := json.Unmarshal(text, &in); err != nil {
			return nil, fmt.Errorf("extension: record of plugin %s: %w", name, err)
		}
		out = append(out, in)
	}
	return out, nil
}

// Install records a plugin that was put into the state directory.
func Install(ctx context.Context, s core.Store, in Installed) error {
	text, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return s.Commit(ctx, &core.Change{KV: []core.KVPut{{Plugin: own, Key: "installed/" + in.Name, Value: text}}})
}

// Uninstall forgets an installed plugin, its record and its key-value store.
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
