package plugin

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opengatewayprotocol/ogp/core/nesting"
	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
	"github.com/pelletier/go-toml/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// Hook is a place in the gateway where plugins are asked.
type Hook = core.Hook

// The hooks.
const (
	Request = core.HookRequest
	Message = core.HookMessage
	Notify  = core.HookNotify
	Handle  = core.HookHandle
)

// hookNames are all hooks, for errors.
func hookNames() []string {
	out := make([]string, len(core.Hooks))
	for i, h := range core.Hooks {
		out[i] = string(h.Hook)
	}
	return out
}

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
	// ABI is "ogp_v1", "stdio", or another kind's name. Empty means what the module is.
	ABI string `toml:"abi"`
	// Stdio is "once" or "lines" for stdio programs. Empty means once.
	Stdio string `toml:"stdio"`
	// Hooks are those that the plugin answers, at most what its module exports.
	Hooks []Hook `toml:"hooks"`
	// Entrypoints name what a module of the kind "opa" is asked for, by hook.
	Entrypoints map[Hook]string `toml:"entrypoints"`
	// Reads are the members of the input that the plugin reads, as dotted paths: it is asked with nothing else, which
	// saves a module that parses all that it gets most of that. Empty means all.
	Reads []string `toml:"reads"`
	// Intents are those that a handler answers, and those that a policy or notifier is asked about; empty
	// means all for the latter two.
	Intents []string `toml:"intents"`
	// Batch says that a notifier takes several events in one call.
	Batch bool `toml:"batch"`
	// Keyed says that whoever a notifier tells knows a repeat by the events' ids, so that
	// a repeat after a crash does no harm.
	Keyed bool `toml:"keyed"`
	// Person says that a notifier tells a person and not an agent, so that its notices are no runs of the agent.
	Person bool `toml:"person"`
	// URLBase says that a notifier adds a path of its own to the URL that it posts to.
	URLBase bool `toml:"url_base"`
	// Replies asks for the power to answer peers' messages: a notifier's outcome may then carry a reply, which
	// the gateway signs and sends. It does not go with Batch, as an answer is to one message.
	Replies bool   `toml:"replies"`
	Limits  Limits `toml:"limits"`
	// HTTP are the URLs that the plugin wants to reach.
	HTTP []HTTPAsk `toml:"http"`
	// KV asks for a key-value store of its own.
	KV *KVAsk `toml:"kv"`
	// Approves asks for the power to approve strangers, which no policy has otherwise: without it, an "allow"
	// for a request says nothing.
	Approves bool `toml:"approves"`
	// AtMost bounds the grants that it gives to those it approves. Nil means the gateway's default grants.
	AtMost *AtMost `toml:"at_most"`
	// Config are the defaults of the plugin's configuration.
	Config map[string]any `toml:"config"`
	// SelfTests run at every load, before the plugin is used, under Config alone.
	SelfTests []SelfTest `toml:"selftest"`
}

// Limits bound a plugin. Zero fields mean the defaults, which are named.
type Limits struct {
	// Timeout bounds one call. Default 10s, at most 5m.
	Timeout Duration `toml:"timeout"`
	// MemoryMiB bounds the memory of one instance: a quarter of it, at most 16 MiB, is for the stack of calls
	// within one another, the rest is what the guest sees. Default 64, at most 1024.
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

// UnmarshalText reads what core.ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := core.ParseDuration(string(b))
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

// AtMost is the most that an approving policy may grant.
type AtMost struct {
	Intents []string `toml:"intents"`
	Topics  []string `toml:"topics"` // of agent-comms; none: all
	Rate    string   `toml:"rate"`   // such as "10/1h"; empty: the default rate
	Bytes   string   `toml:"bytes"`  // such as "64KiB/1h"; empty: the default size
}

// grants gives the bound as grants.
func (a *AtMost) grants() ([]core.Grant, error) {
	if len(a.Intents) == 0 {
		return nil, errors.New("intents must name at least one")
	}
	rate := core.DefaultRate
	if a.Rate != "" {
		var err error
		if rate, err = core.ParseRate(a.Rate); err != nil {
			return nil, err
		}
	}
	var size *core.ByteLimit
	if a.Bytes != "" {
		b, err := core.ParseByteLimit(a.Bytes)
		if err != nil {
			return nil, err
		}
		size = &b
	}
	out := make([]core.Grant, len(a.Intents))
	for i, intent := range a.Intents {
		out[i] = core.Grant{Intent: intent, Enabled: true, RateLimit: &rate, ByteLimit: size}
		if intent == core.IntentAgentComms {
			out[i].Topics = a.Topics
		}
	}
	return out, nil
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
		return fmt.Errorf("name %q: want %s", m.Name, core.PluginNameForm)
	}
	if m.ABI != "" && !slices.Contains(kindNames(), m.ABI) {
		return fmt.Errorf("abi %q: want one of %q", m.ABI, kindNames())
	}
	if m.Stdio != "" && m.Stdio != "once" && m.Stdio != "lines" {
		return fmt.Errorf("stdio %q: want \"once\" or \"lines\"", m.Stdio)
	}
	if m.Stdio != "" && m.ABI != "" && m.ABI != "stdio" {
		return fmt.Errorf("stdio %q is for programs, and abi is %q: take one of the two out", m.Stdio, m.ABI)
	}
	if err := cmp.Or(m.checkHooks(), m.checkReads()); err != nil {
		return err
	}
	if m.Replies && m.Batch {
		return errors.New("replies = true beside batch = true: an answer is to one message")
	}
	if m.AtMost != nil {
		if !m.Approves {
			return errors.New("[at_most] bounds what the plugin may grant, and needs approves = true")
		}
		if _, err := m.AtMost.grants(); err != nil {
			return fmt.Errorf("at_most: %w", err)
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
	return m.KV.check()
}

// checkHooks validates the hooks' names. Hooks that are not named are those that have an
// entry point.
func (m *Manifest) checkHooks() error {
	var hooks []Hook
	for _, name := range m.Hooks {
		h, ok := core.HookNamed(string(name))
		if !ok {
			return fmt.Errorf("hook %q: want one of %q", name, hookNames())
		}
		if !slices.Contains(hooks, h) {
			hooks = append(hooks, h)
		}
	}
	points := map[Hook]string{}
	for name, path := range m.Entrypoints {
		h, ok := core.HookNamed(string(name))
		if !ok || path == "" {
			return fmt.Errorf("entrypoints: %q = %q: want the path of a rule for one of %q", name, path, hookNames())
		}
		points[h] = path
	}
	if m.Hooks, m.Entrypoints = hooks, points; len(hooks) == 0 {
		for _, r := range core.Hooks {
			if points[r.Hook] != "" {
				m.Hooks = append(m.Hooks, r.Hook)
			}
		}
	}
	for i, t := range m.SelfTests {
		if _, ok := core.HookNamed(string(t.Hook)); t.Hook != "" && !ok {
			return fmt.Errorf("selftest %d: hook %q: want one of %q", i+1, t.Hook, hookNames())
		}
	}
	return nil
}

func (kv *KVAsk) check() error {
	if kv == nil {
		return nil
	}
	if kv.MaxBytes < 0 {
		return fmt.Errorf("kv: max_bytes %d: want 0 or more", kv.MaxBytes)
	}
	kv.MaxBytes = cmp.Or(kv.MaxBytes, 1<<20)
	return nil
}

// stack is the part of the memory that calls within one another may take, in bytes.
func (l *Limits) stack() int64 { return min(meter.DefaultStack, l.MemoryMiB<<20/4) }

// pages is the guest's own memory, in pages of 64 KiB.
func (l *Limits) pages() uint32 { return uint32((l.MemoryMiB<<20 - l.stack()) >> 16) }

func (l *Limits) check() error {
	*l = l.over(Limits{Timeout: Duration(10 * time.Second), MemoryMiB: 64, Fuel: 50_000_000, Instances: 2, MaxCalls: 1_000_000})
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
		if m.Pure() {
			break // the host makes no requests for what decides from its input alone
		}
		g.HTTP = append(g.HTTP, HTTPGrant{URL: h.URL, Private: h.Private, Secrets: h.Secrets})
	}
	if m.KV != nil {
		g.KV = []string{"kv.*"}
	}
	g.Replies = m.Replies
	if m.Approves {
		g.Approves = true
		if m.AtMost != nil {
			g.AtMost, _ = m.AtMost.grants() // check has read them
		}
	}
	return g
}

// Pure says that every hook of the plugin decides from its input alone, so that it has no use for requests.
func (m *Manifest) Pure() bool {
	return len(m.Hooks) > 0 && !slices.ContainsFunc(m.Hooks, func(h Hook) bool { return !h.Rule().Pure })
}

// HookOf says which hook a case is for: the one that is named, or that its input names ("hook" or "kind"), or
// the only one that the plugin answers.
func (m *Manifest) HookOf(named string, input []byte) (Hook, error) {
	var in struct {
		Hook  string         `json:"hook"`
		Kind  string         `json:"kind"`
		Event jsontext.Value `json:"event"`
	}
	_ = json.Unmarshal(input, &in) // what it does not tell, the manifest tells
	if in.Kind != "" {
		in.Hook = in.Kind
	}
	if in.Hook == "" && len(in.Event) > 0 {
		in.Hook = string(Notify)
	}
	name, answers := cmp.Or(named, in.Hook), make([]string, len(m.Hooks))
	for i, h := range m.Hooks {
		answers[i] = string(h)
	}
	if name == "" && len(m.Hooks) == 1 {
		return m.Hooks[0], nil
	}
	h, ok := core.HookNamed(name)
	switch {
	case name == "":
		return "", fmt.Errorf("which hook? the plugin answers %s", strings.Join(answers, ", "))
	case !ok || !m.hasHook(h):
		return "", fmt.Errorf("hook %q: the plugin answers %s", name, strings.Join(answers, ", "))
	}
	return h, nil
}

// manifestKeys are the known keys, by table.
var manifestKeys = map[string][]string{
	"":            {"name", "version", "description", "author", "license", "homepage", "abi", "stdio", "hooks", "entrypoints", "reads", "intents", "batch", "keyed", "replies", "limits", "http", "kv", "approves", "at_most", "config", "selftest"},
	"limits":      {"timeout", "memory_mib", "fuel", "instances", "max_calls"},
	"http":        {"url", "private", "secrets", "reason"},
	"kv":          {"max_bytes", "reason"},
	"at_most":     {"intents", "topics", "rate", "bytes"},
	"entrypoints": hookNames(),
	"selftest":    {"hook", "input", "expect"},
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
