package hooks_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/scope"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
	"github.com/opengatewayprotocol/ogp/plugins"
)

// cacheDir holds compiled modules, so that each is compiled once for all tests.
var cacheDir string

func TestMain(m *testing.M) {
	plugin.CompileChildMain()
	dir, err := os.MkdirTemp("", "ogp-hooks-")
	if err != nil {
		panic(err)
	}
	cacheDir = filepath.Join(dir, "cache")
	code := m.Run()
	os.RemoveAll(dir)
	if err := goleak.Find(
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"), // as in coretest.Main
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1")); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

const examples = "../../examples/plugins/"

// example is a committed example with all that it asks for.
func example(name string) hooks.Wanted {
	return module(filepath.Join(examples, name, name+".wasm"), name)
}

func module(path, name string) hooks.Wanted {
	return hooks.Wanted{Source: hooks.FromConfig, Spec: plugin.Spec{Name: name, Path: path, Grants: plugin.Grants{KV: []string{"kv.*"}, Approves: true}}}
}

// newManager makes a manager whose Run ends with the test.
func newManager(t testing.TB, o hooks.Options) *hooks.Manager {
	t.Helper()
	if o.Store == nil {
		o.Store = memory.New()
	}
	o.CacheDir = cacheDir
	m, err := hooks.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func apply(t testing.TB, m *hooks.Manager, wanted ...hooks.Wanted) {
	t.Helper()
	if err := m.Apply(wanted); err != nil {
		t.Fatal(err)
	}
	if err := m.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// policies gives the policies about messages in force, of which there must be n.
func policies(t testing.TB, m *hooks.Manager, n int) []core.Policy {
	t.Helper()
	return policiesAbout(t, m, core.HookMessage, n)
}

func policiesAbout(t testing.TB, m *hooks.Manager, hook core.Hook, n int) []core.Policy {
	t.Helper()
	p, err := m.Plugins()
	if err != nil || len(p.Policies[hook]) != n {
		t.Fatalf("Plugins = %d policies about a %s, %v; want %d", len(p.Policies[hook]), hook, err, n)
	}
	return p.Policies[hook]
}

func ask(t testing.TB, p core.Policy, q core.Question) core.Verdict {
	t.Helper()
	v, err := p.Decide(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// topic asks about an agent-comms message of a topic.
func topic(name string) core.Question {
	return core.Question{Kind: core.HookMessage, Now: time.Now(), Peer: &core.Peer{Alias: "bob"}, Topic: name, Bytes: 10,
		Message: &core.Message{Intent: core.IntentAgentComms, Payload: core.Raw(`{"topic":"` + name + `","message":"hi"}`)}}
}

func view(t testing.TB, m *hooks.Manager, name string) hooks.View {
	t.Helper()
	for _, v := range m.List() {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("no plugin %q in %+v", name, m.List())
	return hooks.View{}
}

// copyPlugin copies an example into a folder of the test's.
func copyPlugin(t testing.TB, name string) (path string) {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{name + ".wasm", "plugin.toml"} {
		text, err := os.ReadFile(filepath.Join(examples, name, file))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, file), text)
	}
	return filepath.Join(dir, name+".wasm")
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// edit changes a plugin.toml.
func edit(t testing.TB, module, old, new string) {
	t.Helper()
	path := filepath.Join(filepath.Dir(module), "plugin.toml")
	text, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(text, []byte(old)) {
		t.Fatalf("%s: no %q: %v", path, old, err)
	}
	write(t, path, bytes.Replace(text, []byte(old), []byte(new), 1))
}

// A policy that is not ready, or that cannot be loaded, lets nothing pass.
func TestP3PolicyNotReadyIsNotNow(t *testing.T) {
	m := newManager(t, hooks.Options{})
	notReady := func(when string) {
		t.Helper()
		if p, err := m.Plugins(); !errors.Is(err, core.Unavailable) || len(p.Policies) > 0 {
			t.Errorf("%s: Plugins = %v, %v; want Unavailable", when, p, err)
		}
	}
	notReady("before Apply")
	broken := copyPlugin(t, "topic-allowlist")
	edit(t, broken, `decision = "abstain"`, `decision = "deny"`) // its self-test fails
	bob := coretest.New(t, coretest.WithPlugins(m.Plugins))
	alice := coretest.New(t)
	apply(t, m)
	coretest.Federate(t, alice, bob)
	apply(t, m, example("free-busy"), module(broken, "topic-allowlist"))
	notReady("with a policy that fails its self-test")
	if v := view(t, m, "topic-allowlist"); v.State != "failed" || !strings.Contains(v.Error, "self-test") {
		t.Errorf("View = %+v, want failed with its self-test", v)
	}
	out, err := alice.Send(t.Context(), bob.Key(), gateway.Sending{Intent: "message", Payload: core.Raw(`{"text":"hi"}`), Now: true})
	if err == nil {
		err = out.Err
	}
	if err == nil || !strings.Contains(err.Error(), "Policy unavailable") {
		t.Errorf("Send = %v, want the peer's 503", err)
	}
	edit(t, broken, `decision = "deny"`, `decision = "abstain"`)
	if err := m.Reload(t.Context(), "topic-allowlist"); err != nil {
		t.Fatal(err)
	}
	if out, err = alice.Send(t.Context(), bob.Key(), gateway.Sending{Intent: "message", Payload: core.Raw(`{"text":"hi"}`), Now: true}); err != nil || out.Err != nil {
		t.Errorf("Send = %v, %v; want it to pass once the policy is ready", out.Err, err)
	}
	m.Close()
	notReady("after Close")
}

// A policy that fails cannot say: nothing passes, and nothing is recorded.
func TestP3FailingPolicyIsNotNow(t *testing.T) {
	m := newManager(t, hooks.Options{})
	w := example("office-hours")
	w.Spec.Limits.Fuel = 1
	w.Spec.Manifest = manifestOf(t, "office-hours", "[[selftest]]") // its self-test would not pass either
	requests := example("approve-by-domain")
	requests.Spec.Limits.Fuel = 1
	requests.Spec.Manifest = manifestOf(t, "approve-by-domain", "[[selftest]]")
	apply(t, m, w, requests)
	if _, err := policies(t, m, 1)[0].Decide(t.Context(), topic("general")); !errors.Is(err, plugin.Limit) {
		t.Errorf("Decide = %v, want Limit", err)
	}
	alice, bob := coretest.Pair(t, coretest.WithPlugins(m.Plugins))
	_, err := alice.RequestFederation(t.Context(), gateway.Ask{URL: bob.URL, Expect: bob.Key()})
	if err == nil || !strings.Contains(err.Error(), "Policy unavailable") {
		t.Errorf("RequestFederation = %v, want the peer's 503", err)
	}
	if bob.TrustOf(alice) != core.Stranger {
		t.Errorf("trust = %q, want a stranger", bob.TrustOf(alice))
	}
	if v := view(t, m, "office-hours"); v.Failures == 0 || v.LastFailure == "" {
		t.Errorf("View = %+v, want its failures counted", v)
	}
}

// manifestOf is an example's manifest up to a line.
func manifestOf(t testing.TB, name, upTo string) *plugin.Manifest {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, name, "plugin.toml"))
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(text), upTo)
	m, err := plugin.ParseManifest([]byte(head))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Policies are asked in the operator's order, equal ones by name, and the first
// refusal is final: the ones behind it are not asked.
func TestP3OrderAndFirstRefusal(t *testing.T) {
	m := newManager(t, hooks.Options{})
	scrubber, topics, hours := example("secret-scrubber"), example("topic-allowlist"), example("office-hours")
	scrubber.Order, topics.Order, hours.Order = 7, -1, 7
	hours.Spec.Config = always
	hours.Spec.Manifest = manifestOf(t, "office-hours", "[[selftest]]") // which is about its default hours
	apply(t, m, scrubber, hours, topics)
	var names []string
	for _, p := range policies(t, m, 3) {
		names = append(names, p.Name())
	}
	if got := strings.Join(names, " "); got != "topic-allowlist office-hours secret-scrubber" {
		t.Errorf("order = %s", got)
	}
	alice, bob := pair(t, m)
	out, err := alice.Send(t.Context(), bob.Key(), gateway.Sending{Intent: core.IntentAgentComms, Now: true,
		Payload: core.Raw(`{"topic":"deals","message":"4111 1111 1111 1111"}`)})
	if err != nil || !errors.Is(out.Err, core.Refused) || !strings.Contains(string(out.Item.Answer)+out.Err.Error(), "topic_not_allowed") &&
		!strings.Contains(out.Err.Error(), "refused by policy") {
		t.Errorf("Send = %v, %v; want topic-allowlist's refusal", out.Err, err)
	}
	if v := view(t, m, "topic-allowlist"); v.Refusals != 1 {
		t.Errorf("topic-allowlist: %+v, want 1 refusal", v)
	}
	if v := view(t, m, "secret-scrubber"); v.Refusals != 0 || v.Calls != 0 {
		t.Errorf("secret-scrubber: %+v, want it not asked", v)
	}
}

// always is a configuration of office-hours that is always open.
var always = []byte(`{"open":"00:00","close":"24:00","days":["mon","tue","wed","thu","fri","sat","sun"]}`)

// pair is two gateways that have federated, of which the second has the plugins.
func pair(t testing.TB, m *hooks.Manager, more ...coretest.Option) (alice, bob *coretest.Gateway) {
	t.Helper()
	alice = coretest.New(t)
	open := coretest.WithSettings(func(s *ours.Settings) { s.Levels.Default = scope.LevelFull })
	bob = coretest.New(t, append(more, open, coretest.WithPlugins(m.Plugins))...)
	coretest.Ask(t, alice, bob)
	if bob.TrustOf(alice) == core.Pending {
		if _, err := bob.ApprovePeer(t.Context(), alice.Key(), gateway.Approval{Grants: allGrants()}); err != nil {
			t.Fatal(err)
		}
	}
	coretest.Await(t, "both approved", func() bool {
		p := alice.Peer(bob.Key())
		return p != nil && p.Trust == core.Approved && p.Received != nil && bob.TrustOf(alice) == core.Approved
	})
	return alice, bob
}

func allGrants() []core.Grant {
	grants := ours.DefaultGrants()
	return append(grants, core.Grant{Intent: "calendar.freebusy", Enabled: true})
}

// A pinned module that is another one, a module that is not there, and a hook that
// it has not: each refuses the whole list, and what was in force stays.
func TestP4WrongModulesStopTheStart(t *testing.T) {
	m := newManager(t, hooks.Options{})
	good := example("topic-allowlist")
	apply(t, m, good)
	pinned, gone, hook := example("office-hours"), module("no/such.wasm", "gone"), example("office-hours")
	pinned.Spec.SHA256 = strings.Repeat("00", 32)
	hook.Hooks = []plugin.Hook{plugin.Notify}
	for want, w := range map[string]hooks.Wanted{"pinned is 0000": pinned, "no such file": gone, `it has no hook "notify"`: hook, "two plugins": good} {
		if err := m.Apply([]hooks.Wanted{good, w}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Apply = %v, want %q", err, want)
		}
	}
	if len(m.List()) != 1 || ask(t, policies(t, m, 1)[0], topic("deals")).Decision != core.Deny {
		t.Errorf("List = %+v, want topic-allowlist in force as before", m.List())
	}
	right := example("topic-allowlist")
	right.Spec.SHA256 = strings.ToUpper(view(t, m, "topic-allowlist").SHA256)
	apply(t, m, right)
	if v := view(t, m, "topic-allowlist"); v.State != "ready" || !v.Pinned {
		t.Errorf("View = %+v, want ready and pinned", v)
	}
}

// The pin is held to when the module is loaded, too, and not only when it is first
// looked at.
func TestP4PinHoldsAtReload(t *testing.T) {
	m := newManager(t, hooks.Options{WatchEvery: time.Millisecond})
	w := module(copyPlugin(t, "topic-allowlist"), "topic-allowlist")
	apply(t, m, w)
	w.Spec.SHA256 = view(t, m, "topic-allowlist").SHA256
	apply(t, m, w)
	text, err := os.ReadFile(w.Spec.Path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w.Spec.Path, append(text, 0, 2, 1, 'x')) // with another custom section
	if err := m.Reload(t.Context(), "topic-allowlist"); !errors.Is(err, plugin.Denied) {
		t.Errorf("Reload = %v, want Denied", err)
	}
	if v := ask(t, policies(t, m, 1)[0], topic("deals")); v.Decision != core.Deny {
		t.Errorf("Decide = %+v, want the module before", v)
	}
}

// A plugin with more hooks than are wanted of it has only those that are wanted.
func TestHooksAreNarrowed(t *testing.T) {
	wasm := twoHooks(t)
	m := newManager(t, hooks.Options{})
	for _, c := range []struct {
		hooks              []plugin.Hook
		policies, handlers int
		notifiers          int
	}{{nil, 1, 0, 1}, {[]plugin.Hook{plugin.Message}, 1, 0, 0}, {[]plugin.Hook{plugin.Notify}, 0, 0, 1}} {
		apply(t, m, hooks.Wanted{Hooks: c.hooks, Spec: plugin.Spec{Name: "two", Bytes: wasm, Manifest: &plugin.Manifest{Name: "two"}}})
		p, err := m.Plugins()
		if err != nil || len(p.Policies[core.HookMessage]) != c.policies || len(p.Handlers) != c.handlers || len(m.Notifiers()) != c.notifiers {
			t.Errorf("%v: %d policies, %d handlers, %d notifiers, %v", c.hooks, len(p.Policies[core.HookMessage]), len(p.Handlers), len(m.Notifiers()), err)
		}
	}
}

// twoHooks is a module with the hooks message, by its old name, and notify that answers
// {"decision":"abstain"} to both.
func twoHooks(t testing.TB) []byte {
	t.Helper()
	return answering(`{"decision":"abstain"}`, "ogp_policy", "ogp_notify")
}

// answering is a module whose exports all give one answer of at most 63 bytes.
func answering(answer string, exports ...string) []byte {
	section := func(id byte, body ...byte) []byte { return append([]byte{id, byte(len(body))}, body...) }
	name := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	named := join([]byte{byte(1 + len(exports))}, name("memory"), []byte{2, 0})
	for _, e := range exports {
		named = join(named, name(e), []byte{0, 1})
	}
	return join([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, 2, 0x60, 2, 0x7f, 0x7f, 0, 0x60, 1, 0x7f, 1, 0x7f), // (i32 i32)->(), (i32)->i32
		section(2, join([]byte{1}, name("ogp_v1"), name("write"), []byte{0, 0})...),
		section(3, 1, 1),
		section(5, 1, 0, 1),
		section(7, named...),
		section(10, 1, 10, 0, 0x41, 0, 0x41, byte(len(answer)), 0x10, 0, 0x41, 0, 0x0b),
		section(11, join([]byte{1, 0, 0x41, 0, 0x0b}, name(answer))...))
}

// A changed file is loaded; one that is bad leaves the one before in force, and is
// tried again when it has changed again.
func TestReloadOnChange(t *testing.T) {
	var log logBuffer
	m := newManager(t, hooks.Options{WatchEvery: time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	w := module(copyPlugin(t, "topic-allowlist"), "topic-allowlist")
	w.Watch = true
	apply(t, m, w)
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { _ = m.Run(ctx) })
	defer func() { cancel(); run.Wait() }()
	decide := func(name string) core.Decision { return ask(t, policies(t, m, 1)[0], topic(name)).Decision }
	if got := decide("deals"); got != core.Deny {
		t.Fatalf("deals: %s, want deny", got)
	}
	edit(t, w.Spec.Path, `topics = ["general"]`, `topics = ["deals", "general"]`)
	coretest.Await(t, "deals allowed", func() bool { return decide("deals") == core.Allow })
	write(t, w.Spec.Path, []byte("\x00asm and then nothing of use"))
	coretest.Await(t, "the failure", func() bool { return view(t, m, "topic-allowlist").Error != "" })
	if v := view(t, m, "topic-allowlist"); v.State != "ready" || decide("deals") != core.Allow {
		t.Errorf("View = %+v, want the one before in force", v)
	}
	coretest.Await(t, "a line in the log", func() bool { return strings.Contains(log.String(), "the one before stays") })
	if err := os.Remove(w.Spec.Path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(examples, "topic-allowlist", "topic-allowlist.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	edit(t, w.Spec.Path, `topics = ["deals", "general"]`, `topics = ["general"]`)
	write(t, w.Spec.Path, text)
	coretest.Await(t, "deals denied again", func() bool { return decide("deals") == core.Deny && view(t, m, "topic-allowlist").Error == "" })
	if err := m.Reload(t.Context(), "nobody"); !errors.Is(err, core.NotFound) {
		t.Errorf("Reload = %v, want NotFound", err)
	}
}

// logBuffer is a log that is read while it is written.
type logBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// While the list of plugins changes, those that stay are asked all the time, and a
// plugin that is wanted otherwise decides as before until its new version is ready.
func TestApplyClosesTheDoorToNobody(t *testing.T) {
	var changes int
	m := newManager(t, hooks.Options{Changed: func() { changes++ }})
	topics := example("topic-allowlist")
	apply(t, m, topics)
	stop, failed := make(chan struct{}), make(chan error, 1)
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			p, err := m.Plugins()
			if err == nil {
				for _, one := range p.Policies[core.HookMessage] {
					if one.Name() == "topic-allowlist" {
						_, err = one.Decide(context.Background(), topic("general"))
					}
				}
			}
			if err != nil {
				failed <- err
				return
			}
		}
	})
	before := view(t, m, "topic-allowlist")
	handler := example("free-busy")
	for range 5 {
		apply(t, m, topics, handler)
		apply(t, m, topics)
		topics.Spec.Config = []byte(`{"topics":["deals"]}`)
		apply(t, m, topics)
		if got := ask(t, policies(t, m, 1)[0], topic("deals")).Decision; got != core.Allow {
			t.Fatalf("deals: %s, want allow", got)
		}
		topics.Spec.Config = nil
		apply(t, m, topics)
	}
	close(stop)
	asking.Wait()
	select {
	case err := <-failed:
		t.Errorf("while the list changed: %v", err)
	default:
	}
	if after := view(t, m, "topic-allowlist"); after.Calls < before.Calls+5 || after.Failures != 0 {
		t.Errorf("View = %+v, want its calls counted over all versions", after)
	}
	if changes != 0 {
		t.Errorf("the notifiers changed %d times, want never", changes)
	}
}

// What a plugin has done is known after a restart, as is what it has kept.
func TestRecordsAndKVSurviveRestarts(t *testing.T) {
	store := memory.New()
	w := example("topic-allowlist")
	for run := range 3 {
		m := newManager(t, hooks.Options{Store: store})
		apply(t, m, w)
		ask(t, policies(t, m, 1)[0], topic("deals"))
		ask(t, policies(t, m, 1)[0], topic("general"))
		if v := view(t, m, "topic-allowlist"); v.Calls != int64(2*run+2) || v.Refusals != int64(run+1) || v.Failures != 0 {
			t.Errorf("run %d: %+v, want %d calls and %d refusals", run, v, 2*run+2, run+1)
		}
		if err := m.Reload(t.Context(), "topic-allowlist"); err != nil {
			t.Fatal(err)
		}
		m.Close()
	}
	list := hooks.Look(t.Context(), store, []hooks.Wanted{w}, hooks.Rules{})
	if len(list) != 1 || list[0].State != "off" || list[0].Calls != 6 || list[0].Refusals != 3 {
		t.Errorf("Look = %+v, want 6 calls and 3 refusals", list)
	}
	put(t, store, "free-busy", "day/2026-11-23", "09:00-10:30")
	if err := hooks.Uninstall(t.Context(), store, "free-busy"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.KV(t.Context(), "free-busy", "day/2026-11-23"); !errors.Is(err, core.NotFound) {
		t.Errorf("KV after Uninstall = %v, want NotFound", err)
	}
}

func put(t testing.TB, s core.Store, plugin, key, value string) {
	t.Helper()
	if err := s.Commit(t.Context(), &core.Change{KV: []core.KVPut{{Plugin: plugin, Key: key, Value: []byte(value)}}}); err != nil {
		t.Fatal(err)
	}
}

// receiver is a local backend that keeps what it is sent and answers as told.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex // guards the rest
	got    []request
	answer func(n int) int
}

type request struct {
	header http.Header
	body   string
}

func newReceiver(t testing.TB, answer func(n int) int) *receiver {
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		r.got = append(r.got, request{q.Header.Clone(), string(body)})
		status := r.answer(len(r.got))
		r.mu.Unlock()
		w.WriteHeader(status)
		fmt.Fprint(w, `{"ok":true}`)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) all() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]request(nil), r.got...)
}

// webhook is the shipped notifier, set on a receiver.
func webhook(t testing.TB, r *receiver, secret string) hooks.Wanted {
	t.Helper()
	own, ok := plugins.Get("webhook")
	if !ok {
		t.Fatal("no webhook ships")
	}
	manifest, err := plugin.ParseManifest(own.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	return hooks.Wanted{Source: hooks.FromBinary, Spec: plugin.Spec{Name: "webhook", Bytes: own.Wasm, Manifest: manifest,
		Config:  []byte(`{"url":"` + r.URL + `/hook"}`),
		Grants:  plugin.Grants{HTTP: []plugin.HTTPGrant{{URL: r.URL + "/hook", Private: true, Secrets: []string{"webhook_secret"}}}},
		Secrets: func(string) (string, bool) { return secret, secret != "" }}}
}

// A notifier whose backend fails is told again, with the same key.
func TestP3FailingNotifierIsRetried(t *testing.T) {
	r := newReceiver(t, func(n int) int { return map[bool]int{true: 503, false: 200}[n <= 2] })
	m := newManager(t, hooks.Options{})
	apply(t, m, webhook(t, r, ""))
	alice, bob := coretest.Pair(t)
	bob.Dispatcher.Set(m.Notifiers()...)
	coretest.Federate(t, alice, bob)
	var out gateway.Outgoing
	coretest.Await(t, "all told", func() bool {
		depths, err := bob.Store.Depths(t.Context(), 0)
		return err == nil && depths.Deliveries == 0 && len(r.all()) >= 3
	})
	before := len(r.all())
	out, err := alice.Send(t.Context(), bob.Key(), gateway.Sending{Intent: "message", Payload: core.Raw(`{"text":"hi bob"}`), Now: true})
	if err != nil || out.Err != nil {
		t.Fatal(err, out.Err)
	}
	coretest.Await(t, "the message", func() bool { return len(r.all()) > before })
	all, times := r.all(), map[string]int{}
	for _, q := range all {
		key := q.header.Get("Idempotency-Key")
		if !strings.Contains(q.body, `"id":"`+key+`"`) {
			t.Errorf("key %q came with the body of another event: %s", key, q.body)
		}
		times[key]++
	}
	if n := len(all) - len(times); n != 2 {
		t.Errorf("%d requests came again, want the 2 that failed: %v", n, times)
	}
	if last := all[len(all)-1]; !strings.Contains(last.body, "hi bob") || times[last.header.Get("Idempotency-Key")] != 1 {
		t.Errorf("last = %+v, want the message, once", last)
	}
}

// A secret gets into the request, and nowhere else.
func TestP1SecretsStayOutside(t *testing.T) {
	const secret = "hush-0f6c2d1e"
	var log logBuffer
	r := newReceiver(t, func(int) int { return 200 })
	m := newManager(t, hooks.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	apply(t, m, webhook(t, r, secret))
	n := m.Notifiers()
	if len(n) != 1 {
		t.Fatalf("%d notifiers, want 1", len(n))
	}
	notice := core.Notice{Attempt: 1, Event: core.Event{ID: "01JD5000000000000000000000", Type: core.EventWarning, At: time.Now(), Text: "look"}}
	if o := n[0].Notify(t.Context(), []core.Notice{notice}); o.Status != core.OutcomeDelivered {
		t.Fatalf("Notify = %+v", o)
	}
	if q := r.all()[0]; !strings.HasPrefix(q.header.Get("X-Hub-Signature-256"), "sha256=") || strings.Contains(fmt.Sprint(q), secret) {
		t.Errorf("request = %v, want it signed and without the secret", q)
	}
	input, err := hooks.NotifyInput([]core.Notice{notice}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"the log": log.String(), "the list": fmt.Sprintf("%+v", m.List()), "the input": string(input)} {
		if strings.Contains(text, secret) {
			t.Errorf("%s holds the secret: %s", where, text)
		}
	}
}

// A notifier that cannot be loaded is told later; one that names intents is told of
// those alone.
func TestNotifierNotLoadedAndIntents(t *testing.T) {
	m := newManager(t, hooks.Options{})
	r := newReceiver(t, func(int) int { return 200 })
	bad := webhook(t, r, "")
	bad.Spec.Config = []byte(`{"url":"gopher://x"}`)
	apply(t, m, bad)
	message := core.Notice{Attempt: 1, Event: core.Event{ID: "x", Type: core.EventMessage, At: time.Now(),
		Message: &core.InboxMessage{ID: "x", Message: core.Message{Intent: "message", Payload: core.Raw(`{"text":"hi"}`)}}}}
	if o := m.Notifiers()[0].Notify(t.Context(), []core.Notice{message}); o.Status != core.OutcomeSetup || o.RetryAfter == 0 || !strings.Contains(o.Detail, "http") || !strings.Contains(o.Detail, " - change ") {
		t.Errorf("Notify = %+v, want a set-up error that says why and what to do", o)
	}
	only := webhook(t, r, "")
	only.Spec.Manifest.Intents = []string{"task-request"}
	apply(t, m, only)
	task := message
	copied := *message.Event.Message
	copied.Message.Intent = "task-request"
	task.Event.Message = &copied
	for _, n := range []core.Notice{message, task} {
		if o := m.Notifiers()[0].Notify(t.Context(), []core.Notice{n}); o.Status != core.OutcomeDelivered {
			t.Errorf("Notify = %+v", o)
		}
	}
	if all := r.all(); len(all) != 1 || !strings.Contains(all[0].body, "task-request") {
		t.Errorf("%d requests, want one for the task: %v", len(all), all)
	}
}

// A URL counts for a policy only where the gateway has verified it, and what the
// policy grants is what its configuration says.
func TestRequestPolicyKnowsWhetherTheURLIsVerified(t *testing.T) {
	m := newManager(t, hooks.Options{})
	w := example("approve-by-domain")
	w.Spec.Config = []byte(`{"domains":["example.org"],"intents":["message"],"rate":"10/3600"}`)
	apply(t, m, w)
	p := policiesAbout(t, m, core.HookRequest, 1)[0]
	for _, verified := range []bool{true, false} {
		v := ask(t, p, core.Question{Kind: core.HookRequest, Now: time.Now(), Request: &core.Request{}, URLVerified: verified,
			Peer: &core.Peer{URL: "https://gw.example.org", Trust: core.Pending, Offered: []string{"message"}}})
		switch {
		case verified && (v.Decision != core.Allow || len(v.Grants) != 1 || v.Grants[0].Intent != "message" || v.Grants[0].RateLimit == nil || v.Grants[0].RateLimit.Requests != 10):
			t.Errorf("verified: %+v, want allow with one grant of 10", v)
		case !verified && (v.Decision != core.Hold || v.Code != "unverified_url"):
			t.Errorf("unverified: %+v, want hold", v)
		}
	}
}

// A reload that changes a plugin's order, and nothing that it is loaded from, writes
// to what a running delivery reads. The race detector sees it if it is not guarded.
func TestApplyBesideARunningDelivery(t *testing.T) {
	r := newReceiver(t, func(int) int { return 200 })
	m := newManager(t, hooks.Options{})
	w := webhook(t, r, "")
	apply(t, m, w)
	n := m.Notifiers()[0]
	stop, delivering := make(chan struct{}), sync.WaitGroup{}
	delivering.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if name := n.Name(); name != w.Spec.Name || n.Batch() < 1 {
				t.Errorf("name %q, batch %d", name, n.Batch())
				return
			}
			n.Notify(t.Context(), []core.Notice{{Event: core.Event{ID: "1", Type: core.EventMessage}, Attempt: 1}})
		}
	})
	for i := range 50 {
		w.Order = i
		apply(t, m, w)
	}
	close(stop)
	delivering.Wait()
}

// A stranger stays pending whatever a policy says that has not the power to approve,
// and gets no more than the bound from one that has.
func TestP3ApprovalIsAPowerOfItsOwn(t *testing.T) {
	yes := says(t, `{"decision":"allow"}`)
	wanted := func(asks bool, g plugin.Grants) hooks.Wanted {
		return hooks.Wanted{Spec: plugin.Spec{Name: "yes", Bytes: yes, Manifest: &plugin.Manifest{Name: "yes", Approves: asks}, Grants: g}}
	}
	m := newManager(t, hooks.Options{AtMost: ours.DefaultGrants})
	apply(t, m, wanted(true, plugin.Grants{}))
	alice, bob := coretest.New(t), coretest.New(t, coretest.WithPlugins(m.Plugins))
	coretest.Ask(t, alice, bob)
	if got := bob.TrustOf(alice); got != core.Pending {
		t.Errorf("without the power: trust %q, want pending", got)
	}
	if v := view(t, m, "yes"); v.Ignored != 1 || v.Approves {
		t.Errorf("View = %+v, want the approval counted that it could not give", v)
	}
	apply(t, m, wanted(false, plugin.Grants{Approves: true}))
	dave := coretest.New(t)
	coretest.Ask(t, dave, bob)
	if got := bob.TrustOf(dave); got != core.Pending || view(t, m, "yes").Approves {
		t.Errorf("with a power that its manifest does not ask for: trust %q, want pending", got)
	}
	rate := core.RateLimit{Requests: 3, WindowSeconds: 60}
	apply(t, m, wanted(true, plugin.Grants{Approves: true, AtMost: []core.Grant{{Intent: "message", Enabled: true, RateLimit: &rate}}}))
	carol := coretest.New(t)
	coretest.Ask(t, carol, bob)
	for _, answer := range []string{`{"decision":"allow","grants":[]}`, `{"decision":"allow","grants":null}`} {
		w := wanted(true, plugin.Grants{Approves: true})
		w.Spec.Bytes = says(t, answer)
		apply(t, m, w)
		erin := coretest.New(t)
		coretest.Ask(t, erin, bob)
		if got := bob.TrustOf(erin); got != core.Pending {
			t.Errorf("%s: trust %q, want pending: who is granted nothing is left to the human", answer, got)
		}
	}
	p := bob.Peer(carol.Key())
	if p == nil || p.Trust != core.Approved || len(p.Granted.Scopes) != 1 || p.Granted.Scopes[0].Intent != "message" || *p.Granted.Scopes[0].RateLimit != rate {
		t.Errorf("with the power: %+v, want approved with the bound", p)
	}
}

// A wrong answer is a failure of the plugin's, on every hook: nothing passes or is lost, it
// is counted and shown with what was answered, and pauses the plugin when it repeats.
func TestP3WrongAnswersAreFailures(t *testing.T) {
	if testing.Short() {
		t.Skip("a table of single calls: with the race detector in it, compiling takes ten times as long")
	}
	for hook, answers := range map[core.Hook][]string{
		core.HookMessage: {`{"decision":"refuse"}`, `{"decision":7}`, `{"decision":"allow","grants":[{"intent":"message"}]}`, `{"status":"ok"}`, `[]`, `{"decision":"allow"`},
		core.HookRequest: {`{"decision":"approve"}`, `{"decision":"deny","level":"full"}`, `{"decision":"deny","code":"no way"}`,
			`{"decision":"allow","grant":[{"intent":"message"}]}`, `{"decision":"allow","grants":[{"intent":"a","topic":["b"]}]}`, `{"decision":"allow","grants":[{"intent":"a","topics":[]}]}`},
		core.HookNotify: {`{"status":"ok"}`, `{"status":"retry","retryAfterSeconds":-5}`, `{"status":"failed"}`, `{"decision":"allow"}`, `{"status":7}`, `"delivered"`},
		core.HookHandle: {`{"status":"error"}`, `{"status":"delivered"}`, `{"decision":"deny"}`, `{"status":"error","error":[]}`, `7`},
	} {
		for _, answer := range answers {
			m := newManager(t, hooks.Options{})
			apply(t, m, hooks.Wanted{Spec: plugin.Spec{Name: "wrong", Bytes: answering(answer, "ogp_"+string(hook)), Manifest: &plugin.Manifest{Name: "wrong", Intents: []string{core.IntentAgentComms}}}})
			for n := range 6 {
				want := strings.Trim(fmt.Sprintf("%q", answer), `"`)
				err := askOnce(t, m, hook)
				if n < 5 && (!errors.Is(err, plugin.BadAnswer) || !strings.Contains(err.Error(), want)) {
					t.Errorf("%s %s: %v, want BadAnswer with the answer", hook, answer, err)
				}
				if n == 5 && !errors.Is(err, plugin.Paused) {
					t.Errorf("%s %s: %v, want Paused", hook, answer, err)
				}
			}
			if v := view(t, m, "wrong"); v.State != "paused" || v.Failures != 5 || v.FailedInARow != 5 || !strings.Contains(v.LastFailure, "it answered") && !strings.Contains(v.LastFailure, "JSON") {
				t.Errorf("%s %s: View = %+v, want paused, its failures counted and the last one shown", hook, answer, v)
			}
		}
	}
}

// askOnce puts a hook's question to the only plugin, and gives the error that it comes to.
func askOnce(t *testing.T, m *hooks.Manager, hook core.Hook) error {
	t.Helper()
	q := topic("general")
	switch hook {
	case core.HookNotify:
		o := m.Notifiers()[0].Notify(t.Context(), []core.Notice{{Event: core.Event{ID: "1", Type: core.EventWarning}, Attempt: 1}})
		switch {
		case o.Status != core.OutcomeRetry:
			t.Errorf("Notify = %+v, want retry: nothing may be lost", o)
		case strings.Contains(o.Detail, ": paused: "):
			return plugin.Paused
		case strings.Contains(o.Detail, ": answer: "):
			return fmt.Errorf("%w: %s", plugin.BadAnswer, o.Detail)
		}
		return errors.New(o.Detail)
	case core.HookHandle:
		p, err := m.Plugins()
		if err != nil || len(p.Handlers) != 1 {
			t.Fatalf("Plugins = %d handlers, %v", len(p.Handlers), err)
		}
		_, err = p.Handlers[0].Handle(t.Context(), q.Peer, q.Message)
		return err
	}
	q.Kind = hook
	if hook == core.HookRequest {
		q.Message = nil
	}
	_, err := policiesAbout(t, m, hook, 1)[0].Decide(t.Context(), q)
	return err
}

// "Not mine" goes to the handler behind, in order, and a failure ends it.
func TestHandlersBehindAreAskedAfterNotMine(t *testing.T) {
	notMine := func() []byte { // as answering, with the result -1
		b := answering(`{"status":"ok","data":0}`, "ogp_handle")
		i := bytes.Index(b, []byte{0x10, 0, 0x41, 0, 0x0b})
		b[i+3] = 0x7f
		return b
	}()
	handler := func(order int, name string, wasm []byte, intents ...string) hooks.Wanted {
		return hooks.Wanted{Order: order, Spec: plugin.Spec{Name: name, Bytes: wasm, Manifest: &plugin.Manifest{Name: name, Intents: intents}}}
	}
	first, other := handler(1, "first", notMine, "x"), handler(2, "other", answering(`{"status":"ok","data":2}`, "ogp_handle"), "y")
	for _, c := range []struct {
		last []byte
		want string
	}{
		{answering(`{"status":"ok","data":3}`, "ogp_handle"), `{true 3 }`},
		{answering(`{"status":"error","error":"no"}`, "ogp_handle"), `{false  no}`},
		{notMine, `{false  nobody answers this}`},
	} {
		m := newManager(t, hooks.Options{})
		apply(t, m, handler(3, "last", c.last, "x"), first, other)
		p, err := m.Plugins()
		if err != nil || len(p.Handlers) != 3 || p.Handlers[0].Name() != "first" {
			t.Fatalf("Plugins = %v, %v; want three handlers, in order", p.Handlers, err)
		}
		got, err := p.Handlers[0].Handle(t.Context(), &core.Peer{Alias: "bob"}, &core.Message{Intent: "x", Payload: core.Raw(`{}`)})
		if text := fmt.Sprintf("{%v %s %s}", got.OK, got.Data, got.Error); err != nil || text != c.want {
			t.Errorf("Handle = %s, %v; want %s", text, err, c.want)
		}
	}
}

// says is a module that gives one answer to messages, requests and events.
func says(t testing.TB, answer string) []byte {
	t.Helper()
	return answering(answer, "ogp_message", "ogp_request", "ogp_notify")
}
