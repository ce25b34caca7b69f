package gateway_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opengatewayprotocol/ogp/core"
)

// An envelope with one bent byte is refused and leaves nothing, or means exactly
// what its sender has signed: a bent name of a member that may be left out, say.
func TestL1BentEnvelopes(t *testing.T) {
	type outcome struct {
		Trust   core.Trust
		Message *core.Message
		Names   core.Names
		URL     string
	}
	look := func(r *rig, k core.PublicKey) (o outcome) {
		if p := r.Peer(k); p != nil {
			o.Trust, o.Names, o.URL = p.Trust, p.Names, p.URL
		}
		if list := inbox(t, r.store); len(list) > 0 {
			o.Message = &list[0].Message
		}
		return o
	}
	for name, c := range map[string]struct {
		trust   core.Trust
		sample  func(r *rig, p *peer) []byte
		receive func(r *rig, body []byte) error
	}{
		"message": {core.Approved,
			func(r *rig, p *peer) []byte { return p.message(t, r.Key(), nil) },
			func(r *rig, body []byte) error { _, err := r.ReceiveMessage(t.Context(), body); return err }},
		"request": {core.Stranger,
			func(r *rig, p *peer) []byte { return p.request(r.Key(), nil) },
			func(r *rig, body []byte) error { _, err := r.ReceiveRequest(t.Context(), body, nowhere); return err }},
		"approve": {core.Requested,
			func(r *rig, p *peer) []byte { return p.approval(r.Key(), nil) },
			func(r *rig, body []byte) error { _, err := r.ReceiveApproval(t.Context(), body); return err }},
		"removed": {core.Approved,
			func(r *rig, p *peer) []byte { return p.SealRemoval(r.Key()) },
			func(r *rig, body []byte) error { _, err := r.ReceiveRemoval(t.Context(), body); return err }},
		"identity": {core.Approved,
			func(r *rig, p *peer) []byte {
				return p.SealIdentity(r.Key(), core.Identity{ID: p.key.ID(), DisplayName: "New", HumanName: "H", PublicKey: p.key.String()})
			},
			func(r *rig, body []byte) error { _, err := r.ReceiveIdentity(t.Context(), body); return err }},
	} {
		for _, v2 := range []bool{true, false} {
			t.Run(name+map[bool]string{true: " v2", false: " legacy"}[v2], func(t *testing.T) {
				r, p := newRig(t, nil), newPeer(nil)
				begin := func() {
					r = newRig(t, nil)
					if c.trust != core.Stranger {
						add(t, r.Gateway, p, c.trust, func(p *core.Peer) { p.V2 = v2 })
					}
				}
				begin()
				body := c.sample(r, p)
				if !v2 {
					body = without(t, body, "v2")
				}
				key := r.o.Signer
				again := func() {
					begin()
					r.Close()
					r.o.Signer = key // the envelope is to this gateway
					r.start()
				}
				again()
				if err := c.receive(r, body); err != nil {
					t.Fatalf("unbent = %v", err)
				}
				whole := look(r, p.key)
				again()
				before, commits := look(r, p.key), r.store.Commits()
				accepted := 0
				for i := range body {
					bent := slices.Clone(body)
					bent[i] ^= 1
					if err := c.receive(r, bent); err != nil {
						if strings.Contains(err.Error(), "v2 signature required") { // the operator is told of it, once
							commits = r.store.Commits()
						}
						if r.store.Commits() != commits {
							t.Fatalf("byte %d bent: %v, but something was kept", i, err)
						}
						continue
					}
					accepted++
					if diff := cmp.Diff(whole, look(r, p.key)); diff != "" {
						t.Fatalf("byte %d bent to %q was accepted with another meaning:\n%s", i, bent[max(0, i-20):min(len(bent), i+20)], diff)
					}
					again()
					commits = r.store.Commits()
				}
				if after := look(r, p.key); !cmp.Equal(before, after) {
					t.Errorf("after all: %v, want %v", after, before)
				}
				if accepted > len(body)/2 {
					t.Errorf("%d of %d bent envelopes were accepted", accepted, len(body))
				}
			})
		}
	}
}

// Whatever comes in, nothing panics, and what is refused leaves nothing.
func FuzzReceive(f *testing.F) {
	r := newRig(f, nil)
	p := befriend(f, r.Gateway, nil)
	for _, body := range [][]byte{p.message(f, r.Key(), nil), p.request(r.Key(), nil), p.approval(r.Key(), nil), p.SealRemoval(r.Key()),
		p.SealIdentity(r.Key(), core.Identity{HumanName: "H", PublicKey: p.key.String()}), []byte(`{}`), []byte(`[]`), []byte(`{"message":{},"signature":"x"}`)} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := newRig(t, nil)
		for _, receive := range []func() (core.Answer, error){
			func() (core.Answer, error) { return r.ReceiveMessage(t.Context(), body) },
			func() (core.Answer, error) { return r.ReceiveRequest(t.Context(), body, nowhere) },
			func() (core.Answer, error) { return r.ReceiveApproval(t.Context(), body) },
			func() (core.Answer, error) { return r.ReceiveRemoval(t.Context(), body) },
			func() (core.Answer, error) { return r.ReceiveReply(t.Context(), "n", body) },
			func() (core.Answer, error) { return r.ReceiveIdentity(t.Context(), body) },
		} {
			before := r.store.Commits()
			if a, err := receive(); (err != nil || a.Status != 200) && r.store.Commits() != before {
				t.Errorf("%v %d, but something was kept", err, a.Status)
			}
		}
	})
}
