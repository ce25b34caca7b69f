package gateway_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/outbox"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

// TestT12RequestOfWhoWaits: asking a peer that has asked is saying yes. It is asked
// first what it has of us, and what it made of our approval is told as it was.
//
// docs/threat-model.md#t12
func TestT12RequestOfWhoWaits(t *testing.T) {
	for _, c := range []struct {
		name, say string
		gone      bool // its own request
		confirmed bool
		err, hint string
	}{
		{name: "as it should be", say: "no"},
		{name: "it has approved us meanwhile", say: "yes", confirmed: true},
		{name: "its request is gone there", say: "unknown", gone: true, err: "No pending peer found", hint: "--again"},
		{name: "it says nothing", say: "401"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig, _ *peer) {
				p := newPeer(nil)
				answersFor(r, p, c.say, "0.7.2")
				notPending(r, func(string) bool { return c.gone })
				_, err := r.ReceiveRequest(t.Context(), without(t, p.request(r.Key(), nil), "v2"), nowhere)
				want(t, "its request", err, "")
				time.Sleep(10 * time.Second)
				asked, err := r.RequestFederation(t.Context(), gateway.Ask{URL: p.url, Alias: "eve"})
				if err != nil {
					t.Fatal(err)
				}
				if got := r.Peer(p.key); got.Trust != core.Approved || got.Alias != "eve" || asked.Confirmed != c.confirmed || len(r.wire.sent(core.PathRequest)) != 0 {
					t.Errorf("%s as %q, confirmed %v; want approved, confirmed %v, and no request", got.Trust, got.Alias, asked.Confirmed, c.confirmed)
				}
				if n := len(r.wire.sent(core.PathMessage)); n == 0 {
					t.Error("it was not asked before it was approved")
				}
				out := asked.Approval
				if out == nil || out.Item == nil {
					t.Fatal("nothing says what came of the approval")
				}
				if c.err == "" {
					if out.Err != nil || out.Item.State != core.OutSent {
						t.Errorf("the approval is %s, %v, want sent", out.Item.State, out.Err)
					}
					return
				}
				var e *core.Error
				if !errors.As(out.Err, &e) || !strings.Contains(e.Error(), c.err) || !strings.Contains(e.Hint, "ogp federation request "+p.url+" "+c.hint) {
					t.Errorf("the approval: %#v, want %q with a hint that names the command", out.Err, c.err)
				}
				if kept, err := r.store.OutboxItem(t.Context(), out.Item.ID); err != nil || kept.Error != e.Error() || kept.Hint != e.Hint {
					t.Errorf("kept is %+v, %v, want what was said", kept, err)
				}
				end := time.Until(outbox.Ends(out.Peer, out.Item))
				if end < 299*time.Second || end > 301*time.Second {
					t.Errorf("it is said to be tried for %v, want 300 s", end)
				}
				time.Sleep(301 * time.Second)
				items, _ := r.store.Outbox(t.Context(), core.OutboxFilter{Peer: p.key})
				if len(items) != 1 || items[0].State == core.OutWaiting {
					t.Errorf("after that time it is %+v, want ended", items[0])
				}
			})
		})
	}
}

// TestApprovalSuperseded: of several approvals only the last one waits, and a yes of the
// peer ends those that it has refused, and the failures of those before.
func TestApprovalSuperseded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, _ *peer) {
		waiting := func(p *peer) (list []*core.OutboxItem) {
			items, err := r.store.Outbox(t.Context(), core.OutboxFilter{Peer: p.key, State: core.OutWaiting})
			if err != nil {
				t.Fatal(err)
			}
			return items
		}
		p := newPeer(nil)
		o := answersFor(r, p, "no", "0.7.2")
		notPending(r, func(string) bool { return true })
		_, err := r.ReceiveRequest(t.Context(), without(t, p.request(r.Key(), nil), "v2"), nowhere)
		want(t, "its request", err, "")
		time.Sleep(10 * time.Second)
		for range 3 {
			if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if n := len(waiting(p)); n != 1 {
				t.Fatalf("%d approvals wait, want the last", n)
			}
		}
		time.Sleep(10 * time.Minute)
		failed := events(t, r.store, core.EventDeliveryFailed)
		if len(failed) != 1 || len(waiting(p)) != 0 {
			t.Fatalf("%d events of failure, %d wait; want one of the last, and none", len(failed), len(waiting(p)))
		}
		if sure := r.Peer(p.key).Asking.Sure; !sure.IsZero() {
			t.Errorf("it is said to have us approved since %v", sure)
		}
		if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{}); err != nil {
			t.Fatal(err)
		}
		o.set("yes")
		asked, err := r.RequestFederation(t.Context(), gateway.Ask{URL: p.url})
		if err != nil || !asked.Confirmed {
			t.Fatalf("%+v, %v; want its yes", asked, err)
		}
		if n := len(waiting(p)); n != 0 {
			t.Errorf("%d approvals wait for a peer that has us approved", n)
		}
		if got := r.Peer(p.key).Asking.Sure; !got.After(failed[0].At) {
			t.Errorf("sure since %v, want after the failure at %v", got, failed[0].At)
		}
	})
}

// TestAliasOfWhoHasGone: an alias that was given to another peer is no name of the one
// before any more, also not after a restart of a state that knew it as both.
func TestAliasOfWhoHasGone(t *testing.T) {
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, func(p *core.Peer) { p.Alias = "bob" })
	q := befriend(t, r.Gateway, nil)
	if _, _, err := r.RemovePeer(t.Context(), p.key); err != nil {
		t.Fatal(err)
	}
	if got := r.Peer(p.key).Alias; got != "bob" {
		t.Errorf("its alias is %q as long as nobody else wants it, want bob", got)
	}
	if _, err := r.SetAlias(t.Context(), q.key, "bob"); err != nil {
		t.Fatal(err)
	}
	if got := r.Peer(p.key); got.Alias != "" || got.Name() != p.key.Fingerprint() {
		t.Errorf("the one that has gone is %q", got.Name())
	}
	both := r.Peer(p.key).Clone()
	both.Alias = "bob"
	if err := r.store.Commit(t.Context(), &core.Change{Peers: []*core.Peer{both}}); err != nil {
		t.Fatal(err)
	}
	r.restart()
	if got := r.Peer(p.key).Alias; got != "" || r.Peer(q.key).Alias != "bob" {
		t.Errorf("after a restart it is %q", got)
	}
}

// TestCommandsLeadOn: what is refused of an operator's command names the whole next one.
func TestCommandsLeadOn(t *testing.T) {
	for _, event := range []peering.Event{peering.Approve, peering.Reject, peering.Remove, peering.Forget} {
		for _, state := range peering.States {
			if state == peering.Stranger {
				continue
			}
			p := newPeer(nil).record(state.Trust())
			switch state {
			case peering.Withdrawn:
				p.Doubt = &core.Doubt{Was: core.Pending}
			case peering.Lapsed, peering.Unconfirmed:
				p.Doubt = &core.Doubt{Was: core.Approved}
			}
			err := peering.Refusal(p, event)
			_, ok := peering.Next(state, event)
			if err == nil {
				continue
			}
			if ok && !(event == peering.Approve && state == peering.Requested) {
				t.Errorf("%s in %s is refused: %v", event, state, err)
			}
			hint := err.(*core.Error).Hint
			if !slices.ContainsFunc([]string{" " + p.Name() + `"`, " " + p.URL + `"`}, func(s string) bool { return strings.Contains(hint, s) }) {
				t.Errorf("%s in %s: the hint %q names no peer", event, state, hint)
			}
		}
	}
}

// TestT12GoingBackAnyState: one of ours that has gone back to 0.7.2 with its key asks in
// the old form, wherever it stands here. Our operator's approval, or its removal and then
// the approval, has it read what we send.
//
// docs/threat-model.md#t12
func TestT12GoingBackAnyState(t *testing.T) {
	for _, state := range peering.States {
		t.Run(string(state), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig, _ *peer) {
				p := newPeer(nil)
				answersFor(r, p, "no", "0.7.2")
				if state != peering.Stranger {
					add(t, r.Gateway, p, state.Trust(), func(p *core.Peer) {
						p.V2 = true
						switch state {
						case peering.Withdrawn:
							p.Doubt = &core.Doubt{Was: core.Pending}
						case peering.Lapsed, peering.Unconfirmed:
							p.Doubt = &core.Doubt{Was: core.Approved}
						}
					})
				}
				body := func() []byte { return without(t, p.request(r.Key(), nil), "v2") }
				_, err := r.ReceiveRequest(t.Context(), body(), nowhere)
				if state == peering.Approved {
					want(t, "its request", err, core.BadSignature)
					if _, _, err := r.RemovePeer(t.Context(), p.key); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
					_, err = r.ReceiveRequest(t.Context(), body(), nowhere)
				}
				want(t, "its request", err, "")
				if got := r.Peer(p.key); state != peering.Stranger && !strings.Contains(got.Warning, "older gateway") {
					t.Errorf("the warning is %q", got.Warning)
				}
				time.Sleep(10 * time.Second)
				if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{}); err != nil {
					t.Fatal(err)
				}
				if got := r.Peer(p.key); got.V2 || got.OldForm || got.Trust != core.Approved {
					t.Errorf("%s, v2 %v; want approved, and what we send bilingual again", got.Trust, got.V2)
				}
				sent := r.wire.sent(core.PathApprove)
				var signed struct{ PayloadStr, Signature string }
				if len(sent) == 0 || json.Unmarshal(sent[len(sent)-1].Body, &signed, json.MatchCaseInsensitiveNames(true)) != nil || signed.PayloadStr == "" || signed.Signature == "" {
					t.Fatalf("%d approvals, the last without the old signature", len(sent))
				}
				_, err = r.ReceiveMessage(t.Context(), without(t, p.message(t, r.Key(), nil), "v2"))
				want(t, "its message", err, "")
			})
		})
	}
}

// TestK3AliasNamesNobodyElse: an alias is not another peer's fingerprint or key, nor the
// beginning of one, nor ours, nor a URL; and what old stores hold of such takes nobody's
// place.
func TestK3AliasNamesNobodyElse(t *testing.T) {
	r := newRig(t, nil)
	p, q := befriend(t, r.Gateway, nil), befriend(t, r.Gateway, nil)
	stranger := newPeer(nil)
	add(t, r.Gateway, stranger, core.Pending, nil)
	raw := func(k core.PublicKey) string { return k.String()[len(core.SPKIPrefix):] }
	bare := func(k core.PublicKey) string { return strings.ReplaceAll(k.Fingerprint(), "-", "") }
	for name, alias := range map[string]string{
		"a fingerprint": q.key.Fingerprint(), "without dashes": bare(q.key), "in lower case": strings.ToLower(q.key.Fingerprint()),
		"the beginning of one": q.key.Fingerprint()[:9], "four characters": strings.ToLower(bare(q.key)[:4]), "five": bare(q.key)[:5],
		"a key": raw(q.key), "the beginning of a key": raw(q.key)[:6], "an id": q.key.ID(),
		"a stranger's": stranger.key.Fingerprint(), "the beginning of a stranger's": stranger.key.Fingerprint()[:9],
		"our fingerprint": r.Key().Fingerprint(), "the beginning of ours": bare(r.Key())[:8], "our key": raw(r.Key()), "our id": r.Key().ID(),
		"nobody's fingerprint": keys.Generate().Public().Fingerprint(), "a URL": "https://ben.example", "an address": "ben.example:18790",
		"what a shell runs": "b$(id)", "a quote": `b"en`, "an apostrophe": "b'en", "a backtick": "b`id`", "a semicolon": "ben;ls", "a curly quote": "b\u201den", "a wide space": "b\u00a0en",
	} {
		if _, err := r.SetAlias(t.Context(), p.key, alias); err == nil {
			t.Errorf("alias: %s, %q, is taken", name, alias)
		}
		if _, err := r.ApprovePeer(t.Context(), p.key, gateway.Approval{Alias: alias}); err == nil {
			t.Errorf("approve --alias: %s, %q, is taken", name, alias)
		}
		r.wire.mu.Lock()
		x := newPeer(nil)
		r.wire.card = func(context.Context, string, map[string]string) (core.Card, error) {
			return core.Card{PublicKey: x.key.String(), GatewayURL: x.url}, nil
		}
		r.wire.mu.Unlock()
		if _, err := r.RequestFederation(t.Context(), gateway.Ask{URL: x.url, Alias: alias}); err == nil {
			t.Errorf("request --alias: %s, %q, is taken", name, alias)
		}
		imported := newPeer(nil)
		add(t, r.Gateway, imported, core.Approved, func(p *core.Peer) { p.Alias = alias })
		if got := r.Peer(imported.key).Alias; got != "" {
			t.Errorf("import: %s, %q, is taken", name, got)
		}
	}
	if _, err := r.SetAlias(t.Context(), q.key, "Quentin"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SetAlias(t.Context(), p.key, "quentin"); !errors.Is(err, core.Conflict) {
		t.Errorf("an alias that differs in case alone from another's = %v, want a conflict", err)
	}
	if _, err := r.SetAlias(t.Context(), q.key, "QUENTIN"); err != nil {
		t.Errorf("its own alias in upper case: %v", err)
	}
	// Accents look the same within their letter and beside it.
	if _, err := r.SetAlias(t.Context(), q.key, "Zo\u00eb"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SetAlias(t.Context(), p.key, "Zoe\u0308"); !errors.Is(err, core.Conflict) {
		t.Errorf("an alias that looks the same as another's = %v, want a conflict", err)
	}
	if got, err := r.Resolve("zoe\u0308"); err != nil || got.Key != q.key {
		t.Errorf("Resolve of it = %v, %v", got, err)
	}
	// A stranger cannot keep a friend's name from it with a key made for that.
	if _, err := r.SetAlias(t.Context(), p.key, bare(stranger.key)[:5]); err != nil {
		t.Errorf("an alias that a stranger's fingerprint begins with: %v", err)
	}
	r.restart()
	if got := r.Peer(p.key).Alias; got != bare(stranger.key)[:5] {
		t.Errorf("after a restart the alias is %q", got)
	}

	// What an old store holds: whole names go, and none takes another's place.
	for _, alias := range []string{q.key.Fingerprint(), bare(q.key), "https://q.example"} {
		old := r.Peer(p.key).Clone()
		old.Alias, old.Revision = alias, old.Revision+1
		if err := r.store.Commit(t.Context(), &core.Change{Peers: []*core.Peer{old}}); err != nil {
			t.Fatal(err)
		}
		r.restart()
		if got := r.Peer(p.key).Alias; got != "" {
			t.Errorf("an old store's alias is kept: %q", got)
		}
	}
	old := r.Peer(p.key).Clone()
	old.Alias, old.Revision = q.key.Fingerprint()[:9], old.Revision+1
	if err := r.store.Commit(t.Context(), &core.Change{Peers: []*core.Peer{old}}); err != nil {
		t.Fatal(err)
	}
	r.restart()
	for ref, want := range map[string]core.PublicKey{q.key.Fingerprint(): q.key, bare(q.key): q.key, q.key.ID(): q.key, q.key.String(): q.key, old.Alias: p.key} {
		if got, err := r.Resolve(ref); err != nil || got.Key != want {
			t.Errorf("Resolve(%q) = %v, %v, want %s", ref, got, err, want.Fingerprint())
		}
	}
}

// TestLabelNamesNobodyElse: what a peer calls itself is no name for it here, unless it is
// the address where it is.
func TestLabelNamesNobodyElse(t *testing.T) {
	r := newRig(t, nil)
	q := befriend(t, r.Gateway, nil)
	host := strings.TrimPrefix(newPeer(nil).url, "http://") + ":18790"
	p := befriend(t, r.Gateway, func(p *core.Peer) { p.Label = q.key.Fingerprint()[:9] })
	at := befriend(t, r.Gateway, func(p *core.Peer) { p.URL, p.Label = "http://"+host, host })
	befriend(t, r.Gateway, func(p *core.Peer) { p.Label = "bob" })
	for ref, want := range map[string]core.PublicKey{r.Peer(p.key).Label: q.key, host: at.key} {
		if got, err := r.Resolve(ref); err != nil || got.Key != want {
			t.Errorf("Resolve(%q) = %v, %v, want %s", ref, got, err, want.Fingerprint())
		}
	}
	if got, err := r.Resolve("bob"); err == nil {
		t.Errorf("%s has named itself", got.Name())
	}
}
