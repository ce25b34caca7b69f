package envelope_test

import (
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
)

// TestT11V2Only: to a peer that has shown v2 no legacy signature goes, and the body
// opens to the same.
func TestT11V2Only(t *testing.T) {
	both := sealer
	defer func() { sealer = both }()
	for _, l := range samples {
		sealer = both
		want := mustOpen(t, l, l.seal())
		sealer = *both.For(true)
		body := l.seal()
		if valueOf(t, body, "signature") != nil {
			t.Errorf("%s: a legacy signature for a peer that has shown v2", l.shape)
		}
		got := mustOpen(t, l, body)
		if got.text != want.text || got.key != aliceKey || !got.v2 {
			t.Errorf("%s: %+v, want %+v", l.shape, got, want)
		}
		_, err := l.open(opener(now), without(t, body, "v2"))
		wantKind(t, string(l.shape)+" with no signature at all", err, core.Malformed)
	}
}

// TestStatus: an answer to federation.status says yes or no, to one asker, to one
// question, for a while.
func TestStatus(t *testing.T) {
	open := func(o *envelope.Opener, body []byte) (envelope.Opened[envelope.StatusAnswer], error) {
		return envelope.Open(o, envelope.Status, body, findAlice)
	}
	for _, yes := range []bool{true, false} {
		body := with(t, []byte(`{"success":false,"error":"Peer not approved","statusCode":403}`), "v2", must(sealer.SealStatus(bobKey, "question", yes)))
		got, err := open(opener(now), body)
		if err != nil || got.Value.Approved != yes || got.Key != aliceKey || got.Nonce != "question" || !got.V2 || !got.SentAt.Equal(now) {
			t.Errorf("%v: opened %+v, %v", yes, got, err)
		}
		_, err = open(opener(now.Add(6*time.Minute)), body)
		wantKind(t, "an answer of 6 minutes ago", err, core.Stale)
		elsewhere := opener(now)
		elsewhere.Self = carol.Public()
		_, err = open(elsewhere, body)
		wantKind(t, "an answer to somebody else", err, core.Malformed)
		_, err = envelope.Open(opener(now), envelope.Status, body, envelope.From(carol.Public()))
		wantKind(t, "an answer of somebody else", err, core.BadSignature)
	}
	for what, body := range map[string][]byte{
		"no v2":         []byte(`{"success":true}`),
		"another shape": with(t, []byte(`{}`), "v2", valueOf(t, samples[4].seal(), "v2")),
	} {
		_, err := open(opener(now), body)
		wantKind(t, what, err, core.Malformed)
	}
	for _, approved := range []string{`"yes"`, `null`, `1`} {
		text := `{"ctx":"ogp/v2/status","iss":"` + aliceKey.String() + `","aud":"` + bobKey.String() + `","nonce":"n","timestamp":"` + core.FormatTime(now) + `","approved":` + approved + `}`
		_, err := open(opener(now), with(t, []byte(`{}`), "v2", signedBy{text, v2(alice, "ogp/v2/status", text)}))
		wantKind(t, "approved "+approved, err, core.Malformed)
	}
}

// TestIssuer: the claim is read from the v2 block alone.
func TestIssuer(t *testing.T) {
	body := samples[4].seal()
	if k, ok := envelope.Issuer(body); !ok || k != aliceKey {
		t.Errorf("Issuer = %v, %v, want alice's key", k, ok)
	}
	for what, body := range map[string][]byte{
		"no v2": without(t, body, "v2"), "v2 null": with(t, body, "v2", nil), "no text": with(t, body, "v2", signedBy{}),
		"text no JSON": with(t, body, "v2", signedBy{"{", "x"}), "no issuer": with(t, body, "v2", signedBy{`{"a":1}`, "x"}),
		"text an array": with(t, body, "v2", signedBy{`[]`, "x"}), "issuer a label": with(t, body, "v2", signedBy{`{"iss":"` + aliceKey.ID() + `"}`, "x"}), "no JSON": []byte(`{`),
	} {
		if k, ok := envelope.Issuer(body); ok {
			t.Errorf("%s: Issuer = %v, want none", what, k)
		}
	}
}
