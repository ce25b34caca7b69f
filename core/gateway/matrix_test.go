package gateway_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

// What each envelope of a peer does in each state, in each form, and what the peer's
// answer to our question then makes of it. A cell has the state right after the envelope
// and, behind a dash, where that differs, those of a few minutes later when the peer has
// said yes, no, and nothing: "A-AlA" stays approved, but lapses after a no. The letters:
//
//	S stranger  Q requested  P pending  W withdrawn  L lapsed
//	A approved  U unconfirmed  X rejected  R removed
var letters = map[peering.State]string{
	peering.Stranger: "S", peering.Requested: "Q", peering.Pending: "P", peering.Withdrawn: "W", peering.Lapsed: "L",
	peering.Approved: "A", peering.Unconfirmed: "U", peering.Rejected: "X", peering.Removed: "R",
}

// deeds are the envelopes of the table's columns, in their forms. A peer of 0.7 signs an
// envelope, one before it a plain request and nothing else of the handshake.
var deeds = []struct {
	name string
	body func(t *testing.T, p *peer, to core.PublicKey) (path string, body []byte)
}{
	{"request v2", func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
		return core.PathRequest, p.request(to, nil)
	}},
	{"request envelope", func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
		return core.PathRequest, without(t, p.request(to, nil), "v2")
	}},
	{"request plain", func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
		return core.PathRequest, plainRequest(t, p, p.request(to, nil))
	}},
	{"request unsigned", func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
		return core.PathRequest, without(t, p.request(to, nil), "v2", "signature", "payloadStr")
	}},
	{"approve v2", approvalOf(true, true)},
	{"approve envelope", approvalOf(false, true)},
	{"approve nobody", approvalOf(false, false)},
	{"approve unsigned", func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
		return core.PathApprove, without(t, p.approval(to, nil), "v2", "signature", "payloadStr")
	}},
	{"reject v2", rejectionOf("")},
	{"reject envelope", rejectionOf("v2")},
	{"removed v2", func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
		return core.PathRemoved, p.SealRemoval(to)
	}},
	{"removed plain", func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
		return core.PathRemoved, p.notice(t, to)
	}},
	{"removed unsigned", func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
		return core.PathRemoved, without(t, p.SealRemoval(to), "v2", "signature")
	}},
	{"identity v2", func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
		return core.PathIdentity, newIdentity(p, p.url)
	}},
	{"identity plain", func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
		return core.PathIdentity, without(t, newIdentity(p, p.url), "v2")
	}},
	{"message v2", func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
		return core.PathMessage, p.message(t, to, nil)
	}},
	{"message plain", func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
		return core.PathMessage, without(t, p.message(t, to, nil), "v2")
	}},
}

func approvalOf(v2, named bool) func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
	return func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
		body := p.approval(to, func(a *core.Approval) {
			if yes := true; named {
				a.PeerID, a.Approved = to.ID(), &yes
			}
		})
		if !v2 {
			body = without(t, body, "v2")
		}
		return core.PathApprove, body
	}
}

func rejectionOf(drop string) func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
	return func(t *testing.T, p *peer, to core.PublicKey) (string, []byte) {
		body := p.approval(to, func(a *core.Approval) { no := false; a.PeerID, a.Approved = to.ID(), &no })
		if drop != "" {
			body = without(t, body, drop)
		}
		return core.PathApprove, body
	}
}

// inState makes a peer's record stand in a state.
func inState(state peering.State, v2 bool) func(*core.Peer) {
	return func(p *core.Peer) {
		p.V2, p.Version, p.Trust = v2, "0.6.0", state.Trust()
		since := time.Now().Add(-time.Minute).UTC()
		switch state {
		case peering.Withdrawn:
			p.Doubt = &core.Doubt{Was: core.Pending, Since: since, Notice: since}
		case peering.Unconfirmed, peering.Lapsed:
			p.ApprovedAt = since.Add(-time.Hour)
			p.Doubt = &core.Doubt{Was: core.Approved, Since: since, Notice: since}
			p.Asking.Next = time.Now().Add(time.Hour) // not by itself while we look
		}
	}
}

// cell runs one deed in one state.
func cell(t *testing.T, state peering.State, v2 bool, deed int) string {
	run := func(say string) (now, then string) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(o *gateway.Options) { o.Settings.Health.Interval = -1 })
			p := newPeer(nil)
			if state != peering.Stranger {
				add(t, r.Gateway, p, core.Approved, inState(state, v2))
			}
			o := answersFor(r, p, say, "0.6.0")
			o.signs = v2
			r.wire.mu.Lock()
			card, post := r.wire.card, r.wire.post
			r.wire.card = func(ctx context.Context, url string, headers map[string]string) (core.Card, error) {
				time.Sleep(time.Millisecond) // so that now is before any answer
				return card(ctx, url, headers)
			}
			r.wire.post = func(ctx context.Context, url, path string, body []byte) (core.Answer, error) {
				time.Sleep(time.Millisecond)
				return post(ctx, url, path, body)
			}
			r.wire.mu.Unlock()
			stop := r.run()
			defer stop()
			path, body := deeds[deed].body(t, p, r.Key())
			(&side{rig: r}).receive(t.Context(), path, body)
			now = letters[standing(r, p)]
			time.Sleep(4 * time.Minute)
			synctest.Wait()
			then = letters[standing(r, p)]
			if g := r.Peer(p.key); g != nil && strings.Contains("AUL", then) && state.InDoubt() && g.Granted == nil && say != "no" {
				t.Errorf("%s in %s: the grants are gone", deeds[deed].name, state.Word())
			}
		})
		return now, then
	}
	now, yes := run("yes")
	_, no := run("no")
	_, silent := run("silent")
	if yes == now && no == now && silent == now {
		return now
	}
	return now + "-" + yes + no + silent
}

// matrixLegacy is of a peer that has not shown v2, matrixV2 of one that has.
const (
	matrixLegacy = `
                  S      Q      P      W      L      A      U      X      R
request v2        P      A      P      P      L-ALL  A-ALA  U-ALU  P      P
request envelope  P      Q-AQQ  P      P      L-ALL  A-ALA  U-ALU  P      P
request plain     P      Q-AQQ  P      P      L-ALL  A-ALA  U-ALU  P      P
request unsigned  S      Q      P      W      L      A      U      X      R
approve v2        S      A      P      W      A      A      A      X      R
approve envelope  S      A      P      W      A      A      A      X      R
approve nobody    S      Q-AQQ  P      W      L-ALL  A      U-AUU  X      R
approve unsigned  S      Q-AQQ  P      W      L-ALL  A      U-AUU  X      R
reject v2         S      X      P      W      L      A      U      X      R
reject envelope   S      X      P      W      L      A      U      X      R
removed v2        S      R      R      R      R      R      R      X      R
removed plain     S      Q      W      W      L-ALL  U-AUU  U-AUU  X      R
removed unsigned  S      Q      P      W      L      A      U      X      R
identity v2       S      Q      P      W      L      A      U      X      R
identity plain    S      Q      P      W      L      A      U      X      R
message v2        S      Q      P      W      A      A      A      X      R
message plain     S      Q      P      W      A      A      A      X      R`
	matrixV2 = `
                  S      Q      P      W      L      A      U      X      R
request v2        .      A      P      P      L-APL  A-APA  U-APU  P      P
request envelope  .      Q-AQQ  P      P      L-APL  A      U-APU  P      P
request plain     .      Q-AQQ  P      P      L-APL  A      U-APU  P      P
request unsigned  .      Q      P      W      L      A      U      X      R
approve v2        .      A      P      W      A      A      A      X      R
approve envelope  .      Q      P      W      L      A      U      X      R
approve nobody    .      Q      P      W      L      A      U      X      R
approve unsigned  .      Q      P      W      L      A      U      X      R
reject v2         .      X      P      W      L      A      U      X      R
reject envelope   .      Q      P      W      L      A      U      X      R
removed v2        .      R      R      R      R      R      R      X      R
removed plain     .      Q      P      W      L      A      U      X      R
removed unsigned  .      Q      P      W      L      A      U      X      R
identity v2       .      Q      P      W      L      A      U      X      R
identity plain    .      Q      P      W      L      A      U      X      R
message v2        .      Q      P      W      A      A      A      X      R
message plain     .      Q      P      W      L      A      U      X      R`
)

// TestT10Matrix: the trust table as a peer meets it, for every state, envelope and form.
//
// docs/protocol.md#trust
func TestT10Matrix(t *testing.T) {
	for v2, table := range map[bool]string{false: matrixLegacy, true: matrixV2} {
		lines := strings.Split(strings.Trim(table, "\n"), "\n")
		if len(lines) != len(deeds)+1 {
			t.Fatalf("%d lines, want %d: complete the table", len(lines), len(deeds)+1)
		}
		for i, line := range lines[1:] {
			t.Run(fmt.Sprintf("shown v2 %v %s", v2, deeds[i].name), func(t *testing.T) {
				want := strings.Fields(strings.TrimPrefix(line, deeds[i].name))
				if len(want) != len(peering.States) || !strings.HasPrefix(line, deeds[i].name) {
					t.Fatalf("line %q: want %s and %d cells", line, deeds[i].name, len(peering.States))
				}
				for j, state := range peering.States {
					if v2 && state == peering.Stranger {
						continue // nobody has shown anything
					}
					if got := cell(t, state, v2, i); got != want[j] {
						t.Errorf("%s in %s: %s, want %s", deeds[i].name, state.Word(), got, want[j])
					}
				}
			})
		}
	}
}
