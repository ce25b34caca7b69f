package envelope_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
)

// signedTexts are texts that alice has signed, one of each shape and of each
// writing of it, each as full as it gets.
func signedTexts(t *testing.T) map[string]string {
	t.Helper()
	field := func(i int, name string) string { return textOf(t, samples[i].seal(), name) }
	member := func(i int, name string) string { return string(valueOf(t, samples[i].seal(), name)) }
	registration := func(purpose string) string {
		return `{` + purpose + `"pubkey":"` + aliceKey.String() + `","port":18790,"publicUrl":"https://alice.example.test","timestamp":"` + core.FormatTime(now) + `"}`
	}
	hints := func(purpose string) string {
		return textOf(t, sealer.SealHints(envelope.Hints{Purpose: purpose, Port: 18790, Token: "a3f7k2"}, now), "payloadStr")
	}
	pair := `{"peerId":"` + aliceKey.ID() + `","timestamp":"` + core.FormatTime(now) + `"}`
	return map[string]string{
		"request":          field(0, "payloadStr"),
		"peer":             member(0, "peer"),
		"peer, bare":       `{"id":"a","displayName":"Alice","email":"a@example.test","gatewayUrl":"https://alice.example.test","publicKey":"` + aliceKey.String() + `"}`,
		"approval":         field(1, "payloadStr"),
		"rejection":        field(2, "payloadStr"),
		"removal":          pair,
		"card request":     pair,
		"message":          field(4, "messageStr"),
		"reply":            field(5, "replyStr"),
		"identity":         member(6, "identity"),
		"registration":     registration(``),
		"our registration": hints(envelope.PurposeRegister),
		"our invite":       hints(envelope.PurposeInvite),
		"deregistration":   hints(envelope.PurposeDeregister),
		"invite list":      hints(envelope.PurposeList),
		"revocation":       hints(envelope.PurposeRevoke),
		"topic refusal":    `{"status":"rejected","reason":"topic-not-permitted","message":"This topic is not open to you here."}`,
		"v2 removal":       textOf(t, valueOf(t, samples[3].seal(), "v2"), "payloadStr"),
		"v2 message":       textOf(t, valueOf(t, samples[4].seal(), "v2"), "payloadStr"),
		"v2 approval":      textOf(t, valueOf(t, samples[1].seal(), "v2"), "payloadStr"),
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
	record := func(purpose string) func(text, signature string) error {
		return func(text, signature string) error {
			_, err := o.OpenRecord(envelope.Record{PayloadStr: text, Signature: signature}, purpose)
			return err
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
			_, err := o.OpenRequest(body(part{"payloadStr", str(text)}, part{"signature", str(signature)}))
			return err
		},
		"peer": func(text, signature string) error {
			_, err := o.OpenRequest(body(part{"peer", jsontext.Value(text)}, part{"signature", str(signature)}))
			return err
		},
		"approval": func(text, signature string) error {
			_, err := o.OpenApproval(body(part{"payloadStr", str(text)}, part{"signature", str(signature)}), false, findAlice)
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
			_, err := o.OpenRemoval(body(part{"peerId", p["peerId"]}, part{"timestamp", p["timestamp"]}, part{"signature", str(signature)}), findAlice)
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
			_, err := o.OpenCardRequest(id, at, signature, findAlice)
			return err
		},
		"message": twin(func(b []byte) error { _, err := o.OpenMessage(b, findAlice); return err }, "message", "messageStr"),
		"reply":   twin(func(b []byte) error { _, err := o.OpenReply(b, aliceKey); return err }, "reply", "replyStr"),
		"identity": func(text, signature string) error {
			_, err := o.OpenIdentity(body(part{"identity", jsontext.Value(text)}, part{"signature", str(signature)}))
			return err
		},
		"registration":     record(""),
		"our registration": record("register"),
		"our invite":       record("invite"),
		"register":         hints(envelope.PurposeRegister),
		"invite":           hints(envelope.PurposeInvite),
		"deregister":       hints(envelope.PurposeDeregister),
		"list invites":     hints(envelope.PurposeList),
		"revoke":           hints(envelope.PurposeRevoke),
		// Any text as the v2 signature of another envelope.
		"v2": func(text, signature string) error {
			var errs []error
			for _, l := range samples {
				_, err := l.open(o, with(t, l.seal(), "v2", map[string]string{"payloadStr": text, "signature": signature}))
				errs = append(errs, err)
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
	"peer":     {"peer", "peer, bare"},
	"approval": {"approval", "rejection"},
	// The two have had one form since 0.6; the gateway asks back before it acts on
	// a removal notice of the old form (docs/threat-model.md#t5).
	"removal":      {"removal", "card request"},
	"card request": {"removal", "card request"},
	"message":      {"message"},
	"reply":        {"reply"},
	"identity":     {"identity"},
	// A text without a purpose is an old gateway's, which uses one form for
	// registrations and invites; ours name theirs and pass for nothing else.
	"registration":     {"registration"},
	"our registration": {"registration", "our registration"},
	"our invite":       {"registration", "our invite"},
	"register":         {"registration", "our registration"},
	"invite":           {"registration", "our invite"},
	"deregister":       {"deregistration"},
	"list invites":     {"invite list"},
	"revoke":           {"revocation"},
	// The v2 signature of the envelope itself; TestL3V2Purpose has every pair of these.
	"v2": {"v2 removal", "v2 message", "v2 approval"},
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
			err := open(text, alice.Sign([]byte(text)))
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

// TestL3V2Purpose: the whole v2 block of one envelope is refused beside another,
// for every ordered pair.
func TestL3V2Purpose(t *testing.T) {
	for _, from := range samples {
		for _, to := range samples {
			v2 := valueOf(t, from.seal(), "v2")
			_, err := to.open(opener(now), with(t, to.seal(), "v2", v2))
			if from.shape == to.shape {
				if err != nil {
					t.Errorf("v2 of another %s of the same text = %v, want no error", to.shape, err)
				}
				continue
			}
			wantKind(t, fmt.Sprintf("v2 of a %s beside a %s", from.shape, to.shape), err, core.Malformed)
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
				if err := ways[door](bent, alice.Sign([]byte(bent))); err == nil {
					t.Errorf("a %s with %q at the %s door = nil, want an error", name, mark, door)
				}
			}
		}
	}
}
