// Package coretest runs whole gateways in one process for tests: real servers on
// 127.0.0.1, real clients through the dial guard, a real store, dispatchers with
// notifiers that record. Pair gives two of ours, Legacy one as they were before.
//
// Everything ends with the test that made it.
package coretest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/store"
)

// Option changes how a gateway is made.
type Option func(*Gateway)

// Quick are the gateway's times with peers, for tests with real servers, which cannot
// wait.
func Quick() ours.Times {
	return ours.Times{Rounds: []time.Duration{20 * time.Millisecond, 150 * time.Millisecond, 400 * time.Millisecond},
		Silent: 300 * time.Millisecond, No: time.Second, ApproveAfter: 50 * time.Millisecond, ApproveAfterOld: 100 * time.Millisecond,
		Confirm: 100 * time.Millisecond, Tell: 100 * time.Millisecond}
}

// WithStore names the kind of store; otherwise it is "memory".
func WithStore(kind string) Option { return func(g *Gateway) { g.storeKind = kind } }

// WithSettings changes the settings of every gateway that is made.
func WithSettings(f func(*ours.Settings)) Option {
	return func(g *Gateway) { g.settings = append(g.settings, f) }
}

// WithPlugins puts policies and handlers in force.
func WithPlugins(p func() (gateway.Plugins, error)) Option {
	return func(g *Gateway) { g.plugins = p }
}

// WithNow gives the gateway another clock than time.Now.
func WithNow(now func() time.Time) Option { return func(g *Gateway) { g.now = now } }

// WithDelivery changes the dispatcher's options.
func WithDelivery(f func(*delivery.Options)) Option {
	return func(g *Gateway) { g.delivery = append(g.delivery, f) }
}

// WithBrake bounds what agents that answer each other cost.
func WithBrake(settings func() brake.Settings) Option {
	return func(g *Gateway) { g.brake = settings }
}

// WithRecord keeps what policies decide, in what is opened over the gateway's store.
func WithRecord(open func(core.Store) gateway.Recorder) Option {
	return func(g *Gateway) { g.record = open }
}

// WithKept is called after each change.
func WithKept(f func(*core.Change)) Option { return func(g *Gateway) { g.kept = f } }

// Quiet leaves out what works in the background (outbox, checks, pruning), for
// tests that want each step alone.
func Quiet() Option { return func(g *Gateway) { g.quiet = true } }

// Gateway is a whole gateway that runs in the test.
type Gateway struct {
	*gateway.Gateway // replaced by Restart

	Private    keys.Private
	URL        string
	Store      *Store
	Transport  *federation.Client
	Dispatcher *delivery.Dispatcher
	Notifier   *Notifier

	t         testing.TB
	storeKind string
	dir       string
	settings  []func(*ours.Settings)
	delivery  []func(*delivery.Options)
	plugins   func() (gateway.Plugins, error)
	now       func() time.Time
	brake     func() brake.Settings
	record    func(core.Store) gateway.Recorder
	kept      func(*core.Change)
	log       *slog.Logger
	quiet     bool

	dial   *dial.Client
	memory core.Store // kept over restarts, as memory forgets
	addr   string
	stop   func()
	server func()
}

// New starts a gateway.
func New(t testing.TB, opts ...Option) *Gateway {
	t.Helper()
	g := &Gateway{t: t, storeKind: "memory", log: slog.New(slog.DiscardHandler), addr: address(t), now: time.Now,
		Private: keys.Generate(), Notifier: &Notifier{name: "recorder"}}
	for _, o := range opts {
		o(g)
	}
	if g.storeKind != "memory" {
		g.dir = filepath.Join(t.TempDir(), "state")
	}
	g.start()
	t.Cleanup(func() { g.Stop() })
	return g
}

// address is one to listen on again after a stop, which nobody else takes meanwhile.
func address(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(ports.Free(t)))
}

// Pair starts two gateways that do not know each other.
func Pair(t testing.TB, opts ...Option) (a, b *Gateway) {
	t.Helper()
	named := func(name string) Option {
		return WithSettings(func(s *ours.Settings) {
			s.Names = core.Names{DisplayName: name, Email: strings.ToLower(name) + "@example.org"}
		})
	}
	return New(t, append([]Option{named("Alice")}, opts...)...), New(t, append([]Option{named("Bob")}, opts...)...)
}

func (g *Gateway) start() {
	g.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	must := func(err error) {
		if err != nil {
			g.t.Helper()
			g.t.Fatal(err)
		}
	}
	inner := g.memory
	if inner == nil {
		var err error
		inner, err = store.Open(ctx, g.storeKind, g.dir)
		must(err)
	}
	if g.storeKind == "memory" {
		g.memory = inner
	}
	g.Store = &Store{Store: inner}
	g.dial = dial.New(dial.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	g.Transport = federation.NewClient(g.dial)

	ln := g.listen()
	g.addr = ln.Addr().String()
	g.URL = "http://" + g.addr
	_, port, _ := net.SplitHostPort(g.addr)
	settings := ours.Defaults()
	settings.URL, settings.Times = g.URL, Quick()
	settings.Health.Interval, settings.Outbox.First = -1, 20*time.Millisecond
	settings.Port, _ = strconv.Atoi(port)
	for _, f := range g.settings {
		f(&settings)
	}
	var stop *brake.Brake
	if g.brake != nil {
		stop = brake.New(brake.Options{Key: g.Private.Derive("hop marks"), Settings: g.brake, Now: g.now})
		must(stop.Recount(ctx, g.Store))
	}
	var self *gateway.Gateway
	o := delivery.Options{Store: g.Store, Logger: g.log, Settings: delivery.Settings{First: 10 * time.Millisecond}, Now: g.now,
		Peer:   func(k core.PublicKey) *core.Peer { return self.Peer(k) },
		Failed: func(ctx context.Context, d *core.Delivery, detail string) { self.DeliveryFailed(ctx, d, detail) }}
	for _, f := range g.delivery {
		f(&o)
	}
	g.Dispatcher = delivery.New(o)
	g.Dispatcher.Set(g.Notifier)
	var recorder gateway.Recorder
	if g.record != nil {
		recorder = g.record(g.Store)
	}
	var err error
	self, err = gateway.New(ctx, gateway.Options{
		Record: recorder,
		Signer: g.Private, Store: g.Store, Transport: g.Transport, Settings: settings, Version: "test", Logger: g.log, Now: g.now,
		Plugins: g.plugins, Notifiers: g.Dispatcher.Names, Alone: g.Dispatcher.Alone, Queued: g.Dispatcher.Queued, Brake: stop, Kept: g.kept,
	})
	must(err)
	g.Gateway = self

	var wg sync.WaitGroup
	if !g.quiet {
		wg.Go(func() { _ = self.Run(ctx) })
	}
	wg.Go(func() { _ = g.Dispatcher.Run(ctx) })
	g.serve(ln)
	g.stop = sync.OnceFunc(func() {
		g.server()
		cancel()
		self.Close()
		wg.Wait()
		g.dial.CloseIdle()
		if g.memory == nil {
			if err := g.Store.Close(); err != nil {
				g.t.Errorf("coretest: close store: %v", err)
			}
		}
	})
}

func (g *Gateway) listen() net.Listener {
	g.t.Helper()
	ln, err := net.Listen("tcp", g.addr)
	for range 100 { // the port may be held for a moment by a connection that ends
		if err == nil {
			return ln
		}
		time.Sleep(10 * time.Millisecond)
		ln, err = net.Listen("tcp", g.addr)
	}
	g.t.Fatal(err)
	return nil
}

func (g *Gateway) serve(ln net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	app := federation.NewServer(federation.Options{Gateway: g.Gateway, Logger: g.log, Now: g.now})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = app.Serve(ctx, ln)
	}()
	g.server = sync.OnceFunc(func() { cancel(); <-done })
}

// Offline stops the server, so that nobody reaches the gateway, which goes on by
// itself.
func (g *Gateway) Offline() { g.server() }

// Online undoes Offline, at the same address.
func (g *Gateway) Online() { g.t.Helper(); g.serve(g.listen()) }

// Stop ends the gateway.
func (g *Gateway) Stop() { g.stop() }

// Restart ends the gateway and starts it again from what its store kept, at the
// same address. A memory store stays, as if it were a disk.
func (g *Gateway) Restart() {
	g.t.Helper()
	g.Stop()
	g.start()
}

// Move is Restart at another address.
func (g *Gateway) Move() {
	g.t.Helper()
	g.Stop()
	g.addr = address(g.t)
	g.start()
}

// Post sends a body to one of the gateway's paths, as anybody could.
func (g *Gateway) Post(path string, body []byte) core.Answer {
	g.t.Helper()
	return post(g.t, g.URL+path, string(body))
}

// Get reads one of the gateway's paths.
func (g *Gateway) Get(path string) core.Answer {
	g.t.Helper()
	return roundTrip(g.t, http.MethodGet, g.URL+path, "")
}

var plain = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func post(t testing.TB, url, body string) core.Answer {
	t.Helper()
	return roundTrip(t, http.MethodPost, url, body)
}

func roundTrip(t testing.TB, method, url, body string) core.Answer {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := plain.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return core.Answer{Status: resp.StatusCode, Body: text, RetryAfter: time.Duration(after) * time.Second}
}

// Federate makes two gateways approved peers: a asks, b approves.
func Federate(t testing.TB, a, b *Gateway) {
	t.Helper()
	Ask(t, a, b)
	Approve(t, b, a)
	Await(t, "a grants back", func() bool {
		p := b.Peer(a.Key())
		return p != nil && p.Received != nil && a.TrustOf(b) == core.Approved
	})
}

// Ask lets a ask b, and checks that both have it on record.
func Ask(t testing.TB, a, b *Gateway) {
	t.Helper()
	time.Sleep(2 * time.Millisecond) // two requests of one millisecond are the same envelope
	asked, err := a.RequestFederation(t.Context(), gateway.Ask{URL: b.URL, Expect: b.Key(), Again: true})
	if err != nil {
		t.Fatalf("RequestFederation: %v", err)
	}
	if asked.Peer.Key != b.Key() {
		t.Fatalf("RequestFederation: asked %v, want %v", asked.Peer.Key, b.Key())
	}
}

// Approve lets b approve a, and checks that a heard of it.
func Approve(t testing.TB, b, a *Gateway) {
	t.Helper()
	out, err := b.ApprovePeer(t.Context(), a.Key(), gateway.Approval{})
	if err == nil {
		err = out.Err
	}
	if err != nil {
		t.Fatalf("ApprovePeer: %v", err)
	}
}

// TrustOf is where another gateway stands with this one.
func (g *Gateway) TrustOf(other *Gateway) core.Trust { return g.TrustOfKey(other.Key()) }

// TrustOfKey is where a key stands with this gateway.
func (g *Gateway) TrustOfKey(k core.PublicKey) core.Trust {
	if p := g.Peer(k); p != nil {
		return p.Trust
	}
	return core.Stranger
}

// Await waits until f holds, and fails the test when it does not within a minute.
func Await(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Store is a store that can be made to fail.
type Store struct {
	core.Store

	mu    sync.Mutex // guards fail, see
	fail  error
	see   func(*core.Change) error
	due   func()
	count int
}

// OnDue has f called whenever due deliveries are read.
func (s *Store) OnDue(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due = f
}

// DueDeliveries reads what a notifier is to be told now.
func (s *Store) DueDeliveries(ctx context.Context, notifier string, now time.Time, limit int) ([]*core.Delivery, error) {
	s.mu.Lock()
	due := s.due
	s.mu.Unlock()
	if due != nil {
		due()
	}
	return s.Store.DueDeliveries(ctx, notifier, now, limit)
}

// FailCommits makes every commit return err and keep nothing; nil ends it.
func (s *Store) FailCommits(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// OnCommit has f see every change before it is kept; an error of f refuses it.
func (s *Store) OnCommit(f func(*core.Change) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.see = f
}

// Commits is how many changes were kept.
func (s *Store) Commits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Commit keeps a change, unless it was told to fail.
func (s *Store) Commit(ctx context.Context, c *core.Change) error {
	s.mu.Lock()
	fail, see := s.fail, s.see
	s.mu.Unlock()
	if see != nil {
		fail = errors.Join(fail, see(c))
	}
	if fail != nil {
		return fail
	}
	err := s.Store.Commit(ctx, c)
	if err == nil {
		s.mu.Lock()
		s.count++
		s.mu.Unlock()
	}
	return err
}
