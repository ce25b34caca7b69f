package hooks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// The states of a plugin.
const (
	StateReady   = "ready"
	StateLoading = "loading"
	StateFailed  = "failed" // it does not load
	StatePaused  = "paused" // after repeated failures
	StateOff     = "off"    // no daemon is running
)

// View is a plugin as the operator sees it.
type View struct {
	Name         string        `json:"name"`
	Version      string        `json:"version,omitempty"`
	State        string        `json:"state"` // one of the State constants
	Error        string        `json:"error,omitempty"`
	Source       string        `json:"source"` // config, installed, shipped
	Kind         string        `json:"kind"`
	Hooks        []plugin.Hook `json:"hooks"`
	Intents      []string      `json:"intents,omitempty"`
	Order        int           `json:"order"`
	Rules        int           `json:"rules,omitempty"` // how many, of the rules in the configuration
	Path         string        `json:"path,omitempty"`  // empty: shipped
	SHA256       string        `json:"sha256"`
	Pinned       bool          `json:"pinned"`
	Size         int           `json:"size"`                   // bytes
	Missing      []string      `json:"missing,omitempty"`      // asked and not granted
	GrantLine    string        `json:"grantLine,omitempty"`    // what grants that, in [plugins.<name>.grants] of the configuration
	Unknown      []string      `json:"unknown,omitempty"`      // settings that it does not have, with what it has
	Approves     bool          `json:"approves"`               // it may approve strangers
	AtMost       []core.Grant  `json:"atMost,omitempty"`       // with at most these grants; none: the gateway's default ones
	Replies      bool          `json:"replies"`                // it may answer peers' messages
	Ignored      int64         `json:"ignored,omitempty"`      // approvals and answers that it had not the power for, since the start
	Calls        int64         `json:"calls"`                  // ever
	Refusals     int64         `json:"refusals"`               // envelopes that it refused, ever
	Failures     int64         `json:"failures"`               // calls that failed, ever
	FailedInARow int           `json:"failedInARow,omitempty"` // calls that failed since the last one that worked
	Changed      bool          `json:"changed,omitempty"`      // its file has changed since it was loaded
	Instances    int           `json:"instances"`
	LoadMillis   int64         `json:"loadMillis,omitempty"`
	LastFailure  string        `json:"lastFailure,omitempty"`
	Pace         *plugin.Pace  `json:"pace,omitempty"` // of the last calls, since the start

	Hours []plugin.PaceHour `json:"hours,omitempty"` // of the last two days, as far as since the start
}

// Words is what an error of a plugin says, for people who have read its name.
func Words(name, text string) string { return strings.TrimPrefix(text, "plugin: "+name+": ") }

// ofPlugin is an error that names its plugin once.
type ofPlugin struct {
	name string
	err  error
}

func (e ofPlugin) Error() string { return "plugin " + e.name + ": " + Words(e.name, e.err.Error()) }
func (e ofPlugin) Unwrap() error { return e.err }

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
			v.GrantLine = s.want.Spec.Grants.Line(info.Missing)
			v.State, v.SHA256, v.Size, v.Missing, v.Instances = StateReady, info.SHA256, info.Size, info.Missing, info.Instances
			v.Kind, v.LoadMillis, v.LastFailure = string(info.Kind), info.LoadTook.Milliseconds(), Words(s.name, info.LastError)
			v.Pace, v.Hours = s.loaded.Pace(), s.loaded.Hours()
			v.FailedInARow, v.Changed = info.FailedInARow, s.fileChanged(info.SHA256)
			if info.PausedFor > 0 {
				v.State = StatePaused
			}
		case s.err != nil:
			v.State = StateFailed
		}
		if s.err != nil {
			v.Error = Words(s.name, s.err.Error())
		}
		out = append(out, v)
	}
	if m.rules != nil {
		out = append(out, m.rules.view(StateReady))
		sortViews(out)
	}
	return out
}

func sortViews(list []View) {
	slices.SortStableFunc(list, func(a, b View) int { return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Name, b.Name)) })
}

// view is what is known of a slot without its plugin. Called with mu held.
func (s *slot) view() View {
	spec, manifest, total := s.want.Spec, s.manifest(), s.total()
	unknown, missing := unknownSettings(s.want.Settings, manifest), spec.Missing(manifest)
	return View{Name: spec.Name, State: StateLoading, Source: s.want.Source, Kind: string(s.module.Kind), Hooks: s.hooks(),
		Intents: manifest.Intents, Order: s.want.Order, Path: spec.Path, SHA256: s.module.SHA256, Size: s.module.Size,
		Pinned: spec.SHA256 != "", Version: manifest.Version, Missing: missing, GrantLine: spec.Grants.Line(missing), Unknown: unknown,
		Approves: s.approves(), Replies: s.replies(), AtMost: spec.Grants.AtMost, Ignored: s.tally.ignored.Load(),
		Calls: total.Calls, Refusals: total.Refusals, Failures: total.Failures}
}

// unknownSettings are those that a plugin does not have, in words.
func unknownSettings(names []string, m *plugin.Manifest) (out []string) {
	for _, name := range names {
		var e *core.Error
		if errors.As(m.CheckSetting(name), &e) {
			out = append(out, fmt.Sprintf("%q: %s", name, e.Hint))
		}
	}
	return out
}

// Look shows what would be in force, without loading any of it. A plugin that
// cannot be read is shown as failed.
func Look(ctx context.Context, store core.Store, wanted []Wanted, r Rules) []View {
	m := &Manager{o: Options{Store: store}}
	out := make([]View, 0, len(wanted))
	for _, w := range wanted {
		s, err := m.read(w)
		if err != nil {
			out = append(out, View{Name: w.Spec.Name, State: StateFailed, Error: Words(w.Spec.Name, err.Error()), Source: w.Source, Order: w.Order,
				Path: w.Spec.Path, SHA256: w.Spec.SHA256, Pinned: w.Spec.SHA256 != "", Hooks: w.Hooks})
			continue
		}
		v := s.view()
		v.State = StateOff
		out = append(out, v)
	}
	if v, ok := LookRules(r); ok {
		out = append(out, v)
	}
	sortViews(out)
	return out
}
