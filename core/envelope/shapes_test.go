package envelope_test

import (
	"errors"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
)

// signedTexts are texts that alice has signed as gateways before v2 do, one of each
// shape and of each writing of it, each as full as it gets.
func signedTexts(t *testing.T) map[string]string {
	t.Helper()
	field := func(i int, name string) string { return textOf(t, samples[i].seal(), name) }
	member := func(i int, name string) string { return string(valueOf(t, samples[i].seal(), name)) }
	pair := `{"peerId":"` + aliceKey.ID() + `","timestamp":"` + core.FormatTime(now) + `"}`
	return map[string]string{
		"request":        field(0, "payloadStr"),
		"peer":           member(0, "peer"),
		"peer, bare":     `{"id":"a","displayName":"Alice","email":"a@example.test","gatewayUrl":"https://alice.example.test","publicKey":"` + aliceKey.String() + `"}`,
		"approval":       field(1, "payloadStr"),
		"rejection":      field(2, "payloadStr"),
		"removal":        pair,
		"card request":   pair,
		"message":        field(4, "messageStr"),
		"reply":          field(5, "replyStr"),
		"identity":       member(6, "identity"),
		"identity, bare": `{"id":"` + aliceKey.ID() + `","displayName":"Alice","email":"a@example.test","gatewayUrl":"https://alice.example.test","publicKey":"` + aliceKey.String() + `"}`,
		"registration":   textOf(t, must(sealer.SealHints(envelope.Hints{Purpose: envelope.PurposeRegister, Port: 18790, PublicURL: "https://alice.example.test", Legacy: true}, now)), "payloadStr"),
		"topic refusal":  `{"status":"rejected","reason":"topic-not-permitted","message":"This topic is not open to you here."}`,
	}
}

// doors are the ways in. Each is tried with a text that alice has signed for
// something, put into the body in every way that the door reads.
func doors(t *testing.T) map[string]func(text, signature string) error {
	str := func(s string) jsontext.Value {
		v, err := jsontext.AppendQuote(nil, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	body := func(parts ...part) []byte { return join(parts) }
	any := func(errs ...error) error { // nil if one of them is
		for _, err := range errs {
			if err == nil {
				return nil
			}
		}
		return errors.Join(errs...)
	}
	o := opener(now)
	twin := func(open func([]byte) error, name, nameStr string) func(text, signature string) error {
		return func(text, signature string) error {
			return any(
				open(body(part{name, jsontext.Value(text)}, part{"signature", str(signature)})),
				open(body(part{name, jsontext.Value(text)}, part{nameStr, str(text)}, part{"signature", str(signature)})))
		}
	}
	hints := func(purpose string) func(text, signature string) error {
		return func(text, signature string) error {
			_, err := o.OpenHints(body(part{"payloadStr", str(text)}, part{"signature", str(signature)}), purpose, false)
			return err
		}
	}
	return map[string]func(text, signature string) error{
		"request": func(text, signature string) error {
			_, err := envelope.Open(o, envelope.Request, body(part{"payloadStr", str(text)}, part{"signature", str(signature)}), nil)
			return err
		},
		"peer": func(text, signature string) error {
			_, err := envelope.Open(o, envelope.Request, body(part{"peer", jsontext.Value(text)}, part{"signature", str(signature)}), nil)
			return err
		},
		"approval": func(text, signature string) error {
			_, err := envelope.Open(o, envelope.Approval, body(part{"payloadStr", str(text)}, part{"signature", str(signature)}), findAlice)
			return err
		},
		"removal": func(text, signature string) error {
			// Only the two values come with the envelope; the text is written anew.
			p := map[string]jsontext.Value{}
			for _, m := range split(t, []byte(text)) {
				p[m.name] = m.value
			}
			if p["peerId"] == nil || p["timestamp"] == nil {
				return core.Refuse(core.Malformed, "nothing to write the notice with")
			}
			_, err := envelope.Open(o, envelope.Removal, body(part{"peerId", p["peerId"]}, part{"timestamp", p["timestamp"]}, part{"signature", str(signature)}), findAlice)
			return err
		},
		"card request": func(text, signature string) error {
			var id, at string
			for _, m := range split(t, []byte(text)) {
				switch m.name {
				case "peerId":
					id = textOf(t, []byte(text), m.name)
				case "timestamp":
					at = textOf(t, []byte(text), m.name)
				}
			}
			_, err := envelope.Open(o, envelope.CardRequest, envelope.CardRequestBody(id, at, signature), findAlice)
			return err
		},
		"message": twin(func(b []byte) error { _, err := envelope.Open(o, envelope.Message, b, findAlice); return err }, "message", "messageStr"),
		"reply":   twin(func(b []byte) error { _, err := envelope.Open(o, envelope.Reply, b, findAlice); return err }, "reply", "replyStr"),
		"identity": func(text, signature string) error {
			_, err := envelope.Open(o, envelope.Identity, body(part{"identity", jsontext.Value(text)}, part{"signature", str(signature)}), nil)
			return err
		},
		"register":     hints(envelope.PurposeRegister),
		"invite":       hints(envelope.PurposeInvite),
		"deregister":   hints(envelope.PurposeDeregister),
		"list invites": hints(envelope.PurposeList),
		"revoke":       hints(envelope.PurposeRevoke),
		// Any text as the v2 signature of another envelope, or as one alone.
		"v2": func(text, signature string) error {
			var errs []error
			for _, d := range v2Doors(t) {
				errs = append(errs, d(text, signature))
			}
			return any(errs...)
		},
	}
}

// accepted are the texts that each door takes, beside its own. Everything else is
// refused.
var accepted = map[string][]string{
	"request": {"request"},
	// The door of the plain request; a peer's card is its shape.
	"peer":     {"peer", "peer, bare", "identity, bare"},
	"approval": {"approval", "rejection"},
	// The two have had one form since 0.6: a removal of the old form is a hint, and
	// is confirmed (docs/threat-model.md#t5).
	"removal":      {"removal", "card request"},
	"card request": {"removal", "card request"},
	"message":      {"message"},
	"reply":        {"reply"},
	// One without the names of 0.5 has the members of a request's peer, and is told by
	// its id alone.
	"identity": {"identity", "identity, bare"},
	// 0.7 has one form for registrations and invites.
	"register": {"registration"},
	"invite":   {"registration"},
	// What ends or shows something of ours has no form before v2.
	"deregister":   nil,
	"list invites": nil,
	"revoke":       nil,
	// A signature over a text alone is no v2 signature, whatever the text says.
	"v2": nil,
}

// v2Doors are the ways in for a v2 signature, by the purpose that each wants.
func v2Doors(t *testing.T) map[string]func(text, signature string) error {
	doors := map[string]func(text, signature string) error{}
	for _, l := range samples {
		doors["ogp/v2/"+string(l.shape)] = func(text, signature string) error {
			_, err := l.open(opener(now), with(t, l.seal(), "v2", signedBy{text, signature}))
			return err
		}
	}
	doors["ogp/v2/status"] = func(text, signature string) error {
		_, err := envelope.Open(opener(now), envelope.Status, with(t, []byte(`{}`), "v2", signedBy{text, signature}), findAlice)
		return err
	}
	for _, purpose := range []string{envelope.PurposeRegister, envelope.PurposeInvite, envelope.PurposeDeregister, envelope.PurposeList, envelope.PurposeRevoke} {
		doors[envelope.RecordCtx(purpose)] = func(text, signature string) error {
			_, err := opener(now).OpenHints(with(t, []byte(`{}`), "v2", signedBy{text, signature}), purpose, true)
			_, err2 := opener(now).OpenRecord(envelope.Record{PayloadStr: text, Signature: signature}, purpose)
			if (err == nil) != (err2 == nil) {
				t.Errorf("OpenHints = %v, OpenRecord = %v", err, err2)
			}
			return err
		}
	}
	return doors
}

// v2Texts are all that we sign in the v2 form, by purpose, with the signatures.
func v2Texts(t *testing.T) map[string]signedBy {
	t.Helper()
	texts := map[string]signedBy{}
	add := func(body []byte) {
		b := valueOf(t, body, "v2")
		s := signedBy{textOf(t, b, "payloadStr"), textOf(t, b, "signature")}
		texts[textOf(t, []byte(s.PayloadStr), "ctx")] = s
	}
	for _, l := range samples {
		add(l.seal())
	}
	add(with(t, []byte(`{}`), "v2", must(sealer.SealStatus(bobKey, "n-1", true))))
	for _, purpose := range []string{envelope.PurposeRegister, envelope.PurposeInvite, envelope.PurposeDeregister, envelope.PurposeList, envelope.PurposeRevoke} {
		add(must(sealer.SealHints(envelope.Hints{Purpose: purpose, Port: 18790, Token: "a3f7k2"}, now)))
	}
	return texts
}

// TestT11V2Pairs: what is signed in the v2 form for one purpose opens for it alone,
// and nowhere as a signature before v2.
func TestT11V2Pairs(t *testing.T) {
	texts, ways := v2Texts(t), v2Doors(t)
	if len(texts) != len(ways) || len(texts) < 12 {
		t.Fatalf("%d texts, %d doors", len(texts), len(ways))
	}
	for ctx, text := range texts {
		if want := v2(alice, ctx, text.PayloadStr); text.Signature != want {
			t.Errorf("%s is not signed over 0xFF, its purpose, 0x00 and its text", ctx)
		}
		for door, open := range ways {
			if err := open(text.PayloadStr, text.Signature); (err == nil) != (door == ctx) {
				t.Errorf("what is signed for %s at the door of %s = %v", ctx, door, err)
			}
			if err := open(text.PayloadStr, alice.Signature([]byte(text.PayloadStr))); err == nil {
				t.Errorf("%s with a signature over the text alone opens for %s", ctx, door)
			}
			// The prefix says one purpose, the text another.
			if err := open(text.PayloadStr, v2(alice, door, text.PayloadStr)); (err == nil) != (door == ctx) {
				t.Errorf("a text for %s, signed for %s = %v", ctx, door, err)
			}
		}
		for door, open := range doors(t) {
			if door == "v2" {
				continue
			}
			if err := open(text.PayloadStr, text.Signature); err == nil {
				t.Errorf("what is signed for %s opens as a %s of the old form", ctx, door)
			}
		}
	}
}

// TestL3EveryPair: a text that was signed for one purpose is refused for every
// other, for every ordered pair.
func TestL3EveryPair(t *testing.T) {
	texts, ways := signedTexts(t), doors(t)
	if len(ways) != len(accepted) {
		t.Fatalf("%d doors, %d lines in the table", len(ways), len(accepted))
	}
	for door, open := range ways {
		for name, text := range texts {
			err := open(text, alice.Signature([]byte(text)))
			want := false
			for _, ok := range accepted[door] {
				want = want || ok == name
			}
			if want && err != nil {
				t.Errorf("a %s at the %s door = %v, want no error", name, door, err)
			}
			if !want && err == nil {
				t.Errorf("a %s at the %s door = nil, want an error", name, door)
			}
		}
	}
}

// TestL3OneMarker: a signed text with the marks of two shapes is of none.
func TestL3OneMarker(t *testing.T) {
	ways := doors(t)
	for door, names := range accepted {
		for _, name := range names {
			if name == "removal" || name == "card request" {
				continue // their text is written anew from two values
			}
			text := signedTexts(t)[name]
			for _, mark := range []string{"peer", "publicKey", "fromPublicKey", "intent", "success", "pubkey", "ctx"} {
				if valueOf(t, []byte(text), mark) != nil {
					continue
				}
				bent := string(with(t, []byte(text), mark, "x"))
				if err := ways[door](bent, alice.Signature([]byte(bent))); err == nil {
					t.Errorf("a %s with %q at the %s door = nil, want an error", name, mark, door)
				}
			}
		}
	}
}
