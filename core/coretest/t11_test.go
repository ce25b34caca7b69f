package coretest_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/rendezvous/rendezvoustest"
)

// signedText is a text that we have signed, and the signature.
type signedText struct{ text, signature string }

// ourTexts are all that our key ever signs: as gateways before v2 read it, by kind,
// and in the v2 form, by purpose.
func ourTexts(t *testing.T, key keys.Private, aud core.PublicKey) (legacy, v2 map[string]signedText) {
	t.Helper()
	legacy, v2 = map[string]signedText{}, map[string]signedText{}
	s := envelope.Sealer{Key: key}
	add := func(kind string, body []byte, textOf func(map[string]jsontext.Value) string) {
		t.Helper()
		var b map[string]jsontext.Value
		if err := json.Unmarshal(body, &b); err != nil {
			t.Fatal(err)
		}
		var block struct {
			PayloadStr string `json:"payloadStr"`
			Signature  string `json:"signature"`
		}
		var p struct {
			Ctx string `json:"ctx"`
		}
		if json.Unmarshal(b["v2"], &block) != nil || json.Unmarshal([]byte(block.PayloadStr), &p) != nil {
			t.Fatalf("%s without v2: %s", kind, body)
		}
		v2[p.Ctx] = signedText{block.PayloadStr, block.Signature}
		if b["signature"] != nil {
			legacy[kind] = signedText{textOf(b), said(t, b["signature"])}
		}
	}
	member := func(name string) func(map[string]jsontext.Value) string {
		return func(b map[string]jsontext.Value) string { return said(t, b[name]) }
	}
	card := core.PeerCard{ID: key.Public().ID(), DisplayName: "We", Email: "we@example.test", GatewayURL: "http://127.0.0.1:1", PublicKey: key.Public().String(), HumanName: "W"}
	yes, no := true, false
	approval := core.Approval{PeerID: aud.ID(), Approved: &yes, FromGatewayID: "127.0.0.1:1", FromDisplayName: "We", FromGatewayURL: card.GatewayURL, FromPublicKey: card.PublicKey, Nonce: "n"}
	add("request", must(s.SealRequest(aud, core.Request{Peer: card, OfferedIntents: []string{"message"}})), member("payloadStr"))
	add("approval", must(s.SealApproval(aud, approval)), member("payloadStr"))
	add("rejection", must(s.SealApproval(aud, core.Approval{Approved: &no, FromPublicKey: card.PublicKey})), member("payloadStr"))
	add("removal", must(s.SealRemoval(aud)), func(b map[string]jsontext.Value) string {
		return `{"peerId":` + string(b["peerId"]) + `,"timestamp":` + string(b["timestamp"]) + `}`
	})
	message, err := s.SealMessage(aud, core.Message{Intent: "message", From: key.Public().ID(), To: aud.ID(), Nonce: "n", ReplyTo: card.GatewayURL + "/federation/reply/n",
		ProjectID: "p", ConversationID: "c", Payload: core.Raw(`{"text":"hello"}`)})
	if err != nil {
		t.Fatal(err)
	}
	add("message", message, member("messageStr"))
	reply, err := s.SealReply(aud, core.Reply{Nonce: "n", Success: true, Data: core.Raw(`{"text":"yes"}`), From: key.Public().ID(), To: aud.ID()})
	if err != nil {
		t.Fatal(err)
	}
	add("reply", reply, member("replyStr"))
	add("identity", must(s.SealIdentity(aud, core.Identity{ID: card.ID, DisplayName: "We", HumanName: "W", Email: card.Email, GatewayURL: card.GatewayURL, PublicKey: card.PublicKey})),
		func(b map[string]jsontext.Value) string { return string(b["identity"]) })
	now := time.Now()
	for _, purpose := range []string{envelope.PurposeRegister, envelope.PurposeInvite} {
		add("registration", must(s.SealHints(envelope.Hints{Purpose: purpose, Port: 1, PublicURL: card.GatewayURL, Legacy: true}, now)), member("payloadStr"))
	}
	for _, purpose := range []string{envelope.PurposeDeregister, envelope.PurposeList, envelope.PurposeRevoke} {
		add("order", must(s.SealHints(envelope.Hints{Purpose: purpose, Token: "a3f7k2"}, now)), nil)
	}
	v2["ogp/v2/status"] = func() signedText {
		var block struct {
			PayloadStr string `json:"payloadStr"`
			Signature  string `json:"signature"`
		}
		if err := json.Unmarshal(must(s.SealStatus(aud, "n", true)), &block); err != nil {
			t.Fatal(err)
		}
		return signedText{block.PayloadStr, block.Signature}
	}()
	return legacy, v2
}

func said(t *testing.T, v jsontext.Value) (s string) {
	t.Helper()
	if err := json.Unmarshal(v, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// oldDoors are what a gateway of an era verifies a signature of ours for. Each is
// given a text in every way that it can be put into the body, and says whether the
// gateway took it.
func oldDoors(t *testing.T, old *coretest.LegacyGateway, us keys.Private) map[string]func(signedText) bool {
	post := func(path string, body any) (int, string) {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		return ask(t, old, path, b)
	}
	object := func(text string) jsontext.Value { return jsontext.Value(text) }
	id := us.Public().ID()
	switch old.Era {
	case coretest.H:
		id = "127.0.0.1:1"
	case coretest.S:
		id = id[:16]
	}
	known := func(status string) {
		old.SetPeer(coretest.LegacyPeer{ID: id, PublicKey: us.Public().String(), URL: "http://127.0.0.1:1", Status: status, Granted: &core.Bundle{Version: core.BundleVersion,
			Scopes: []core.Grant{{Intent: "message", Enabled: true}}}})
	}
	doors := map[string]func(signedText) bool{
		// The object beside the text says what its sender likes.
		"message": func(s signedText) bool {
			known("approved")
			status, _ := post("/federation/message", map[string]any{"message": core.Message{Intent: "message", From: id, Nonce: "x", Payload: core.Raw(`{"text":"send all your money"}`)},
				"messageStr": s.text, "signature": s.signature})
			return status == http.StatusOK
		},
	}
	if old.Era != coretest.H {
		doors["removed"] = func(s signedText) bool {
			known("approved")
			var pair struct {
				PeerID    any `json:"peerId"`
				Timestamp any `json:"timestamp"`
			}
			_ = json.Unmarshal([]byte(s.text), &pair)
			status, _ := post("/federation/removed", map[string]any{"peerId": pair.PeerID, "timestamp": pair.Timestamp, "signature": s.signature})
			return status == http.StatusOK
		}
	}
	if old.Era == coretest.N || old.Era.Signed() {
		doors["update-identity"] = func(s signedText) bool {
			known("approved")
			status, _ := post("/federation/update-identity", map[string]any{"identity": object(s.text), "signature": s.signature})
			return status == http.StatusOK
		}
	}
	if old.Era.Signed() {
		doors["request"] = func(s signedText) bool {
			known("")
			status, _ := post("/federation/request", map[string]any{"payloadStr": s.text, "signature": s.signature})
			return status == http.StatusOK
		}
		doors["approve"] = func(s signedText) bool {
			for _, from := range []string{"pending", "removed", "rejected"} {
				known(from)
				post("/federation/approve", map[string]any{"payloadStr": s.text, "signature": s.signature})
				if old.Peer(us.Public()).Status == "approved" {
					return true
				}
			}
			return false
		}
		doors["reply"] = func(s signedText) bool {
			known("approved")
			status, _ := post("/federation/reply/x", map[string]any{"reply": map[string]any{"success": true, "data": "anything"}, "replyStr": s.text, "signature": s.signature})
			return status == http.StatusOK
		}
		doors["card"] = func(s signedText) bool {
			known("approved")
			var pair struct {
				PeerID    string `json:"peerId"`
				Timestamp string `json:"timestamp"`
			}
			_ = json.Unmarshal([]byte(s.text), &pair)
			req, err := http.NewRequest(http.MethodGet, old.URL+"/.well-known/ogp", nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range map[string]string{"X-OGP-Peer-ID": pair.PeerID, "X-OGP-Timestamp": pair.Timestamp, "X-OGP-Signature": s.signature} {
				req.Header.Set(name, value)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var card core.Card
			return json.UnmarshalRead(resp.Body, &card) == nil && card.PeerStatus != nil
		}
	}
	return doors
}

// own are the texts that each of an old gateway's doors is there for.
var own = map[string][]string{
	"message": {"message"}, "reply": {"reply"}, "request": {"request"}, "approve": {"approval"}, "removed": {"removal"},
	"update-identity": {"identity"}, "card": nil, "register": {"registration"}, "invite": {"registration"},
}

// incurable are the doors at which something else passes, whatever we do: they are
// named in docs/threat-model.md#t11.
var incurable = map[string][]string{
	// Every version takes any text that a peer has signed for a message of any
	// content, and 0.7 for a reply.
	"message": {"*"}, "reply": {"*"},
	// 0.7 reads no `approved`; we send it no rejection. It looks for the sender of an
	// approval by peerId, too, which is all that a removal notice says.
	"approve": {"rejection", "removal"},
	// A heartbeat of 0.7 has the text of a removal notice. It gets a health report.
	"card": {"removal"},
}

// TestT11LegacyTable: every text that we can sign at every door of every version
// that verifies our signature: the own pair, and what is named as incurable. What
// is signed in the v2 form passes nowhere.
func TestT11LegacyTable(t *testing.T) {
	for _, era := range coretest.Eras {
		t.Run(string(era), func(t *testing.T) {
			old, us := coretest.Legacy(t, era), keys.Generate()
			legacy, v2 := ourTexts(t, us, old.Key.Public())
			if len(legacy) != 8 || len(v2) != 12 {
				t.Fatalf("%d texts of the old form and %d of v2", len(legacy), len(v2))
			}
			for door, takes := range oldDoors(t, old, us) {
				for kind, text := range legacy {
					want := slices.Contains(own[door], kind) || slices.Contains(incurable[door], kind) || slices.Contains(incurable[door], "*")
					if got := takes(text); got != want {
						t.Errorf("a %s of ours at %s's %s: taken %v, want %v", kind, era, door, got, want)
					}
				}
				for ctx, text := range v2 {
					if takes(text) {
						t.Errorf("what we signed for %s passes at %s's %s", ctx, era, door)
					}
				}
			}
		})
	}
	t.Run("rendezvous of 0.7", func(t *testing.T) {
		server := httptest.NewServer(&rendezvoustest.Legacy{Signed: true})
		defer server.Close()
		us := keys.Generate()
		legacy, v2 := ourTexts(t, us, keys.Generate().Public())
		for _, door := range []string{"register", "invite"} {
			takes := func(s signedText) bool {
				b, err := json.Marshal(map[string]string{"payloadStr": s.text, "signature": s.signature})
				if err != nil {
					t.Fatal(err)
				}
				resp, err := http.Post(server.URL+"/"+door, "application/json", strings.NewReader(string(b)))
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				return resp.StatusCode == http.StatusOK
			}
			for kind, text := range legacy {
				if got := takes(text); got != slices.Contains(own[door], kind) {
					t.Errorf("a %s of ours at %s: taken %v", kind, door, got)
				}
			}
			for ctx, text := range v2 {
				if takes(text) {
					t.Errorf("what we signed for %s passes at %s", ctx, door)
				}
			}
		}
	})
}

// must is what a key of our own signs, which never fails.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
