package conformance

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The cases of a peer that the gateway has approved. They need an operator who approves,
// or a gateway that does so by itself, and a small gateway of the run's own that it can
// reach: what is asked of a peer is asked there.

// Peer lets Run play a peer.
type Peer struct {
	// Listen is the address of the run's own gateway. Empty: a free port of 127.0.0.1.
	Listen string
	// URL is where the gateway reaches it. Empty: http:// and the address.
	URL string
	// ApproveWithin is how long the operator has. Zero: 2 minutes.
	ApproveWithin time.Duration
	// Asked is called when the request waits, with the label and key to approve.
	Asked func(id, key string)
}

// guest is the run as a peer: a gateway of the old kind, until it shows v2.
type guest struct {
	r      *runner
	url    string // its own
	server *http.Server

	mu       sync.Mutex // guards the rest
	approval []byte     // what came to /federation/approve
	asked    int        // questions whether we have it approved
	signed   []string   // texts that the gateway has signed, of all that came
	headers  bool       // a card was asked for with signed headers
}

func (g *guest) serve(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(q.Body, maxAnswerBytes))
	answer := func(status int, text string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, text)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var in map[string]jsontext.Value
	_ = json.Unmarshal(body, &in)
	for _, name := range []string{"payloadStr", "messageStr", "replyStr"} {
		var text string
		if json.Unmarshal(in[name], &text) == nil && in["signature"] != nil {
			g.signed = append(g.signed, text)
		}
	}
	if q.URL.Path == "/federation/removed" {
		g.signed = append(g.signed, `{"peerId":"","timestamp":""}`)
	}
	switch {
	case q.URL.Path == "/.well-known/ogp":
		g.headers = g.headers || q.Header.Get("X-OGP-Signature") != ""
		answer(http.StatusOK, fmt.Sprintf(`{"version":"0.7.2","displayName":"conformance","email":"","gatewayUrl":%q,"publicKey":%q,`+
			`"capabilities":{"intents":["message"],"features":["scope-negotiation"]},"endpoints":{}}`, g.url, g.r.public))
	case q.URL.Path == "/federation/approve":
		g.approval = body
		answer(http.StatusOK, `{"received":true}`)
	case q.URL.Path == "/federation/message" && strings.Contains(string(body), "federation.status"):
		g.asked++
		answer(http.StatusForbidden, `{"success":false,"error":"Intent 'federation.status' not in granted scope","statusCode":403}`)
	case q.URL.Path == "/federation/message":
		answer(http.StatusOK, `{"success":true,"nonce":"x","response":{"received":true}}`)
	default:
		answer(http.StatusOK, `{"received":true,"success":true,"updated":true}`)
	}
}

func (g *guest) saw(f func() bool) bool { g.mu.Lock(); defer g.mu.Unlock(); return f() }

// until waits for something that the gateway is to do.
func (g *guest) until(ctx context.Context, d time.Duration, f func() bool) bool {
	for end := time.Now().Add(d); ; {
		if g.saw(f) {
			return true
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// post sends a body and gives the status and the answer; 0 is none.
func (g *guest) post(ctx context.Context, path, body string) (int, string) {
	status, _, answer, err := g.r.send(ctx, Case{Method: http.MethodPost, Path: "/federation/" + path, Body: strings.ReplaceAll(body, "${", "$ {")})
	if err != nil {
		return 0, err.Error()
	}
	return status, string(answer)
}

// object is a JSON object whose members are JSON already.
func object(list ...string) string { return "{" + strings.Join(list, ",") + "}" }

func quoted(s string) string { q, _ := jsontext.AppendQuote(nil, s); return string(q) }

// sealed is a signed text under its name, with the old signature, and v2's, as wanted.
func (g *guest) sealed(twin, as, text, ctx string, old, v2 bool) string {
	list := []string{quoted(as) + ":" + quoted(text)}
	if twin != "" {
		list = append(list, quoted(twin)+":"+text)
	}
	if old {
		list = append(list, `"signature":`+quoted(g.r.sign(text)))
	}
	if v2 {
		list = append(list, `"v2":`+g.r.v2(&V2{Ctx: ctx, Aud: "${theirs}"}, text))
	}
	return object(list...)
}

func (g *guest) request(url string, v2 bool) string {
	peer := fmt.Sprintf(`{"id":%q,"displayName":"conformance","email":"","gatewayUrl":%q,"publicKey":%q}`, g.r.public[:32], url, g.r.public)
	text := fmt.Sprintf(`{"peer":%s,"offeredIntents":["message"],"timestamp":%q}`, peer, iso(time.Now()))
	body := g.sealed("", "payloadStr", text, "ogp/v2/request", true, v2)
	return `{"peer":` + peer + `,"offeredIntents":["message"],` + body[1:] // what gateways before 0.7 read
}

// message is one to the gateway; edit changes its members.
func (g *guest) message(nonce string, v2 bool, edit ...string) string {
	text := fmt.Sprintf(`{"intent":"message","from":%q,"to":%q,"nonce":%q,"timestamp":%q,"payload":{"text":"a test of conformance"}}`,
		g.r.public[:32], g.r.theirs[:min(32, len(g.r.theirs))], nonce, iso(time.Now()))
	text = strings.NewReplacer(edit...).Replace(text)
	return g.sealed("message", "messageStr", text, "ogp/v2/message", true, v2)
}

func (g *guest) removal(v2 bool) string {
	at := iso(time.Now())
	text := fmt.Sprintf(`{"peerId":%q,"timestamp":%q}`, g.r.public[:32], at)
	list := []string{fmt.Sprintf(`"peerId":%q,"timestamp":%q,"signature":%q`, g.r.public[:32], at, g.r.sign(text))}
	if v2 {
		list = append(list, `"v2":`+g.r.v2(&V2{Ctx: "ogp/v2/removed", Aud: "${theirs}"}, text))
	}
	return object(list...)
}

// wants is a problem unless the status is one of these.
func wants(status int, answer string, these ...int) string {
	if slices.Contains(these, status) {
		return ""
	}
	return fmt.Sprintf("status %d, want %s; answer %s", status, oneOf(these), shown([]byte(answer)))
}

// try posts a body, and is a problem unless the status is one of these.
func (g *guest) try(ctx context.Context, path, body string, these ...int) string {
	status, answer := g.post(ctx, path, body)
	return wants(status, answer, these...)
}

// step is a case of a peer. The steps go in their order, each on what the ones before
// have left; one before the approval has waits set.
type step struct {
	name    string
	level   Level
	promise string
	why     string
	waits   bool
	do      func(ctx context.Context, g *guest) string
}

var taken, refused = []int{http.StatusOK}, []int{http.StatusBadRequest}

// send is a message that must have one of these statuses.
func send(v2 bool, these []int, edit ...string) func(context.Context, *guest) string {
	return func(ctx context.Context, g *guest) string {
		return g.try(ctx, "message", g.message(newUUID(), v2, edit...), these...)
	}
}

// peerSteps are the cases of a peer.
func peerSteps() []step { return append(heardSteps(), trustSteps()...) }

// heardSteps are about what is heard of an approved peer.
func heardSteps() []step {
	first := newUUID()
	var body, took string
	return []step{
		{"peer: who waits cannot approve itself", Hardened, "T1", "direction counts", true, func(ctx context.Context, g *guest) string {
			text := fmt.Sprintf(`{"approved":true,"fromPublicKey":%q,"fromGatewayUrl":%q,"timestamp":%q}`, g.r.public, g.url, iso(time.Now()))
			g.post(ctx, "approve", g.sealed("", "payloadStr", text, "ogp/v2/approve", true, false))
			return g.try(ctx, "message", g.message(newUUID(), false), http.StatusForbidden)
		}},
		{"peer: the approval is signed for us", Hardened, "T4", "an approval that anybody could write moves no trust", false, func(_ context.Context, g *guest) string {
			return g.checkApproval()
		}},
		{"peer: a message", Seeds, "field", "an approved peer within its grants is heard", false, func(ctx context.Context, g *guest) string {
			body = g.message(first, false)
			status, answer := g.post(ctx, "message", body)
			took = answer
			return wants(status, answer, taken...)
		}},
		{"peer: the same message again", Hardened, "L6", "the same bytes get the same answer, and no second effect", false, func(ctx context.Context, g *guest) string {
			status, answer := g.post(ctx, "message", body)
			if problem := wants(status, answer, taken...); problem != "" || answer == took {
				return problem
			}
			return "another answer to the same bytes: " + shown([]byte(answer))
		}},
		{"peer: another message under a used nonce", Hardened, "L6", "a nonce is used once", false, func(ctx context.Context, g *guest) string {
			return g.try(ctx, "message", g.message(first, false, "a test", "another test"), http.StatusConflict)
		}},
		{"peer: an intent that is not granted", Seeds, "field", "grants count", false, send(false, []int{http.StatusForbidden}, `"intent":"message"`, `"intent":"conformance.not-granted"`)},
		{"peer: a message for another gateway", Hardened, "L5", "who carries a message over is not heard", false, func(ctx context.Context, g *guest) string {
			return send(false, refused, `"to":"`+g.r.theirs[:min(32, len(g.r.theirs))]+`"`, `"to":"302a300506032b657003210000000000"`)(ctx, g)
		}},
		{"peer: a stale message", Hardened, "L4", "an old message is not a new one", false, func(ctx context.Context, g *guest) string {
			text := g.message(newUUID(), false, iso(time.Now())[:16], iso(time.Now().Add(-time.Hour))[:16])
			return g.try(ctx, "message", text, refused...)
		}},
		{"peer: a reply address elsewhere", Hardened, "R2", "a gateway writes to its peers alone", false, send(false, refused, `"payload":`, `"replyTo":"http://192.0.2.1/federation/reply/x","payload":`)},
	}
}

// trustSteps are about what ends a federation, and what does not.
func trustSteps() []step {
	return []step{
		{"peer: asking again ends nothing", Hardened, "T10", "a request that may be carried over is a hint: the peer stays approved and is asked, where it was", false, func(ctx context.Context, g *guest) string {
			return g.hinted(ctx, "request", g.request("http://192.0.2.1:9", false))
		}},
		{"peer: a removal that names nobody is asked about", Hardened, "T10", "a heartbeat sent again is no removal for good", false, func(ctx context.Context, g *guest) string {
			return g.hinted(ctx, "removed", g.removal(false))
		}},
		{"peer: a refuted removal sent again changes nothing", Hardened, "T10", "a peer that has refuted one is immune for a while", false, func(ctx context.Context, g *guest) string {
			time.Sleep(time.Millisecond) // other bytes
			if problem := g.try(ctx, "removed", g.removal(false), taken...); problem != "" {
				return problem
			}
			time.Sleep(5 * time.Millisecond) // later than the notice
			return send(false, taken)(ctx, g)
		}},
		{"peer: names come from the card", Hardened, "T13", "an identity that names nobody moves no URL", false, func(ctx context.Context, g *guest) string {
			text := fmt.Sprintf(`{"id":%q,"displayName":"conformance","gatewayUrl":"http://192.0.2.1:9","publicKey":%q}`, g.r.public[:32], g.r.public)
			before := 0
			g.saw(func() bool { before = g.asked; return true })
			g.post(ctx, "update-identity", object(`"identity":`+text, `"signature":`+quoted(g.r.sign(text))))
			g.post(ctx, "request", g.request("http://192.0.2.1:9", false)) // what it asks now, it asks where it was
			if !g.until(ctx, hintWait, func() bool { return g.asked > before }) {
				return "the peer was not asked at its own URL"
			}
			return ""
		}},
		{"peer: nothing signed serves a removal", Hardened, "T11", "who asks a gateway something gets no text that parts it from its friends", false, func(_ context.Context, g *guest) string {
			var problem string
			g.saw(func() bool { problem = g.leaked(); return true })
			return problem
		}},
		{"peer: once v2 is shown, the old form is refused", Hardened, "L7", "a newer signature cannot be stripped", false, func(ctx context.Context, g *guest) string {
			if problem := send(true, taken)(ctx, g); problem != "" {
				return problem
			}
			return send(false, []int{http.StatusUnauthorized})(ctx, g)
		}},
		{"peer: a removal that names the gateway", Hardened, "T5", "the peer's own word counts at once", false, func(ctx context.Context, g *guest) string {
			if problem := g.try(ctx, "removed", g.removal(true), taken...); problem != "" {
				return problem
			}
			return send(true, []int{http.StatusForbidden})(ctx, g)
		}},
		{"peer: who went back to an older gateway may ask", Hardened, "T12", "no change of version ends in a state that no command leaves", false, func(ctx context.Context, g *guest) string {
			return g.try(ctx, "request", g.request(g.url, false), taken...)
		}},
	}
}

// hintWait is how long a hint may stay without a question: the first round comes after 5
// seconds, and behind an open series with its next, 30 seconds after that began.
var hintWait = 45 * time.Second

// hinted sends a hint and wants the peer to be asked, where it was, and to be heard then.
func (g *guest) hinted(ctx context.Context, path, body string) string {
	before := 0
	g.saw(func() bool { before = g.asked; return true })
	if problem := g.try(ctx, path, body, http.StatusOK); problem != "" {
		return problem
	}
	if !g.until(ctx, hintWait, func() bool { return g.asked > before }) {
		return "the peer was not asked at its own URL"
	}
	time.Sleep(300 * time.Millisecond) // the answer is on its way
	return g.try(ctx, "message", g.message(newUUID(), false), http.StatusOK)
}

// checkApproval verifies the approval that came.
func (g *guest) checkApproval() string {
	var in struct {
		PayloadStr string `json:"payloadStr"`
		Signature  string `json:"signature"`
	}
	var approval []byte
	g.saw(func() bool { approval = g.approval; return true })
	if json.Unmarshal(approval, &in) != nil || in.PayloadStr == "" {
		return "the approval is not signed: " + shown(approval)
	}
	key, err := hex.DecodeString(strings.TrimPrefix(g.r.theirs, spkiPrefix))
	sig, err2 := hex.DecodeString(in.Signature)
	if err != nil || err2 != nil || len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, []byte(in.PayloadStr), sig) {
		return "its signature does not hold under the card's key"
	}
	for _, path := range []string{"peerId", "fromPublicKey"} {
		want := map[string]string{"peerId": g.r.public[:32], "fromPublicKey": g.r.theirs}[path]
		if problem := match(at([]byte(in.PayloadStr), path), jsontext.Value(quoted("="+want))); problem != "" {
			return path + " " + problem
		}
	}
	return ""
}

// leaked says which text that the gateway has signed would part it from its friends.
// Called with mu held.
func (g *guest) leaked() string {
	if g.headers {
		return "it asked for our card with signed headers: their text is a removal notice of its own"
	}
	for _, text := range g.signed {
		var said map[string]jsontext.Value
		if json.Unmarshal([]byte(text), &said) == nil && len(said) == 2 && said["peerId"] != nil && said["timestamp"] != nil {
			return "it signed what is a removal notice of its own, which no operator ordered"
		}
	}
	return ""
}

// asPeer plays a peer and gives the results. What it leaves behind is a removed peer,
// or a rejected one, that the operator may forget.
func (r *runner) asPeer(ctx context.Context, p Peer) ([]Result, error) {
	if p.Listen == "" {
		p.Listen = "127.0.0.1:0"
	}
	if p.ApproveWithin == 0 {
		p.ApproveWithin = 2 * time.Minute
	}
	ln, err := net.Listen("tcp", p.Listen)
	if err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	g := &guest{r: r, url: strings.TrimRight(p.URL, "/")}
	if g.url == "" {
		g.url = "http://" + ln.Addr().String()
	}
	g.server = &http.Server{Handler: http.HandlerFunc(g.serve), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	go g.server.Serve(ln)
	defer g.server.Close()
	defer func() { g.post(context.WithoutCancel(ctx), "removed", g.removal(true)) }() // what waits leaves

	var results []Result
	status, answer := g.post(ctx, "request", g.request(g.url, false))
	skipped := ""
	if problem := wants(status, answer, http.StatusOK); problem != "" {
		skipped = "the gateway has not taken the request: " + problem
	}
	approved := g.saw(func() bool { return g.approval != nil })
	for _, s := range peerSteps() {
		result := Result{Name: s.name, Level: s.level, Promise: s.promise, Why: s.why}
		if !s.waits && skipped == "" && !approved {
			if p.Asked != nil {
				p.Asked(r.public[:32], r.public)
			}
			approved = g.until(ctx, p.ApproveWithin, func() bool { return g.approval != nil })
			if !approved {
				skipped = "nobody has approved the peer of this run, or the approval did not find its way to " + g.url
			}
		}
		switch {
		case skipped != "":
			result.Skipped = skipped
		case s.waits && approved:
			result.Skipped = "the gateway approves by itself"
		default:
			result.Problem = s.do(ctx, g)
			result.OK = result.Problem == ""
		}
		if ctx.Err() != nil {
			return results, ctx.Err()
		}
		results = append(results, result)
	}
	return results, nil
}
