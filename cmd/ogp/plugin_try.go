package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// pluginCase is one case: an input, and what it is to be answered. sdk/ABI.md#cases
type pluginCase struct {
	Input  core.Raw          `json:"input"`
	Expect core.Raw          `json:"expect"`
	Config core.Raw          `json:"config"`
	KV     map[string]string `json:"kv"`
}

// maxCase is the largest case in bytes.
const maxCase = 16 << 20

// readCase reads a case from a file, or from the standard input for "-". A text
// without the member "input" is an input itself.
func (a *app) readCase(file string) (c pluginCase, err error) {
	in := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return c, err
		}
		defer f.Close()
		in = f
	} else if f, ok := in.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return c, usagef("no case: name a file with --case, or pipe one in")
		}
	}
	text, err := io.ReadAll(io.LimitReader(in, maxCase+1))
	if err != nil {
		return c, err
	}
	if len(text) > maxCase {
		return c, core.Refusef(core.TooLarge, "a case has at most %d bytes", maxCase)
	}
	return parseCase(file, text)
}

func parseCase(file string, text []byte) (c pluginCase, err error) {
	var members map[string]core.Raw
	if err := json.Unmarshal(text, &members); err != nil {
		return c, &core.Error{Kind: core.Malformed, Public: fmt.Sprintf("case %s is no JSON object", file), Err: err}
	}
	if members["input"] == nil {
		c.Input = text
		return c, nil
	}
	if err := json.Unmarshal(text, &c, json.RejectUnknownMembers(true)); err != nil {
		return c, &core.Error{Kind: core.Malformed, Public: "case " + file, Err: err, Hint: "a case has input, expect, config and kv; sdk/ABI.md, \"Cases\""}
	}
	return c, nil
}

// hook is the one that the flag or the input names, or the only one that there is.
func (c *pluginCase) hook(m *plugin.Manifest, flag string) (plugin.Hook, error) {
	hook, err := m.HookOf(flag, c.Input)
	if err != nil {
		return "", usagef("--hook: %v", err)
	}
	return hook, nil
}

// trials runs plugins in this process, beside any daemon.
type trials struct {
	a     *app
	host  *plugin.Host
	grant bool // let requests go out
	done  func()
}

// openTrials makes a host. Compiled modules come from the gateway's cache, if there
// is a gateway here.
func (a *app) openTrials() (*trials, error) {
	t := &trials{a: a, done: func() {}}
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	cache := filepath.Join(dir, compileCache)
	if _, err := os.Stat(dir); err != nil {
		if cache, err = os.MkdirTemp("", "ogp-plugin-"); err != nil {
			return nil, err
		}
		t.done = func() { os.RemoveAll(cache) }
	}
	log := newLogger(a.err, "text", slog.LevelInfo)
	if t.host, err = plugin.NewHost(plugin.Options{CacheDir: cache, Logger: log}); err != nil {
		t.done()
		return nil, err
	}
	return t, nil
}

func (t *trials) close() {
	t.host.Close()
	t.done()
}

// load loads a plugin for a case: with a store of its own that holds what the case
// says, and without the power to send anything unless it is granted.
func (t *trials) load(ctx context.Context, f *found, c pluginCase) (*plugin.Plugin, error) {
	spec := f.spec
	kv := &plugin.MemoryKV{}
	most := int64(1 << 20)
	if ask := f.module.Manifest.KV; ask != nil {
		most = ask.MaxBytes
	}
	for k, v := range c.KV {
		if err := kv.Set(ctx, k, []byte(v), most); err != nil {
			return nil, err
		}
	}
	asks := f.module.Manifest.Asks()
	spec.KV, spec.Grants.KV, spec.Answer = kv, asks.KV, hooks.Answer
	switch {
	case !t.grant:
		spec.Grants.HTTP = nil
	case f.granted == nil:
		spec.Grants.HTTP = asks.HTTP
	}
	var err error
	if spec.Config, err = over(spec.Config, c.Config); err != nil {
		return nil, err
	}
	return t.host.Load(ctx, spec)
}

// over lays one object over another, member by member.
func over(base, top []byte) ([]byte, error) {
	merged := map[string]core.Raw{}
	for _, text := range [][]byte{base, top} {
		if len(text) == 0 {
			continue
		}
		var members map[string]core.Raw
		if err := json.Unmarshal(text, &members); err != nil {
			return nil, &core.Error{Kind: core.Malformed, Public: "config is no JSON object", Err: err}
		}
		for k, v := range members {
			merged[k] = v
		}
	}
	return json.Marshal(merged, json.Deterministic(true))
}

// notMine is the answer that stands for leaving the matter to the next plugin.
var notMine = core.Raw(`{"status":"not mine"}`)

type runView struct {
	Plugin      string      `json:"plugin"`
	Hook        plugin.Hook `json:"hook"`
	Answer      core.Raw    `json:"answer,omitempty"`
	Error       string      `json:"error,omitempty"`
	Fuel        int64       `json:"fuel"` // units of work; sdk/ABI.md, [limits]
	MemoryBytes int64       `json:"memoryBytes"`
	HostCalls   int         `json:"hostCalls"`
	Micros      int64       `json:"micros"`
	LoadMillis  int64       `json:"loadMillis"`
}

// runCase loads a plugin and makes one call. A call that fails is part of the view.
func (t *trials) runCase(ctx context.Context, f *found, c pluginCase, flag string) (runView, error) {
	hook, err := c.hook(f.module.Manifest, flag)
	if err != nil {
		return runView{}, err
	}
	p, err := t.load(ctx, f, c)
	if err != nil {
		return runView{}, notLoaded(err)
	}
	defer p.Close()
	r, err := p.Call(ctx, hook, c.Input)
	if ctx.Err() != nil {
		return runView{}, ctx.Err()
	}
	v := runView{Plugin: p.Info().Name, Hook: hook, Answer: r.Output, Fuel: r.FuelUsed, MemoryBytes: r.MemoryBytes, HostCalls: r.HostCalls,
		Micros: r.Took.Microseconds(), LoadMillis: p.Info().LoadTook.Milliseconds()}
	switch {
	case err != nil:
		v.Error, v.Answer = err.Error(), nil
	case r.NotMine():
		v.Answer = notMine
	}
	return v, nil
}

func notLoaded(err error) error {
	return &core.Error{Kind: core.Malformed, Public: "the plugin does not load: " + err.Error()}
}

func pluginRunCommand(a *app) *cobra.Command {
	var file, hook, since string
	var grant, replay bool
	cmd := &cobra.Command{
		Use: "run <file, folder or name>", Short: "Try a plugin on one case, or on what the inbox holds", Args: cobra.ExactArgs(1),
		Long: `Give a plugin one case and print its answer, and what the call took. It runs beside the gateway, with a store of its own; requests go out only with --grant.

With --replay a policy is asked about the messages of the inbox, and those are shown whose fate would be another one. Peers are as they are now; the time is when the message came.

  ogp plugin run ./small-only --case cases/first.json
  ogp plugin run ./small-only --replay --since 7d`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if since != "" && !replay {
				return usagef("--since goes with --replay")
			}
			if replay && (cmd.Flags().Changed("case") || hook != "") {
				return usagef("--replay takes its cases from the inbox: no --case and no --hook")
			}
			f, err := a.findPlugin(ctx, args[0])
			if err != nil {
				return err
			}
			t, err := a.openTrials()
			if err != nil {
				return err
			}
			defer t.close()
			t.grant = grant
			if replay {
				return a.replay(ctx, t, f, since)
			}
			c, err := a.readCase(file)
			if err != nil {
				return err
			}
			v, err := t.runCase(ctx, f, c, hook)
			if err != nil {
				return err
			}
			return a.showRun(v)
		},
	}
	cmd.Flags().StringVar(&file, "case", "-", "the case: a file, or - for the standard input")
	cmd.Flags().StringVar(&hook, "hook", "", "message, request, notify or handle, where the case does not say")
	cmd.Flags().BoolVar(&grant, "grant", false, "let its requests go out")
	cmd.Flags().BoolVar(&replay, "replay", false, "ask a policy about the messages of the inbox")
	cmd.Flags().StringVar(&since, "since", "", "with --replay: only of the last 24h, 7d, ... (default: all)")
	return cmd
}

func (a *app) showRun(v runView) error {
	if a.json {
		a.writeJSON(v)
	} else {
		if v.Error == "" {
			fmt.Fprintf(a.out, "%s\n", v.Answer)
		}
		fmt.Fprintf(a.err, "fuel %d, memory %d KiB, host calls %d, %d us\n", v.Fuel, v.MemoryBytes>>10, v.HostCalls, v.Micros)
	}
	if v.Error == "" {
		return nil
	}
	if a.json {
		return errPrinted(exitFailed)
	}
	return errors.New(safeText(v.Error))
}

type testView struct {
	Plugin string     `json:"plugin"`
	Passed int        `json:"passed"`
	Failed int        `json:"failed"`
	Cases  []caseView `json:"cases"`
}

type caseView struct {
	Name        string   `json:"name"`
	Passed      bool     `json:"passed"`
	Differences []string `json:"differences,omitempty"`
	Answer      core.Raw `json:"answer,omitempty"`
	Error       string   `json:"error,omitempty"`
	Fuel        int64    `json:"fuel"`
}

func pluginTestCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "test <file, folder or name> [folder of cases]", Short: "Run a plugin's cases", Args: cobra.RangeArgs(1, 2),
		Long: "Run every case (*.json) of a folder, by default the folder \"cases\" beside the plugin, and compare the answers with what the cases expect. Exit status 1 says that one failed.\n\n  ogp plugin test ./small-only",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			f, err := a.findPlugin(ctx, args[0])
			if err != nil {
				return err
			}
			dir := filepath.Join(filepath.Dir(f.spec.Path), "cases")
			if len(args) == 2 {
				dir = args[1]
			}
			v, err := a.testPlugin(ctx, f, dir)
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(v)
			} else {
				a.showTest(v)
			}
			if v.Failed > 0 {
				return errPrinted(exitFailed)
			}
			return nil
		},
	}
}

func (a *app) testPlugin(ctx context.Context, f *found, dir string) (testView, error) {
	v := testView{Plugin: f.module.Manifest.Name}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return v, err
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return filepath.Ext(e.Name()) != ".json" })
	if len(entries) == 0 {
		e := core.Refusef(core.NotFound, "%s holds no case (*.json)", dir)
		e.Hint = `a case is {"input":{...},"expect":{...}}; sdk/ABI.md, "Cases"`
		return v, e
	}
	t, err := a.openTrials()
	if err != nil {
		return v, err
	}
	defer t.close()
	for _, entry := range entries {
		one, err := t.testCase(ctx, f, filepath.Join(dir, entry.Name()))
		if err != nil {
			return v, err
		}
		v.Cases = append(v.Cases, one)
		if one.Passed {
			v.Passed++
		} else {
			v.Failed++
		}
	}
	return v, nil
}

func (t *trials) testCase(ctx context.Context, f *found, file string) (caseView, error) {
	v := caseView{Name: strings.TrimSuffix(filepath.Base(file), ".json")}
	c, err := t.a.readCase(file)
	if err == nil && len(c.Expect) == 0 {
		err = core.Refuse(core.Malformed, `it has no "expect"`)
	}
	var r runView
	if err == nil {
		r, err = t.runCase(ctx, f, c, "")
	}
	if ctx.Err() != nil {
		return v, ctx.Err()
	}
	v.Answer, v.Error, v.Fuel = r.Answer, r.Error, r.Fuel
	if err != nil {
		v.Error = err.Error()
	}
	if v.Error != "" {
		return v, nil
	}
	var have, want any
	if err := errors.Join(json.Unmarshal(r.Answer, &have), json.Unmarshal(c.Expect, &want)); err != nil {
		return v, err // both were read before
	}
	v.Differences = differences(nil, "", have, want)
	v.Passed = len(v.Differences) == 0
	return v, nil
}

// differences lists what want has and have has not: of an object each member, of a
// list all elements in order, all else as it is.
func differences(list []string, at string, have, want any) []string {
	differs := func() []string {
		return append(list, fmt.Sprintf("%s: got %s, want %s", strings.TrimPrefix(at+"", "."), compact(have), compact(want)))
	}
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			return differs()
		}
		names := make([]string, 0, len(w))
		for name := range w {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if _, ok := h[name]; !ok {
				list = append(list, fmt.Sprintf("%s: got nothing, want %s", strings.TrimPrefix(at+"."+name, "."), compact(w[name])))
				continue
			}
			list = differences(list, at+"."+name, h[name], w[name])
		}
		return list
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(w) {
			return differs()
		}
		for i := range w {
			list = differences(list, fmt.Sprintf("%s[%d]", at, i), h[i], w[i])
		}
		return list
	}
	if have != want {
		return differs()
	}
	return list
}

func compact(v any) string {
	text, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(text) > 200 {
		return strings.ToValidUTF8(string(text[:200]), "") + "…"
	}
	return string(text)
}

func (a *app) showTest(v testView) {
	for _, c := range v.Cases {
		if c.Passed {
			fmt.Fprintf(a.out, "ok    %s\n", c.Name)
			continue
		}
		fmt.Fprintf(a.out, "FAIL  %s\n", c.Name)
		for _, d := range c.Differences {
			fmt.Fprintf(a.out, "      %s\n", safeText(d))
		}
		if c.Error != "" {
			fmt.Fprintf(a.out, "      %s\n", safeText(c.Error))
		}
	}
	fmt.Fprintf(a.err, "%d passed, %d failed\n", v.Passed, v.Failed)
}

type benchView struct {
	Plugin      string      `json:"plugin"`
	Hook        plugin.Hook `json:"hook"`
	Calls       int         `json:"calls"`
	P50Micros   float64     `json:"p50Micros"`
	P99Micros   float64     `json:"p99Micros"`
	MaxMicros   float64     `json:"maxMicros"`
	Fuel        int64       `json:"fuel"` // of the last call
	MemoryBytes int64       `json:"memoryBytes"`
	LoadMillis  int64       `json:"loadMillis"`
}

func pluginBenchCommand(a *app) *cobra.Command {
	var file, hook string
	var calls int
	cmd := &cobra.Command{
		Use: "bench <file, folder or name>", Short: "Measure a plugin on one case", Args: cobra.ExactArgs(1),
		Long: "Give a plugin the same case many times and print how long the calls took, and what one of them used.\n\n  ogp plugin bench ./small-only --case cases/first.json --calls 5000",
		RunE: func(cmd *cobra.Command, args []string) error {
			if calls < 1 || calls > 10_000_000 {
				return usagef("--calls %d: want 1 to 10000000", calls)
			}
			ctx := cmd.Context()
			f, err := a.findPlugin(ctx, args[0])
			if err != nil {
				return err
			}
			c, err := a.readCase(file)
			if err != nil {
				return err
			}
			v, err := a.bench(ctx, f, c, hook, calls)
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(v)
				return nil
			}
			fmt.Fprintf(a.out, "calls   %d\np50     %.1f us\np99     %.1f us\nmax     %.1f us\nfuel    %d a call\nmemory  %d KiB\nload    %d ms\n",
				v.Calls, v.P50Micros, v.P99Micros, v.MaxMicros, v.Fuel, v.MemoryBytes>>10, v.LoadMillis)
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "case", "-", "the case: a file, or - for the standard input")
	cmd.Flags().StringVar(&hook, "hook", "", "message, request, notify or handle, where the case does not say")
	cmd.Flags().IntVar(&calls, "calls", 1000, "how many calls")
	return cmd
}

func (a *app) bench(ctx context.Context, f *found, c pluginCase, flag string, calls int) (benchView, error) {
	hook, err := c.hook(f.module.Manifest, flag)
	if err != nil {
		return benchView{}, err
	}
	t, err := a.openTrials()
	if err != nil {
		return benchView{}, err
	}
	defer t.close()
	p, err := t.load(ctx, f, c)
	if err != nil {
		return benchView{}, notLoaded(err)
	}
	defer p.Close()
	took := make([]time.Duration, calls)
	var r plugin.Result
	for i := range took {
		if r, err = p.Call(ctx, hook, c.Input); err != nil {
			return benchView{}, fmt.Errorf("call %d: %w", i+1, err)
		}
		took[i] = r.Took
	}
	slices.Sort(took)
	micros := func(share float64) float64 {
		return float64(took[min(int(share*float64(calls)), calls-1)].Nanoseconds()) / 1000
	}
	info := p.Info()
	return benchView{Plugin: info.Name, Hook: hook, Calls: calls, P50Micros: micros(0.5), P99Micros: micros(0.99), MaxMicros: micros(1),
		Fuel: r.FuelUsed, MemoryBytes: r.MemoryBytes, LoadMillis: info.LoadTook.Milliseconds()}, nil
}

// replayAtOnce is how many messages, of 64 KiB at the most, go in one page.
const replayAtOnce = 100

// replayInbox is the method "plugin.inbox": what a policy is asked again about.
func (d *daemon) replayInbox(ctx context.Context, p api.ReplayParams) (api.ReplayPage, error) {
	page := api.ReplayPage{Messages: []api.ReplayMessage{}}
	peers, err := d.store.Peers(ctx)
	if err != nil {
		return page, err
	}
	byKey := map[core.PublicKey]*core.Peer{}
	for _, peer := range peers {
		byKey[peer.Key] = peer
	}
	messages, err := d.store.Inbox(ctx, core.InboxFilter{Since: p.Since, Before: p.Before, Limit: replayAtOnce})
	if err != nil {
		return page, err
	}
	for _, m := range messages {
		if peer := byKey[m.Peer]; peer != nil { // nobody can say of whom a forgotten peer's are
			page.Messages = append(page.Messages, api.ReplayMessage{Message: m, Peer: peer})
		}
	}
	if len(messages) == replayAtOnce {
		page.Next = messages[len(messages)-1].ID
	}
	return page, nil
}

type replayView struct {
	Plugin   string     `json:"plugin"`
	Messages int        `json:"messages"`
	Refused  int        `json:"refused"` // would be, now
	Held     int        `json:"held"`
	Released int        `json:"released"` // held then, and not now
	Failed   int        `json:"failed"`   // the policy could not say: the peer would be told to try later
	Changed  []fateView `json:"changed"`  // the newest first
}

type fateView struct {
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	From   string    `json:"from"`
	Intent string    `json:"intent"`
	Then   string    `json:"then"` // allowed, held
	Now    string    `json:"now"`  // allowed, held, refused, failed
	Code   string    `json:"code,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Text   string    `json:"text"`
}

func (a *app) replay(ctx context.Context, t *trials, f *found, since string) error {
	if !slices.Contains(f.module.Manifest.Hooks, plugin.Message) {
		return usagef("--replay asks policies about messages, and the plugin answers %s", words(f.module.Manifest.Hooks))
	}
	var p api.ReplayParams
	if since != "" {
		d, err := core.ParseDuration(since)
		if err != nil || d <= 0 {
			return usagef("--since %q: want a duration such as 24h or 7d", since)
		}
		p.Since = time.Now().Add(-d)
	}
	loaded, err := t.load(ctx, f, pluginCase{})
	if err != nil {
		return notLoaded(err)
	}
	defer loaded.Close()
	policy := hooks.PolicyOf(loaded)
	v := replayView{Plugin: loaded.Info().Name, Changed: []fateView{}}
	for {
		page, _, err := onState(ctx, a, api.PluginInbox, p, false, (*daemon).replayInbox)
		if err != nil {
			return err
		}
		for _, m := range page.Messages {
			v.add(ctx, policy, m)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if p.Before = page.Next; page.Next == "" {
			break
		}
	}
	if a.json {
		a.writeJSON(v)
		return nil
	}
	a.showReplay(v)
	return nil
}

// add asks the policy about a message as it was asked then.
func (v *replayView) add(ctx context.Context, policy core.Policy, x api.ReplayMessage) {
	m := x.Message
	fate := fateView{ID: m.ID, At: m.At, From: x.Peer.Name(), Intent: m.Message.Intent, Then: "allowed", Now: "allowed", Text: oneLine(m.Message.Payload)}
	if m.Status == core.InboxHeld {
		fate.Then = "held"
	}
	verdict, err := policy.Decide(ctx, hooks.Asked(x.Peer, m))
	switch {
	case err != nil:
		fate.Now, fate.Reason = "failed", err.Error()
		v.Failed++
	case verdict.Decision == core.Deny:
		fate.Now = "refused"
		v.Refused++
	case verdict.Decision == core.Hold:
		fate.Now = "held"
		v.Held++
	case fate.Then == "held":
		v.Released++
	}
	v.Messages++
	if err == nil {
		fate.Code, fate.Reason = verdict.Code, verdict.Reason
	}
	if fate.Now != fate.Then {
		v.Changed = append(v.Changed, fate)
	}
}

func (a *app) showReplay(v replayView) {
	if len(v.Changed) > 0 {
		rows := make([][]string, len(v.Changed))
		for i, f := range v.Changed {
			why := strings.Join(strings.Fields(safeText(f.Code+optional(": ", f.Reason))), " ")
			rows[i] = []string{f.ID, ago(f.At), f.From, f.Intent, f.Then, f.Now, dash(why), f.Text}
		}
		table(a.out, []string{"ID", "CAME", "FROM", "INTENT", "THEN", "NOW", "WHY", "TEXT"}, rows)
	}
	fmt.Fprintf(a.err, "%d messages: %s would refuse %d, hold %d and let %d held ones pass; it failed on %d\n",
		v.Messages, v.Plugin, v.Refused, v.Held, v.Released, v.Failed)
}
