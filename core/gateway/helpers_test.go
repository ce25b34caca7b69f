package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

func TestMain(m *testing.M) { coretest.Main(m) }

// wire is a gateway.Transport without a network: tests say what the others answer.
type wire struct {
	mu     sync.Mutex // guards all
	card   func(ctx context.Context, url string, headers map[string]string) (core.Card, error)
	post   func(ctx context.Context, url, path string, body []byte) (core.Answer, error)
	poll   func(nonce core.Nonce) (core.Answer, error)
	posted []posted
}

type posted struct {
	At        time.Time
	URL, Path string
	Body      []byte
}

var errSilent = core.Refuse(core.Unreachable, "connection refused")

func (w *wire) Card(ctx context.Context, url string, headers map[string]string) (core.Card, error) {
	w.mu.Lock()
	f := w.card
	w.mu.Unlock()
	if f == nil {
		return core.Card{}, errSilent
	}
	return f(ctx, url, headers)
}

func (w *wire) Ping(context.Context, string) (core.Pong, error) { return core.Pong{}, errSilent }

func (w *wire) Post(ctx context.Context, url, path string, body []byte) (core.Answer, error) {
	w.mu.Lock()
	w.posted = append(w.posted, posted{time.Now(), url, path, body})
	f := w.post
	w.mu.Unlock()
	if f == nil {
		return core.Answer{Status: 200, Body: []byte(`{"received":true,"success":true}`)}, nil
	}
	return f(ctx, url, path, body)
}

func (w *wire) PostURL(ctx context.Context, url string, body []byte) (core.Answer, error) {
	return w.Post(ctx, url, "", body)
}

func (w *wire) PollReply(_ context.Context, _ string, n core.Nonce) (core.Answer, error) {
	w.mu.Lock()
	f := w.poll
	w.mu.Unlock()
	if f == nil {
		return core.Answer{Status: 404, Body: []byte(`{}`)}, nil
	}
	return f(n)
}

func (w *wire) answer(f func(ctx context.Context, url, path string, body []byte) (core.Answer, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.post = f
}

func (w *wire) sent(path string) []posted {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.posted), func(p posted) bool { return p.Path != path })
}

// rig is a gateway without a server.
type rig struct {
	*gateway.Gateway
	key   keys.Private
	wire  *wire
	store *coretest.Store
	o     gateway.Options
	t     testing.TB
}

// newRig makes a gateway whose background work is not running. f may change its
// options.
func newRig(t testing.TB, f func(*gateway.Options)) *rig {
	t.Helper()
	r := &rig{key: keys.Generate(), wire: &wire{}, store: &coretest.Store{Store: memory.New()}, t: t}
	r.o = gateway.Options{Signer: r.key, Store: r.store, Transport: r.wire, Version: "test",
		Notifiers: func() []string { return []string{"n"} }, Settings: ours.Defaults()}
	r.o.Settings.URL = "http://us.example:18790"
	if f != nil {
		f(&r.o)
	}
	r.start()
	t.Cleanup(func() { r.Close() })
	return r
}

func (r *rig) start() {
	r.t.Helper()
	g, err := gateway.New(context.Background(), r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Gateway = g
}

// restart makes the gateway anew from its store.
func (r *rig) restart() { r.t.Helper(); r.Close(); r.start() }

// run runs the background work until the returned function is called.
func (r *rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Run(ctx) }()
	return func() { cancel(); <-done }
}

// peer is another gateway, as far as its envelopes go.
type peer struct {
	envelope.Sealer
	key core.PublicKey
	url string
}

func newPeer(now func() time.Time) *peer {
	k := keys.Generate()
	return &peer{envelope.Sealer{Key: k, Now: now}, k.Public(), "http://" + k.Public().String()[24:40] + ".example"}
}

// A peer's own key never fails to sign.
func (p *peer) SealRequest(to core.PublicKey, r core.Request) []byte {
	return must(p.Sealer.SealRequest(to, r))
}
func (p *peer) SealApproval(to core.PublicKey, a core.Approval) []byte {
	return must(p.Sealer.SealApproval(to, a))
}
func (p *peer) SealIdentity(to core.PublicKey, id core.Identity) []byte {
	return must(p.Sealer.SealIdentity(to, id))
}
func (p *peer) SealRemoval(to core.PublicKey) []byte { return must(p.Sealer.SealRemoval(to)) }
func (p *peer) SealStatus(to core.PublicKey, asked core.Nonce, approved bool) core.Raw {
	return core.Raw(must(p.Sealer.SealStatus(to, asked, approved)))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (p *peer) record(trust core.Trust) *core.Peer {
	rate := core.RateLimit{Requests: 100000, WindowSeconds: 3600}
	b := &core.Bundle{Version: core.BundleVersion, GrantedAt: core.FormatTime(time.Now())}
	for _, i := range []string{core.IntentMessage, core.IntentAgentComms, "custom", "other"} {
		b.Scopes = append(b.Scopes, core.Grant{Intent: i, Enabled: true, RateLimit: &rate})
	}
	at := time.Now().Add(-time.Hour).UTC()
	out := &core.Peer{Key: p.key, URL: p.url, Trust: trust, Since: at, RequestedAt: at, Names: core.Names{DisplayName: "Peer"}}
	if trust == core.Approved {
		out.ApprovedAt, out.Granted = at, b
	}
	return out
}

// befriend adds an approved peer. f may change its record.
func befriend(t testing.TB, g *gateway.Gateway, f func(*core.Peer)) *peer {
	t.Helper()
	p := newPeer(nil)
	add(t, g, p, core.Approved, f)
	return p
}

func add(t testing.TB, g *gateway.Gateway, p *peer, trust core.Trust, f func(*core.Peer)) {
	t.Helper()
	record := p.record(trust)
	if f != nil {
		f(record)
	}
	if n, err := g.ImportPeers(t.Context(), []*core.Peer{record}); n != 1 || err != nil {
		t.Fatalf("ImportPeers = %d, %v", n, err)
	}
}

// message is a message's body with both signatures.
func (p *peer) message(t testing.TB, to core.PublicKey, f func(*core.Message)) []byte {
	t.Helper()
	m := core.Message{Intent: core.IntentMessage, From: p.key.ID(), To: to.ID(), Nonce: envelope.NewNonce(), Payload: core.Raw(`{"text":"hello"}`)}
	if f != nil {
		f(&m)
	}
	body, err := p.SealMessage(to, m)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// without takes members out of a body: v2, so that it is an old gateway's.
func without(t testing.TB, body []byte, names ...string) []byte {
	t.Helper()
	var o map[string]jsontext.Value
	if err := json.Unmarshal(body, &o); err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		delete(o, n)
	}
	out, err := json.Marshal(o, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (p *peer) request(to core.PublicKey, f func(*core.Request)) []byte {
	r := core.Request{Peer: core.PeerCard{ID: p.key.ID(), DisplayName: "Peer", GatewayURL: p.url, PublicKey: p.key.String()}}
	if f != nil {
		f(&r)
	}
	return p.SealRequest(to, r)
}

func (p *peer) approval(to core.PublicKey, f func(*core.Approval)) []byte {
	a := core.Approval{FromPublicKey: p.key.String(), FromGatewayURL: p.url}
	if f != nil {
		f(&a)
	}
	return p.SealApproval(to, a)
}

// ask lets us ask the peer, whose card says so.
func (r *rig) ask(p *peer) {
	r.t.Helper()
	r.wire.mu.Lock()
	r.wire.card = func(context.Context, string, map[string]string) (core.Card, error) {
		return core.Card{PublicKey: p.key.String(), GatewayURL: p.url}, nil
	}
	r.wire.mu.Unlock()
	if _, err := r.RequestFederation(r.t.Context(), gateway.Ask{URL: p.url}); err != nil {
		r.t.Fatal(err)
	}
}

// want checks the kind of an error; "" is none.
func want(t testing.TB, what string, err error, kind core.Kind) {
	t.Helper()
	switch {
	case kind == "" && err != nil:
		t.Fatalf("%s = %v, want nil", what, err)
	case kind != "" && !errors.Is(err, kind):
		t.Fatalf("%s = %v, want %s", what, err, kind)
	}
}

func trustOf(g *gateway.Gateway, k core.PublicKey) core.Trust {
	if p := g.Peer(k); p != nil {
		return p.Trust
	}
	return core.Stranger
}

func wantTrust(t testing.TB, g *gateway.Gateway, k core.PublicKey, trust core.Trust) {
	t.Helper()
	if got := trustOf(g, k); got != trust {
		t.Fatalf("the peer is %q, want %q", got, trust)
	}
}

func inbox(t testing.TB, s core.Store) []*core.InboxMessage {
	t.Helper()
	list, err := s.Inbox(t.Context(), core.InboxFilter{Limit: 10000})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func events(t testing.TB, s core.Store, types ...core.EventType) []*core.Event {
	t.Helper()
	list, err := s.Events(t.Context(), "", 10000)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list, func(e *core.Event) bool { return !slices.Contains(types, e.Type) })
}

// state is everything of a gateway that a test can see, to compare.
func state(t testing.TB, r *rig) string {
	t.Helper()
	depths, err := r.store.Depths(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.store.Outbox(t.Context(), core.OutboxFilter{})
	if err != nil {
		t.Fatal(err)
	}
	peers, err := r.store.Peers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"depths": depths, "outbox": out, "peers": peers, "memory": r.Peers(), "inbox": inbox(t, r.store),
		"events": events(t, r.store, core.EventRequest, core.EventApproved, core.EventRejected, core.EventRemoved, core.EventReply, core.EventWarning)},
		json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var nowhere = netip.Addr{}

func addr(i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("203.%d.%d.1", i/256, i%256))
}

func policies(p ...core.Policy) func() (gateway.Plugins, error) {
	return func() (gateway.Plugins, error) {
		return gateway.Plugins{Policies: map[core.Hook][]core.Policy{core.HookRequest: p, core.HookMessage: p}}, nil
	}
}

// says is a policy that always says the same.
func says(name string, v core.Verdict) core.Policy {
	return coretest.Policy{ID: name, Say: func(context.Context, core.Question) (core.Verdict, error) { return v, nil }}
}

// plainRequest is a request as gateways before 0.7 send it.
func plainRequest(t testing.TB, p *peer, body []byte) []byte {
	t.Helper()
	var in struct {
		Peer jsontext.Value `json:"peer"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(map[string]any{"peer": in.Peer, "signature": must(p.Sealer.Key.Sign(in.Peer))})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
