package envelope_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

var hintsAt = time.Date(2026, 11, 21, 20, 0, 0, 123_000_000, time.UTC)

func hintsKey(t testing.TB) keys.Private {
	t.Helper()
	k, err := keys.FromSeed(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func hintsOpener() *envelope.Opener {
	return &envelope.Opener{Near: func(at time.Time) error {
		if hintsAt.Sub(at).Abs() > 5*time.Minute {
			return core.Refuse(core.Stale, "stale")
		}
		return nil
	}}
}

// Every text is opened for its own purpose and for no other.
func TestL3PurposesExcludeOneAnother(t *testing.T) {
	purposes := []string{envelope.PurposeRegister, envelope.PurposeInvite, envelope.PurposeDeregister, envelope.PurposeList, envelope.PurposeRevoke, "other"}
	s := envelope.Sealer{Key: hintsKey(t)}
	for _, signed := range purposes {
		body := must(s.SealHints(envelope.Hints{Purpose: signed, Port: 18790, Token: "a3f7k2"}, hintsAt))
		for _, asked := range purposes[:5] {
			got, err := hintsOpener().OpenHints(body, asked, true)
			if want := signed == asked; (err == nil) != want {
				t.Errorf("%q opened for %q: %v, want ok = %v", signed, asked, err, want)
			} else if want && (!got.V2 || got.Key != s.Key.Public() || !got.SentAt.Equal(hintsAt) || got.Value.Purpose != signed || got.Record.PayloadStr != string(got.Text)) {
				t.Errorf("%q opened as %+v", signed, got)
			} else if !want && !errors.Is(err, core.Malformed) {
				t.Errorf("%q opened for %q: %v, want core.Malformed", signed, asked, err)
			}
		}
	}
}

// Each byte of the text and of the signature counts.
func TestHintsEveryByteCounts(t *testing.T) {
	s := envelope.Sealer{Key: hintsKey(t)}
	for _, purpose := range []string{envelope.PurposeRegister, envelope.PurposeDeregister} {
		sealed := must(s.SealHints(envelope.Hints{Purpose: purpose, Port: 1, PublicURL: "https://gw.example"}, hintsAt))
		r := envelope.Record{PayloadStr: textOf(t, valueOf(t, sealed, "v2"), "payloadStr"), Signature: textOf(t, valueOf(t, sealed, "v2"), "signature")}
		body := func(r envelope.Record) []byte {
			b, err := json.Marshal(map[string]any{"v2": r})
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		if _, err := hintsOpener().OpenHints(body(r), purpose, false); err != nil {
			t.Fatalf("unbent: %v", err)
		}
		for i := range r.PayloadStr {
			bent := r
			bent.PayloadStr = r.PayloadStr[:i] + string(r.PayloadStr[i]^1) + r.PayloadStr[i+1:]
			if _, err := hintsOpener().OpenHints(body(bent), purpose, false); err == nil {
				t.Errorf("%s: opens with byte %d bent: %s", purpose, i, bent.PayloadStr)
			}
		}
		for i := range r.Signature {
			bent := r
			bent.Signature = r.Signature[:i] + string("0123456789abcdef"[(strings.IndexByte("0123456789abcdef", r.Signature[i])+1)%16]) + r.Signature[i+1:]
			if _, err := hintsOpener().OpenHints(body(bent), purpose, false); !errors.Is(err, core.BadSignature) {
				t.Errorf("%s: signature with character %d bent: %v, want core.BadSignature", purpose, i, err)
			}
		}
	}
}

// A body of ours has nothing that a gateway before v2 has signed, unless the server
// has asked for it; where both are, the v2 form alone counts and alone is handed on.
func TestT11RegistrationForms(t *testing.T) {
	s := envelope.Sealer{Key: hintsKey(t)}
	for _, purpose := range []string{envelope.PurposeRegister, envelope.PurposeInvite} {
		h := envelope.Hints{Purpose: purpose, Port: 1, PublicURL: "https://gw.example"}
		body := must(s.SealHints(h, hintsAt))
		if valueOf(t, body, "payloadStr") != nil || valueOf(t, body, "signature") != nil {
			t.Errorf("%s: signed as before v2, unasked: %s", purpose, body)
		}
		h.Legacy = true
		both := must(s.SealHints(h, hintsAt))
		old, err := hintsOpener().OpenHints(without(t, both, "v2"), purpose, false)
		if err != nil || old.V2 || old.Unsigned || (old.Record != envelope.Record{}) || old.Key != s.Key.Public() || old.Value.PublicURL != h.PublicURL {
			t.Errorf("%s as 0.7 reads it: %+v, %v; want it signed, with nothing to hand on", purpose, old, err)
		}
		if text := textOf(t, both, "payloadStr"); strings.Contains(text, "ctx") || strings.Contains(text, "purpose") {
			t.Errorf("%s: %s, want the very members of 0.7", purpose, text)
		}
		bent := with(t, with(t, both, "payloadStr", "{}"), "signature", "00")
		if got, err := hintsOpener().OpenHints(bent, purpose, false); err != nil || !got.V2 {
			t.Errorf("%s: %v, want the v2 form alone to count", purpose, err)
		}
		if _, err := hintsOpener().OpenHints(with(t, body, "port", 2), purpose, false); !errors.Is(err, core.Malformed) {
			t.Errorf("%s: another port beside the text: %v, want core.Malformed", purpose, err)
		}
	}
}

func TestHintsUnsigned(t *testing.T) {
	k := hintsKey(t).Public().String()
	const at = "1795291200123"
	for _, test := range []struct {
		name, purpose, body string
		want                string // a part of the error; empty: opens
	}{
		{"register", envelope.PurposeRegister, `{"pubkey":"` + k + `","port":1,"timestamp":` + at + `}`, ""},
		{"invite without time", envelope.PurposeInvite, `{"pubkey":"` + k + `","port":1}`, ""},
		{"invite with terms", envelope.PurposeInvite, `{"pubkey":"` + k + `","port":1,"uses":2,"expiresIn":60}`, ""},
		{"register without time", envelope.PurposeRegister, `{"pubkey":"` + k + `","port":1}`, "timestamp is required"},
		{"time as text", envelope.PurposeRegister, `{"pubkey":"` + k + `","port":1,"timestamp":"` + at + `"}`, "timestamp is required"},
		{"half a millisecond", envelope.PurposeRegister, `{"pubkey":"` + k + `","port":1,"timestamp":` + at + `.5}`, "timestamp is required"},
		{"beyond all time", envelope.PurposeRegister, `{"pubkey":"` + k + `","port":1,"timestamp":1e300}`, "timestamp is required"},
		{"stale", envelope.PurposeRegister, `{"pubkey":"` + k + `","port":1,"timestamp":1}`, "stale"},
		{"stale invite", envelope.PurposeInvite, `{"pubkey":"` + k + `","port":1,"timestamp":1}`, "stale"},
		{"uses as text", envelope.PurposeInvite, `{"pubkey":"` + k + `","port":1,"uses":"2"}`, "uses must be a number"},
		{"deregister", envelope.PurposeDeregister, `{"pubkey":"` + k + `"}`, "Missing v2 signature"},
		{"signature alone", envelope.PurposeRegister, `{"pubkey":"` + k + `","port":1,"timestamp":` + at + `,"signature":"aa"}`, "Missing payloadStr or signature"},
		{"text alone", envelope.PurposeRegister, `{"pubkey":"` + k + `","port":1,"timestamp":` + at + `,"payloadStr":"{}"}`, "Missing payloadStr or signature"},
		{"empty text", envelope.PurposeRegister, `{"pubkey":"` + k + `","port":1,"timestamp":` + at + `,"payloadStr":""}`, "Missing payloadStr or signature"},
		{"array", envelope.PurposeRegister, `[]`, "pubkey is required"},
		{"in other case", envelope.PurposeRegister, `{"PubKey":"` + k + `","port":1,"timestamp":` + at + `}`, "pubkey is required"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := hintsOpener().OpenHints([]byte(test.body), test.purpose, true)
			switch {
			case test.want == "" && (err != nil || !got.Unsigned || got.Record != envelope.Record{}):
				t.Errorf("OpenHints = %+v, %v, want it open and unsigned", got, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("OpenHints = %v, want %q", err, test.want)
			}
			if _, err := hintsOpener().OpenHints([]byte(test.body), test.purpose, false); err == nil {
				t.Error("opens unsigned although it must be signed")
			}
		})
	}
}

// Whatever opens was said by its key, and opens again.
func FuzzOpenHints(f *testing.F) {
	s := envelope.Sealer{Key: hintsKey(f)}
	for _, purpose := range []string{envelope.PurposeRegister, envelope.PurposeDeregister} {
		f.Add(must(s.SealHints(envelope.Hints{Purpose: purpose, Port: 1, PublicURL: "https://gw.example"}, hintsAt)), purpose)
	}
	f.Add([]byte(`{"pubkey":"`+s.Key.Public().String()+`","port":1,"timestamp":1795291200123}`), envelope.PurposeRegister)
	f.Fuzz(func(t *testing.T, body []byte, purpose string) {
		got, err := hintsOpener().OpenHints(body, purpose, true)
		if err != nil || got.Unsigned {
			return
		}
		if !got.V2 {
			if (got.Record != envelope.Record{}) {
				t.Fatalf("hands on what was signed as before v2: %s", body)
			}
			return
		}
		sig, err := keys.ParseSignature(got.Record.Signature)
		if err != nil || !keys.Verify(got.Key, []byte("\xff"+envelope.RecordCtx(purpose)+"\x00"+got.Record.PayloadStr), sig) {
			t.Fatalf("opens without a good signature: %s", body)
		}
		again, err := json.Marshal(map[string]any{"v2": got.Record})
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := hintsOpener().OpenHints(again, purpose, false); err != nil || twice.Value != got.Value {
			t.Fatalf("the record alone opens as %+v, %v, want %+v", twice.Value, err, got.Value)
		}
	})
}
