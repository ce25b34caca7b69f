package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core/nesting"
	"github.com/pelletier/go-toml/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// Hook is a place in the gateway where plugins are asked.
type Hook string

// The hooks of ogp_v1.
const (
	Policy Hook = "policy" // decides about requests and messages
	Notify Hook = "notify" // tells someone
	Handle Hook = "handle" // answers intents
)

var hooks = []Hook{Policy, Notify, Handle}

// Manifest is what a plugin says about itself and asks for: plugin.toml beside the module, or the same text in
// the module's custom section "ogp.plugin". It grants nothing; see [Grants].
type Manifest struct {
	// Name is lower case letters, digits and dashes, at most 64.
	Name string `toml:"name"`
	// Version is the author's, and free.
	Version     string `toml:"version"`
	Description string `toml:"description"`
	Author      string `toml:"author"`
	License     string `toml:"license"`
	Homepage    string `toml:"homepage"`
	// ABI is "ogp_v1" or "stdio". Empty means what the module is.
	ABI string `toml:"abi"`
	// Stdio is "once" or "lines" for stdio programs. Empty means once.
	Stdio string `toml:"stdio"`
	// Hooks are those that the plugin answers, at most what its module exports.
	Hooks []Hook `toml:"hooks"`
	// Intents are those that a handler answers, and those that a policy or notifier is asked about; empty
	// means all for the latter two.
	Intents []string `toml:"intents"`
	// Batch says that a notifier takes several events in one call.
	Batch  bool   `toml:"batch"`
	Limits Limits `toml:"limits"`
	// HTTP are the URLs that the plugin wants to reach.
	HTTP []HTTPAsk `toml:"http"`
	// KV asks for a key-value store of its own.
	KV *KVAsk `toml:"kv"`
	// Config are the defaults of the plugin's configuration.
	Config map[string]any `toml:"config"`
	// SelfTests run at every load, before the plugin is used, under Config alone.
	SelfTests []SelfTest `toml:"selftest"`
}

// Limits bound a plugin. Zero fields mean the defaults, which are named.
type Limits struct {
	// Timeout bounds one call. Default 10s, at most 5m.
	Timeout Duration `toml:"timeout"`
	// MemoryMiB bounds the memory of one instance. Default 64, at most 1024.
	MemoryMiB int64 `toml:"memory_mib"`
	// Fuel bounds the work of one call: a unit is a function entry, a turn of a loop, at most 256 instructions,
	// or 64 bytes moved at once. Default 50,000,000, some 0.1-0.3 s.
	Fuel int64 `toml:"fuel"`
	// Instances is how many calls can run at once. Default 2, at most 64.
	Instances int `toml:"instances"`
	// MaxCalls is after how many calls an instance is replaced. Default 1,000,000.
	MaxCalls int `toml:"max_calls"`
}

// Duration is a time.Duration that is written like "10s".
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// MarshalText writes the duration as UnmarshalText reads it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// HTTPAsk is one URL prefix that a plugin wants to reach.
type HTTPAsk struct {
	URL     string   `toml:"url"`
	Private bool     `toml:"private"` // it may resolve to loopback and private addresses
	Secrets []string `toml:"secrets"` // may be put into requests to this URL
	Reason  string   `toml:"reason"`
}

// KVAsk asks for a key-value store.
type KVAsk struct {
	// MaxBytes bounds keys and values together. Default 1 MiB.
	MaxBytes int64  `toml:"max_bytes"`
	Reason   string `toml:"reason"`
}

// SelfTest is one case that must pass before a module is used. The operator's
// configuration has no part in it.
type SelfTest struct {
	// Hook defaults to the input's "hook", or to the only hook there is.
	Hook   Hook           `toml:"hook"`
	Input  map[string]any `toml:"input"`
	Expect map[string]any `toml:"expect"` // the output has at least these members
}

// longestCall bounds Limits.Timeout.
const longestCall = 5 * time.Minute

// ParseManifest reads a plugin.toml. It is strict: an unknown key is an error that names the nearest known one.
// A manifest is at most 64 KiB, and bounded in depth before it is parsed. Errors are of the kind BadManifest.
func ParseManifest(text []byte) (*Manifest, error) {
	if err := nesting.TOML(text, nesting.MaxBytes); err != nil {
		return nil, &Error{Kind: BadManifest, Err: err}
	}
	m := &Manifest{}
	d := toml.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return nil, &Error{Kind: BadManifest, Text: printable(strings.ToValidUTF8(manifestError(err), "?"))}
	}
	if err := m.check(); err != nil {
		return nil, &Error{Plugin: m.Name, Kind: BadManifest, Text: err.Error()}
	}
	return m, nil
}

// check validates and fills in the defaults.
func (m *Manifest) check() error {
	if !core.IsPluginName(m.Name) {
		return fmt.Errorf("name %q: want lower case letters, digits and dashes, at most 64", m.Name)
	}
	if m.ABI != "" && m.ABI != abiModule && m.ABI != "stdio" {
		return fmt.Errorf("abi %q: want %q or \"stdio\"", m.ABI, abiModule)
	}
	if m.Stdio != "" && m.Stdio != "once" && m.Stdio != "lines" {
		return fmt.Errorf("stdio %q: want \"once\" or \"lines\"", m.Stdio)
	}
	if m.Stdio != "" && m.ABI == abiModule {
		return fmt.Errorf("stdio %q beside abi %q", m.Stdio, m.ABI)
	}
	for _, h := range m.Hooks {
		if !slices.Contains(hooks, h) {
			return fmt.Errorf("hook %q: want one of %q", h, hooks)
		}
	}
	if err := m.Limits.check(); err != nil {
		return err
	}
	for _, h := range m.HTTP {
		if _, err := parseGrant(HTTPGrant{URL: h.URL}); err != nil {
			return err
		}
	}
	if m.KV != nil {
		if m.KV.MaxBytes < 0 {
			return fmt.Errorf("kv: max_bytes %d", m.KV.MaxBytes)
		}
		if m.KV.MaxBytes == 0 {
			m.KV.MaxBytes = 1 << 20
		}
	}
	for i, t := range m.SelfTests {
		if t.Hook != "" && !slices.Contains(hooks, t.Hook) {
			return fmt.Errorf("selftest %d: hook %q: want one of %q", i+1, t.Hook, hooks)
		}
	}
	return nil
}

func (l *Limits) check() error {
	if l.Timeout == 0 {
		l.Timeout = Duration(10 * time.Second)
	}
	if l.MemoryMiB == 0 {
		l.MemoryMiB = 64
	}
	if l.Fuel == 0 {
		l.Fuel = 50_000_000
	}
	if l.Instances == 0 {
		l.Instances = 2
	}
	if l.MaxCalls == 0 {
		l.MaxCalls = 1_000_000
	}
	switch {
	case l.Timeout < 0 || l.Timeout > Duration(longestCall):
		return fmt.Errorf("limits: timeout %v: want up to 5m", time.Duration(l.Timeout))
	case l.MemoryMiB < 1 || l.MemoryMiB > 1024:
		return fmt.Errorf("limits: memory_mib %d: want 1 to 1024", l.MemoryMiB)
	case l.Fuel < 1 || l.Fuel > 1e12:
		return fmt.Errorf("limits: fuel %d: want 1 to 10^12", l.Fuel)
	case l.Instances < 1 || l.Instances > 64:
		return fmt.Errorf("limits: instances %d: want 1 to 64", l.Instances)
	case l.MaxCalls < 1:
		return fmt.Errorf("limits: max_calls %d: want at least 1", l.MaxCalls)
	}
	return nil
}

func (m *Manifest) hasHook(h Hook) bool { return slices.Contains(m.Hooks, h) }

// Asks gives what the manifest asks for as the grants that would give all of it.
func (m *Manifest) Asks() Grants {
	var g Grants
	for _, h := range m.HTTP {
		g.HTTP = append(g.HTTP, HTTPGrant{URL: h.URL, Private: h.Private, Secrets: h.Secrets})
	}
	if m.KV != nil {
		g.KV = []string{"kv.*"}
	}
	return g
}

// manifestKeys are the known keys, by table.
var manifestKeys = map[string][]string{
	"":         {"name", "version", "description", "author", "license", "homepage", "abi", "stdio", "hooks", "intents", "batch", "limits", "http", "kv", "config", "selftest"},
	"limits":   {"timeout", "memory_mib", "fuel", "instances", "max_calls"},
	"http":     {"url", "private", "secrets", "reason"},
	"kv":       {"max_bytes", "reason"},
	"selftest": {"hook", "input", "expect"},
}

func manifestError(err error) string {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		e := strict.Errors[0]
		row, _ := e.Position()
		key := e.Key()
		table, name := strings.Join(key[:len(key)-1], "."), key[len(key)-1]
		fact := fmt.Sprintf("line %d: unknown key %q", row, strings.Join(key, "."))
		if near, _ := text.Nearest(name, manifestKeys[table]); near != "" {
			fact += fmt.Sprintf(", did you mean %q?", near)
		}
		return fact
	}
	var syntax *toml.DecodeError
	if errors.As(err, &syntax) {
		row, col := syntax.Position()
		return fmt.Sprintf("line %d column %d: %s", row, col, strings.TrimPrefix(syntax.Error(), "toml: "))
	}
	return strings.TrimPrefix(err.Error(), "toml: ")
}
