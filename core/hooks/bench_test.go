//go:build unix

package hooks_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/record"
	"github.com/opengatewayprotocol/ogp/core/scope"
	"github.com/opengatewayprotocol/ogp/core/store"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
	"github.com/opengatewayprotocol/ogp/plugins"
	"github.com/opengatewayprotocol/ogp/sdk/scaffold"
)

// times gives n wanted copies of an example.
func times(b *testing.B, n int, name string) []hooks.Wanted {
	var out []hooks.Wanted
	for i := range n {
		w := example(name)
		w.Spec.Name = fmt.Sprintf("%s-%d", name, i)
		if name == "office-hours" {
			w.Spec.Manifest, w.Spec.Config = manifestOf(b, name, "[[selftest]]"), always
		}
		out = append(out, w)
	}
	return out
}

// BenchmarkReceive is the whole way of a signed message of 600 bytes through
// gateway.ReceiveMessage, with no policy, one and three, by language. Messages are
// signed before the clock starts.
func BenchmarkReceive(b *testing.B) {
	for _, kind := range []string{"memory", "sqlite"} {
		for _, c := range []struct {
			name   string
			wanted []hooks.Wanted
		}{
			{"none", nil},
			{"c-1", times(b, 1, "topic-allowlist")}, {"c-3", times(b, 3, "topic-allowlist")},
			{"rust-1", times(b, 1, "office-hours")}, {"rust-3", times(b, 3, "office-hours")},
			{"assemblyscript-1", times(b, 1, "secret-scrubber")}, {"assemblyscript-3", times(b, 3, "secret-scrubber")},
			{"rego-1", times(b, 1, "rego-house-rules")}, {"rego-3", times(b, 3, "rego-house-rules")},
			{"extism-go-1", times(b, 1, "extism-links")}, {"extism-go-3", times(b, 3, "extism-links")},
			{"go-stdio-1", times(b, 1, "audit-line")},
		} {
			b.Run(kind+"/"+c.name, func(b *testing.B) { benchmarkReceive(b, kind, c.wanted, 0) })
		}
		for _, recorded := range []time.Duration{0, time.Hour} { // one after the other, to be compared
			b.Run(fmt.Sprintf("%s/c-1/recorded=%v", kind, recorded > 0), func(b *testing.B) { benchmarkReceive(b, kind, times(b, 1, "topic-allowlist"), recorded) })
		}
	}
}

// keep is for how long decisions are recorded: after the 2,000 of a peer each lets one go; zero: they are not.
func benchmarkReceive(b *testing.B, kind string, wanted []hooks.Wanted, keep time.Duration) {
	w := newWay(b, kind, wanted, keep)
	bodies := w.seal(b, b.N)
	b.ReportAllocs()
	runtime.GC()
	before := cpu(b)
	b.ResetTimer()
	w.receive(b, bodies)
	b.StopTimer()
	b.ReportMetric(float64(cpu(b)-before)/1e3/float64(b.N), "cpu-us/op")
}

// way is a peer and the gateway that takes its messages.
type way struct {
	alice, bob *coretest.Gateway
	m          *hooks.Manager
}

func newWay(b *testing.B, kind string, wanted []hooks.Wanted, keep time.Duration) way {
	m := newManager(b, hooks.Options{})
	apply(b, m, wanted...)
	w := way{alice: coretest.New(b), m: m}
	w.bob = coretest.New(b, coretest.WithStore(kind), coretest.Quiet(), coretest.WithPlugins(m.Plugins),
		coretest.WithRecord(func(s core.Store) gateway.Recorder {
			ring, err := record.Open(b.Context(), s.(record.Store), record.Settings{Keep: keep}, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			return ring
		}),
		coretest.WithSettings(func(s *ours.Settings) { s.Levels.Default = scope.LevelFull }))
	w.bob.Dispatcher.Set()
	coretest.Ask(b, w.alice, w.bob)
	rate, size := &core.RateLimit{Requests: 1 << 30, WindowSeconds: 1}, &core.ByteLimit{Bytes: 1 << 40, WindowSeconds: 1}
	if _, err := w.bob.ApprovePeer(b.Context(), w.alice.Key(), gateway.Approval{Grants: []core.Grant{{Intent: core.IntentAgentComms, Enabled: true, RateLimit: rate, ByteLimit: size}}}); err != nil {
		b.Fatal(err)
	}
	return w
}

// seal signs n messages.
func (w way) seal(b *testing.B, n int) [][]byte {
	sealer := envelope.Sealer{Key: w.alice.Private}
	bodies := make([][]byte, n)
	for i := range bodies {
		var err error
		bodies[i], err = sealer.SealMessage(w.bob.Key(), core.Message{Intent: core.IntentAgentComms, From: w.alice.Key().ID(), To: w.bob.Key().ID(),
			Nonce: envelope.NewNonce(), Payload: core.Raw(`{"topic":"general","message":"` + strings.Repeat("hello there, ", 25) + `","priority":"normal"}`)})
		if err != nil {
			b.Fatal(err)
		}
	}
	return bodies
}

func (w way) receive(b *testing.B, bodies [][]byte) {
	for _, body := range bodies {
		if a, err := w.bob.ReceiveMessage(context.Background(), body); err != nil || a.Status != http.StatusOK {
			b.Fatalf("ReceiveMessage = %d %s, %v", a.Status, a.Body, err)
		}
	}
}

// BenchmarkAdded is what one policy of each kind adds to a message, all kinds in turns of 50 messages within one run.
// Of each kind it reports medians over the turns: the CPU of a message with it less that of one without any, of the same
// turn, and the CPU of asking it alone, the question's text included. Use -benchtime 100x.
func BenchmarkAdded(b *testing.B) {
	kinds := []struct {
		name        string
		wanted      []hooks.Wanted
		way         way
		path, alone []float64
	}{
		{name: "none"},
		{name: "c", wanted: times(b, 1, "topic-allowlist")},
		{name: "rust", wanted: times(b, 1, "office-hours")},
		{name: "assemblyscript", wanted: times(b, 1, "secret-scrubber")},
		{name: "go", wanted: []hooks.Wanted{scaffolded(b)}},
		{name: "rego", wanted: times(b, 1, "rego-house-rules")},
		{name: "extism-go", wanted: times(b, 1, "extism-links")},
	}
	const turn = 50
	for i := range kinds {
		k := &kinds[i]
		k.way = newWay(b, "memory", k.wanted, 0)
		k.way.receive(b, k.way.seal(b, turn))
	}
	spent := func(do func()) float64 {
		before := cpu(b)
		do()
		return float64(cpu(b)-before) / 1e3 / turn
	}
	median := func(all []float64) float64 { return slices.Sorted(slices.Values(all))[len(all)/2] }
	for range b.N {
		for i := range kinds {
			k := &kinds[i]
			bodies := k.way.seal(b, turn)
			k.path = append(k.path, spent(func() { k.way.receive(b, bodies) }))
			if i > 0 {
				policy := policiesAbout(b, k.way.m, core.HookMessage, 1)[0]
				k.alone = append(k.alone, spent(func() { k.way.ask(b, policy, turn) }))
			}
		}
	}
	b.ReportMetric(median(kinds[0].path), "none-us")
	for _, k := range kinds[1:] {
		added := slices.Clone(k.path)
		for i := range added {
			added[i] -= kinds[0].path[i]
		}
		b.ReportMetric(median(added), k.name+"-us")
		b.ReportMetric(median(k.alone), k.name+"-alone-us")
	}
}

// ask puts n questions to a policy, each another message.
func (w way) ask(b *testing.B, p core.Policy, n int) {
	peer := w.bob.Peers()[0]
	for range n {
		m := &core.Message{Intent: core.IntentAgentComms, Nonce: "5f6705e8-3d09-4fa6-9fd6-0f6a7f1f3a3b", Timestamp: "2026-11-21T20:47:35.730Z",
			Payload: core.Raw(`{"topic":"general","message":"` + strings.Repeat("hello there, ", 25) + `","priority":"normal"}`)}
		if _, err := p.Decide(context.Background(), core.Question{Kind: core.HookMessage, Now: time.Now(), Peer: peer, Message: m, Bytes: 800}); err != nil {
			b.Fatal(err)
		}
	}
}

// scaffolded is the policy in Go that "ogp plugin new" writes, built here.
func scaffolded(b *testing.B) hooks.Wanted {
	dir := b.TempDir()
	if err := scaffold.Write(dir, "small", "go", "message"); err != nil {
		b.Fatal(err)
	}
	build := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", "small.wasm", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return module(filepath.Join(dir, "small.wasm"), "small")
}

// cpu is the processor time of this process so far, which a busy machine does not
// stretch as it does the time on the wall.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkNotify is what a dispatcher tells a local HTTP server by way of the shipped
// webhook and OpenClaw plugins, from the queue in the store to the answer.
func BenchmarkNotify(b *testing.B) {
	for _, kind := range []string{"memory", "sqlite"} {
		for _, name := range []string{"webhook", "openclaw"} {
			b.Run(kind+"/"+name, func(b *testing.B) { benchmarkNotify(b, kind, name) })
		}
	}
}

func benchmarkNotify(b *testing.B, kind, name string) {
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		fmt.Fprint(w, `{"ok":true,"runId":"r"}`)
	}))
	defer server.Close()
	s, err := store.Open(b.Context(), kind, filepath.Join(b.TempDir(), "state"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	own, _ := plugins.Get(name)
	manifest, err := plugin.ParseManifest(own.Manifest)
	if err != nil {
		b.Fatal(err)
	}
	m := newManager(b, hooks.Options{Store: s})
	apply(b, m, hooks.Wanted{Spec: plugin.Spec{Name: name, Bytes: own.Wasm, Manifest: manifest,
		Config:  []byte(`{"url":"` + server.URL + `/hook","openclaw_url":"` + server.URL + `"}`),
		Grants:  plugin.Grants{HTTP: []plugin.HTTPGrant{{URL: server.URL + "/", Private: true, Secrets: []string{"hooks_token", "webhook_secret"}}}},
		Secrets: func(string) (string, bool) { return "token", true }}})
	now := time.Now().UTC()
	change := &core.Change{}
	for i := range b.N {
		id := fmt.Sprintf("01JD5%021d", i)
		change.Inbox = append(change.Inbox, &core.InboxMessage{ID: id, At: now, Status: core.InboxNew,
			Message: core.Message{Intent: "message", Nonce: core.Nonce(id), Payload: core.Raw(`{"text":"hello there"}`)}})
		change.Deliveries = append(change.Deliveries, &core.Delivery{EventID: id, Notifier: name, Next: now, Created: now})
		if len(change.Inbox) == 500 || i == b.N-1 {
			if err := s.Commit(b.Context(), change); err != nil {
				b.Fatal(err)
			}
			change = &core.Change{}
		}
	}
	c := delivery.New(delivery.Options{Store: s, Peer: func(core.PublicKey) *core.Peer { return nil }})
	c.Set(m.Notifiers()...)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	before := cpu(b)
	b.ResetTimer()
	go func() { defer close(done); _ = c.Run(ctx) }()
	for c.Health()[0].Delivered < uint64(b.N) {
		time.Sleep(time.Millisecond)
	}
	if depths, err := c.Depths(b.Context(), 0); err != nil || depths.Deliveries+depths.DeadDeliveries > 0 { // all is written down
		b.Fatalf("%+v are left, %v", depths, err)
	}
	b.StopTimer()
	cancel()
	<-done
	b.ReportMetric(float64(cpu(b)-before)/1e3/float64(b.N), "cpu-us/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(requests.Load())/float64(b.N), "requests/event")
}

// BenchmarkStart is from nothing to every plugin ready: all that ship and all
// examples. Warm has their machine code in the cache.
func BenchmarkStart(b *testing.B) {
	var all []hooks.Wanted
	for _, name := range []string{"approve-by-domain", "office-hours", "secret-scrubber", "topic-allowlist", "free-busy", "audit-line"} {
		all = append(all, example(name))
	}
	for _, own := range plugins.All() {
		manifest, err := plugin.ParseManifest(own.Manifest)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, hooks.Wanted{Spec: plugin.Spec{Name: own.Name, Bytes: own.Wasm, Manifest: manifest, Config: []byte(`{"topic":"t"}`)}})
	}
	start := func(b *testing.B, cache string, wanted []hooks.Wanted) {
		m, err := hooks.New(hooks.Options{Store: memory.New(), CacheDir: cache})
		if err != nil {
			b.Fatal(err)
		}
		apply(b, m, wanted...)
		b.StopTimer()
		for _, v := range m.List() {
			if v.State != "ready" {
				b.Fatalf("%+v", v)
			}
		}
		m.Close()
		b.StartTimer()
	}
	for _, c := range []struct {
		name   string
		wanted []hooks.Wanted
	}{{"all", all}, {"c-rust-as", all[1:4]}, {"openclaw", all[6:7]}} {
		b.Run("warm/"+c.name, func(b *testing.B) {
			start(b, cacheDir, c.wanted)
			before := cpu(b)
			for b.Loop() {
				start(b, cacheDir, c.wanted)
			}
			b.ReportMetric(float64(cpu(b)-before)/1e6/float64(b.N), "cpu-ms/op")
		})
		b.Run("cold/"+c.name, func(b *testing.B) {
			dirs, before := b.TempDir(), cpu(b)
			for i := 0; b.Loop(); i++ {
				start(b, filepath.Join(dirs, fmt.Sprint(i)), c.wanted)
			}
			b.ReportMetric(float64(cpu(b)-before)/1e6/float64(b.N), "cpu-ms/op")
		})
	}
}
