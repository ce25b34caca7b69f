package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

// world is two honest gateways, a and b, and mallory, who is a friend of both, holds
// every byte that was ever sent, and owns the wire while it is down. b may be an old one,
// whose own mistakes mallory may use as well: then nothing is promised of b.
type world struct {
	t    *testing.T
	a, b *side
	old  *coretest.LegacyGateway // in b's place

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
	other   other
	wants   bool // has asked or approved, and not removed or rejected since
	mallory *peer
}

// other is whom a side federates with.
type other struct {
	key core.PublicKey
	url string
}

// link is a side's transport.
type link struct{ s *side }

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
	if broken && liar == "" {
		return core.Card{}, errSilent
	}
	if w.isOld(url) {
		return w.oldCard(), nil
	}
	to := w.at(url)
	if to == nil {
		return core.Card{PublicKey: l.s.mallory.key.String(), GatewayURL: url, Version: "0.7.2"}, nil
	}
	return to.Card("", "", ""), nil // public: mallory shows it as well as anybody
}

func (l link) Ping(context.Context, string) (core.Pong, error) { return core.Pong{}, errSilent }

func (l link) Post(ctx context.Context, url, path string, body []byte) (core.Answer, error) {
	w := l.s.w
	w.mu.Lock()
	w.held = append(w.held, held{path, body})
	broken, liar := w.broken, w.liar
	w.mu.Unlock()
	to := w.at(url)
	if to == nil && !w.isOld(url) {
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
	if w.isOld(url) {
		return w.toOld(http.MethodPost, path, body), nil
	}
	return to.receive(ctx, path, body), nil
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

func (w *world) newSide(url string) *side {
	s := &side{w: w, url: url, mallory: newPeer(nil)}
	s.rig = newRig(w.t, func(o *gateway.Options) {
		o.Settings.URL, o.Settings.Health.Interval = url, -1
		o.Transport = link{s}
	})
	add(w.t, s.Gateway, s.mallory, core.Approved, nil)
	return s
}

func newWorld(t *testing.T, era coretest.Era) *world {
	w := &world{t: t}
	w.a = w.newSide("http://a.example:18790")
	if era != "" {
		w.addOld(era, "http://b.example:18790")
		w.a.other = other{w.old.Key.Public(), w.old.URL}
		return w
	}
	w.b = w.newSide("http://b.example:18790")
	w.a.other, w.b.other = other{w.b.Key(), w.b.url}, other{w.a.Key(), w.a.url}
	return w
}

func (s *side) standing() peering.State { return peering.StateOf(s.Peer(s.other.key)) }

// operator does one thing that the side's operator may do; what is refused is no harm.
func (s *side) operator(what string) {
	ctx := context.Background()
	switch what {
	case "request":
		s.wants = true
		if _, err := s.RequestFederation(ctx, gateway.Ask{URL: s.other.url, Again: true}); err != nil && s.Peer(s.other.key) == nil {
			s.wants = false // nothing was stored
		}
	case "approve":
		was := s.wants
		s.wants = true
		if _, err := s.ApprovePeer(ctx, s.other.key, gateway.Approval{}); err != nil {
			s.wants = was
		}
	case "remove":
		if _, _, err := s.RemovePeer(ctx, s.other.key); err == nil {
			s.wants = false
		}
	case "reject":
		if _, err := s.RejectPeer(ctx, s.other.key, false); err == nil {
			s.wants = false
		}
	case "send":
		_, _ = s.Send(ctx, s.other.key, message(1))
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
			rapid.SampledFrom([]string{"request", "approve", "approve", "remove", "reject", "send", "send", "replay", "replay", "heartbeat", "claim", "unsigned", "carry", "break", "repair", "settle"}).Draw(rt, "what"),
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

// mischief is one thing that mallory does, to a or to b.
func (w *world) mischief(x step) {
	w.mu.Lock()
	list := w.held
	w.mu.Unlock()
	to := func(path string, body []byte) {
		switch {
		case x.AtB && w.old != nil:
			w.toOld(http.MethodPost, path, body)
		case x.AtB:
			w.b.receive(context.Background(), path, body)
		default:
			w.a.receive(context.Background(), path, body)
		}
	}
	switch x.What {
	case "replay": // anything, to anybody
		if len(list) > 0 {
			h := list[max(0, len(list)-1-x.Which)]
			to(h.path, h.body)
		}
	case "claim": // a stranger claims the peer's URL
		p, url, at := newPeer(nil), w.a.other.url, w.a.Key()
		if x.AtB {
			url, at = w.a.url, w.a.other.key
		}
		p.url = url
		to(core.PathRequest, p.request(at, nil))
	default:
		if w.old != nil && !x.AtB {
			w.oldMischief(x.What, to)
		}
	}
}

// TestT12Invariant: a record never loses its grants for good unless one of the two
// operators ended the federation, and never gains trust without its own operator;
// from every state the operators' commands lead back to approved; and the agent hears at
// most one event for each real change beside the digest. mallory may replay, reorder,
// withhold and lie.
//
// docs/threat-model.md#t12
func TestT12Invariant(t *testing.T) {
	for _, era := range append([]coretest.Era{""}, coretest.Eras...) {
		name := "ours"
		if era != "" {
			name = string(era)
		}
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				steps, wrong := plan(rt), ""
				t.Run("world", func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { wrong = live(newWorld(t, era), steps) })
				})
				if wrong != "" {
					rt.Fatal(wrong)
				}
			})
		})
	}
}

// TestT12CarriedAfterCrossing: a gateway of 0.2.20 that we asked, and that asked us, knows us
// by the host:port it was told to dial. A request of its that a third gateway carries over
// afterwards takes nothing.
func TestT12CarriedAfterCrossing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := []step{{What: "request"}, {AtB: true, What: "request"}, {What: "approve", Second: 1}, {What: "carry", Second: 4}}
		if wrong := live(newWorld(t, coretest.H), steps); wrong != "" {
			t.Error(wrong)
		}
	})
}

// quiet lets honest wires do what they do while nobody does anything.
func (w *world) quiet(d time.Duration) {
	w.mu.Lock()
	w.broken, w.liar = false, ""
	w.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
}

// there reports whether b has a approved.
func (w *world) there() bool {
	if w.old != nil {
		return w.old.Peer(w.a.Key()).Status == "approved" && !w.misfiled()
	}
	return w.b.standing() == peering.Approved
}

func (w *world) approved() bool { return w.a.standing() == peering.Approved && w.there() }

// misfiled reports whether an old b keeps a's key under the id of somebody else, so that it
// refuses whatever a calls itself: gateways of 0.2.20 look a sender up by its id alone, and
// write an approval's key into the record that the approval's URL finds, a stranger's
// claim included. Such a b has no federation with a that anybody could keep.
func (w *world) misfiled() bool {
	key := w.a.Key().String()
	return w.old.Era == coretest.H && !slices.ContainsFunc(w.old.Peers(), func(p coretest.LegacyPeer) bool {
		return p.PublicKey == key && p.Status == "approved" &&
			slices.Contains([]string{key[:32], key[:16], strings.TrimPrefix(w.a.url, "http://")}, p.ID)
	})
}

func (w *world) where() string {
	b := ""
	if w.old != nil {
		b = w.old.Peer(w.a.Key()).Status
		if b == "approved" && w.misfiled() {
			b += " under another id"
		}
	} else {
		b = w.b.standing().Word()
	}
	return fmt.Sprintf("a has b %s, and b has a %s", w.a.standing().Word(), b)
}

// sides are the sides of which something is promised.
func (w *world) sides() map[string]*side {
	if w.old != nil {
		return map[string]*side{"a": w.a}
	}
	return map[string]*side{"a": w.a, "b": w.b}
}

// gained names a side that has the other approved without its operator's word.
func (w *world) gained() string {
	for name, s := range w.sides() {
		if s.standing() == peering.Approved && !s.wants {
			return name + " has the other approved without its operator's word"
		}
	}
	return ""
}

// noisy names a side whose agent has heard more than what happened: of each of the
// changes of trust at most one event, and of removals in doubt one a day.
func (w *world) noisy(changes int, since time.Time) string {
	for name, s := range w.sides() {
		told, doubts := 0, 0
		for _, e := range events(w.t, s.store, core.EventApproved, core.EventRejected, core.EventRemoved) {
			switch {
			case e.Peer != s.other.key:
			case strings.Contains(string(e.Data), `"unconfirmed":true`):
				doubts++
			default:
				told++
			}
		}
		if most := 1 + int(time.Since(since)/(24*time.Hour)); told > changes || doubts > changes+most {
			return fmt.Sprintf("the agent of %s has heard of %d changes and %d doubts, and there were %d changes in %v", name, told, doubts, changes, time.Since(since))
		}
	}
	return ""
}

// does lets an operator do something, and reports whether it may be a change of trust.
func (w *world) does(atB bool, what string) bool {
	switch {
	case !atB:
		w.a.operator(what)
	case w.old != nil:
		w.oldOperator(what)
	default:
		w.b.operator(what)
	}
	return what != "send"
}

// live runs a world through its steps and says what was wrong, or nothing.
func live(w *world, steps []step) string {
	for _, s := range w.sides() {
		stop := s.run()
		defer stop()
	}
	start, changes, was := time.Now(), 0, false
	ours := false // both were approved while the wire was whole, and no operator has ended it since
	for i, x := range steps {
		switch x.What {
		case "replay", "heartbeat", "claim", "unsigned", "carry":
			w.mischief(x)
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
			if w.does(x.AtB, x.What) {
				changes++
			}
		}
		time.Sleep(time.Duration(x.Second) * time.Second)
		synctest.Wait()
		if wrong := w.gained(); wrong != "" {
			return fmt.Sprintf("after step %d: %s", i, wrong)
		}
		if w.there() != was { // an old one changes its mind at mallory's word, too
			was = !was
			changes++
		}
		w.mu.Lock()
		ours = ours || w.approved() && !w.broken && w.a.wants && (w.old != nil || w.b.wants)
		w.mu.Unlock()
		ours = ours && (w.old == nil || w.there())
	}
	w.quiet(26 * time.Hour)
	if wrong := w.gained(); wrong != "" {
		return "in the end: " + wrong
	}
	if ours && w.there() && !w.approved() || ours && w.old == nil && !w.approved() {
		return "nobody has ended it, and in the end " + w.where()
	}
	if w.there() != was {
		changes++
	}
	if wrong := w.noisy(changes, start); wrong != "" {
		return wrong
	}
	return w.back()
}

// back lets both operators do what leads back to approved, and says what is wrong with
// where that leads.
func (w *world) back() string {
	waits := func(s *side) bool {
		p := s.Peer(s.other.key)
		return s.standing().Waits() || p != nil && p.AskedToo
	}
	if w.old != nil && w.old.Era == coretest.S {
		// It never takes back whom it has removed, and no command of it helps: its operator
		// deletes the file, or updates.
		w.old.SetPeer(coretest.LegacyPeer{PublicKey: w.a.Key().String()})
	}
	for range 3 {
		for _, atB := range []bool{false, true} {
			if w.approved() {
				break
			}
			w.does(atB, "request")
			w.quiet(5 * time.Minute)
			if to := w.sides()[map[bool]string{true: "a", false: "b"}[atB]]; to == nil || waits(to) {
				w.does(!atB, "approve")
			}
			w.quiet(10 * time.Minute)
		}
	}
	if !w.approved() {
		return "no command leads out: " + w.where()
	}
	return w.gained()
}
