package gateway_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// Only a key that we asked can approve.
func TestT1Direction(t *testing.T) {
	r := newRig(t, nil)
	p := newPeer(nil)
	approve := func(what string, kind core.Kind) {
		t.Helper()
		_, err := r.ReceiveApproval(t.Context(), p.approval(r.Key(), nil))
		want(t, what, err, kind)
	}
	approve("a stranger's approval", core.NotFound)
	wantTrust(t, r.Gateway, p.key, core.Stranger)
	_, err := r.ReceiveRequest(t.Context(), p.request(r.Key(), nil), nowhere)
	want(t, "ReceiveRequest", err, "")
	approve("an approval by one who asked", core.NotFound)
	wantTrust(t, r.Gateway, p.key, core.Pending)

	for _, transition := range []func() error{
		func() error { _, err := r.RejectPeer(t.Context(), p.key, false); return err },
		func() error { _, _, err := r.RemovePeer(t.Context(), p.key); return err },
	} {
		if err := transition(); err != nil {
			t.Fatal(err)
		}
		trust := trustOf(r.Gateway, p.key)
		approve("an approval after "+string(trust), core.NotFound)
		_, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), nil))
		want(t, "a message after "+string(trust), err, core.NotApproved)
		_, err = r.ReceiveIdentity(t.Context(), p.SealIdentity(r.Key(), core.Identity{HumanName: "H", PublicKey: p.key.String()}))
		want(t, "an identity after "+string(trust), err, core.Forbidden)
		wantTrust(t, r.Gateway, p.key, trust)
		anew := func(x *core.Request) { x.Peer.DisplayName = "after " + string(trust) } // or it could be the same bytes
		_, err = r.ReceiveRequest(t.Context(), p.request(r.Key(), anew), nowhere)
		want(t, "a request after "+string(trust), err, "")
		wantTrust(t, r.Gateway, p.key, core.Pending)
	}
	// An approved peer may change what it grants; nothing else about it changes.
	q := befriend(t, r.Gateway, nil)
	granted := r.Peer(q.key).Granted
	bundle := &core.Bundle{Version: core.BundleVersion, Scopes: []core.Grant{{Intent: "x", Enabled: true}}}
	_, err = r.ReceiveApproval(t.Context(), q.approval(r.Key(), func(a *core.Approval) { a.ScopeGrants = bundle }))
	want(t, "an update of grants", err, "")
	if diff := cmp.Diff(bundle, r.Peer(q.key).Received); diff != "" {
		t.Errorf("received grants (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(granted, r.Peer(q.key).Granted); diff != "" {
		t.Errorf("what we grant has moved with what we get (-want +got):\n%s", diff)
	}
}

// The key that approves is the key that we asked.
func TestT2PinnedKey(t *testing.T) {
	r := newRig(t, nil)
	p, other := newPeer(nil), newPeer(nil)
	r.wire.card = func(context.Context, string, map[string]string) (core.Card, error) {
		return core.Card{PublicKey: other.key.String(), GatewayURL: p.url}, nil
	}
	_, err := r.RequestFederation(t.Context(), gateway.Ask{URL: p.url, Expect: p.key})
	want(t, "asking where another key answers", err, core.Conflict)
	for _, fingerprint := range []string{p.key.Fingerprint(), other.key.Fingerprint()} {
		if !strings.Contains(err.Error(), fingerprint) {
			t.Errorf("error %q does not name %s", err, fingerprint)
		}
	}
	if n := len(r.Peers()); n != 0 || len(r.wire.sent(core.PathRequest)) != 0 {
		t.Errorf("%d peers were stored and %d requests sent, want none", n, len(r.wire.sent(core.PathRequest)))
	}
	r.ask(p)
	_, err = r.ReceiveApproval(t.Context(), other.approval(r.Key(), nil))
	want(t, "another key's approval", err, core.NotFound)
	_, err = r.ReceiveApproval(t.Context(), other.approval(r.Key(), func(a *core.Approval) { a.FromPublicKey = p.key.String() }))
	want(t, "another key's approval in the peer's name", err, core.BadSignature)
	wantTrust(t, r.Gateway, p.key, core.Requested)
	wantTrust(t, r.Gateway, other.key, core.Stranger)
}

// A URL is routing, never identity.
func TestT3ClaimedURL(t *testing.T) {
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, nil)
	before := r.Peer(p.key)
	mallory := newPeer(nil)
	mallory.url = p.url
	_, err := r.ReceiveRequest(t.Context(), mallory.request(r.Key(), nil), nowhere)
	want(t, "ReceiveRequest", err, "")
	if r.Peer(p.key) != before {
		t.Error("a request that claims a peer's URL touched that peer's record")
	}
	if w := r.Peer(mallory.key).Warning; !strings.Contains(w, "another peer") {
		t.Errorf("warning %q, want one that the URL is another peer's", w)
	}
	e := events(t, r.store, core.EventRequest)
	if len(e) != 1 || !strings.Contains(string(e[0].Data), "another peer") {
		t.Errorf("the operator's event does not flag it: %v", e)
	}
	// An approved peer that claims another's URL stays where it is.
	q := befriend(t, r.Gateway, nil)
	_, err = r.ReceiveApproval(t.Context(), q.approval(r.Key(), func(a *core.Approval) { a.FromGatewayURL = p.url }))
	want(t, "ReceiveApproval", err, "")
	if got := r.Peer(q.key); got.URL != q.url || got.Warning == "" {
		t.Errorf("URL %s with warning %q, want its own and a warning", got.URL, got.Warning)
	}
}

func TestT4Rejection(t *testing.T) {
	a, b := coretest.Pair(t)
	coretest.Ask(t, a, b)
	out, err := b.RejectPeer(t.Context(), a.Key(), false)
	if err != nil || out.Err != nil || out.Item.State != core.OutSent {
		t.Fatalf("RejectPeer = %+v, %v, want an envelope that was sent", out, err)
	}
	for _, g := range []*coretest.Gateway{a, b} {
		for _, p := range g.Peers() {
			if p.Trust != core.Rejected {
				t.Errorf("the peer is %q, want rejected on both sides", p.Trust)
			}
		}
	}
	a.Notifier.Await(t, 1, core.EventRejected)
	coretest.Federate(t, a, b) // and may ask again
	b.Notifier.Await(t, 1, core.EventApproved)
	if got := b.Notifier.Notified(core.EventRejected); len(got) != 0 || len(events(t, b.Store, core.EventRejected)) != 1 {
		t.Errorf("the notifier was told of %+v, want nothing, as its own operator did it, and one event that is kept", got)
	}

	// approved:false never approves, signed or not, and one who is approved is not
	// rejected.
	r := newRig(t, nil)
	p := newPeer(nil)
	no := func(a *core.Approval) { f := false; a.Approved = &f }
	r.ask(p)
	_, err = r.ReceiveApproval(t.Context(), without(t, p.approval(r.Key(), no), "v2"))
	want(t, "a rejection for nobody", err, core.NotFound)
	_, err = r.ReceiveApproval(t.Context(), without(t, p.approval(r.Key(), func(a *core.Approval) { no(a); a.PeerID = r.Key().ID() }), "v2"))
	want(t, "a signed rejection", err, "")
	wantTrust(t, r.Gateway, p.key, core.Rejected)
	q := befriend(t, r.Gateway, nil)
	_, err = r.ReceiveApproval(t.Context(), q.approval(r.Key(), no))
	want(t, "a rejection by an approved peer", err, core.NotFound)
	wantTrust(t, r.Gateway, q.key, core.Approved)
}

// No old gateway ever takes a rejection of ours for an approval: it gets none.
func TestT4OldGatewaysAreNotNotified(t *testing.T) {
	for _, era := range coretest.Eras {
		g, old := coretest.New(t), coretest.Legacy(t, era)
		if a := old.Request(g.URL); a.Status != 200 {
			t.Fatalf("%s: request: %d %s", era, a.Status, a.Body)
		}
		if _, err := g.RejectPeer(t.Context(), old.Key.Public(), false); err != nil {
			t.Fatal(err)
		}
		if l := old.Exchanges("/federation/approve"); len(l) != 0 {
			t.Errorf("%s was sent %v", era, l)
		}
		if s := old.Peer(g.Key()).Status; s != "pending" {
			t.Errorf("%s has us %q, want pending", era, s)
		}
		// Nor is their rejection an approval to us.
		if _, err := g.RequestFederation(t.Context(), gateway.Ask{URL: old.URL}); err != nil {
			t.Fatal(err)
		}
		old.Reject(g.Key())
		if got := g.TrustOfKey(old.Key.Public()); got != core.Requested {
			t.Errorf("%s: after its rejection it is %q, want requested", era, got)
		}
	}
}

// A rejection that could not be sent is not sent to a peer that has come back.
func TestT4LateRejection(t *testing.T) {
	r := newRig(t, nil)
	p := newPeer(nil)
	_, err := r.ReceiveRequest(t.Context(), p.request(r.Key(), nil), nowhere)
	want(t, "ReceiveRequest", err, "")
	r.wire.answer(func(context.Context, string, string, []byte) (core.Answer, error) { return core.Answer{}, errSilent })
	if out, err := r.RejectPeer(t.Context(), p.key, false); err != nil || out.Item.State != core.OutWaiting {
		t.Fatalf("RejectPeer = %+v, %v", out.Item, err)
	}
	anew := func(x *core.Request) { x.Peer.DisplayName = "Back" } // or it could be the same bytes
	_, err = r.ReceiveRequest(t.Context(), p.request(r.Key(), anew), nowhere)
	want(t, "ReceiveRequest", err, "")
	r.wire.answer(nil)
	if out, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{}); err != nil || out.Err != nil {
		t.Fatalf("ApprovePeer = %v, %v", out.Err, err)
	}
	for _, x := range r.wire.sent(core.PathApprove)[1:] {
		if strings.Contains(string(x.Body), `approved\":false`) {
			t.Error("the rejection was sent after the peer had come back")
		}
	}
}

// TestT4RejectionOfWhoDoesNotWait: a peer that has us approved and asked because we had lost
// it takes no rejection. That is over at once, and holds up nothing.
func TestT4RejectionOfWhoDoesNotWait(t *testing.T) {
	r := newRig(t, nil)
	p := newPeer(nil)
	_, err := r.ReceiveRequest(t.Context(), p.request(r.Key(), nil), nowhere)
	want(t, "ReceiveRequest", err, "")
	r.wire.answer(func(context.Context, string, string, []byte) (core.Answer, error) {
		return core.Answer{Status: 404, Body: []byte(`{"error":"No pending peer found"}`)}, nil
	})
	out, err := r.RejectPeer(t.Context(), p.key, false)
	if err != nil || out.Item.State != core.OutRefused || !strings.Contains(out.Item.Error, "does not wait") {
		t.Fatalf("RejectPeer = %+v, %v, want an envelope that is over", out.Item, err)
	}
}

// TestT13TypedURLWins: who asked us with a URL that is not its own, and is asked by our
// operator where it really is, is known by what the operator typed.
func TestT13TypedURLWins(t *testing.T) {
	r := newRig(t, nil)
	p := newPeer(nil)
	own := p.url
	p.url = "http://lies.example:9"
	_, err := r.ReceiveRequest(t.Context(), p.request(r.Key(), nil), netip.Addr{})
	want(t, "its request", err, "")
	r.wire.card = func(_ context.Context, url string, _ map[string]string) (core.Card, error) {
		if url != own {
			return core.Card{}, errSilent
		}
		return core.Card{PublicKey: p.key.String(), GatewayURL: own}, nil
	}
	if _, err := r.RequestFederation(t.Context(), gateway.Ask{URL: own, Alias: "pat"}); err != nil {
		t.Fatal(err)
	}
	wantTrust(t, r.Gateway, p.key, core.Approved)
	if got := r.Peer(p.key); got.URL != own || got.Alias != "pat" {
		t.Errorf("%s at %s, want pat at %s", got.Alias, got.URL, own)
	}
}

func TestT5V2IsNotAsked(t *testing.T) {
	for _, trust := range []core.Trust{core.Approved, core.Pending, core.Requested, core.Rejected, core.Removed} {
		r := newRig(t, nil)
		p := newPeer(nil)
		add(t, r.Gateway, p, trust, nil)
		r.wire.card = func(context.Context, string, map[string]string) (core.Card, error) {
			t.Error("a v2 notice was confirmed with the peer")
			return core.Card{}, errSilent
		}
		_, err := r.ReceiveRemoval(t.Context(), p.SealRemoval(r.Key()))
		if trust == core.Rejected || trust == core.Removed {
			want(t, "a notice in "+string(trust), err, core.NotFound)
			wantTrust(t, r.Gateway, p.key, trust)
			continue
		}
		want(t, "a notice in "+string(trust), err, "")
		if trust == core.Pending { // a stranger who withdraws leaves nothing
			wantTrust(t, r.Gateway, p.key, core.Stranger)
			continue
		}
		wantTrust(t, r.Gateway, p.key, core.Removed)
		other := befriend(t, r.Gateway, nil)
		_, err = r.ReceiveRemoval(t.Context(), other.SealRemoval(p.key))
		want(t, "a notice for another", err, core.Malformed)
		wantTrust(t, r.Gateway, other.key, core.Approved)
	}
}

func TestT6Limits(t *testing.T) {
	c := newClock()
	r := newRig(t, func(o *gateway.Options) { o.Now = c.Now })
	ask := func(from netip.Addr) error {
		_, err := r.ReceiveRequest(t.Context(), newPeer(c.Now).request(r.Key(), nil), from)
		return err
	}
	for i := range 6 {
		kind := core.Kind("")
		if i == 5 {
			kind = core.RateLimited
		}
		want(t, "IPv4", ask(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})), kind)
		want(t, "IPv6", ask(netip.MustParseAddr("2001:db8:1::").Next()), kind)
	}
	want(t, "another /24", ask(netip.MustParseAddr("198.51.101.1")), "")
	want(t, "another /48", ask(netip.MustParseAddr("2001:db8:2::1")), "")
	want(t, "IPv4 in IPv6 form", ask(netip.MustParseAddr("::ffff:198.51.100.9")), core.RateLimited)
	err := ask(netip.MustParseAddr("198.51.100.1"))
	var e *core.Error
	if errors.As(err, &e); e == nil || e.RetryAfter <= 0 || e.RetryAfter > time.Hour {
		t.Errorf("over the limit: %v, want a time within the hour", err)
	}
	c.Add(time.Hour)
	want(t, "an hour later", ask(netip.MustParseAddr("198.51.100.1")), "")
	for i := len(r.Peers()); i < 200; i++ {
		want(t, "loopback", ask(netip.MustParseAddr("127.0.0.1")), "")
	}
	want(t, "the 201st", ask(netip.MustParseAddr("127.0.0.1")), core.RateLimited)
	if n := len(r.Peers()); n != 200 {
		t.Errorf("%d peers wait, want 200", n)
	}
	// Whom we asked is no stranger.
	p := newPeer(c.Now)
	r.ask(p)
	_, err = r.ReceiveRequest(t.Context(), p.request(r.Key(), nil), netip.MustParseAddr("198.51.100.1"))
	want(t, "a request of one that we asked", err, "")

	c.Add(7*24*time.Hour - time.Minute)
	if err := r.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(r.Peers()); n < 150 {
		t.Errorf("%d peers are left before their 7 days, want the most", n)
	}
	c.Add(2 * time.Hour)
	if err := r.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list := r.Peers(); len(list) != 1 || list[0].Key != p.key {
		t.Errorf("%d peers are left after 7 days, want the approved one", len(list))
	}
}

// The operator gets one notice, then digests, whatever comes in between.
func TestT6Digest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ask := func(n int) {
			for range n {
				_, err := r.ReceiveRequest(t.Context(), newPeer(nil).request(r.Key(), nil), nowhere)
				want(t, "ReceiveRequest", err, "")
			}
		}
		count := func(kind core.EventType, n int) {
			t.Helper()
			if got := len(events(t, r.store, kind)); got != n {
				t.Errorf("%d events %s, want %d", got, kind, n)
			}
		}
		stop := r.run()
		ask(5)
		count(core.EventRequest, 1)
		stop()
		r.restart() // which forgets nobody
		stop = r.run()
		defer func() { stop() }()
		ask(2)
		time.Sleep(9 * time.Minute)
		count(core.EventRequestDigest, 0)
		time.Sleep(2 * time.Minute)
		count(core.EventRequestDigest, 1)
		if d := events(t, r.store, core.EventRequestDigest); !strings.Contains(string(d[0].Data), `"requests":6`) {
			t.Errorf("digest %s, want 6 requests", d[0].Data)
		}
		time.Sleep(time.Hour)
		count(core.EventRequestDigest, 1)
		count(core.EventRequest, 1)
		ask(1)
		count(core.EventRequest, 2)
	})
}

// What a stranger writes is data: one line, bounded, marked.
func TestT6Words(t *testing.T) {
	r := newRig(t, nil)
	p := newPeer(nil)
	_, err := r.ReceiveRequest(t.Context(), p.request(r.Key(), func(x *core.Request) {
		x.Peer.DisplayName = "Bob\n\x1b[2Jogp federation approve bob\u202e" + strings.Repeat("x", 500)
		x.OfferedIntents = []string{"a\nb", "", strings.Repeat("i", 200)}
	}), nowhere)
	want(t, "ReceiveRequest", err, "")
	got := r.Peer(p.key)
	if strings.ContainsAny(got.Names.DisplayName, "\n\x1b\u202e") || len([]rune(got.Names.DisplayName)) > 81 {
		t.Errorf("display name kept as %q", got.Names.DisplayName)
	}
	if len(got.Offered) != 2 || strings.Contains(got.Offered[0], "\n") {
		t.Errorf("offered intents kept as %q", got.Offered)
	}
	e := events(t, r.store, core.EventRequest)[0]
	if strings.Contains(e.Text, "Bob") || !strings.Contains(string(e.Data), `"unverified":{"displayName":"Bob`) {
		t.Errorf("event text %q data %s, want their words in data.unverified alone", e.Text, e.Data)
	}
	if strings.Contains(got.Name(), "Bob") {
		t.Errorf("we call it %q, by its own word", got.Name())
	}
}

func TestT7Identity(t *testing.T) {
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, nil)
	id := func(name string) []byte {
		return p.SealIdentity(r.Key(), core.Identity{ID: p.key.ID(), DisplayName: name, HumanName: "H\x00u", PublicKey: p.key.String(), GatewayURL: "http://evil.example"})
	}
	old := without(t, id("Old"), "v2")
	update := func(what string, body []byte, name string) {
		t.Helper()
		_, err := r.ReceiveIdentity(t.Context(), body)
		want(t, what, err, "")
		if got := r.Peer(p.key); got.Names.DisplayName != name || got.URL != p.url || got.Names.HumanName != "H u" {
			t.Errorf("%s: names %+v at %s, want %s and the same URL", what, got.Names, got.URL, name)
		}
	}
	update("old form, of which the card's names are not taken", old, "Peer")
	update("another", without(t, id("New"), "v2"), "Peer")
	update("the first again, which counts once", old, "Peer")
	r.restart()
	update("and again after a restart", old, "Peer")
	v2 := id("Two")
	update("v2", v2, "Two")
	update("another v2", id("Three"), "Three")
	update("the first v2 again", v2, "Three")
	_, err := r.ReceiveIdentity(t.Context(), newPeer(nil).SealIdentity(r.Key(), core.Identity{HumanName: "x", PublicKey: p.key.String()}))
	want(t, "signed by another", err, core.BadSignature)
	stranger := newPeer(nil)
	_, err = r.ReceiveIdentity(t.Context(), stranger.SealIdentity(r.Key(), core.Identity{HumanName: "x", PublicKey: stranger.key.String()}))
	want(t, "a stranger's", err, core.NotFound)
}

// What we grant is what our side says, never what was asked for.
func TestT9Grants(t *testing.T) {
	grant := func(intents ...string) (out []core.Grant) {
		for _, i := range intents {
			out = append(out, core.Grant{Intent: i, Enabled: true})
		}
		return out
	}
	intents := func(p *core.Peer) (out []string) {
		for _, g := range p.Granted.Scopes {
			out = append(out, g.Intent)
		}
		return out
	}
	greedy := func(x *core.Request) { x.OfferedIntents = []string{"everything", "root"} }
	r := newRig(t, func(o *gateway.Options) { o.Settings.Grants = grant("message") })
	for want, grants := range map[string][]core.Grant{"message": nil, "status-update": grant("status-update")} {
		p := newPeer(nil)
		if _, err := r.ReceiveRequest(t.Context(), p.request(r.Key(), greedy), nowhere); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{Grants: grants}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{want}, intents(r.Peer(p.key))); diff != "" {
			t.Errorf("granted (-want +got):\n%s", diff)
		}
	}
	// What they grant us is not what we grant them.
	p := newPeer(nil)
	r.ask(p)
	_, err := r.ReceiveApproval(t.Context(), p.approval(r.Key(), func(a *core.Approval) {
		a.ScopeGrants = &core.Bundle{Version: core.BundleVersion, Scopes: grant("everything")}
	}))
	want(t, "ReceiveApproval", err, "")
	if diff := cmp.Diff([]string{"message"}, intents(r.Peer(p.key))); diff != "" {
		t.Errorf("granted back (-want +got):\n%s", diff)
	}
}

// A store that fails: nothing is answered with success, nothing changes, on disk
// or in memory, and the same envelope is taken once the store works again.
func TestS1FailedCommit(t *testing.T) {
	for _, fail := range []struct {
		err  error
		kind core.Kind
	}{
		{core.Refuse(core.Full, "store: disk full"), core.Full},
		{core.Refuse(core.Unavailable, "store: I/O error"), core.Unavailable},
		{errors.New("anything"), core.Unavailable},
	} {
		asked, approved, removing := newPeer(nil), newPeer(nil), newPeer(nil)
		stranger, second := newPeer(nil), newPeer(nil)
		for name, receive := range map[string]func(r *rig) func() (core.Answer, error){
			"request": func(r *rig) func() (core.Answer, error) {
				body := stranger.request(r.Key(), nil)
				return func() (core.Answer, error) { return r.ReceiveRequest(t.Context(), body, nowhere) }
			},
			"approve": func(r *rig) func() (core.Answer, error) {
				body := asked.approval(r.Key(), nil)
				return func() (core.Answer, error) { return r.ReceiveApproval(t.Context(), body) }
			},
			"removed": func(r *rig) func() (core.Answer, error) {
				body := removing.SealRemoval(r.Key())
				return func() (core.Answer, error) { return r.ReceiveRemoval(t.Context(), body) }
			},
			"message": func(r *rig) func() (core.Answer, error) {
				body := approved.message(t, r.Key(), nil)
				return func() (core.Answer, error) { return r.ReceiveMessage(t.Context(), body) }
			},
			"identity": func(r *rig) func() (core.Answer, error) {
				body := approved.SealIdentity(r.Key(), core.Identity{HumanName: "New", PublicKey: approved.key.String()})
				return func() (core.Answer, error) { return r.ReceiveIdentity(t.Context(), body) }
			},
			"first v2": func(r *rig) func() (core.Answer, error) {
				body := second.message(t, r.Key(), nil)
				return func() (core.Answer, error) { return r.ReceiveMessage(t.Context(), body) }
			},
		} {
			t.Run(name+" "+string(fail.kind), func(t *testing.T) {
				r := newRig(t, nil)
				one := func(p *core.Peer) {
					p.V2 = true
					p.Granted.Scopes[0].RateLimit.Requests = 1
				}
				add(t, r.Gateway, approved, core.Approved, one)
				add(t, r.Gateway, removing, core.Approved, one)
				add(t, r.Gateway, second, core.Approved, nil)
				add(t, r.Gateway, asked, core.Requested, nil)
				deliver := receive(r)
				before := state(t, r)
				r.store.FailCommits(fail.err)
				for range 3 { // three times, so that a token or a nonce that was used up would show
					_, err := deliver()
					want(t, "with a failing store", err, fail.kind)
					var e *core.Error
					if errors.As(err, &e); e.RetryAfter <= 0 {
						t.Errorf("%v says no time to try again", err)
					}
				}
				if after := state(t, r); after != before {
					t.Errorf("the state has changed:\n%s", cmp.Diff(before, after))
				}
				r.store.FailCommits(nil)
				a, err := deliver()
				want(t, "once the store works again", err, "")
				if a.Status != 200 {
					t.Errorf("answer %d %s, want 200", a.Status, a.Body)
				}
				if name == "request" && len(events(t, r.store, core.EventRequest)) != 1 {
					t.Error("the request that was kept was not told: it was counted for the digest when it failed")
				}
			})
		}
	}
}

// The same for what our own side does.
func TestS1FailedCommitOfOurs(t *testing.T) {
	pending, approved := newPeer(nil), newPeer(nil)
	asking := newPeer(nil)
	for name, act := range map[string]func(r *rig) error{
		"approve": func(r *rig) error {
			_, err := r.ApprovePeer(t.Context(), pending.key, gateway.Approval{})
			return err
		},
		"reject": func(r *rig) error { _, err := r.RejectPeer(t.Context(), pending.key, false); return err },
		"remove": func(r *rig) error { _, _, err := r.RemovePeer(t.Context(), approved.key); return err },
		"send": func(r *rig) error {
			_, err := r.Send(t.Context(), approved.key, gateway.Sending{Intent: "message", Payload: core.Raw(`{}`)})
			return err
		},
		"alias": func(r *rig) error { _, err := r.SetAlias(t.Context(), approved.key, "bob"); return err },
		"ask": func(r *rig) error {
			r.wire.card = func(context.Context, string, map[string]string) (core.Card, error) {
				return core.Card{PublicKey: asking.key.String(), GatewayURL: asking.url}, nil
			}
			_, err := r.RequestFederation(t.Context(), gateway.Ask{URL: asking.url})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			add(t, r.Gateway, pending, core.Pending, func(p *core.Peer) { p.V2 = true })
			add(t, r.Gateway, approved, core.Approved, nil)
			before := state(t, r)
			r.store.FailCommits(core.Refuse(core.Full, "store: full"))
			want(t, name, act(r), core.Full)
			if after := state(t, r); after != before {
				t.Errorf("the state has changed:\n%s", cmp.Diff(before, after))
			}
			r.wire.mu.Lock()
			if n := len(r.wire.posted); n != 0 {
				t.Errorf("%d envelopes were sent before it was kept", n)
			}
			r.wire.mu.Unlock()
			r.store.FailCommits(nil)
			want(t, name+" again", act(r), "")
		})
	}
}

// The side that was left still has us approved; when we ask again it sees a
// fresh request, and both find together.
func TestT12OneSidedRemoval(t *testing.T) {
	a, b := coretest.Pair(t)
	coretest.Federate(t, a, b)
	b.Offline()
	_, notified, err := a.RemovePeer(t.Context(), b.Key())
	if err != nil || notified == nil {
		t.Fatalf("RemovePeer = %v, %v, want a peer that was not notified", notified, err)
	}
	b.Online()
	if got := b.TrustOf(a); got != core.Approved {
		t.Fatalf("b has a %q, want approved: it heard of nothing", got)
	}
	// The remover asks again: it hears that it is approved there, which with its
	// operator's command is all that it takes.
	asked, err := a.RequestFederation(t.Context(), gateway.Ask{URL: b.URL})
	if err != nil || !asked.Confirmed || asked.Status != "approved" {
		t.Fatalf("RequestFederation = %+v, %v, want approved without a request", asked, err)
	}
	if x, y := a.TrustOf(b), b.TrustOf(a); x != core.Approved || y != core.Approved {
		t.Errorf("a has b %q and b has a %q, want approved on both sides", x, y)
	}
}

// TestT12GrantsToldAgain: who has lost what we grant it with its record of us hears it again
// once it has approved us anew.
func TestT12GrantsToldAgain(t *testing.T) {
	for name, again := range map[string]func(a, b *coretest.Gateway){
		"the other side asks": func(a, b *coretest.Gateway) {
			if _, err := b.RequestFederation(t.Context(), gateway.Ask{URL: a.URL}); err != nil {
				t.Fatal(err)
			}
			if _, err := a.ApprovePeer(t.Context(), b.Key(), gateway.Approval{}); err != nil {
				t.Fatal(err)
			}
		},
		"it asks, and hears that it is approved": func(a, b *coretest.Gateway) {
			if _, err := a.RequestFederation(t.Context(), gateway.Ask{URL: b.URL}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		a, b := coretest.Pair(t)
		coretest.Federate(t, a, b)
		b.Offline()
		if _, _, err := a.RemovePeer(t.Context(), b.Key()); err != nil {
			t.Fatal(err)
		}
		b.Online()
		again(a, b)
		coretest.Await(t, name+": both know what they may", func() bool {
			x, y := a.Peer(b.Key()), b.Peer(a.Key())
			return x != nil && x.Trust == core.Approved && y.Trust == core.Approved && x.Received != nil && y.Received != nil
		})
		b.Offline() // nothing goes to and fro for ever
		for _, g := range []*coretest.Gateway{a, b} {
			if list, err := g.Store.Outbox(t.Context(), core.OutboxFilter{State: core.OutWaiting}); err != nil || len(list) != 0 {
				t.Errorf("%s: %d envelopes wait, %v, want none", name, len(list), err)
			}
		}
	}
}

// An old request, sent again after the approval, does not undo it.
func TestOldRequestAfterApproval(t *testing.T) {
	r := newRig(t, nil)
	p := newPeer(nil)
	first, second := p.request(r.Key(), nil), p.request(r.Key(), func(x *core.Request) { x.Peer.DisplayName = "again" })
	for _, body := range [][]byte{first, second} {
		_, err := r.ReceiveRequest(t.Context(), body, nowhere)
		want(t, "ReceiveRequest", err, "")
	}
	if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{}); err != nil {
		t.Fatal(err)
	}
	for _, body := range [][]byte{first, second} {
		_, err := r.ReceiveRequest(t.Context(), body, nowhere)
		want(t, "the same request again", err, "")
		wantTrust(t, r.Gateway, p.key, core.Approved)
	}
}

// Both ask: both have said yes.
func TestMutualRequests(t *testing.T) {
	a, b := coretest.Pair(t)
	var wg sync.WaitGroup
	for _, pair := range [][2]*coretest.Gateway{{a, b}, {b, a}} {
		wg.Go(func() {
			_, err := pair[0].RequestFederation(t.Context(), gateway.Ask{URL: pair[1].URL})
			if err != nil && !errors.Is(err, core.Conflict) {
				t.Errorf("RequestFederation: %v", err)
			}
		})
	}
	wg.Wait()
	coretest.Await(t, "both are approved, with grants", func() bool {
		x, y := a.Peer(b.Key()), b.Peer(a.Key())
		return x.Trust == core.Approved && y.Trust == core.Approved && x.Granted != nil && y.Granted != nil && x.Received != nil && y.Received != nil
	})
}

// An approval that names the peer is told under that name.
func TestApprovedIsToldByItsName(t *testing.T) {
	r := newRig(t, nil)
	p := newPeer(nil)
	if _, err := r.ReceiveRequest(t.Context(), p.request(r.Key(), nil), nowhere); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{Alias: "alice"}); err != nil {
		t.Fatal(err)
	}
	if told := events(t, r.store, core.EventApproved); len(told) != 1 || told[0].Then.Alias != "alice" || r.Peer(p.key).Alias != "alice" {
		t.Errorf("the approval is told as %+v, want alice", told[0].Then)
	}
}

// An update of grants reaches the peer and counts at once.
func TestGrantsUpdate(t *testing.T) {
	a, b := coretest.Pair(t)
	coretest.Federate(t, a, b)
	out, err := b.ApprovePeer(t.Context(), a.Key(), gateway.Approval{Grants: []core.Grant{{Intent: core.IntentStatusUpdate, Enabled: true}}, Alias: "alice"})
	if err != nil || out.Err != nil {
		t.Fatal(err, out.Err)
	}
	if got := a.Peer(b.Key()).Received.Scopes; len(got) != 1 || got[0].Intent != core.IntentStatusUpdate {
		t.Errorf("a knows of %v, want the new grants", got)
	}
	for intent, state := range map[string]core.OutboxState{core.IntentMessage: core.OutRefused, core.IntentStatusUpdate: core.OutSent} {
		out, err := a.Send(t.Context(), b.Key(), gateway.Sending{Intent: intent, Payload: core.Raw(`{}`)})
		if err != nil || out.Item.State != state {
			t.Errorf("%s: %v, %v, want %s", intent, out.Item, err, state)
		}
	}
	coretest.Await(t, "the approval is told", func() bool { return len(a.Notifier.Notified(core.EventApproved)) > 0 })
	if n := len(a.Notifier.Notified(core.EventApproved)); n != 1 {
		t.Errorf("%d approvals were told, want the first alone", n)
	}
	if p, err := b.Resolve("alice"); err != nil || p.Key != a.Key() {
		t.Errorf("Resolve(alice) = %v, %v", p, err)
	}
}

func TestResolve(t *testing.T) {
	r := newRig(t, nil)
	var peers []*peer
	for _, alias := range []string{"bob", "bobby", ""} {
		peers = append(peers, befriend(t, r.Gateway, func(p *core.Peer) { p.Alias = alias }))
	}
	k := peers[2].key
	for ref, key := range map[string]core.PublicKey{
		"bob": peers[0].key, "bobb": peers[1].key, k.String(): k, strings.ToUpper(k.String()): k, k.ID(): k, k.Fingerprint(): k,
		strings.ToLower(k.Fingerprint()[:9]): k, strings.ReplaceAll(k.Fingerprint(), "-", ""): k,
	} {
		if p, err := r.Resolve(ref); err != nil || p.Key != key {
			t.Errorf("Resolve(%q) = %v, %v", ref, p, err)
		}
	}
	_, err := r.Resolve("bo")
	var e *core.Error
	if !errors.As(err, &e) || e.Kind != core.Ambiguous || len(e.Candidates) != 2 {
		t.Errorf("Resolve(bo) = %v, want Ambiguous with both", err)
	}
	for _, ref := range []string{"", "nobody", core.SPKIPrefix, k.ShortID(), "Peer"} {
		_, err := r.Resolve(ref)
		want(t, "Resolve("+ref+")", err, core.NotFound)
	}
	if _, err := r.SetAlias(t.Context(), k, "bob"); !errors.Is(err, core.Conflict) {
		t.Errorf("a taken alias = %v, want Conflict", err)
	}
}

// A gateway that restarts knows what it knew.
func TestRestart(t *testing.T) {
	store := &coretest.Store{Store: memory.New()}
	r := newRig(t, func(o *gateway.Options) { o.Store = store })
	r.store = store
	for _, trust := range []core.Trust{core.Approved, core.Pending, core.Requested, core.Rejected, core.Removed} {
		add(t, r.Gateway, newPeer(nil), trust, nil)
	}
	before := state(t, r)
	r.restart()
	if after := state(t, r); after != before {
		t.Errorf("after a restart:\n%s", cmp.Diff(before, after))
	}
}
