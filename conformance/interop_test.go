package conformance

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/jsjson"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// interop is what every version said to, and heard from, a gateway that writes
// the bilingual bodies.
type interop struct {
	Keys    []named                              `json:"keys"`
	Results map[string]map[string]jsontext.Value `json:"results"`
}

func readInterop(t *testing.T) *interop {
	t.Helper()
	text, err := os.ReadFile("testdata/interop.json")
	if err != nil {
		t.Fatal(err)
	}
	in := new(interop)
	if err := json.Unmarshal(text, in); err != nil {
		t.Fatal(err)
	}
	return in
}

// TestInteropToUs: every envelope that every version wrote to a third gateway is
// taken by ours in its place.
func TestInteropToUs(t *testing.T) {
	in := readInterop(t)
	r := &recording{Version: "interop", Keys: in.Keys}
	approved, requested, stranger := core.Approved, core.Requested, core.Stranger
	envelopes := []struct {
		name, path string
		alice      core.Trust
		always     bool
	}{
		{"sendToUs", federation.PathMessage, approved, true},
		{"agentToUs", federation.PathMessage, approved, true},
		{"removedToUs", federation.PathRemoved, approved, false}, // unknown to 0.2.20
		{"requestToUs", federation.PathRequest, stranger, true},
		{"approveReceived", federation.PathApprove, requested, true},
		{"autoGrantToUs", federation.PathApprove, requested, true},
		{"replyCallback", federation.PathReply, approved, false}, // never sent before 0.4.3
	}
	if len(in.Results) != 7 {
		t.Fatalf("%d versions, want 7", len(in.Results))
	}
	for version, results := range in.Results {
		for _, l := range envelopes {
			body := said(results[l.name])
			if body == "" {
				if l.always {
					t.Errorf("%s: no %s was recorded", version, l.name)
				}
				continue
			}
			at, err := core.ParseTime(isoTime.FindString(body))
			if err != nil && l.name != "requestToUs" { // the plain form has no time
				t.Fatalf("%s %s: %v", version, l.name, err)
			}
			x := exchange{Name: l.name, Server: "mallory", Method: "POST", Path: l.path, Body: body, Headers: map[string]string{"content-type": "application/json"},
				at: at.Add(time.Second)}
			if l.path == federation.PathReply {
				var reply struct {
					Reply core.Reply `json:"reply"`
				}
				if err := json.Unmarshal([]byte(body), &reply); err != nil {
					t.Fatal(err)
				}
				x.Path += string(reply.Reply.Nonce)
			}
			g := given{Peers: map[string]core.Trust{"alice": l.alice, "bob": stranger, "carol": stranger}}
			scene := set(t, interopAs(r, version), x, g)
			if status, _, answer := scene.send(x); status != 200 {
				t.Errorf("%s: %s = %d %s, want 200\n%s", version, l.name, status, answer, body)
			}
		}
	}
}

// interopAs gives the recording a version and the two keys the names that a scene
// knows; a reply in it comes from alice, who has bob's part there.
func interopAs(r *recording, version string) *recording {
	as := *r
	as.Version = version
	as.Keys = slices.Clone(r.Keys)
	for _, k := range r.Keys {
		if k.Name != "mallory" {
			as.Keys = append(as.Keys, named{"alice", k.PublicKey, k.PrivateKey}, named{"bob", k.PublicKey, k.PrivateKey})
		}
	}
	return &as
}

// said is a recorded body: a text, or the first of a list of them.
func said(v jsontext.Value) (body string) {
	switch v.Kind() {
	case '"':
		if err := json.Unmarshal(v, &body); err != nil {
			panic(err)
		}
	case '[':
		var list []string
		if err := json.Unmarshal(v, &list); err != nil {
			panic(err)
		}
		if len(list) > 0 {
			body = list[0]
		}
	}
	return body
}

// TestInteropAccepted: every version took the bilingual bodies; what our Sealer
// writes has their shape (TestSealedShape).
func TestInteropAccepted(t *testing.T) {
	for version, results := range readInterop(t).Results {
		for _, name := range []string{"request", "approve", "message", "agentComms", "reply", "ourApprove"} {
			var answer []jsontext.Value
			if err := json.Unmarshal(results[name], &answer); err != nil {
				t.Fatalf("%s %s: %v", version, name, err)
			}
			if string(answer[0]) != "200" {
				t.Errorf("%s answered our %s with %s", version, name, answer[0])
			}
		}
	}
}

// TestSealedShape: what our Sealer writes has the members that each version
// reads, under the names and in the order that the version itself writes them,
// with a signature that it can verify; beside them stands only what it ignores.
func TestSealedShape(t *testing.T) {
	key, err := keys.FromSeed(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	other, err := keys.FromSeed([]byte(strings.Repeat("x", 32)))
	if err != nil {
		t.Fatal(err)
	}
	aud := other.Public()
	sealer := &envelope.Sealer{Key: key}
	card := core.PeerCard{ID: key.Public().ID(), DisplayName: "We", Email: "we@example.test", GatewayURL: "https://we.example.test", PublicKey: key.Public().String(),
		HumanName: "W", AgentName: "E", Organization: "Ours"}
	yes, no := true, false
	approval := core.Approval{PeerID: aud.ID(), Approved: &yes, FromGatewayID: "we.example.test:18790", FromDisplayName: "We", FromGatewayURL: card.GatewayURL,
		FromPublicKey: card.PublicKey, FromEmail: card.Email, Nonce: envelope.NewNonce(), ProtocolVersion: core.BundleVersion,
		ScopeGrants: &core.Bundle{Version: core.BundleVersion, GrantedAt: core.FormatTime(time.Now()), Scopes: []core.Grant{{Intent: "message", Enabled: true,
			RateLimit: &core.RateLimit{Requests: 100, WindowSeconds: 3600}}}}}
	message, err := sealer.SealMessage(aud, core.Message{Intent: "agent-comms", From: key.Public().ID(), To: aud.ID(), ToAgent: "scribe", Nonce: envelope.NewNonce(),
		ReplyTo: card.GatewayURL + "/federation/reply/n", ConversationID: "c", Payload: core.Raw(`{"topic":"general","message":"héllo 🦝 </b>","priority":"normal"}`)})
	if err != nil {
		t.Fatal(err)
	}
	reply, err := sealer.SealReply(aud, core.Reply{Nonce: "n", Success: true, Data: core.Raw(`{"received":true}`), From: key.Public().ID(), To: aud.ID()})
	if err != nil {
		t.Fatal(err)
	}
	requestText := []string{"peer", "offeredIntents", "timestamp"}
	peer := []string{"id", "displayName", "email", "gatewayUrl", "publicKey", "humanName", "agentName", "organization"}
	approvalText := []string{"peerId", "approved", "fromGatewayId", "fromDisplayName", "fromGatewayUrl", "fromPublicKey", "fromEmail", "timestamp", "nonce", "protocolVersion", "scopeGrants"}
	tests := []struct {
		name   string
		body   []byte
		outer  []string // v2 alone may stand beside these
		text   string   // the member that is the signed text; empty: the twin itself
		twin   string   // the member that says the same as the text; empty: the members of the body
		inner  []string
		deeper map[string][]string
	}{
		{"request", must(sealer.SealRequest(aud, core.Request{Peer: card, OfferedIntents: []string{"message"}})),
			[]string{"payloadStr", "signature", "peer", "offeredIntents"}, "payloadStr", "", requestText, map[string][]string{"peer": peer}},
		{"approval", must(sealer.SealApproval(aud, approval)), append(slices.Clone(approvalText), "payloadStr", "signature"), "payloadStr", "", approvalText,
			map[string][]string{"scopeGrants": {"version", "grantedAt", "scopes"}}},
		{"grants back", must(sealer.SealApproval(aud, core.Approval{FromGatewayID: "h:1", FromPublicKey: card.PublicKey, ProtocolVersion: core.BundleVersion, ScopeGrants: approval.ScopeGrants})),
			[]string{"fromGatewayId", "fromPublicKey", "timestamp", "protocolVersion", "scopeGrants", "payloadStr", "signature"}, "payloadStr", "",
			[]string{"fromGatewayId", "fromPublicKey", "timestamp", "protocolVersion", "scopeGrants"}, nil},
		// To every version before ours a plain member here is an approval: it has none.
		{"rejection", must(sealer.SealApproval(aud, core.Approval{Approved: &no, FromPublicKey: card.PublicKey, Nonce: "n"})),
			[]string{"payloadStr", "signature"}, "payloadStr", "-", []string{"approved", "fromPublicKey", "timestamp", "nonce"}, nil},
		{"removal", must(sealer.SealRemoval(aud)), []string{"peerId", "timestamp", "signature"}, "", "", []string{"peerId", "timestamp"}, nil},
		{"message", message, []string{"message", "messageStr", "signature"}, "messageStr", "message",
			[]string{"intent", "from", "to", "toAgent", "nonce", "timestamp", "replyTo", "conversationId", "payload"}, nil},
		{"reply", reply, []string{"reply", "replyStr", "signature"}, "replyStr", "reply", []string{"nonce", "success", "data", "timestamp", "from", "to"}, nil},
		{"identity", must(sealer.SealIdentity(aud, core.Identity{ID: card.ID, DisplayName: "We", HumanName: "W", AgentName: "E", Organization: "Ours", Email: card.Email, GatewayURL: card.GatewayURL, PublicKey: card.PublicKey})),
			[]string{"identity", "signature"}, "", "identity", []string{"id", "displayName", "humanName", "agentName", "organization", "email", "gatewayUrl", "publicKey"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			names, body := members(t, test.body)
			if want := append(slices.Clone(test.outer), "v2"); !slices.Equal(names, want) {
				t.Errorf("members %q, want %q", names, want)
			}
			text := string(body[test.twin])
			switch {
			case test.text != "":
				text = said(body[test.text])
			case test.twin == "":
				text = `{"peerId":` + string(body["peerId"]) + `,"timestamp":` + string(body["timestamp"]) + `}`
			}
			innerNames, inner := members(t, []byte(text))
			if !slices.Equal(innerNames, test.inner) {
				t.Errorf("signed members %q, want %q", innerNames, test.inner)
			}
			for name, want := range test.deeper {
				if got, _ := members(t, inner[name]); !slices.Equal(got, want) {
					t.Errorf("%s has %q, want %q", name, got, want)
				}
			}
			// The twin says what the text says, byte by byte.
			switch test.twin {
			case "":
				for name, value := range inner {
					if twin, ok := body[name]; ok && string(twin) != string(value) || !ok && name != "timestamp" {
						t.Errorf("%s beside the text is %s, want %s", name, twin, value)
					}
				}
			case "-":
			default:
				if string(body[test.twin]) != text {
					t.Errorf("%s is %s, want the text %s", test.twin, body[test.twin], text)
				}
			}
			// Readers without the text sign over what JavaScript writes: the same.
			if again, err := jsjson.Stringify([]byte(text)); err != nil || string(again) != text {
				t.Errorf("JavaScript would write %s, %v; want %s", again, err, text)
			}
			signature := said(body["signature"])
			sig, err := keys.ParseSignature(signature)
			if err != nil || len(signature) != 128 || strings.ToLower(signature) != signature || !keys.Verify(key.Public(), []byte(text), sig) {
				t.Errorf("the signature %q, which old gateways verify, does not hold: %v", signature, err)
			}
			if stamp, ok := inner["timestamp"]; ok && !isoMillis.MatchString(said(stamp)) {
				t.Errorf("timestamp %s, want ISO 8601 with milliseconds and Z", stamp)
			}
		})
	}
}

// members lists an object's members in their order, and by name.
func members(t *testing.T, object []byte) (names []string, by map[string]jsontext.Value) {
	t.Helper()
	if err := json.Unmarshal(object, &by); err != nil {
		t.Fatalf("%v: %s", err, object)
	}
	d := jsontext.NewDecoder(strings.NewReader(string(object)))
	if _, err := d.ReadToken(); err != nil {
		t.Fatal(err)
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name.String())
		if err := d.SkipValue(); err != nil {
			t.Fatal(err)
		}
	}
	return names, by
}
