package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

// world is two honest gateways, a and b, and mallory, who is a friend of both, holds
// every byte that was ever sent, and owns the wire while it is down.
type world struct {
	t    *testing.T
	a, b *side
	old  bool // b is a gateway before v2: nobody sees a v2 signature of its, nor shows it one

	mu     sync.Mutex // guards all below
	held   []held
	broken bool   // between a and b
	liar   string // what answers for b's and a's URLs while the wire is broken: "", "no", "yes"
}

// held is an envelope that mallory has.
type held struct {
	path string
	body []byte
}

// side is one honest gateway with what its operator wants.
type side struct {
	*rig
	w       *world
	url     string
	other   *side
	wants   bool // has asked or approved, and not removed or rejected since
	mallory *peer
}

// link is a side's transport.
type link struct{ s *side }

func strip(body []byte) []byte {
	var o map[string]jsontext.Value
	if json.Unmarshal(body, &o) != nil || o["v2"] == nil {
		return body
	}
	delete(o, "v2")
	out, err := json.Marshal(o, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return out
}

func (w *world) at(url string) *side {
	for _, s := range []*side{w.a, w.b} {
		if s != nil && s.url == url {
			return s
		}
	}
	return nil
}

func (l link) Card(_ context.Context, url string, _ map[string]string) (core.Card, error) {
	w := l.s.w
	w.mu.Lock()
	broken, liar := w.broken, w.liar
	w.mu.Unlock()
	to := w.at(url)
	if to == nil {
		return core.Card{PublicKey: l.s.mallory.key.String(), GatewayURL: url, Version: "0.7.2"}, nil
	}
	if broken && liar == "" {
		return core.Card{}, errSilent
	}
	card := to.Card("", "", "") // public: mallory shows it as well as anybody
	if w.old && to == w.b {
		card.Version, card.Capabilities.Features = "0.7.2", nil
	}
	return card, nil
}

func (l link) Ping(context.Context, string) (core.Pong, error) { return core.Pong{}, errSilent }

func (l link) Post(ctx context.Context, url, path string, body []byte) (core.Answer, error) {
	w := l.s.w
	if w.old {
		body = strip(body)
	}
	w.mu.Lock()
	w.held = append(w.held, held{path, body})
	broken, liar := w.broken, w.liar
	w.mu.Unlock()
	to := w.at(url)
	if to == nil {
		return core.Answer{Status: 200, Body: []byte(`{"received":true,"success":true,"updated":true}`)}, nil
	}
	if broken {
		if liar == "" || path != core.PathMessage {
			return core.Answer{}, errSilent
		}
		if liar == "no" {
			return core.Answer{Status: 403, Body: []byte(`{"success":false,"error":"Peer not approved","statusCode":403}`)}, nil
		}
		return core.Answer{Status: 403, Body: []byte(`{"success":false,"error":"Intent 'federation.status' not in granted scope","statusCode":403}`)}, nil
	}
	a := to.receive(ctx, path, body)
	if w.old {
		a.Body = strip(a.Body)
	}
	return a, nil
}

func (l link) PostURL(ctx context.Context, _ string, _ []byte) (core.Answer, error) {
	return core.Answer{}, errSilent
}

func (l link) PollReply(context.Context, string, core.Nonce) (core.Answer, error) {
	return core.Answer{}, errSilent
}

// receive is the side's server.
func (s *side) receive(ctx context.Context, path string, body []byte) core.Answer {
	var a core.Answer
	var err error
	switch path {
	case core.PathRequest:
		a, err = s.ReceiveRequest(ctx, body, netip.Addr{})
	case core.PathApprove:
		a, err = s.ReceiveApproval(ctx, body)
	case core.PathRemoved:
		a, err = s.ReceiveRemoval(ctx, body)
	case core.PathMessage:
		a, err = s.ReceiveMessage(ctx, body)
	case core.PathIdentity:
		a, err = s.ReceiveIdentity(ctx, body)
	}
	if err == nil {
		return a
	}
	var e *core.Error
	if !errors.As(err, &e) {
		return core.Answer{Status: 500, Body: []byte(`{"error":"Internal server error"}`)}
	}
	status := map[core.Kind]int{core.Malformed: 400, core.Stale: 400, core.BadSignature: 401, core.UnknownPeer: 403, core.NotApproved: 403,
		core.Forbidden: 403, core.NotFound: 404, core.Conflict: 409, core.RateLimited: 429, core.Unavailable: 503}[e.Kind]
	return core.Answer{Status: status, RetryAfter: e.RetryAfter, Body: answer.Refusal(status, e).Body}
}

func newWorld(t *testing.T, old bool) *world {
	w := &world{t: t, old: old}
	make := func(url string) *side {
		s := &side{w: w, url: url, mallory: newPeer(nil)}
		s.rig = newRig(t, func(o *gateway.Options) {
			o.Settings.URL, o.Settings.CheckInterval = url, -1
			o.Transport = link{s}
		})
		return s
	}
	w.a, w.b = make("http://a.example"), make("http://b.example")
	w.a.other, w.b.other = w.b, w.a
	for _, s := range []*side{w.a, w.b} {
		add(t, s.Gateway, s.mallory, core.Approved, nil)
	}
	return w
}

func (s *side) standing() peering.State { return peering.StateOf(s.Peer(s.other.Key())) }

// operator does one thing that the side's operator may do; what is refused is no harm.
func (s *side) operator(what string) {
	ctx := context.Background()
	switch what {
	case "request":
		s.wants = true
		if _, err := s.RequestFederation(ctx, gateway.Ask{URL: s.other.url, Again: true}); err != nil && s.Peer(s.other.Key()) == nil {
			s.wants = false // nothing was stored
		}
	case "approve":
		was := s.wants
		s.wants = true
		if _, err := s.ApprovePeer(ctx, s.other.Key(), gateway.Approval{}); err != nil {
			s.wants = was
		}
	case "remove":
		if _, _, err := s.RemovePeer(ctx, s.other.Key()); err == nil {
			s.wants = false
		}
	case "reject":
		if _, err := s.RejectPeer(ctx, s.other.Key()); err == nil {
			s.wants = false
		}
	case "send":
		_, _ = s.Send(ctx, s.other.Key(), message(1))
	case "restart":
	}
}

// step is one thing that happens, drawn before anything does.
type step struct {
	AtB    bool
	What   string
	Which  int    // of what mallory holds, from the newest
	Liar   string // while the wire is broken
	Second int    // that go by then
}

func plan(rt *rapid.T) []step {
	one := rapid.Custom(func(rt *rapid.T) step {
		return step{rapid.Bool().Draw(rt, "b's"),
			rapid.SampledFrom([]string{"request", "approve", "approve", "remove", "reject", "send", "send", "replay", "replay", "heartbeat", "claim", "break", "repair", "settle"}).Draw(rt, "what"),
			rapid.IntRange(0, 20).Draw(rt, "which"), rapid.SampledFrom([]string{"", "no", "yes"}).Draw(rt, "liar"),
			rapid.SampledFrom([]int{0, 1, 4, 40, 200, 4000}).Draw(rt, "seconds")}
	})
	steps := rapid.SliceOfN(one, 3, 14).Draw(rt, "steps")
	if rapid.IntRange(0, 2).Draw(rt, "stranger") > 0 { // mostly they have federated before
		asks := rapid.Bool().Draw(rt, "b asks")
		steps = append([]step{{AtB: asks, What: "request", Second: 40}, {AtB: !asks, What: "approve", Second: 200}}, steps...)
	}
	return steps
}

// mischief is one thing that mallory does.
func (w *world) mischief(s *side, x step) {
	w.mu.Lock()
	list := w.held
	w.mu.Unlock()
	switch x.What {
	case "replay": // anything, to anybody
		if len(list) > 0 {
			h := list[max(0, len(list)-1-x.Which)]
			s.receive(context.Background(), h.path, h.body)
		}
	case "heartbeat": // what an older gateway sends every friend every five minutes is its removal
		if w.old && s == w.a {
			s.receive(context.Background(), core.PathRemoved, strip((&envelope.Sealer{Key: w.b.key}).SealRemoval(core.PublicKey{})))
		}
	case "claim": // a stranger claims the peer's URL
		p := newPeer(nil)
		p.url = s.other.url
		s.receive(context.Background(), core.PathRequest, p.request(s.Key(), nil))
	}
}

// TestT12Invariant: a record never loses its grants for good unless one of the two
// operators ended the federation, and never gains trust without its own operator;
// and from every state the operators' commands lead back to approved. mallory may
// replay, reorder, withhold and lie.
//
// docs/threat-model.md#t12
func TestT12Invariant(t *testing.T) {
	for _, old := range []bool{false, true} {
		t.Run(fmt.Sprintf("b before v2 %v", old), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				steps, wrong := plan(rt), ""
				t.Run("world", func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { wrong = live(newWorld(t, old), steps) })
				})
				if wrong != "" {
					rt.Fatal(wrong)
				}
			})
		})
	}
}

// quiet lets honest wires do what they do while nobody does anything.
func (w *world) quiet(d time.Duration) {
	w.mu.Lock()
	w.broken, w.liar = false, ""
	w.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) approved() bool {
	return w.a.standing() == peering.Approved && w.b.standing() == peering.Approved
}

func (w *world) where() string {
	return fmt.Sprintf("a has b %s, and b has a %s", w.a.standing().Word(), w.b.standing().Word())
}

// gained names a side that has the other approved without its operator's word.
func (w *world) gained() string {
	for name, s := range map[string]*side{"a": w.a, "b": w.b} {
		if s.standing() == peering.Approved && !s.wants {
			return name + " has the other approved without its operator's word"
		}
	}
	return ""
}

// live runs a world through its steps and says what was wrong, or nothing.
func live(w *world, steps []step) string {
	for _, s := range []*side{w.a, w.b} {
		stop := s.run()
		defer stop()
	}
	ours := false // both were approved while the wire was whole, and no operator has ended it since
	for i, x := range steps {
		s := w.a
		if x.AtB {
			s = w.b
		}
		switch x.What {
		case "replay", "heartbeat", "claim":
			w.mischief(s, x)
		case "break", "repair":
			w.mu.Lock()
			w.broken, w.liar = x.What == "break", x.Liar
			w.mu.Unlock()
		case "settle":
			w.quiet(26 * time.Hour)
		default:
			if x.What == "remove" || x.What == "reject" {
				ours = false
			}
			s.operator(x.What)
		}
		time.Sleep(time.Duration(x.Second) * time.Second)
		synctest.Wait()
		if wrong := w.gained(); wrong != "" {
			return fmt.Sprintf("after step %d: %s", i, wrong)
		}
		w.mu.Lock()
		ours = ours || w.approved() && !w.broken && w.a.wants && w.b.wants
		w.mu.Unlock()
	}
	w.quiet(26 * time.Hour)
	if wrong := w.gained(); wrong != "" {
		return "in the end: " + wrong
	}
	if ours && !w.approved() {
		return "nobody has ended it, and in the end " + w.where()
	}
	for range 3 { // the operators' commands
		for _, s := range []*side{w.a, w.b} {
			if w.approved() {
				break
			}
			s.operator("request")
			w.quiet(time.Minute)
			if p := s.other.Peer(s.Key()); s.other.standing().Waits() || p != nil && p.AskedToo {
				s.other.operator("approve")
			}
			w.quiet(5 * time.Minute)
		}
	}
	if !w.approved() {
		return "no command leads out: " + w.where()
	}
	return w.gained()
}
