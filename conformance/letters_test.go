package conformance

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/federation"
)

// pair is a gateway of ours in bob's place, with alice as an approved peer, and
// what alice writes with.
type pair struct {
	*scene
	alice  *envelope.Sealer
	bobKey core.PublicKey
}

func newPair(t *testing.T) *pair {
	t.Helper()
	r := recordings(t)[0]
	start := time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)
	s := set(t, r, exchange{Server: "bob", at: start}, given{Peers: map[string]core.Trust{"carol": core.Stranger}})
	p := &pair{scene: s, bobKey: r.key(t, "bob").Public()}
	p.alice = &envelope.Sealer{Key: r.key(t, "alice"), Now: func() time.Time { return s.now }}
	return p
}

func (p *pair) post(path string, body []byte) (int, string) {
	status, _, answer := p.send(exchange{Method: http.MethodPost, Path: path, Body: string(body), at: p.now,
		Headers: map[string]string{"content-type": "application/json"}})
	return status, string(answer)
}

func (p *pair) message(change func(*core.Message)) []byte {
	p.t.Helper()
	m := core.Message{Intent: "message", From: p.alice.Key.Public().ID(), To: p.bobKey.ID(), Nonce: envelope.NewNonce(), Payload: core.Raw(`{"text":"hi"}`)}
	if change != nil {
		change(&m)
	}
	body, err := p.alice.SealMessage(p.bobKey, m)
	if err != nil {
		p.t.Fatal(err)
	}
	return body
}

// legacy takes the v2 signature off an envelope.
func legacy(t *testing.T, body []byte) []byte {
	t.Helper()
	_, by := members(t, body)
	delete(by, "v2")
	out, err := json.Marshal(by)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (p *pair) want(what string, status int, answer string, want int, text string) {
	p.t.Helper()
	if status != want || !strings.Contains(answer, text) {
		p.t.Errorf("%s = %d %s, want %d with %q", what, status, answer, want, text)
	}
}

// TestL5Recipient: a message is for us by any label of ours, and for nobody else.
func TestL5Recipient(t *testing.T) {
	p := newPair(t)
	for _, to := range []string{p.bobKey.String(), p.bobKey.ID(), "127.0.0.1:19702"} {
		status, answer := p.post(federation.PathMessage, p.message(func(m *core.Message) { m.To = to }))
		p.want("to "+to, status, answer, 200, `"success":true`)
	}
	for _, to := range []string{"", "somebody-else", p.bobKey.ShortID(), p.alice.Key.Public().ID(), p.bobKey.ID() + "0", p.bobKey.String()[:40], "127.0.0.1:19701", strings.ToUpper(p.bobKey.ID())} {
		status, answer := p.post(federation.PathMessage, p.message(func(m *core.Message) { m.To = to }))
		p.want("to "+to, status, answer, 400, "addressed to another gateway")
	}
}

// TestL6Once: the same bytes get the same answer, byte by byte, as long as they
// are in time; other bytes under the nonce are refused, and so is no nonce.
func TestL6Once(t *testing.T) {
	p := newPair(t)
	body := p.message(nil)
	status, first := p.post(federation.PathMessage, body)
	p.want("a message", status, first, 200, `"success":true`)
	for range 3 {
		p.now = p.now.Add(time.Minute)
		status, again := p.post(federation.PathMessage, body)
		p.want("the same bytes", status, again, 200, first)
	}
	status, again := p.post(federation.PathMessage, legacy(t, p.message(func(m *core.Message) { m.Nonce = "n" })))
	p.want("without v2, after it was shown", status, again, 401, "v2 signature required")

	nonce := core.Nonce(said(valueOf(t, body, "message", "nonce")))
	status, answer := p.post(federation.PathMessage, p.message(func(m *core.Message) { m.Nonce, m.Payload = nonce, core.Raw(`{"text":"other"}`) }))
	p.want("other bytes under a used nonce", status, answer, 409, "Nonce already used")
	status, answer = p.post(federation.PathMessage, p.message(func(m *core.Message) { m.Nonce = "" }))
	p.want("no nonce", status, answer, 400, "Missing nonce")
	status, answer = p.post(federation.PathMessage, p.message(func(m *core.Message) { m.Nonce = core.Nonce(strings.Repeat("n", core.MaxNonceBytes+1)) }))
	p.want("a nonce without end", status, answer, 400, "Invalid nonce")
	p.now = p.now.Add(5 * time.Minute)
	status, answer = p.post(federation.PathMessage, body)
	p.want("the same bytes, out of their time", status, answer, 400, "stale")
}

func valueOf(t *testing.T, object jsontext.Value, path ...string) jsontext.Value {
	t.Helper()
	for _, name := range path {
		_, by := members(t, object)
		object = by[name]
	}
	return object
}

// TestL7NoDowngrade: from the first v2 signature on, no envelope of that peer
// passes without one, at any door.
func TestL7NoDowngrade(t *testing.T) {
	p := newPair(t)
	key := p.alice.Key.Public()
	identity := core.Identity{ID: key.ID(), DisplayName: "Alice", HumanName: "A", Email: "alice@example.test", GatewayURL: urlOf("alice"), PublicKey: key.String()}
	card := core.PeerCard{ID: key.ID(), DisplayName: "Alice", GatewayURL: urlOf("alice"), PublicKey: key.String()}
	seal := map[string]func() []byte{
		federation.PathMessage:  func() []byte { return p.message(nil) },
		federation.PathIdentity: func() []byte { return must(p.alice.SealIdentity(p.bobKey, identity)) },
		federation.PathApprove: func() []byte {
			return must(p.alice.SealApproval(p.bobKey, core.Approval{FromPublicKey: key.String(), Nonce: envelope.NewNonce()}))
		},
		federation.PathRequest: func() []byte { return must(p.alice.SealRequest(p.bobKey, core.Request{Peer: card})) },
		federation.PathRemoved: func() []byte { return must(p.alice.SealRemoval(p.bobKey)) },
	}
	order := []string{federation.PathMessage, federation.PathIdentity, federation.PathApprove, federation.PathRequest, federation.PathRemoved}
	status, answer := p.post(federation.PathMessage, legacy(t, p.message(nil)))
	p.want("a legacy message before any v2", status, answer, 200, "success")
	status, answer = p.post(federation.PathMessage, p.message(nil))
	p.want("a v2 message", status, answer, 200, "success")
	for _, path := range order {
		status, answer := p.post(path, legacy(t, seal[path]()))
		want := 401
		if path == federation.PathRemoved {
			want = 403
		}
		p.want(path+" without v2", status, answer, want, "v2 signature required")
	}
	slices.Reverse(order[3:]) // the removal before the request that comes back from it
	for _, path := range order {
		status, answer := p.post(path, seal[path]())
		p.want(path+" with v2", status, answer, 200, "")
	}
	// Approved or not, the peer is held to it.
	p.now = p.now.Add(time.Second) // else it is the very text that was answered just now
	status, answer = p.post(federation.PathRequest, legacy(t, seal[federation.PathRequest]()))
	p.want("a legacy request of a pending peer, which may ask", status, answer, 200, "already-pending")
}

// TestL7Recipient: an envelope to us is no envelope to anybody else.
func TestL7Recipient(t *testing.T) {
	p := newPair(t)
	elsewhere := p.r.key(t, "carol").Public()
	body, err := p.alice.SealMessage(elsewhere, core.Message{Intent: "message", From: p.alice.Key.Public().ID(), To: p.bobKey.ID(), Nonce: "n", Payload: core.Raw(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := p.post(federation.PathMessage, body)
	p.want("a message to carol", status, answer, 400, "another recipient")
	status, answer = p.post(federation.PathRemoved, must(p.alice.SealRemoval(elsewhere)))
	p.want("a removal to carol", status, answer, 400, "another recipient")
	status, answer = p.post(federation.PathMessage, p.message(nil))
	p.want("a message to us, after those", status, answer, 200, "success")
}

// must is what a key of our own signs, which never fails.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
