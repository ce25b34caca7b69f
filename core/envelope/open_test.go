package envelope_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/freshness"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

var (
	now      = time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)
	alice    = testKey(1)
	bob      = testKey(2)
	carol    = testKey(3)
	aliceKey = alice.Public()
	bobKey   = bob.Public()
	sealer   = envelope.Sealer{Key: alice, Now: func() time.Time { return now }}
)

// opener opens as bob, at a time.
func opener(at time.Time) *envelope.Opener {
	guard := &freshness.Guard{Now: func() time.Time { return at }}
	return &envelope.Opener{Self: bobKey, Near: guard.Near}
}

func findAlice(string) ([]core.PublicKey, error) { return []core.PublicKey{aliceKey}, nil }

var card = core.PeerCard{ID: aliceKey.ID(), DisplayName: "Alice", Email: "alice@example.test", GatewayURL: "https://alice.example.test",
	PublicKey: aliceKey.String(), HumanName: "Alice A."}

// result is an Opened of any kind.
type result struct {
	key    core.PublicKey
	value  any
	digest [32]byte
	text   string
	v2     bool
	nonce  core.Nonce
	sentAt time.Time
}

func resultOf[T any](o envelope.Opened[T], err error) (result, error) {
	return result{o.Key, o.Value, o.Digest, string(o.Text), o.V2, o.Nonce, o.SentAt}, err
}

// of opens a kind of envelope, as one from alice.
func of[T any](k envelope.Kind[T]) func(*envelope.Opener, []byte) (result, error) {
	return func(o *envelope.Opener, body []byte) (result, error) {
		return resultOf(envelope.Open(o, k, body, findAlice))
	}
}

// sample is a kind of envelope: how one is sealed, how it is opened, and where its
// signed text lies.
type sample struct {
	shape envelope.Shape
	name  string // of the object, where a twin text may lie beside it
	str   string // of the text
	seal  func() []byte
	open  func(o *envelope.Opener, body []byte) (result, error)
	late  core.Kind // the kind of error for an envelope out of its time
}

func message() core.Message {
	return core.Message{Intent: "agent-comms", From: aliceKey.ID(), To: bobKey.ID(), ToAgent: "scribe", Nonce: "9fe79dd6-641a-4c38-9099-b745df9c2af7",
		ReplyTo: "https://alice.example.test/federation/reply/9fe79dd6-641a-4c38-9099-b745df9c2af7", ConversationID: "c-1", ProjectID: "p-1",
		Payload: core.Raw(`{"topic":"general","message":"héllo \"ünïcode\" 🦝 </script>","priority":"high","n":[1,-0.5,1e3,null,true]}`)}
}

var samples = []sample{
	{envelope.ShapeRequest, "peer", "payloadStr", func() []byte {
		return must(sealer.SealRequest(bobKey, core.Request{Peer: card, OfferedIntents: []string{"message", "agent-comms"}, Invite: &core.Invited{Token: "a3f7k2", Proof: "00"}}))
	}, of(envelope.Request), core.Stale},
	{envelope.ShapeApproval, "", "payloadStr", func() []byte {
		yes := true
		return must(sealer.SealApproval(bobKey, core.Approval{PeerID: bobKey.ID(), Approved: &yes, FromGatewayID: "alice.example.test:18790", FromDisplayName: "Alice",
			FromGatewayURL: card.GatewayURL, FromPublicKey: aliceKey.String(), FromEmail: card.Email, Nonce: "n-1", ProtocolVersion: core.BundleVersion,
			ScopeGrants: &core.Bundle{Version: core.BundleVersion, GrantedAt: core.FormatTime(now), Scopes: []core.Grant{
				{Intent: "message", Enabled: true, RateLimit: &core.RateLimit{Requests: 100, WindowSeconds: 3600}},
				{Intent: "agent-comms", Enabled: true, Topics: []string{"general"}, Personas: []string{"scribe"}, ExpiresAt: core.FormatTime(now)}}}}))
	}, of(envelope.Approval), core.Stale},
	{envelope.ShapeApproval, "", "payloadStr", func() []byte {
		no := false
		return must(sealer.SealApproval(bobKey, core.Approval{Approved: &no, FromPublicKey: aliceKey.String(), Nonce: "n-2"}))
	}, of(envelope.Approval), core.Stale},
	{envelope.ShapeRemoval, "", "", func() []byte { return must(sealer.SealRemoval(bobKey)) },
		of(envelope.Removal), core.Stale},
	{envelope.ShapeMessage, "message", "messageStr", func() []byte {
		body, err := sealer.SealMessage(bobKey, message())
		if err != nil {
			panic(err)
		}
		return body
	}, of(envelope.Message), core.Stale},
	{envelope.ShapeReply, "reply", "replyStr", func() []byte {
		body, err := sealer.SealReply(bobKey, core.Reply{Nonce: "9fe79dd6", Success: true, Data: core.Raw(`{"text":"yes"}`), From: aliceKey.ID(), To: bobKey.ID()})
		if err != nil {
			panic(err)
		}
		return body
	}, of(envelope.Reply), core.Stale},
	{envelope.ShapeIdentity, "identity", "", func() []byte {
		return must(sealer.SealIdentity(bobKey, core.Identity{ID: aliceKey.ID(), DisplayName: "Alice", HumanName: "Alice A.", Email: card.Email,
			GatewayURL: card.GatewayURL, PublicKey: aliceKey.String()}))
	}, of(envelope.Identity), core.Stale},
}

// heartbeat is what the X-OGP headers of a gateway of 0.7 say.
func heartbeat(at time.Time) (peerID, timestamp, signature string) {
	peerID, timestamp = aliceKey.ID(), core.FormatTime(at)
	return peerID, timestamp, alice.Signature([]byte(`{"peerId":"` + peerID + `","timestamp":"` + timestamp + `"}`))
}

func mustOpen(t *testing.T, l sample, body []byte) result {
	t.Helper()
	got, err := l.open(opener(now), body)
	if err != nil {
		t.Fatalf("open %s = %v, want no error\n%s", l.shape, err, body)
	}
	return got
}

func wantKind(t *testing.T, what string, err error, want core.Kind) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want kind %s", what, err, want)
	}
}

// TestSealOpen: what is sealed opens to what was meant, by the v2 signature and,
// as old gateways write it, without one.
func TestSealOpen(t *testing.T) {
	for _, l := range samples {
		t.Run(string(l.shape), func(t *testing.T) {
			body := l.seal()
			got := mustOpen(t, l, body)
			if got.key != aliceKey || !got.v2 || got.nonce == "" || !got.sentAt.Equal(now) {
				t.Errorf("opened as %v, v2 %v, nonce %q, sent at %v; want alice's, v2, with a nonce, at %v", got.key, got.v2, got.nonce, got.sentAt, now)
			}
			if got.digest != sha256.Sum256([]byte(got.text)) {
				t.Error("the digest is not the text's")
			}
			alone := mustOpen(t, l, without(t, body, "signature"))
			if !reflect.DeepEqual(alone, got) {
				t.Errorf("without the legacy signature: %+v, want %+v", alone, got)
			}
			legacy := mustOpen(t, l, without(t, body, "v2"))
			if legacy.v2 || legacy.nonce != "" || legacy.key != aliceKey || legacy.digest != got.digest {
				t.Errorf("without v2: %+v", legacy)
			}
			if !reflect.DeepEqual(legacy.value, got.value) {
				t.Errorf("without v2: %+v, want %+v", legacy.value, got.value)
			}
		})
	}
}

// TestOpenMessageValue: every field arrives, and the payload byte by byte.
func TestOpenMessageValue(t *testing.T) {
	want := message()
	want.Timestamp = core.FormatTime(now)
	body, err := sealer.SealMessage(bobKey, message())
	if err != nil {
		t.Fatal(err)
	}
	got, err := envelope.Open(opener(now), envelope.Message, body, func(label string) ([]core.PublicKey, error) {
		if label != want.From {
			t.Errorf("find was asked for %q, want %q", label, want.From)
		}
		return []core.PublicKey{aliceKey}, nil
	})
	if err != nil || !reflect.DeepEqual(got.Value, want) {
		t.Errorf("opened %+v, %v; want %+v", got.Value, err, want)
	}
}

// TestOpenOneChange starts from an envelope that opens, changes one thing, and names
// the error that it must bring.
func TestOpenOneChange(t *testing.T) {
	set := func(name string, value any) func(*testing.T, []byte) []byte {
		return func(t *testing.T, body []byte) []byte { return with(t, body, name, value) }
	}
	drop := func(name string) func(*testing.T, []byte) []byte {
		return func(t *testing.T, body []byte) []byte { return without(t, body, name) }
	}
	legacy := func(f func(*testing.T, []byte) []byte) func(*testing.T, []byte) []byte {
		return func(t *testing.T, body []byte) []byte { return f(t, without(t, body, "v2")) }
	}
	// resigned replaces the signed text of an envelope without v2 and signs it again.
	resigned := func(str string, change func(*testing.T, []byte) []byte) func(*testing.T, []byte) []byte {
		return func(t *testing.T, body []byte) []byte {
			text := change(t, []byte(textOf(t, body, str)))
			body = with(t, without(t, body, "v2"), str, string(text))
			for _, name := range []string{"peer", "offeredIntents", "invite"} {
				body = without(t, body, name)
			}
			return with(t, body, "signature", alice.Signature(text))
		}
	}
	other := carol.Signature([]byte("text"))
	request, approval, removal, msg, reply, identity := samples[0], samples[1], samples[3], samples[4], samples[5], samples[6]
	tests := []struct {
		sample sample
		what   string
		change func(*testing.T, []byte) []byte
		kind   core.Kind
		text   string
	}{
		{request, "no payloadStr", func(t *testing.T, b []byte) []byte { return without(t, without(t, b, "payloadStr"), "peer") }, core.Malformed, "Missing payloadStr or signature"},
		{request, "no signature", legacy(drop("signature")), core.Malformed, "Missing payloadStr or signature"},
		{request, "payloadStr a number", set("payloadStr", 5), core.Malformed, "Missing payloadStr or signature"},
		{request, "payloadStr empty", set("payloadStr", ""), core.Malformed, "Missing payloadStr or signature"},
		{request, "payloadStr no JSON", set("payloadStr", "{"), core.Malformed, "payloadStr is not valid JSON"},
		{request, "payload an array", set("payloadStr", "[]"), core.Malformed, "Missing peer.publicKey in payload"},
		{request, "no peer in payload", resigned("payloadStr", drop("peer")), core.Malformed, "Missing peer.publicKey in payload"},
		{request, "peer a string", resigned("payloadStr", set("peer", "x")), core.Malformed, "Missing peer.publicKey in payload"},
		{request, "no key", resigned("payloadStr", set("peer", map[string]string{"id": "x"})), core.Malformed, "Missing peer.publicKey in payload"},
		{request, "a key of low order", resigned("payloadStr", set("peer", map[string]string{"publicKey": core.SPKIPrefix + strings.Repeat("00", 32)})), core.Malformed, "Invalid peer.publicKey"},
		{request, "a name that is no string", resigned("payloadStr", set("peer", map[string]any{"publicKey": aliceKey.String(), "displayName": 5})), core.Malformed, "Invalid request"},
		{request, "no timestamp", resigned("payloadStr", drop("timestamp")), core.BadSignature, "Signature verification failed: missing-timestamp"},
		{request, "timestamp a number", resigned("payloadStr", set("timestamp", 5)), core.Malformed, "Invalid request"},
		{request, "timestamp no time", resigned("payloadStr", set("timestamp", "soon")), core.BadSignature, "Signature verification failed: bad-timestamp"},
		{request, "stale", resigned("payloadStr", set("timestamp", core.FormatTime(now.Add(-time.Hour)))), core.Stale, "Signature verification failed: stale-timestamp"},
		{request, "another's signature", legacy(set("signature", other)), core.BadSignature, "Signature verification failed: bad-signature"},
		{request, "a signature with trailing text", legacy(func(t *testing.T, b []byte) []byte { return with(t, b, "signature", textOf(t, b, "signature")+"0") }), core.BadSignature, "Signature verification failed: bad-signature"},
		{request, "another peer beside the text", set("peer", map[string]string{"publicKey": carol.Public().String()}), core.Malformed, "peer differs from payloadStr"},
		{request, "other intents beside the text", set("offeredIntents", []string{"x"}), core.Malformed, "offeredIntents differs from payloadStr"},
		{request, "an invite beside the text", set("invite", map[string]string{"token": "x"}), core.Malformed, "invite differs from payloadStr"},

		{approval, "no signature", legacy(drop("signature")), core.Malformed, "Missing payloadStr or signature"},
		{approval, "no payloadStr", drop("payloadStr"), core.Malformed, "Missing payloadStr or signature"},
		{approval, "payloadStr a number", set("payloadStr", 5), core.Malformed, "Missing payloadStr or signature"},
		{approval, "approved false beside the text", set("approved", false), core.Malformed, "approved differs from payloadStr"},
		{approval, "other grants beside the text", set("scopeGrants", map[string]any{}), core.Malformed, "scopeGrants differs from payloadStr"},
		{approval, "another's signature", legacy(set("signature", other)), core.BadSignature, "Signature verification failed: bad-signature"},

		{removal, "no peerId", drop("peerId"), core.Malformed, "Missing required fields: peerId, timestamp, signature"},
		{removal, "no timestamp", drop("timestamp"), core.Malformed, "Missing required fields: peerId, timestamp, signature"},
		{removal, "no signature", legacy(drop("signature")), core.Malformed, "Missing required fields: peerId, timestamp, signature"},
		{removal, "peerId a number", set("peerId", 5), core.Malformed, "Missing required fields: peerId, timestamp, signature"},
		{removal, "another's signature", legacy(set("signature", other)), core.BadSignature, "Invalid signature"},
		{removal, "another time", legacy(set("timestamp", core.FormatTime(now.Add(time.Second)))), core.BadSignature, "Invalid signature"},
		{removal, "another label", legacy(set("peerId", carol.Public().ID())), core.BadSignature, "Invalid signature"},

		{msg, "no message", drop("message"), core.Malformed, "Missing message or signature"},
		{msg, "message a string", set("message", "x"), core.Malformed, "Missing message or signature"},
		{msg, "no signature", legacy(drop("signature")), core.Malformed, "Missing message or signature"},
		{msg, "messageStr a number", set("messageStr", 5), core.Malformed, "Invalid messageStr"},
		{msg, "messageStr empty", set("messageStr", ""), core.Malformed, "Invalid messageStr"},
		{msg, "messageStr null", set("messageStr", nil), core.Malformed, "Invalid messageStr"},
		{msg, "messageStr no JSON", set("messageStr", "{"), core.Malformed, "messageStr is not valid JSON"},
		{msg, "another's signature", legacy(set("signature", other)), core.BadSignature, "Invalid signature"},

		{reply, "no reply", drop("reply"), core.Malformed, "Missing reply or signature"},
		{reply, "replyStr no JSON", set("replyStr", "{"), core.BadSignature, "Invalid signature"},
		{reply, "another's signature", legacy(set("signature", other)), core.BadSignature, "Invalid signature"},

		{identity, "no identity", drop("identity"), core.Malformed, "Missing identity or signature"},
		{identity, "no signature", legacy(drop("signature")), core.Malformed, "Missing identity or signature"},
		{identity, "another's signature", legacy(set("signature", other)), core.BadSignature, "Invalid signature"},
		{identity, "no key", func(t *testing.T, b []byte) []byte {
			return with(t, b, "identity", jsontext.Value(without(t, valueOf(t, b, "identity"), "publicKey")))
		}, core.BadSignature, "Invalid signature"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s/%s", test.sample.shape, test.what), func(t *testing.T) {
			body := test.sample.seal()
			mustOpen(t, test.sample, body)
			_, err := test.sample.open(opener(now), test.change(t, body))
			var e *core.Error
			if !errors.As(err, &e) || e.Kind != test.kind || e.Public != test.text {
				t.Errorf("open = %v, want %s: %s", err, test.kind, test.text)
			}
		})
	}
}

// TestL1TextAlone: the object beside a signed text must say the same in every
// field, and what is opened is the text.
func TestL1TextAlone(t *testing.T) {
	for _, l := range []sample{samples[4], samples[5]} {
		body := l.seal()
		want := mustOpen(t, l, body)
		object := valueOf(t, body, l.name)
		for _, p := range split(t, object) {
			for what, bent := range map[string][]byte{
				"another value": with(t, object, p.name, "bent"),
				"no":            without(t, object, p.name),
				"null":          with(t, object, p.name, nil),
			} {
				_, err := l.open(opener(now), with(t, body, l.name, jsontext.Value(bent)))
				if !errors.Is(err, core.Malformed) {
					t.Errorf("%s with %s %q = %v, want Malformed", l.name, what, p.name, err)
				}
			}
		}
		_, err := l.open(opener(now), with(t, body, l.name, jsontext.Value(with(t, object, "more", 1))))
		wantKind(t, l.name+" with one more member", err, core.Malformed)

		// Order, spaces and escapes say nothing.
		parts := split(t, object)
		parts[0], parts[1] = parts[1], parts[0]
		spaced := jsontext.Value(join(parts))
		if err := spaced.Indent(); err != nil {
			t.Fatal(err)
		}
		got := mustOpen(t, l, with(t, body, l.name, spaced))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("with another writing of %s: %+v, want %+v", l.name, got, want)
		}
	}
	// Two integers that only float64 takes for one are different.
	m := message()
	m.Payload = core.Raw(`{"amount":9007199254740993}`)
	body, err := sealer.SealMessage(bobKey, m)
	if err != nil {
		t.Fatal(err)
	}
	bent := strings.Replace(string(body), `"amount":9007199254740993`, `"amount":9007199254740992`, 1)
	_, err = envelope.Open(opener(now), envelope.Message, []byte(bent), findAlice)
	wantKind(t, "an integer beyond 2^53 bent in the twin", err, core.Malformed)
}

// plain is an envelope without any text beside its object, as gateways before 0.3.3
// write agent-comms messages, and before 0.7 replies and requests.
func plain(t *testing.T, name string, object, signed []byte) []byte {
	signature, err := json.Marshal(alice.Signature(signed))
	if err != nil {
		t.Fatal(err)
	}
	return join([]part{{name, object}, {"signature", signature}})
}

// TestL1RawBytes: without a text, the signature holds over the member's bytes as
// they came, or over what JavaScript writes for them; and the value is what was
// signed.
func TestL1RawBytes(t *testing.T) {
	object := func(tail string) []byte {
		return []byte(`{"intent":"message","from":"` + aliceKey.ID() + `","to":"` + bobKey.ID() + `","nonce":"n","timestamp":"` + core.FormatTime(now) + `",` + tail + `}`)
	}
	tests := []struct{ what, came, signed, payload string }{
		{"as it came", `"payload":{"text":"hi"}`, `"payload":{"text":"hi"}`, `{"text":"hi"}`},
		{"as it came, not as JavaScript writes", `"payload": {"n": 1.0, "a": "\u00e9"}`, `"payload": {"n": 1.0, "a": "\u00e9"}`, `{"n": 1.0, "a": "\u00e9"}`},
		{"spaces gone", `"payload": {"text" : "hi"}`, `"payload":{"text":"hi"}`, `{"text":"hi"}`},
		{"escapes gone", `"payload":{"text":"h\u00e9 \/"}`, `"payload":{"text":"hé /"}`, `{"text":"hé /"}`},
		{"integer names first", `"payload":{"b":1,"2":2,"1":1}`, `"payload":{"1":1,"2":2,"b":1}`, `{"1":1,"2":2,"b":1}`},
		{"what was signed counts", `"payload":{"amount":9007199254740993}`, `"payload":{"amount":9007199254740992}`, `{"amount":9007199254740992}`},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			got, err := envelope.Open(opener(now), envelope.Message, plain(t, "message", object(test.came), object(test.signed)), findAlice)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Value.Payload) != test.payload || string(got.Text) != string(object(test.signed)) {
				t.Errorf("payload %s of text %s, want %s", got.Value.Payload, got.Text, test.payload)
			}
		})
	}
	_, err := envelope.Open(opener(now), envelope.Message, plain(t, "message", object(`"payload":{"text":"hi"}`), object(`"payload":{"text":"ho"}`)), findAlice)
	wantKind(t, "another payload than was signed", err, core.BadSignature)

	reply := []byte(`{"nonce":"n","success":true,"data":{"received":true},"timestamp":"` + core.FormatTime(now) + `"}`)
	if _, err := envelope.Open(opener(now), envelope.Reply, plain(t, "reply", reply, reply), findAlice); err != nil {
		t.Errorf("reply without replyStr = %v, want no error", err)
	}
	peer, err := json.Marshal(card)
	if err != nil {
		t.Fatal(err)
	}
	spaced := jsontext.Value(peer).Clone()
	if err := spaced.Indent(); err != nil {
		t.Fatal(err)
	}
	for what, came := range map[string][]byte{"as it came": peer, "with spaces": spaced} {
		got, err := envelope.Open(opener(now), envelope.Request, plain(t, "peer", came, peer), nil)
		if err != nil || got.Value.Peer != card || !got.SentAt.IsZero() || got.Value.OfferedIntents != nil {
			t.Errorf("plain request %s = %+v, %v; want alice's card alone", what, got.Value, err)
		}
	}
	_, err = envelope.Open(opener(now), envelope.Request, with(t, plain(t, "peer", peer, peer), "v2", map[string]string{}), nil)
	wantKind(t, "plain request with v2", err, core.Malformed)
}

// TestL4Window: every envelope with a time is taken at exactly five minutes, and
// not a millisecond beyond, either way.
func TestL4Window(t *testing.T) {
	const window, ms = 5 * time.Minute, time.Millisecond
	for _, l := range samples {
		body := l.seal()
		for _, form := range []string{"v2", "legacy"} {
			if form == "legacy" {
				if l.shape == envelope.ShapeIdentity {
					continue // the old form has no time; the gateway takes its bytes once
				}
				body = without(t, body, "v2")
			}
			for _, off := range []time.Duration{-window, window, 0} {
				if _, err := l.open(opener(now.Add(off)), body); err != nil {
					t.Errorf("%s (%s) read %v after it was sent = %v, want no error", l.shape, form, off, err)
				}
			}
			for _, off := range []time.Duration{-window - ms, window + ms, -1000 * time.Hour, 1000 * time.Hour} {
				_, err := l.open(opener(now.Add(off)), body)
				wantKind(t, fmt.Sprintf("%s (%s) read %v after it was sent", l.shape, form, off), err, l.late)
			}
		}
	}
	for _, purpose := range []string{envelope.PurposeRegister, envelope.PurposeInvite} {
		body := must(sealer.SealHints(envelope.Hints{Purpose: purpose, Port: 18790}, now))
		plain := less(body, "v2")
		for _, off := range []time.Duration{-window, window, -window - ms, window + ms} {
			_, err1 := opener(now.Add(off)).OpenHints(body, purpose, false)
			_, err2 := opener(now.Add(off)).OpenHints(plain, purpose, true)
			if off.Abs() == window && (err1 != nil || err2 != nil) {
				t.Errorf("%s read %v after it was sent = %v, plain %v; want no error", purpose, off, err1, err2)
			}
			if off.Abs() > window {
				wantKind(t, fmt.Sprintf("%s read %v after it was sent", purpose, off), err1, core.Stale)
				wantKind(t, fmt.Sprintf("plain %s read %v after it was sent", purpose, off), err2, core.Stale)
			}
		}
	}
	open := func(at time.Time) error {
		_, err := envelope.Open(opener(at), envelope.CardRequest, envelope.CardRequestBody(heartbeat(now)), findAlice)
		return err
	}
	if err := open(now.Add(window)); err != nil {
		t.Errorf("card request after %v = %v, want no error", window, err)
	}
	wantKind(t, "card request a millisecond later", open(now.Add(window+ms)), core.Stale)
}

// TestL7Proof: beside a v2 signature nothing else counts, and it holds for one
// purpose, one recipient, one text, one sender and one moment.
func TestL7Proof(t *testing.T) {
	type proof struct {
		Ctx       string `json:"ctx"`
		Iss       string `json:"iss"`
		Aud       string `json:"aud"`
		Nonce     string `json:"nonce,omitempty"`
		Timestamp string `json:"timestamp"`
		Digest    string `json:"digest"`
	}
	for _, l := range samples {
		body := l.seal()
		mustOpen(t, l, body)
		mustOpen(t, l, with(t, body, "signature", carol.Signature([]byte("the legacy signature is not looked at"))))

		resealed := func(signer keys.Private, change func(*proof)) []byte {
			var p proof
			if err := json.Unmarshal([]byte(textOf(t, valueOf(t, body, "v2"), "payloadStr")), &p); err != nil {
				t.Fatal(err)
			}
			change(&p)
			text, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			return with(t, body, "v2", signedBy{string(text), v2(signer, p.Ctx, string(text))})
		}
		if _, err := l.open(opener(now), resealed(alice, func(*proof) {})); err != nil {
			t.Fatalf("%s, v2 signed again = %v, want no error", l.shape, err)
		}
		tests := []struct {
			what   string
			signer keys.Private
			change func(*proof)
			kind   core.Kind
		}{
			{"for another recipient", alice, func(p *proof) { p.Aud = carol.Public().String() }, core.Malformed},
			{"for a recipient in capitals", alice, func(p *proof) { p.Aud = strings.ToUpper(p.Aud) }, core.Malformed},
			{"for a recipient's label", alice, func(p *proof) { p.Aud = bobKey.ID() }, core.Malformed},
			{"for another purpose", alice, func(p *proof) { p.Ctx = "ogp/v2/card" }, core.Malformed},
			{"for a longer purpose", alice, func(p *proof) { p.Ctx += "x" }, core.Malformed},
			{"for no purpose", alice, func(p *proof) { p.Ctx = "" }, core.Malformed},
			{"for other content", alice, func(p *proof) { p.Digest = strings.Repeat("0", 64) }, core.Malformed},
			{"without a nonce", alice, func(p *proof) { p.Nonce = "" }, core.Malformed},
			{"with too long a nonce", alice, func(p *proof) { p.Nonce = strings.Repeat("n", core.MaxNonceBytes+1) }, core.Malformed},
			{"without a time", alice, func(p *proof) { p.Timestamp = "" }, core.Malformed},
			{"out of its time", alice, func(p *proof) { p.Timestamp = core.FormatTime(now.Add(5*time.Minute + time.Millisecond)) }, core.Stale},
			{"of another sender", carol, func(p *proof) { p.Iss = carol.Public().String() }, core.BadSignature},
			{"signed by another", carol, func(*proof) {}, core.BadSignature},
		}
		for _, test := range tests {
			_, err := l.open(opener(now), resealed(test.signer, test.change))
			wantKind(t, fmt.Sprintf("%s with a v2 signature %s", l.shape, test.what), err, test.kind)
		}
		text := textOf(t, valueOf(t, body, "v2"), "payloadStr")
		for what, signature := range map[string]string{"over the plain text": alice.Signature([]byte(text)), "for another purpose": v2(alice, "ogp/v2/other", text),
			"without the first byte": alice.Signature([]byte("ogp/v2/" + string(l.shape) + "\x00" + text))} {
			_, err := l.open(opener(now), with(t, body, "v2", signedBy{text, signature}))
			wantKind(t, fmt.Sprintf("%s with a v2 signature %s", l.shape, what), err, core.BadSignature)
		}
		for what, v2 := range map[string]any{"null": nil, "a string": "x", "empty": map[string]string{}, "an array": []string{},
			"without its text": map[string]string{"signature": "00"}, "without its signature": map[string]string{"payloadStr": "{}"},
			"with a text that is no JSON": map[string]string{"payloadStr": "{", "signature": "00"}} {
			_, err := l.open(opener(now), with(t, body, "v2", v2))
			wantKind(t, fmt.Sprintf("%s with v2 %s", l.shape, what), err, core.Malformed)
		}

		// The same body at another gateway.
		elsewhere := opener(now)
		elsewhere.Self = carol.Public()
		_, err := l.open(elsewhere, body)
		wantKind(t, fmt.Sprintf("%s at another gateway", l.shape), err, core.Malformed)
	}
}

// TestBendEveryByte: an envelope with one byte bent is refused, or means the same.
func TestBendEveryByte(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 7
	}
	for _, l := range samples {
		t.Run(string(l.shape), func(t *testing.T) {
			t.Parallel()
			for _, body := range [][]byte{l.seal(), without(t, l.seal(), "v2")} {
				want := mustOpen(t, l, body)
				refused := 0
				for i := 0; i < len(body); i += step {
					for _, flip := range []byte{1, 0x20} {
						bent := append([]byte(nil), body...)
						bent[i] ^= flip
						got, err := l.open(opener(now), bent)
						if err != nil {
							var e *core.Error
							if !errors.As(err, &e) || e.Kind == "" {
								t.Fatalf("byte %d bent: error %v has no kind", i, err)
							}
							refused++
							continue
						}
						// A bent name of a member that need not be there, for one.
						if got.key != want.key || got.digest != want.digest || got.text != want.text || !reflect.DeepEqual(got.value, want.value) {
							t.Fatalf("byte %d bent (%q) was opened as something else:\n%+v\nwant\n%+v", i, bent, got, want)
						}
					}
				}
				if refused < len(body)/step {
					t.Errorf("%d bodies of %d bytes were refused, want at least one for each byte", refused, len(body))
				}
			}
		})
	}
}

// TestK3Tries: a label that fits several peers is resolved by their keys, at most
// 32 of them, wherever the right one stands.
func TestK3Tries(t *testing.T) {
	several := func(n, right int) envelope.Find {
		return func(string) ([]core.PublicKey, error) {
			out := make([]core.PublicKey, n)
			for i := range out {
				out[i] = testKey(byte(100 + i)).Public()
			}
			out[right] = aliceKey
			return out, nil
		}
	}
	for _, l := range samples[3:5] {
		for _, body := range [][]byte{l.seal(), without(t, l.seal(), "v2")} {
			for _, test := range []struct {
				n, right int
				ok       bool
			}{{1, 0, true}, {2, 1, true}, {envelope.MaxTries, envelope.MaxTries - 1, true}, {40, envelope.MaxTries - 1, true}, {40, envelope.MaxTries, false}} {
				var key core.PublicKey
				var err error
				if l.shape == envelope.ShapeRemoval {
					o, e := envelope.Open(opener(now), envelope.Removal, body, several(test.n, test.right))
					key, err = o.Key, e
				} else {
					o, e := envelope.Open(opener(now), envelope.Message, body, several(test.n, test.right))
					key, err = o.Key, e
				}
				if test.ok && (err != nil || key != aliceKey) {
					t.Errorf("%s, key %d of %d = %v, %v; want alice's", l.shape, test.right+1, test.n, key, err)
				}
				if !test.ok {
					wantKind(t, fmt.Sprintf("%s, key %d of %d", l.shape, test.right+1, test.n), err, core.BadSignature)
				}
			}
		}
	}
}

// TestFindErrors: what find says ends the opening, before any signature.
func TestFindErrors(t *testing.T) {
	unknown := core.Refuse(core.UnknownPeer, "Unknown peer")
	find := func(string) ([]core.PublicKey, error) { return nil, unknown }
	body, err := sealer.SealMessage(bobKey, message())
	if err != nil {
		t.Fatal(err)
	}
	o := opener(now)
	_, err1 := envelope.Open(o, envelope.Message, with(t, body, "signature", "aa"), find)
	_, err2 := envelope.Open(o, envelope.Removal, with(t, must(sealer.SealRemoval(bobKey)), "signature", "aa"), find)
	_, err3 := envelope.Open(o, envelope.Approval, []byte(`{}`), find)
	_, err4 := envelope.Open(o, envelope.CardRequest, envelope.CardRequestBody("x", "y", "z"), find)
	for i, err := range []error{err1, err2, err3, err4} {
		if err != error(unknown) {
			t.Errorf("open %d = %v, want find's error", i, err)
		}
	}
}

// TestUnsignedApproval: the plain form is opened only where it is allowed, is
// marked, and nothing signed is read as it.
func TestUnsignedApproval(t *testing.T) {
	body := []byte(`{"peerId":"` + bobKey.ID() + `","approved":true,"fromPublicKey":"` + aliceKey.String() + `","fromDisplayName":"Alice"}`)
	got, err := envelope.Open(opener(now), envelope.Approval, body, findAlice)
	if err != nil || !got.Unsigned || got.Key != aliceKey || got.Value.FromDisplayName != "Alice" {
		t.Errorf("unsigned approval, allowed = %+v, %v", got, err)
	}
	for _, name := range []string{"signature", "payloadStr", "v2"} {
		for _, value := range []any{"", "x", 5, nil} {
			_, err := envelope.Open(opener(now), envelope.Approval, with(t, body, name, value), findAlice)
			wantKind(t, fmt.Sprintf("unsigned approval with %s %v", name, value), err, core.Malformed)
		}
	}
	_, err = envelope.Open(opener(now), envelope.Approval, body, func(string) ([]core.PublicKey, error) { return []core.PublicKey{aliceKey, bobKey}, nil })
	wantKind(t, "unsigned approval of one of two", err, core.NotFound)
	if got, err := envelope.Open(opener(now), envelope.Approval, samples[1].seal(), findAlice); err != nil || got.Unsigned {
		t.Errorf("signed approval where unsigned ones are allowed = unsigned %v, %v", got.Unsigned, err)
	}
}
