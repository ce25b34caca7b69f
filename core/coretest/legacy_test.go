package coretest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// ask posts a body to an old gateway.
func ask(t *testing.T, old *coretest.LegacyGateway, path string, body []byte) (int, string) {
	t.Helper()
	resp, err := http.Post(old.URL+path, "application/json", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text strings.Builder
	b := make([]byte, 4096)
	for {
		n, err := resp.Body.Read(b)
		text.Write(b[:n])
		if err != nil {
			return resp.StatusCode, text.String()
		}
	}
}

// TestLegacyStatuses: what each version answers to the confirmation's question,
// by where the asker stands and by what it calls itself.
func TestLegacyStatuses(t *testing.T) {
	for _, era := range coretest.Eras {
		t.Run(string(era), func(t *testing.T) {
			old := coretest.Legacy(t, era)
			key := keys.Generate()
			s := envelope.Sealer{Key: key}
			question := func(from string) string {
				body, err := s.SealMessage(old.Key.Public(), core.Message{Intent: "federation.status", From: from, To: old.Key.Public().ID(), Nonce: envelope.NewNonce(), Payload: core.Raw(`{}`)})
				if err != nil {
					t.Fatal(err)
				}
				status, text := ask(t, old, "/federation/message", body)
				if status != http.StatusForbidden && status != http.StatusUnauthorized {
					t.Errorf("%d %s, want 403 or 401", status, text)
				}
				return text
			}
			label := map[coretest.Era]string{coretest.H: "gw.example:18790", coretest.S: key.Public().String()[:16]}[era]
			if label == "" {
				label = key.Public().ID()
			}
			if got := question(label); !strings.Contains(got, `"Unknown peer"`) {
				t.Errorf("not known: %s", got)
			}
			record := coretest.LegacyPeer{ID: label, PublicKey: key.Public().String(), URL: "http://gw.example"}
			for _, record.Status = range []string{"pending", "rejected", "removed"} {
				old.SetPeer(record)
				if got := question(label); !strings.Contains(got, `"Peer not approved"`) {
					t.Errorf("%s: %s", record.Status, got)
				}
			}
			record.Status = "approved"
			old.SetPeer(record)
			if got := question(label); !strings.Contains(got, `Intent 'federation.status' not in granted scope`) {
				t.Errorf("approved: %s", got)
			}
			if strings.Contains(question(label), "statusCode") != (era != coretest.H && era != coretest.S) {
				t.Errorf("the error has, or lacks, a statusCode: %s", question(label))
			}
			if era == coretest.H {
				if got := question(key.Public().ID()); !strings.Contains(got, "Unknown peer") {
					t.Errorf("by an id that it did not give: %s", got)
				}
			}
			// Somebody else comes first in the file, and 0.2 answers about him.
			old.SetPeer(coretest.LegacyPeer{PublicKey: key.Public().String()})
			old.SetPeer(coretest.LegacyPeer{ID: "x:1", PublicKey: keys.Generate().Public().String(), Status: "approved"})
			record.ID = "gw.example:18790"
			old.SetPeer(record)
			got := question(key.Public().ID())
			want := map[coretest.Era]string{coretest.H: "Unknown peer", coretest.S: "Invalid signature"}[era]
			if want == "" {
				want = "not in granted scope"
			}
			if !strings.Contains(got, want) {
				t.Errorf("by 32 characters, second in the file: %s, want %s", got, want)
			}
		})
	}
}

// TestLegacyEndpoints: what a version does not have is answered by Express.
func TestLegacyEndpoints(t *testing.T) {
	for _, era := range coretest.Eras {
		old := coretest.Legacy(t, era)
		for path, has := range map[string]bool{"/federation/removed": era != coretest.H, "/federation/update-identity": era == coretest.N || era.Signed(), "/federation/other": false} {
			status, text := ask(t, old, path, []byte(`{}`))
			if express := status == http.StatusNotFound && strings.Contains(text, "Cannot POST "+path); express == has {
				t.Errorf("%s %s: %d %s", era, path, status, text)
			}
		}
		if status, text := ask(t, old, "/federation/message", []byte(`{"x":"`+strings.Repeat("x", 100<<10)+`"}`)); status != http.StatusRequestEntityTooLarge || !strings.HasPrefix(text, "<!DOCTYPE html>") {
			t.Errorf("%s: %d for 100 kB, want Express's 413", era, status)
		}
	}
}

// TestLegacyApprovals: who is approved by what. Before 0.7 a claim is enough.
func TestLegacyApprovals(t *testing.T) {
	for _, era := range coretest.Eras {
		t.Run(string(era), func(t *testing.T) {
			old, key := coretest.Legacy(t, era), keys.Generate()
			ours := coretest.LegacyPeer{ID: "gw.example:18790", PublicKey: key.Public().String(), URL: "http://127.0.0.1:1"}
			s := envelope.Sealer{Key: key}
			forged := []byte(`{"fromGatewayUrl":"http://127.0.0.1:1","fromDisplayName":"Mallory"}`)
			for _, status := range []string{"pending", "removed", "rejected"} {
				ours.Status = status
				old.SetPeer(ours)
				ask(t, old, "/federation/approve", forged)
				if got := old.Peer(key.Public()).Status == "approved"; got == era.Signed() {
					t.Errorf("%s: an unsigned claim approves: %v", status, got)
				}
				old.SetPeer(ours)
				if code, text := ask(t, old, "/federation/approve", must(s.SealApproval(old.Key.Public(), core.Approval{FromPublicKey: key.Public().String(), FromGatewayURL: ours.URL}))); code != 200 || old.Peer(key.Public()).Status != "approved" {
					t.Errorf("%s: our approval: %d %s, and the record is %q", status, code, text, old.Peer(key.Public()).Status)
				}
			}
			old.SetPeer(coretest.LegacyPeer{PublicKey: ours.PublicKey})
			other := keys.Generate().Public().String()
			old.SetPeer(coretest.LegacyPeer{ID: "other", PublicKey: other, URL: "http://other.example", Status: "pending"})
			status, _ := ask(t, old, "/federation/approve", []byte(`{"fromGatewayId":"nobody"}`))
			if any := era == coretest.H || era == coretest.S; (status == 200) != any {
				t.Errorf("a claim that names nobody: %d, want it to approve whoever waits: %v", status, any)
			}
		})
	}
}

// TestLegacyLateWrite: an approval that comes before the asker's command line has
// written its request down is overwritten; 0.7.2 keeps the grants of it.
func TestLegacyLateWrite(t *testing.T) {
	for _, era := range coretest.Eras {
		t.Run(string(era), func(t *testing.T) {
			g, old := coretest.New(t), coretest.Legacy(t, era)
			s := envelope.Sealer{Key: g.Private}
			var early int
			old.Pause = func() {
				early, _ = ask(t, old, "/federation/approve", must(s.SealApproval(old.Key.Public(), core.Approval{FromPublicKey: g.Key().String(), FromGatewayURL: g.URL,
					ScopeGrants: &core.Bundle{Version: core.BundleVersion, Scopes: []core.Grant{{Intent: "message", Enabled: true}}}})))
			}
			old.Request(g.URL)
			if early != http.StatusNotFound {
				t.Errorf("an approval before the record: %d, want 404", early)
			}
			if got := old.Peer(g.Key()).Status; got != "pending" {
				t.Errorf("the record is %q, want pending", got)
			}
			// It knows us from before: 200, and then overwritten.
			old.Request(g.URL)
			p := old.Peer(g.Key())
			if early != 200 || p.Status != "pending" || (p.Received != nil) != (era == coretest.E) {
				t.Errorf("an approval before the second record: %d, the record is %+v", early, p)
			}
		})
	}
}

// TestLegacyAlreadyPendingOrApproved: what a second request is answered with, and
// what it leaves of the first.
func TestLegacyAlreadyPendingOrApproved(t *testing.T) {
	for _, era := range coretest.Eras {
		t.Run(string(era), func(t *testing.T) {
			g, old := coretest.New(t), coretest.Legacy(t, era)
			s := envelope.Sealer{Key: g.Private, Now: time.Now}
			request := func() string {
				_, text := ask(t, old, "/federation/request", must(s.SealRequest(old.Key.Public(), core.Request{Peer: core.PeerCard{ID: g.Key().ID(), GatewayURL: g.URL, PublicKey: g.Key().String()}})))
				return text
			}
			if got := request(); !strings.Contains(got, `"status":"pending"`) {
				t.Fatal(got)
			}
			old.Approve(g.Key())
			got, p := request(), old.Peer(g.Key())
			if era == coretest.H {
				if !strings.Contains(got, `"status":"pending"`) || p.Status != "pending" || p.Granted != nil {
					t.Errorf("%s; %+v; want the record overwritten", got, p)
				}
			} else if !strings.Contains(got, "already-pending-or-approved") || p.Status != "approved" || p.Granted == nil {
				t.Errorf("%s; %+v; want the record as it was", got, p)
			}
			old.Remove(g.Key())
			if got := request(); strings.Contains(got, "already") != (era == coretest.S) {
				t.Errorf("from removed: %s", got)
			}
			// A stranger who claims our URL takes our place from 0.6 on.
			stranger := keys.Generate()
			old.SetPeer(coretest.LegacyPeer{ID: g.Key().ID(), PublicKey: g.Key().String(), URL: g.URL, Status: "approved"})
			ask(t, old, "/federation/request", must((&envelope.Sealer{Key: stranger}).SealRequest(old.Key.Public(), core.Request{Peer: core.PeerCard{ID: "a:1", GatewayURL: g.URL, PublicKey: stranger.Public().String()}})))
			if got := old.Peer(g.Key()).Status == "approved"; got == (era == coretest.N || era.Signed() || era == coretest.M) {
				t.Errorf("still approved: %v", got)
			}
		})
	}
}

// TestLegacyForgetsUs: a gateway of 0.2.20 that asked us knows us by what its
// operator typed; when it has lost us and we ask it, by the id in our request.
func TestLegacyForgetsUs(t *testing.T) {
	for _, era := range coretest.Eras {
		t.Run(string(era), func(t *testing.T) {
			g, old := coretest.New(t), coretest.Legacy(t, era)
			k := old.Key.Public()
			old.Request(g.URL)
			coretest.Await(t, "the request is there", func() bool { return g.TrustOfKey(k) == core.Pending })
			if _, err := g.ApprovePeer(t.Context(), k, gateway.Approval{}); err != nil {
				t.Fatal(err)
			}
			coretest.Await(t, "approved there", func() bool { return old.Peer(g.Key()).Status == "approved" })
			sent(t, send(t, g, k, gateway.Sending{}))
			old.SetPeer(coretest.LegacyPeer{PublicKey: g.Key().String()})
			if _, err := g.RequestFederation(t.Context(), gateway.Ask{URL: old.URL}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(1100 * time.Millisecond) // unsigned approvals count once a second
			if old.Approve(g.Key()).Status != 200 {
				t.Fatal("their approval was not taken")
			}
			coretest.Await(t, "approved here", func() bool { return g.TrustOfKey(k) == core.Approved })
			coretest.Await(t, "it is asked by which label it knows us now", func() bool { return g.Peer(k).OurLabel == "" })
			sent(t, send(t, g, k, gateway.Sending{}))
		})
	}
}
