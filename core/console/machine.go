package console

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// windows are how far back a replay can look; zero: all that is on record.
var windows = []window{{"24h", "24 hours", 24 * time.Hour}, {"7d", "7 days", 7 * 24 * time.Hour}, {"30d", "30 days", 30 * 24 * time.Hour}, {"all", "the whole record", 0}}

type window struct {
	Key, Name string
	back      time.Duration
}

// What a replay can be asked with.
const (
	withRules  = "rules"
	withModule = "module"
	withNow    = "now" // what is in force
)

// machinePage is the form of the time machine.
type machinePage struct {
	Error   *api.ErrorView
	With    string
	Rules   string // the text in the form
	Upload  *api.UploadView
	Window  string
	Windows []window
}

func (s *Server) machinePage(w http.ResponseWriter, r *http.Request) error {
	page := machinePage{With: withRules, Window: "30d", Windows: windows}
	q := r.URL.Query()
	if id := q.Get("upload"); id != "" {
		v, err := api.PluginUploaded.Call(r.Context(), s.o.Caller, api.UploadRef{ID: id})
		if err != nil {
			return err
		}
		page.Upload, page.With = &v, withModule
	}
	if old, ok := s.replays.get(q.Get("again")); ok && old.Rules != "" {
		page.Rules, page.Window = old.Rules, old.Window.Key
		return s.render(w, r, "machine", "The time machine", page)
	}
	rules, wrong := s.rules(r)
	page.Rules, page.Error = rules.Text, wrong
	return s.render(w, r, "machine", "The time machine", page)
}

// machineAct asks the policies again. What is wrong with a candidate is said beside it, so
// that its text is not lost.
func (s *Server) machineAct(w http.ResponseWriter, r *http.Request, form sent) error {
	page := machinePage{With: form.Get("with"), Rules: strings.ReplaceAll(form.Get("rules"), "\r\n", "\n"), Window: form.Get("window"), Windows: windows}
	done, err := s.replay(r, form, &page)
	if err == nil {
		return back(w, r, "/policies/machine/"+s.replays.put(done), "")
	}
	if r.Context().Err() != nil {
		return err
	}
	page.Error = new(api.ErrorOf(err))
	return s.renderStatus(w, r, statusOf(core.Kind(page.Error.Kind)), "machine", "The time machine", page)
}

func (s *Server) replay(r *http.Request, form sent, page *machinePage) (replayed, error) {
	out := replayed{At: s.o.Now()}
	for _, one := range windows {
		if one.Key == page.Window {
			out.Window = one
		}
	}
	var p api.ReplayParams
	if out.Window.back > 0 {
		p.Since = out.At.Add(-out.Window.back)
	}
	switch page.With {
	case withRules:
		if strings.TrimSpace(page.Rules) == "" {
			return out, core.Refuse(core.Malformed, "there are no rules in the form")
		}
		p.Rules, out.Rules, out.With = page.Rules, page.Rules, "these rules"
	case withModule:
		v, err := s.moduleOf(r, form)
		if err != nil {
			return out, err
		}
		page.Upload = &v
		p.Upload, out.Upload, out.With = v.ID, v.ID, "the module "+v.Name
	case withNow:
		out.With = "the policies in force"
	default:
		return out, core.Refuse(core.Malformed, "choose what to ask: rules, a module, or what is in force")
	}
	v, err := api.PolicyReplay.Call(r.Context(), s.o.Caller, p)
	out.Took = s.o.Now().Sub(out.At)
	if out.View = v; len(v.Changed) > maxChanges {
		out.More = len(v.Changed) - maxChanges
		out.View.Changed = v.Changed[:maxChanges]
	}
	return out, err
}

// moduleOf is the module of a form: one that is sent, or one that was before.
func (s *Server) moduleOf(r *http.Request, form sent) (api.UploadView, error) {
	if id := form.Get("upload"); id != "" && len(form.file("module")) == 0 {
		return api.PluginUploaded.Call(r.Context(), s.o.Caller, api.UploadRef{ID: id})
	}
	return s.uploaded(r, form)
}

// maxChanges is how many ways in which fates change are shown.
const maxChanges = 200

// replayed is what came of a replay.
type replayed struct {
	At     time.Time
	Took   time.Duration
	With   string
	Window window
	Rules  string // the text that was asked with
	Upload string // or the module
	View   api.ReplayView
	More   int // ways that are not shown
}

// replays are the last ones. They live in memory alone. Safe for concurrent use.
type replays struct {
	mu   sync.Mutex // guards the rest
	ids  []string   // the oldest first
	done map[string]replayed
}

const maxReplays = 8

func (l *replays) put(one replayed) (id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = map[string]replayed{}
	}
	for len(l.ids) >= maxReplays {
		delete(l.done, l.ids[0])
		l.ids = l.ids[1:]
	}
	id = strings.ToLower(rand.Text())
	l.ids, l.done[id] = append(l.ids, id), one
	return id
}

func (l *replays) get(id string) (replayed, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one, ok := l.done[id]
	return one, ok
}

func (l *replays) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids, l.done = nil, nil
}

// replayedPage is what came of a replay, and how to put its candidate in force.
type replayedPage struct {
	replayed
	ID    string
	Fates []fateRow
	InUse api.RulesView  // the rules that others would take the place of
	Wrong *api.ErrorView // why they cannot be shown
}

// Differ is how many fates are not as then.
func (p replayedPage) Differ() int { return p.View.Decisions - p.View.Same }

// Until is when the last piece of the window begins.
func (p replayedPage) Until() time.Time { return p.View.OverTime[len(p.View.OverTime)-1].From }

// fateRow is how many had a fate, and would.
type fateRow struct {
	Name      string
	Then, Now int
}

var errReplayGone = func() error {
	return core.Refuse(core.NotFound, "this replay is gone: others came after it, or the console was closed").WithHint("ask again; the record is still there")
}

func (s *Server) replayedPage(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	one, ok := s.replays.get(id)
	if !ok {
		return errReplayGone()
	}
	page := replayedPage{replayed: one, ID: id}
	for _, name := range api.Fates {
		if then, now := one.View.Then[name], one.View.Now[name]; then+now > 0 {
			page.Fates = append(page.Fates, fateRow{name, then, now})
		}
	}
	if one.Rules != "" {
		page.InUse, page.Wrong = s.rules(r)
	}
	return s.render(w, r, "replayed", "What would have come of it", page)
}

// installRules puts the rules of a replay into the configuration file and in force.
func (s *Server) installRules(w http.ResponseWriter, r *http.Request) error {
	one, ok := s.replays.get(r.PathValue("id"))
	if !ok {
		return errReplayGone()
	}
	if one.Rules == "" {
		return core.Refuse(core.Malformed, "this replay was not asked with rules; nothing was changed")
	}
	v, err := api.RulesSet.Call(r.Context(), s.o.Caller, api.RulesParams{Text: one.Rules})
	if err != nil {
		return err
	}
	return back(w, r, "/policies", fmt.Sprintf("%s in force, from %s.", text.Count(v.Rules, "rule"), v.File))
}
