package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

// oracle answers for a peer whom we ask what it has of us: yes, no, unknown, 401 or
// silence; signed, where the peer is one of ours.
type oracle struct {
	mu     sync.Mutex
	say    string
	signs  bool
	p      *peer
	r      *rig
	rounds []time.Time // of the confirmations that came
	card   core.Card
}

func (o *oracle) set(say string) { o.mu.Lock(); defer o.mu.Unlock(); o.say = say }

func (o *oracle) asked() int { o.mu.Lock(); defer o.mu.Unlock(); return len(o.rounds) }

// answersFor lets a peer's URL answer. All else that is posted gets a yes.
func answersFor(r *rig, p *peer, say, version string) *oracle {
	o := &oracle{say: say, p: p, r: r, card: core.Card{PublicKey: p.key.String(), Version: version, GatewayURL: p.url}}
	r.wire.mu.Lock()
	defer r.wire.mu.Unlock()
	r.wire.card = func(_ context.Context, url string, headers map[string]string) (core.Card, error) {
		if len(headers) > 0 {
			r.t.Errorf("a card was asked for with headers %v: they are a removal notice", headers)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.say == "silent" || url != p.url {
			return core.Card{}, errSilent
		}
		return o.card, nil
	}
	r.wire.post = func(_ context.Context, url, path string, body []byte) (core.Answer, error) {
		var in struct {
			Message core.Message `json:"message"`
		}
		if path != core.PathMessage || json.Unmarshal(body, &in) != nil || in.Message.Intent != core.IntentStatus {
			return core.Answer{Status: 200, Body: []byte(`{"received":true,"success":true,"updated":true}`)}, nil
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.rounds = append(o.rounds, time.Now())
		if url != p.url {
			r.t.Errorf("asked %s, want the URL that we have: %s", url, p.url)
		}
		if o.signs && o.say != "401" {
			v2 := string(p.SealStatus(r.Key(), in.Message.Nonce, o.say == "yes"))
			return core.Answer{Status: 403, Body: []byte(`{"success":false,"error":"x","v2":` + v2 + `}`)}, nil
		}
		switch o.say {
		case "yes":
			return core.Answer{Status: 403, Body: []byte(`{"success":false,"error":"Intent 'federation.status' not in granted scope","statusCode":403}`)}, nil
		case "no":
			return core.Answer{Status: 403, Body: []byte(`{"success":false,"error":"Peer not approved","statusCode":403}`)}, nil
		case "unknown":
			return core.Answer{Status: 403, Body: []byte(`{"success":false,"error":"Unknown peer","statusCode":403}`)}, nil
		}
		return core.Answer{Status: 401, Body: []byte(`{"success":false,"error":"Invalid signature","statusCode":401}`)}, nil
	}
	return o
}

func standing(r *rig, p *peer) peering.State { return peering.StateOf(r.Peer(p.key)) }

func wantState(t testing.TB, r *rig, p *peer, state peering.State) {
	t.Helper()
	if got := standing(r, p); got != state {
		t.Fatalf("the peer is %s, want %s", got.Word(), state.Word())
	}
}

func (p *peer) notice(t testing.TB, to core.PublicKey) []byte {
	return without(t, p.SealRemoval(to), "v2")
}

// bubble runs a test with a gateway whose background works, in a bubble of time.
func bubble(t *testing.T, f func(t *testing.T, r *rig, p *peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(o *gateway.Options) { o.Settings.Health.Interval = -1 })
		p := befriend(t, r.Gateway, func(p *core.Peer) { p.Alias, p.DefaultLevel = "bob", "full" })
		stop := r.run()
		defer stop()
		f(t, r, p)
	})
}

// A removal notice that names nobody acts at once and reversibly, in each of the
// three ways in which the peer can answer when it is asked.
func TestT10RemovalHint(t *testing.T) {
	for say, end := range map[string]peering.State{"yes": peering.Approved, "no": peering.Unconfirmed, "401": peering.Unconfirmed, "silent": peering.Unconfirmed} {
		t.Run(say, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig, p *peer) {
				o := answersFor(r, p, say, "0.7.2")
				a, err := r.ReceiveRemoval(t.Context(), p.notice(t, r.Key()))
				want(t, "the notice", err, "")
				if !strings.Contains(string(a.Body), `"status":"removed"`) {
					t.Errorf("answer %s, want the specification's", a.Body)
				}
				wantState(t, r, p, peering.Unconfirmed)
				if _, err := r.Send(t.Context(), p.key, message(1)); err == nil || !strings.Contains(hint(err), "ogp federation request") {
					t.Errorf("Send in doubt = %v (%s), want one that names request", err, hint(err))
				}
				if n := len(events(t, r.store, core.EventRemoved)); n != 0 {
					t.Errorf("%d events before the peer was asked", n)
				}
				time.Sleep(6 * time.Second)
				synctest.Wait()
				told := 1
				if say == "yes" {
					told = 0
				}
				if n := len(events(t, r.store, core.EventRemoved)); n != told {
					t.Errorf("%d events after the first round, want %d", n, told)
				}
				time.Sleep(3 * time.Minute)
				synctest.Wait()
				wantState(t, r, p, end)
				got := r.Peer(p.key)
				if got.Granted == nil || got.DefaultLevel != "full" || got.Alias != "bob" {
					t.Errorf("in the end %+v, want all that was there", got)
				}
				if say == "yes" && o.asked() != 3 {
					t.Errorf("asked %d times, want a series of 3", o.asked())
				}
				if n := len(events(t, r.store, core.EventRemoved)); n != told {
					t.Errorf("%d events after the series, want %d", n, told)
				}
				// What is in doubt comes back when the peer says yes.
				o.set("yes")
				time.Sleep(25 * time.Hour)
				synctest.Wait()
				wantState(t, r, p, peering.Approved)
			})
		})
	}
}

func hint(err error) string {
	var e *core.Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

// The peer writes its removal down after it has told us: a yes, then a no.
func TestT10YesThenNo(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		o := answersFor(r, p, "yes", "0.7.2")
		_, err := r.ReceiveRemoval(t.Context(), p.notice(t, r.Key()))
		want(t, "the notice", err, "")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		wantState(t, r, p, peering.Approved)
		o.set("no")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		wantState(t, r, p, peering.Unconfirmed)
		time.Sleep(48 * time.Hour)
		if e := events(t, r.store, core.EventRemoved); len(e) != 1 || e[0].By != core.Them {
			t.Errorf("events %v, want one removal by them", e)
		}
		if n := len(r.wire.sent(core.PathRemoved)); n != 0 {
			t.Errorf("%d removal notices of ours", n)
		}
	})
}

// Nobody's no is heard after 30 days: the removal is final, and tells nothing new.
func TestT10Expires(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		answersFor(r, p, "silent", "0.7.2")
		_, err := r.ReceiveRemoval(t.Context(), p.notice(t, r.Key()))
		want(t, "the notice", err, "")
		time.Sleep(29 * 24 * time.Hour)
		wantState(t, r, p, peering.Unconfirmed)
		time.Sleep(2 * 24 * time.Hour)
		synctest.Wait()
		wantState(t, r, p, peering.Removed)
		if got := r.Peer(p.key); got.Granted != nil || got.By != core.Them {
			t.Errorf("finally %+v, want no grants, removed by them", got)
		}
		if n := len(events(t, r.store, core.EventRemoved)); n != 1 {
			t.Errorf("%d events, want the first alone", n)
		}
	})
}

// What the peer's own v2 signature says is final at once.
func TestT10SignedAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		o := answersFor(r, p, "no", "1.0.0")
		o.signs = true
		_, err := r.ReceiveRemoval(t.Context(), p.notice(t, r.Key()))
		want(t, "the notice", err, "")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		wantState(t, r, p, peering.Removed)
		if n := len(events(t, r.store, core.EventRemoved)); n != 1 {
			t.Errorf("%d events, want 1", n)
		}
	})
	// From one that has shown v2, an answer without it is nothing.
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		answersFor(r, p, "yes", "1.0.0")
		q := newPeer(nil)
		q.url = p.url
		add(t, r.Gateway, q, core.Requested, func(p *core.Peer) { p.V2 = true })
		answersFor(r, q, "yes", "1.0.0").card.Capabilities.Features = []string{core.FeatureV2}
		if asked, err := r.RequestFederation(t.Context(), gateway.Ask{URL: q.url}); err != nil || asked.Confirmed {
			t.Errorf("RequestFederation = %+v, %v, want a request, as nothing was heard", asked, err)
		}
	})
}

// A verified message after the notice that names us restores; one before it, or to
// everybody's label, does not.
func TestT10RestoredByMessage(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		answersFor(r, p, "silent", "0.2.30")
		old := without(t, p.message(t, r.Key(), nil), "v2")
		time.Sleep(time.Second)
		_, err := r.ReceiveRemoval(t.Context(), p.notice(t, r.Key()))
		want(t, "the notice", err, "")
		time.Sleep(time.Second)
		_, err = r.ReceiveMessage(t.Context(), old)
		want(t, "a message from before the notice", err, core.NotApproved)
		_, err = r.ReceiveMessage(t.Context(), without(t, p.message(t, r.Key(), func(m *core.Message) { m.To = r.Key().ShortID() }), "v2"))
		want(t, "a message to everybody's label", err, core.NotApproved)
		wantState(t, r, p, peering.Unconfirmed)
		_, err = r.ReceiveMessage(t.Context(), without(t, p.message(t, r.Key(), nil), "v2"))
		want(t, "a message to us", err, "")
		wantState(t, r, p, peering.Approved)
		if len(inbox(t, r.store)) != 1 {
			t.Error("the message that restored was not let in")
		}
		// For a day no such notice changes anything; the peer is asked all the same.
		time.Sleep(time.Second)
		_, err = r.ReceiveRemoval(t.Context(), p.notice(t, r.Key()))
		want(t, "another notice", err, "")
		wantState(t, r, p, peering.Approved)
		answersFor(r, p, "no", "0.2.30")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		wantState(t, r, p, peering.Unconfirmed) // until a no is heard
	})
}

// Two of ours that doubt each other both come back: the confirmation itself restores.
func TestT10BothDoubt(t *testing.T) {
	a, b := coretest.Pair(t)
	legacy := func(x, y *coretest.Gateway) {
		record := core.Peer{Key: y.Key(), URL: y.URL, Trust: core.Removed, Since: time.Now(), ApprovedAt: time.Now().Add(-time.Hour), Granted: &core.Bundle{Scopes: ours.DefaultGrants()},
			Doubt: &core.Doubt{Was: core.Approved, Since: time.Now(), Notice: time.Now().Add(-time.Second)}}
		if _, err := x.ImportPeers(t.Context(), []*core.Peer{&record}); err != nil {
			t.Fatal(err)
		}
	}
	legacy(a, b)
	legacy(b, a)
	a.Restart()
	b.Restart()
	coretest.Await(t, "both are approved again", func() bool { return a.TrustOf(b) == core.Approved && b.TrustOf(a) == core.Approved })
}

// At most six series a day begin with hints, and none is dropped.
func TestT10Budget(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		o := answersFor(r, p, "yes", "0.7.2")
		for range 60 {
			_, err := r.ReceiveRemoval(t.Context(), p.notice(t, r.Key()))
			want(t, "a notice", err, "")
			time.Sleep(10 * time.Minute)
		}
		if n := o.asked(); n > 6*3 {
			t.Errorf("asked %d times in ten hours, want at most six series of three", n)
		}
		before := o.asked()
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		if o.asked() == before {
			t.Error("the series that was too many for its day was dropped, want it later")
		}
		wantState(t, r, p, peering.Approved)
		if n := len(events(t, r.store, core.EventRemoved)); n != 0 {
			t.Errorf("%d removals were told of a peer that has not removed us", n)
		}
		if d := events(t, r.store, core.EventRequestDigest); len(d) == 0 || !strings.Contains(string(d[0].Data), `"restored"`) {
			t.Errorf("digests %v, want what was refuted", d)
		}
	})
}

// Hints and series survive a restart.
func TestT10Restart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(o *gateway.Options) { o.Settings.Health.Interval = -1 })
		p := befriend(t, r.Gateway, nil)
		o := answersFor(r, p, "yes", "0.7.2")
		_, err := r.ReceiveRemoval(t.Context(), p.notice(t, r.Key()))
		want(t, "the notice", err, "")
		r.restart()
		stop := r.run()
		time.Sleep(10 * time.Second)
		stop()
		if o.asked() != 1 {
			t.Fatalf("asked %d times, want once", o.asked())
		}
		r.restart()
		stop = r.run()
		defer stop()
		time.Sleep(3 * time.Minute)
		if o.asked() != 3 {
			t.Errorf("asked %d times over three lives, want the whole series", o.asked())
		}
	})
}

// What counts is the record that the confirmation was about: whoever removes meanwhile
// has removed.
func TestT10Revision(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		answersFor(r, p, "yes", "0.7.2")
		_, err := r.ReceiveRemoval(t.Context(), p.notice(t, r.Key()))
		want(t, "the notice", err, "")
		if _, _, err := r.RemovePeer(t.Context(), p.key); err != nil {
			t.Fatal(err)
		}
		if n := len(r.wire.sent(core.PathRemoved)); n != 1 {
			t.Errorf("%d notices for a removal that our operator made final, want 1", n)
		}
		time.Sleep(40 * 24 * time.Hour)
		wantState(t, r, p, peering.Removed)
	})
}

// A queue is whole after a doubt.
func TestT10Queue(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		answersFor(r, p, "silent", "0.7.2")
		r.wire.answer(func(context.Context, string, string, []byte) (core.Answer, error) { return core.Answer{}, errSilent })
		out, err := r.Send(t.Context(), p.key, message(1))
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.ReceiveRemoval(t.Context(), p.notice(t, r.Key()))
		want(t, "the notice", err, "")
		time.Sleep(10 * time.Minute)
		if x := item(t, r, out.Item.ID); x.State != core.OutWaiting {
			t.Fatalf("in doubt the envelope is %s (%s), want waiting", x.State, x.Error)
		}
		o := answersFor(r, p, "yes", "0.7.2")
		time.Sleep(3 * time.Hour)
		if x := item(t, r, out.Item.ID); x.State != core.OutSent {
			t.Errorf("after it: %s (%s), want sent; asked %d", x.State, x.Error, o.asked())
		}
	})
}

// In pending the same notice marks the request, which goes on waiting; nobody is
// asked and told.
func TestT10Withdrawn(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, _ *peer) {
		p := newPeer(nil)
		o := answersFor(r, p, "yes", "0.7.2")
		_, err := r.ReceiveRequest(t.Context(), without(t, p.request(r.Key(), nil), "v2"), nowhere)
		want(t, "the request", err, "")
		_, err = r.ReceiveRemoval(t.Context(), p.notice(t, r.Key()))
		want(t, "the notice", err, "")
		if got := r.Peer(p.key); got.Trust != core.Removed || !peering.StateOf(got).Waits() || !strings.Contains(got.Warning, "perhaps withdrawn") {
			t.Errorf("%+v, want one that reads removed and waits", got)
		}
		time.Sleep(time.Hour)
		if o.asked() != 0 || len(events(t, r.store, core.EventRemoved)) != 0 {
			t.Errorf("asked %d times, %d events; want none", o.asked(), len(events(t, r.store, core.EventRemoved)))
		}
		anew := func(x *core.Request) { x.Peer.DisplayName = "Again" }
		_, err = r.ReceiveRequest(t.Context(), without(t, p.request(r.Key(), anew), "v2"), nowhere)
		want(t, "another request", err, "")
		wantState(t, r, p, peering.Pending)
		_, err = r.ReceiveRemoval(t.Context(), p.notice(t, r.Key()))
		want(t, "another notice", err, "")
		if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{}); err != nil {
			t.Errorf("ApprovePeer of one perhaps withdrawn = %v", err)
		}
		wantState(t, r, p, peering.Approved)
	})
}

// In requested a notice is a note.
func TestT10RequestedNote(t *testing.T) {
	r := newRig(t, nil)
	p := newPeer(nil)
	r.ask(p)
	_, err := r.ReceiveRemoval(t.Context(), p.notice(t, r.Key()))
	want(t, "the notice", err, "")
	wantState(t, r, p, peering.Requested)
	_, err = r.ReceiveApproval(t.Context(), p.approval(r.Key(), nil))
	want(t, "the approval", err, "")
	wantState(t, r, p, peering.Approved)
}

// A legacy request of an approved peer, whoever carries it, changes it only when the
// peer itself has us no more; where nobody has signed that, it waits with all that it
// had, and a later yes makes it approved again.
func TestT10Request(t *testing.T) {
	for say, end := range map[string]peering.State{"yes": peering.Approved, "401": peering.Approved, "silent": peering.Approved, "no": peering.Lapsed, "unknown": peering.Lapsed} {
		for _, form := range []string{"envelope", "plain", "v2"} {
			t.Run(form+" "+say, func(t *testing.T) {
				bubble(t, func(t *testing.T, r *rig, p *peer) {
					o := answersFor(r, p, say, "0.7.2")
					body := p.request(r.Key(), func(x *core.Request) { x.Peer.GatewayURL = "http://squatter.example" })
					switch form {
					case "envelope":
						body = without(t, body, "v2")
					case "plain":
						body = plainRequest(t, p, body)
					}
					_, err := r.ReceiveRequest(t.Context(), body, nowhere)
					want(t, "the request", err, "")
					wantState(t, r, p, peering.Approved)
					time.Sleep(3 * time.Minute)
					synctest.Wait()
					wantState(t, r, p, end)
					if got := r.Peer(p.key); got.URL != p.url || got.Granted == nil {
						t.Errorf("in the end at %s with %v, want its own URL and grants", got.URL, got.Granted)
					}
					if end == peering.Approved {
						return
					}
					if n := len(events(t, r.store, core.EventRequest)); n != 1 {
						t.Errorf("%d events of the request, want 1", n)
					}
					o.set("yes")
					time.Sleep(25 * time.Hour)
					synctest.Wait()
					wantState(t, r, p, peering.Approved)
					if got := r.Peer(p.key); got.DefaultLevel != "full" {
						t.Errorf("restored at level %q, want as it was", got.DefaultLevel)
					}
				})
			})
		}
	}
}

// While we ask, neither a request nor an approval that names nobody or is not signed
// approves by itself: the peer is asked, and its yes counts.
func TestT10Requested(t *testing.T) {
	unsigned := func(p *peer) []byte {
		return []byte(fmt.Sprintf(`{"approved":true,"fromPublicKey":%q,"fromGatewayId":"x:1","fromGatewayUrl":"http://squatter.example","fromDisplayName":"Evil","scopeGrants":{"version":"0.2.0","scopes":[]}}`, p.key.String()))
	}
	for say, end := range map[string]peering.State{"yes": peering.Approved, "no": peering.Requested, "401": peering.Requested, "silent": peering.Requested} {
		for _, form := range []string{"plain request", "request", "approval for nobody", "unsigned approval"} {
			t.Run(form+" "+say, func(t *testing.T) {
				bubble(t, func(t *testing.T, r *rig, _ *peer) {
					p := newPeer(nil)
					answersFor(r, p, "unknown", "0.6.0")
					if _, err := r.RequestFederation(t.Context(), gateway.Ask{URL: p.url}); err != nil {
						t.Fatal(err)
					}
					answersFor(r, p, say, "0.6.0")
					elsewhere := func(x *core.Request) { x.Peer.GatewayURL = "http://squatter.example" }
					var err error
					switch form {
					case "plain request":
						_, err = r.ReceiveRequest(t.Context(), plainRequest(t, p, p.request(r.Key(), elsewhere)), nowhere)
					case "request":
						_, err = r.ReceiveRequest(t.Context(), without(t, p.request(r.Key(), elsewhere), "v2"), nowhere)
					case "approval for nobody":
						_, err = r.ReceiveApproval(t.Context(), without(t, p.approval(r.Key(), func(a *core.Approval) { a.FromGatewayURL = "http://squatter.example" }), "v2"))
					case "unsigned approval":
						_, err = r.ReceiveApproval(t.Context(), unsigned(p))
					}
					want(t, form, err, "")
					synctest.Wait()
					wantState(t, r, p, peering.Requested)
					time.Sleep(3 * time.Minute)
					synctest.Wait()
					wantState(t, r, p, end)
					if got := r.Peer(p.key); got.URL != p.url || got.Names.DisplayName == "Evil" || got.Received != nil {
						t.Errorf("%+v, want nothing of the hint but the yes", got)
					}
				})
			})
		}
	}
}

// Whoever an unsigned approval names, the answer is the same.
func TestT1UnsignedApprovals(t *testing.T) {
	r := newRig(t, nil)
	asked, never := newPeer(nil), newPeer(nil)
	r.ask(asked)
	pending := newPeer(nil)
	add(t, r.Gateway, pending, core.Pending, nil)
	for _, p := range []*peer{asked, never, pending} {
		a, err := r.ReceiveApproval(t.Context(), []byte(fmt.Sprintf(`{"approved":true,"fromPublicKey":%q}`, p.key.String())))
		if err != nil || a.Status != 200 || string(a.Body) != `{"received":true}` {
			t.Errorf("%d %s, %v: want the same answer for each", a.Status, a.Body, err)
		}
	}
	for p, state := range map[*peer]peering.State{asked: peering.Requested, never: peering.Stranger, pending: peering.Pending} {
		wantState(t, r, p, state)
	}
}

// An approval that is meant for another gateway is refused, whoever carries it.
func TestT10ApprovalOfAnother(t *testing.T) {
	r := newRig(t, nil)
	p := newPeer(nil)
	r.ask(p)
	other := newPeer(nil)
	_, err := r.ReceiveApproval(t.Context(), without(t, p.approval(other.key, func(a *core.Approval) { a.PeerID = other.key.ID() }), "v2"))
	want(t, "an approval for another", err, core.NotFound)
	wantState(t, r, p, peering.Requested)
	_, err = r.ReceiveApproval(t.Context(), without(t, p.approval(r.Key(), func(a *core.Approval) { a.PeerID = r.Key().ID() }), "v2"))
	want(t, "an approval for us", err, "")
	wantState(t, r, p, peering.Approved)
}

// request confirms before it posts: a yes is all that it takes, from every state, and
// nothing that is there is lost when nothing comes of it.
func TestT12RequestConfirms(t *testing.T) {
	for _, was := range []peering.State{peering.Requested, peering.Approved, peering.Unconfirmed, peering.Rejected, peering.Removed} {
		for _, say := range []string{"yes", "no", "silent after card"} {
			t.Run(string(was)+" "+say, func(t *testing.T) {
				r := newRig(t, nil)
				p := newPeer(nil)
				add(t, r.Gateway, p, was.Trust(), func(p *core.Peer) {
					p.Granted, p.DefaultLevel = &core.Bundle{Scopes: []core.Grant{{Intent: "custom", Enabled: true}}}, "full"
					if was == peering.Unconfirmed {
						p.Doubt = &core.Doubt{Was: core.Approved}
					}
				})
				p.url = "http://typed.example"
				answersFor(r, p, map[bool]string{true: "401", false: say}[say == "silent after card"], "0.7.2")
				asked, err := r.RequestFederation(t.Context(), gateway.Ask{URL: p.url, Again: true})
				if err != nil {
					t.Fatal(err)
				}
				posted := len(r.wire.sent(core.PathRequest))
				got := r.Peer(p.key)
				if say == "yes" {
					if !asked.Confirmed || posted != 0 || got.Trust != core.Approved || got.URL != p.url {
						t.Errorf("%+v, %d requests, %s at %s; want approved without one, at the typed URL", asked, posted, got.Trust, got.URL)
					}
					return
				}
				if asked.Confirmed || posted != 1 {
					t.Errorf("%+v, %d requests, want one", asked, posted)
				}
				if was == peering.Approved || was == peering.Unconfirmed {
					if standing(r, p) != was || got.Granted == nil || got.DefaultLevel != "full" || got.URL == p.url {
						t.Errorf("%+v, want as it was", got)
					}
				} else if got.Trust != core.Requested {
					t.Errorf("it is %s, want requested", got.Trust)
				}
			})
		}
	}
}

// A peer that has shown v2 and goes back to an older gateway with the same key may
// ask; our operator's approval lets the old form in again.
func TestT12GoingBack(t *testing.T) {
	for _, trust := range []core.Trust{core.Removed, core.Rejected} {
		r := newRig(t, func(o *gateway.Options) {
			o.Plugins = policies(says("yes", core.Verdict{Decision: core.Allow}))
		})
		p := newPeer(nil)
		add(t, r.Gateway, p, trust, func(p *core.Peer) { p.V2 = true })
		answersFor(r, p, "no", "0.7.2")
		_, err := r.ReceiveRequest(t.Context(), without(t, p.request(r.Key(), nil), "v2"), nowhere)
		want(t, "a request in the old form", err, "")
		if got := r.Peer(p.key); got.Trust != core.Pending || !strings.Contains(got.Warning, "older gateway") {
			t.Fatalf("%s: %s with %q, want one that waits for a human whatever a policy says", trust, got.Trust, got.Warning)
		}
		if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{}); err != nil {
			t.Fatal(err)
		}
		if r.Peer(p.key).V2 {
			t.Error("our operator's approval has not cleared that it has shown v2")
		}
		_, err = r.ReceiveMessage(t.Context(), without(t, p.message(t, r.Key(), nil), "v2"))
		want(t, "its message", err, "")
	}
	// forget is the other way.
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, func(p *core.Peer) { p.V2 = true })
	_, err := r.ForgetPeer(t.Context(), p.key)
	want(t, "forget of an approved peer", err, core.Conflict)
	if _, _, err := r.RemovePeer(t.Context(), p.key); err != nil {
		t.Fatal(err)
	}
	_, err = r.ForgetPeer(t.Context(), p.key)
	want(t, "forget", err, "")
	if r.Peer(p.key) != nil {
		t.Error("the record is still there")
	}
	r.restart()
	if r.Peer(p.key) != nil {
		t.Error("the record is back after a restart")
	}
}

// To a peer that has shown v2 nothing goes out that is signed in the old form, and no
// {peerId,timestamp} is ever signed but in a removal.
func TestT11NothingOld(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, _ *peer) {
		p := befriend(t, r.Gateway, func(p *core.Peer) { p.V2, p.Features, p.Version = true, []string{core.FeatureV2}, "1.0" })
		o := answersFor(r, p, "yes", "1.0")
		o.card.Capabilities.Features, o.signs = []string{core.FeatureV2}, true
		r.CheckPeers(t.Context())
		if _, err := r.Send(t.Context(), p.key, message(1)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.RequestFederation(t.Context(), gateway.Ask{URL: p.url}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{}); err != nil {
			t.Fatal(err)
		}
		if err := r.TellPeer(t.Context(), p.key, true); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.RemovePeer(t.Context(), p.key); err != nil {
			t.Fatal(err)
		}
		r.wire.mu.Lock()
		defer r.wire.mu.Unlock()
		if len(r.wire.posted) < 5 {
			t.Fatalf("%d envelopes, want at least 5", len(r.wire.posted))
		}
		for _, x := range r.wire.posted {
			var b struct {
				Signature *string `json:"signature"`
			}
			if err := json.Unmarshal(x.Body, &b); err != nil || b.Signature != nil {
				t.Errorf("%s: %s has a signature in the old form", x.Path, x.Body)
			}
		}
	})
}

// Approvals to older gateways wait for their command lines, and are sent once more
// when they were overwritten.
func TestApprovalTimes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, _ *peer) {
		p := newPeer(nil)
		o := answersFor(r, p, "no", "0.7.2")
		r.SetSettings(func() ours.Settings { s := r.Settings(); return s }())
		start := time.Now()
		_, err := r.ReceiveRequest(t.Context(), without(t, p.request(r.Key(), nil), "v2"), nowhere)
		want(t, "the request", err, "")
		if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		sent := r.wire.sent(core.PathApprove)
		if len(sent) != 2 {
			t.Fatalf("%d approvals, want one and, as the peer says that we are not approved, one more", len(sent))
		}
		if d := sent[0].At.Sub(start); d < 3*time.Second || d > 10*time.Second {
			t.Errorf("the first left after %v, want 3 s and more", d)
		}
		if d := sent[1].At.Sub(sent[0].At); d < 15*time.Second {
			t.Errorf("the second left %v later, want 15 s", d)
		}
		time.Sleep(time.Hour)
		if n := len(r.wire.sent(core.PathApprove)); n != 2 {
			t.Errorf("%d approvals in the end, want 2", n)
		}
		_ = o
	})
	bubble(t, func(t *testing.T, r *rig, _ *peer) { // one that knows v2 hears at once
		p := newPeer(nil)
		answersFor(r, p, "yes", "1.0")
		_, err := r.ReceiveRequest(t.Context(), p.request(r.Key(), nil), nowhere)
		want(t, "the request", err, "")
		out, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{})
		if err != nil || out.Item.State != core.OutSent {
			t.Errorf("ApprovePeer = %s, %v, want sent", out.Item.State, err)
		}
	})
}

// notPending answers approvals as a gateway that knows no request of ours.
func notPending(r *rig, at func(path string) bool) {
	r.wire.mu.Lock()
	defer r.wire.mu.Unlock()
	before := r.wire.post
	r.wire.post = func(ctx context.Context, url, path string, body []byte) (core.Answer, error) {
		if path == core.PathApprove && at(path) {
			return core.Answer{Status: 404, Body: []byte(`{"error":"No pending peer found"}`)}, nil
		}
		return before(ctx, url, path, body)
	}
}

// An approval whose peer knows no request is tried again at 6, 15, 60 and 300 s and ends
// with a command; once the peer has spoken, never later than 10 minutes after the request
// or the operator's command.
//
// docs/protocol.md#approve
func TestApprovalNotPending(t *testing.T) {
	asks := func(t *testing.T, r *rig, v2 bool) *peer {
		p := newPeer(nil)
		answersFor(r, p, "no", "0.7.2")
		body := p.request(r.Key(), nil)
		if !v2 {
			body = without(t, body, "v2")
		}
		_, err := r.ReceiveRequest(t.Context(), body, nowhere)
		want(t, "the request", err, "")
		return p
	}
	wantTries := func(t *testing.T, r *rig, from time.Time, secs ...int) {
		t.Helper()
		sent := r.wire.sent(core.PathApprove)
		if len(sent) != len(secs) {
			t.Fatalf("%d tries, want %d", len(sent), len(secs))
		}
		for i, s := range sent {
			if d := s.At.Sub(from) - time.Duration(secs[i])*time.Second; d < 0 || d > time.Second {
				t.Errorf("try %d at %v, want %d s", i, s.At.Sub(from), secs[i])
			}
		}
	}
	wantEnd := func(t *testing.T, r *rig, p *peer, command string) {
		t.Helper()
		items, err := r.store.Outbox(t.Context(), core.OutboxFilter{Peer: p.key})
		if err != nil || len(items) != 1 || items[0].State == core.OutWaiting || !strings.Contains(items[0].Hint, command) {
			t.Fatalf("the approval is %+v, %v, want one that ended with %q", items[0], err, command)
		}
		if n := len(events(t, r.store, core.EventDeliveryFailed)); n != 1 {
			t.Errorf("%d events of it, want 1", n)
		}
	}
	for _, v2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("v2 %v", v2), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig, _ *peer) {
				p := asks(t, r, v2)
				notPending(r, func(string) bool { return true })
				time.Sleep(10 * time.Second)
				start := time.Now()
				_, _ = r.ApprovePeer(t.Context(), p.key, gateway.Approval{})
				time.Sleep(25 * time.Hour)
				wantTries(t, r, start, 0, 6, 15, 60, 300)
				wantEnd(t, r, p, `"ogp federation request `+p.url+` --again"`)
			})
		})
	}
	t.Run("written down meanwhile", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig, _ *peer) {
			p := asks(t, r, false)
			start := time.Now()
			notPending(r, func(string) bool { return time.Since(start) < 20*time.Second })
			_, _ = r.ApprovePeer(t.Context(), p.key, gateway.Approval{})
			time.Sleep(time.Hour)
			sent := r.wire.sent(core.PathApprove)
			if len(sent) != 4 { // two that were too early, one that was taken, and one as the peer says no
				t.Errorf("%d tries, want 4", len(sent))
			}
		})
	})
	t.Run("not now, for long", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig, _ *peer) {
			p := asks(t, r, false)
			r.wire.answer(answers(core.Answer{Status: 503, Body: []byte(`{"error":"Internal server error"}`)}))
			start := time.Now()
			_, _ = r.ApprovePeer(t.Context(), p.key, gateway.Approval{})
			time.Sleep(25 * time.Hour)
			sent := r.wire.sent(core.PathApprove)
			if d := sent[len(sent)-1].At.Sub(start); len(sent) < 3 || d > 10*time.Minute {
				t.Errorf("%d tries, the last after %v, want some within 10 minutes", len(sent), d)
			}
			wantEnd(t, r, p, `"ogp federation approve `)
			// The operator's command begins anew.
			items, _ := r.store.Outbox(t.Context(), core.OutboxFilter{Peer: p.key})
			if _, _, err := r.RetryOutbox(t.Context(), items[0].ID, core.PublicKey{}); err != nil {
				t.Fatal(err)
			}
			start = time.Now()
			time.Sleep(time.Hour)
			more := r.wire.sent(core.PathApprove)[len(sent):]
			if len(more) < 2 || more[len(more)-1].At.Sub(start) > 10*time.Minute {
				t.Errorf("%d tries after the operator's command, want some within 10 minutes", len(more))
			}
		})
	})
	t.Run("silent for long", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig, _ *peer) {
			p := asks(t, r, false)
			r.wire.answer(answers(core.Answer{}, core.Answer{}))
			_, _ = r.ApprovePeer(t.Context(), p.key, gateway.Approval{})
			time.Sleep(2 * time.Hour) // nobody has answered, so that nobody has removed us
			n := len(r.wire.sent(core.PathApprove))
			r.wire.answer(nil)
			time.Sleep(time.Hour)
			if got := len(r.wire.sent(core.PathApprove)); got != n+1 {
				t.Errorf("%d tries after the silence, want 1", got-n)
			}
		})
	})
}

// No approval goes out past a removal notice that came later than the request, also
// where the notice changed nothing as an earlier one was refuted. The operator's
// command, which comes later still, does.
//
// docs/threat-model.md#t12
func TestT12ApprovalOutrun(t *testing.T) {
	for _, immune := range []bool{false, true} {
		t.Run(fmt.Sprintf("immune %v", immune), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig, p *peer) {
				o := answersFor(r, p, "yes", "0.7.2")
				if immune {
					if _, err := r.ReceiveRemoval(t.Context(), p.notice(t, r.Key())); err != nil {
						t.Fatal(err)
					}
					time.Sleep(5 * time.Minute)
				}
				if _, _, err := r.RemovePeer(t.Context(), p.key); err != nil {
					t.Fatal(err)
				}
				_, err := r.ReceiveRequest(t.Context(), without(t, p.request(r.Key(), nil), "v2"), nowhere)
				want(t, "the request", err, "")
				if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(7 * time.Second) // taken
				if n := len(r.wire.sent(core.PathApprove)); n != 1 {
					t.Fatalf("%d approvals, want 1", n)
				}
				if got := r.Peer(p.key).Asking.Immune.After(time.Now()); got != immune {
					t.Fatalf("immune %v, want %v", got, immune)
				}
				o.set("no")
				if _, err := r.ReceiveRemoval(t.Context(), p.notice(t, r.Key())); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				if n := len(r.wire.sent(core.PathApprove)); n != 1 {
					t.Errorf("%d approvals, want none after the removal notice", n-1)
				}
				if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				if n := len(r.wire.sent(core.PathApprove)); n != 2 {
					t.Errorf("%d approvals after the operator's command, want 2 in all", n)
				}
			})
		})
	}
	t.Run("one that waits", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig, _ *peer) {
			p := newPeer(nil)
			answersFor(r, p, "no", "0.7.2")
			notPending(r, func(string) bool { return true })
			_, err := r.ReceiveRequest(t.Context(), without(t, p.request(r.Key(), nil), "v2"), nowhere)
			want(t, "the request", err, "")
			_, _ = r.ApprovePeer(t.Context(), p.key, gateway.Approval{})
			time.Sleep(7 * time.Second)
			if _, err := r.ReceiveRemoval(t.Context(), p.notice(t, r.Key())); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			if n := len(r.wire.sent(core.PathApprove)); n != 1 {
				t.Errorf("%d approvals, want none after the removal notice", n-1)
			}
			items, _ := r.store.Outbox(t.Context(), core.OutboxFilter{Peer: p.key})
			if len(items) != 1 || items[0].State == core.OutWaiting || !strings.Contains(items[0].Hint, `"ogp federation approve `) {
				t.Errorf("the approval is %+v, want one that ended with the command", items[0])
			}
		})
	})
}

// A signed confirmation is answered, signed, for whoever asks; the intent cannot be used
// otherwise.
func TestT10OurAnswers(t *testing.T) {
	r := newRig(t, nil)
	friend, stranger, removed := befriend(t, r.Gateway, nil), newPeer(nil), newPeer(nil)
	add(t, r.Gateway, removed, core.Removed, nil)
	for p, approved := range map[*peer]bool{friend: true, stranger: false, removed: false} {
		n := envelope.NewNonce()
		a, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(m *core.Message) { m.Intent, m.Nonce = core.IntentStatus, n }))
		if err != nil {
			t.Fatal(err)
		}
		got, err := envelope.Open(&envelope.Opener{Self: p.key}, envelope.Status, a.Body, envelope.From(r.Key()))
		if err != nil || got.Value.Approved != approved || got.Nonce != n {
			t.Errorf("%s: %+v, %v, want %v for the nonce", a.Body, got.Value, err, approved)
		}
		if status := map[bool]int{true: 200, false: 403}[approved]; a.Status != status {
			t.Errorf("status %d, want %d", a.Status, status)
		}
	}
	if len(inbox(t, r.store)) != 0 || r.Peer(stranger.key) != nil {
		t.Error("a confirmation was stored")
	}
	_, err := r.ReceiveMessage(t.Context(), without(t, befriend(t, r.Gateway, nil).message(t, r.Key(), func(m *core.Message) { m.Intent = core.IntentStatus }), "v2"))
	want(t, "a confirmation without v2", err, core.Forbidden)
	_, err = r.ReceiveMessage(t.Context(), stranger.message(t, r.Key(), nil))
	want(t, "a stranger's other message", err, core.UnknownPeer)
	if slices.Contains(r.Card("", "", "").Capabilities.Intents, core.IntentStatus) {
		t.Error("the card names the reserved intent")
	}
	_, err = r.Send(t.Context(), friend.key, gateway.Sending{Intent: core.IntentStatus, Payload: core.Raw("{}")})
	want(t, "Send of the reserved intent", err, core.Malformed)
}

// A removal that has returned lets no later message in, even one that was being
// judged.
func TestT5RemovalWins(t *testing.T) {
	for _, kind := range []string{"memory", "sqlite"} {
		in, out := make(chan struct{}), make(chan struct{})
		g := coretest.New(t, coretest.WithStore(kind), coretest.WithPlugins(policies(coretest.Policy{ID: "slow", Say: func(context.Context, core.Question) (core.Verdict, error) {
			close(in)
			<-out
			return core.Verdict{Decision: core.Allow}, nil
		}})))
		p := befriend(t, g.Gateway, nil)
		done := make(chan error)
		go func() {
			_, err := g.ReceiveMessage(t.Context(), p.message(t, g.Key(), nil))
			done <- err
		}()
		<-in
		if _, _, err := g.RemovePeer(t.Context(), p.key); err != nil {
			t.Fatal(err)
		}
		close(out)
		want(t, "a message under way", <-done, core.NotApproved)
		if list := inbox(t, g.Store); len(list) != 0 {
			t.Errorf("%s: %d messages after the removal", kind, len(list))
		}
	}
}

// A stranger who asks and withdraws, over and over, leaves nothing, tells nobody, and
// counts toward the limits.
func TestT6Withdrawals(t *testing.T) {
	r := newRig(t, func(o *gateway.Options) { o.Settings.Limits.PendingTotal = 10 })
	taken := 0
	for range 50 {
		p := newPeer(nil)
		if _, err := r.ReceiveRequest(t.Context(), p.request(r.Key(), nil), nowhere); err != nil {
			want(t, "a request over the limit", err, core.RateLimited)
			continue
		}
		taken++
		_, err := r.ReceiveRemoval(t.Context(), p.SealRemoval(r.Key()))
		want(t, "its withdrawal", err, "")
	}
	if taken != 10 || len(r.Peers()) != 0 {
		t.Errorf("%d were taken and %d records are left, want 10 and none", taken, len(r.Peers()))
	}
	r.restart()
	_, err := r.ReceiveRequest(t.Context(), newPeer(nil).request(r.Key(), nil), nowhere)
	want(t, "one more after a restart", err, core.RateLimited)
	if n := len(events(t, r.store, core.EventRemoved)); n != 0 {
		t.Errorf("%d events for the agent, want none", n)
	}
}

// Waiting strangers lock out neither those whom we have invited nor those whose URL
// shows their key.
func TestT6Places(t *testing.T) {
	r := newRig(t, func(o *gateway.Options) {
		o.Settings.Limits.PendingTotal = 5
		o.Redeem = func(in *core.Invited, _ core.PublicKey) ([]core.Grant, bool) { return nil, in.Token == "abc" }
	})
	for range 5 {
		_, err := r.ReceiveRequest(t.Context(), newPeer(nil).request(r.Key(), nil), nowhere)
		want(t, "a stranger", err, "")
	}
	_, err := r.ReceiveRequest(t.Context(), newPeer(nil).request(r.Key(), nil), nowhere)
	want(t, "one too many", err, core.RateLimited)
	invited := newPeer(nil)
	_, err = r.ReceiveRequest(t.Context(), invited.request(r.Key(), func(x *core.Request) { x.Invite = &core.Invited{Token: "abc"} }), nowhere)
	want(t, "an invited one", err, "")
	wantState(t, r, invited, peering.Approved)
	for i := range 6 {
		p := newPeer(nil)
		answersFor(r, p, "no", "0.7.2")
		_, err = r.ReceiveRequest(t.Context(), p.request(r.Key(), nil), nowhere)
		kind := core.Kind("")
		if i == 5 {
			kind = core.RateLimited
		}
		want(t, "one whose URL shows its key", err, kind)
	}
}

// Changes that an approved peer may make without end have a rate.
func TestT6RateOfChanges(t *testing.T) {
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, nil)
	refused := 0
	for i := range 60 {
		_, err := r.ReceiveApproval(t.Context(), p.approval(r.Key(), func(a *core.Approval) { a.FromDisplayName = fmt.Sprint(i) }))
		if err != nil {
			want(t, "too many", err, core.RateLimited)
			refused++
		}
	}
	if refused != 30 {
		t.Errorf("%d of 60 changes were refused, want 30", refused)
	}
}

// A peer that says where it has moved to is followed when its key is seen there.
func TestT13Moved(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		old := p.url
		id := func(url string) []byte {
			return p.SealIdentity(r.Key(), core.Identity{DisplayName: "B", HumanName: "H", PublicKey: p.key.String(), GatewayURL: url})
		}
		_, err := r.ReceiveIdentity(t.Context(), id("http://nobody.example"))
		want(t, "an identity with a URL where nobody answers", err, "")
		time.Sleep(time.Second)
		if got := r.Peer(p.key).URL; got != old {
			t.Fatalf("at %s, want %s until its key is seen elsewhere", got, old)
		}
		p.url = "http://new.example"
		answersFor(r, p, "yes", "1.0")
		_, err = r.ReceiveIdentity(t.Context(), id(p.url))
		want(t, "an identity with its new URL", err, "")
		time.Sleep(time.Second)
		if got := r.Peer(p.key).URL; got != p.url {
			t.Errorf("at %s, want %s", got, p.url)
		}
		// The old form never changes it.
		_, err = r.ReceiveIdentity(t.Context(), without(t, newIdentity(befriend(t, r.Gateway, nil), "http://evil.example"), "v2"))
		want(t, "an identity in the old form", err, "")
		for _, q := range r.Peers() {
			if strings.Contains(q.URL+q.Claimed, "evil") {
				t.Errorf("%s is at %s, claims %s", q.Name(), q.URL, q.Claimed)
			}
		}
	})
}

func newIdentity(p *peer, url string) []byte {
	return p.SealIdentity(core.PublicKey{}, core.Identity{DisplayName: "B", HumanName: "H", PublicKey: p.key.String(), GatewayURL: url})
}

// Two of ours: one moves, and the other hears of it and follows.
func TestT13WeMove(t *testing.T) {
	a, b := coretest.Pair(t)
	coretest.Federate(t, a, b)
	a.Move()
	coretest.Await(t, "b has the new URL", func() bool { return b.Peer(a.Key()).URL == a.URL })
	coretest.Await(t, "a knows that b knows", func() bool { return len(a.Moved()) == 0 })
}

// A gateway before 0.4 cannot be told where we have moved: it is not sent what it would
// misread, and what it asks at the new URL shows that it knows.
func TestT13DeafToMoves(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, _ *peer) {
		p := befriend(t, r.Gateway, func(p *core.Peer) {
			p.Version, p.Notified = "0.2.30", core.Notified{URL: r.Settings().URL}
		})
		answersFor(r, p, "yes", "0.2.30")
		s := r.Settings()
		time.Sleep(time.Minute)
		s.URL = "http://elsewhere.example"
		r.SetSettings(s)
		time.Sleep(time.Hour)
		for _, x := range r.wire.sent(core.PathApprove) {
			if x.URL == p.url {
				t.Error("an approval is sent to it")
			}
		}
		deaf := func() int {
			return len(slices.DeleteFunc(r.Moved(), func(x *core.Peer) bool { return x.Key != p.key || peers.HearsOfMoves(x) }))
		}
		if deaf() != 1 {
			t.Fatalf("%d such peers do not know the new URL, want 1", deaf())
		}
		err := r.TellPeer(t.Context(), p.key, true)
		if !errors.Is(err, core.Refused) || !strings.Contains(hint(err), "http://elsewhere.example") {
			t.Errorf("TellPeer = %v, %q; want what its operator does", err, hint(err))
		}
		if _, err := r.ReceiveRequest(t.Context(), plainRequest(t, p, p.request(r.Key(), nil)), nowhere); err != nil {
			t.Fatal(err)
		}
		if deaf() != 0 {
			t.Error("it has asked at the new URL, and counts as not knowing it")
		}
	})
}

// A URL that is set while we run is said at once, not at the next round.
func TestT13WeMoveWhileRunning(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		answersFor(r, p, "yes", "0.7.2")
		s := r.Settings()
		s.URL = "http://elsewhere.example"
		time.Sleep(time.Minute) // the round after the start is over
		r.SetSettings(s)
		if n := len(r.Moved()); n != 1 {
			t.Fatalf("%d peers do not know the new URL, want 1", n)
		}
		time.Sleep(10 * time.Second)
		if n := len(r.Moved()); n != 0 {
			t.Errorf("%d peers do not know the new URL after 10 seconds, want none", n)
		}
	})
}

// Replies are found by peer and nonce, and what we have received is never served.
func TestR1NotServed(t *testing.T) {
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, func(p *core.Peer) { p.V2 = true })
	out, err := r.Send(t.Context(), p.key, gateway.Sending{Intent: "message", Payload: core.Raw(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.ReceiveReply(t.Context(), out.Item.Nonce, p.reply(t, r.Key(), out.Item.Nonce, `{"secret":1}`))
	want(t, "ReceiveReply", err, "")
	if a, err := r.PollReply(t.Context(), out.Item.Nonce); err != nil || a.Status != 404 || strings.Contains(string(a.Body), "secret") {
		t.Errorf("polling what we received: %d %s, %v", a.Status, a.Body, err)
	}
}

// No nonce of a message can stand in the way of the peer's own removal.
func TestNoncesApart(t *testing.T) {
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, func(p *core.Peer) { p.V2 = true })
	for _, nonce := range []core.Nonce{"removed:x", "\x01removed:x"} {
		_, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(m *core.Message) { m.Nonce = nonce }))
		want(t, "a message", err, map[bool]core.Kind{true: core.Malformed}[nonce[0] == 1])
	}
}

// The headers of a heartbeat, caught by a friend and sent as a removal, remove nobody
// for good: whether the peer is awake, or sleeps and comes back.
func TestT5HeartbeatIsNoRemoval(t *testing.T) {
	for _, asleep := range []bool{false, true} {
		g, old := coretest.New(t), coretest.Legacy(t, coretest.E)
		old.Request(g.URL)
		if _, err := g.ApprovePeer(t.Context(), old.Key.Public(), gateway.Approval{}); err != nil {
			t.Fatal(err)
		}
		coretest.Await(t, "the approval is there", func() bool { return old.Peer(g.Key()).Status == "approved" })
		card, h := old.Heartbeat(g.URL)
		if card.PeerStatus == nil {
			t.Error("the card has no peerStatus for a signed request of an approved peer")
		}
		if asleep {
			old.Sleep()
		}
		a := g.Post("/federation/removed", []byte(`{"peerId":"`+h["X-OGP-Peer-ID"]+`","timestamp":"`+h["X-OGP-Timestamp"]+`","signature":"`+h["X-OGP-Signature"]+`"}`))
		if a.Status != 200 || g.TrustOfKey(old.Key.Public()) != core.Removed {
			t.Errorf("a heartbeat's signature as a removal: %d %s, want the specification's answer and effect", a.Status, a.Body)
		}
		if asleep {
			time.Sleep(600 * time.Millisecond) // the series ends in silence
			old.Wake()
		}
		coretest.Await(t, "the peer is back", func() bool { return g.TrustOfKey(old.Key.Public()) == core.Approved })
		if p := g.Peer(old.Key.Public()); p.Granted == nil {
			t.Error("it has lost its grants")
		}
	}
}

// The size of what a peer may write survives a restart, as the rate does.
func TestN5BytesRestart(t *testing.T) {
	for _, kind := range []string{"memory", "sqlite"} {
		g := coretest.New(t, coretest.WithStore(kind))
		size := core.ByteLimit{Bytes: 1000, WindowSeconds: 3600}
		p := befriend(t, g.Gateway, func(p *core.Peer) { p.Granted.Scopes[0].ByteLimit = &size })
		send := func() error {
			_, err := g.ReceiveMessage(t.Context(), p.message(t, g.Key(), func(m *core.Message) { m.Payload = core.Raw(`"` + strings.Repeat("x", 398) + `"`) }))
			return err
		}
		want(t, "the first", send(), "")
		want(t, "the second", send(), "")
		want(t, "the third", send(), core.RateLimited)
		g.Restart()
		if _, used := g.Used(p.key, core.Grant{Intent: core.IntentMessage, ByteLimit: &size}); used != 800 {
			t.Errorf("%s: after a restart %d bytes are counted, want 800", kind, used)
		}
		want(t, "one after a restart", send(), core.RateLimited)
	}
}
