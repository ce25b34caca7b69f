package coretest

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// Era is a generation of the TypeScript gateway.
type Era string

// The eras. docs/protocol.md#versions
const (
	H Era = "0.2.20" // host:port ids
	S Era = "0.2.30" // 16-character ids
	M Era = "0.4.3"  // 32-character ids, unsigned handshake
	E Era = "0.7.2"  // signed envelopes
)

// Eras are all of them.
var Eras = []Era{H, S, M, E}

// LegacyPeer is a record of an old gateway.
type LegacyPeer struct {
	ID, PublicKey, URL, Name string
	Status                   string // pending, approved, rejected, removed
	Granted, Received        *core.Bundle
}

// LegacyGateway behaves as an old gateway did on the wire, mistakes included.
// Safe for concurrent use.
type LegacyGateway struct {
	Era Era
	Key keys.Private
	URL string
	// Notified is called between the removal notice and the record of the removal,
	// which is the order that old gateways have.
	Notified func()

	t      testing.TB
	server *httptest.Server
	client *http.Client

	mu        sync.Mutex // guards the rest
	peers     []*LegacyPeer
	messages  []core.Message
	replies   map[core.Nonce]core.Reply
	exchanges []Exchange
}

// Envelope is an envelope that an old gateway got or sent, with the answer.
type Exchange struct {
	Path, Body string
	Sent       bool
	Status     int
	Answer     string
}

// Legacy starts an old gateway.
func Legacy(t testing.TB, era Era) *LegacyGateway {
	t.Helper()
	l := &LegacyGateway{Era: era, Key: keys.Generate(), t: t, replies: map[core.Nonce]core.Reply{},
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	l.server = httptest.NewServer(http.HandlerFunc(l.serve))
	l.URL = l.server.URL
	t.Cleanup(l.Close)
	return l
}

// Close stops the server: nobody reaches the gateway any more.
func (l *LegacyGateway) Close() {
	l.server.CloseClientConnections()
	l.server.Close()
}

func (l *LegacyGateway) host() string { return strings.TrimPrefix(l.URL, "http://") }

// ID is the id that the gateway announces and signs with.
func (l *LegacyGateway) ID() string { return l.idOf(l.Key.Public().String(), l.host()) }

// idOf is the id that the era gives to a key.
func (l *LegacyGateway) idOf(key, announced string) string {
	switch {
	case l.Era == H:
		return announced
	case l.Era == S:
		return key[:min(16, len(key))]
	}
	return key[:min(32, len(key))]
}

// Peer returns a copy of the record of a key.
func (l *LegacyGateway) Peer(k core.PublicKey) LegacyPeer {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.peers {
		if p.PublicKey == k.String() {
			return *p
		}
	}
	return LegacyPeer{}
}

// Messages are the messages that were accepted.
func (l *LegacyGateway) Messages() []core.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.messages)
}

// Reply is what came for a message of the gateway.
func (l *LegacyGateway) Reply(n core.Nonce) (core.Reply, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.replies[n]
	return r, ok
}

// Exchanges are the envelopes so far, of one path.
func (l *LegacyGateway) Exchanges(path string) []Exchange {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Exchange
	for _, x := range l.exchanges {
		if x.Path == path {
			out = append(out, x)
		}
	}
	return out
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // values of this package
	}
	return string(b)
}

// object is a JSON object whose members keep their order.
type object []struct {
	Name  string
	Value any
}

func (o object) MarshalJSONTo(e *jsontext.Encoder) error {
	if err := e.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, m := range o {
		if err := e.WriteToken(jsontext.String(m.Name)); err != nil {
			return err
		}
		if err := json.MarshalEncode(e, m.Value); err != nil {
			return err
		}
	}
	return e.WriteToken(jsontext.EndObject)
}

func now() string { return core.FormatTime(time.Now()) }

func (l *LegacyGateway) envelope(v any) string {
	text := encode(v)
	return encode(object{{"payloadStr", text}, {"signature", l.Key.Sign([]byte(text))}})
}

// send posts an envelope and records it.
func (l *LegacyGateway) send(gatewayURL, path, body string) core.Answer {
	a, err := l.trySend(gatewayURL, path, body)
	if err != nil {
		l.t.Errorf("coretest: %s %s: %v", l.Era, path, err)
	}
	return a
}

func (l *LegacyGateway) trySend(gatewayURL, path, body string) (core.Answer, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, gatewayURL+path, strings.NewReader(body))
	if err != nil {
		return core.Answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.client.Do(req)
	if err != nil {
		return core.Answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	l.record(Exchange{path, body, true, resp.StatusCode, string(text)})
	return core.Answer{Status: resp.StatusCode, Body: text}, err
}

func (l *LegacyGateway) record(x Exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.exchanges = append(l.exchanges, x)
}

func (l *LegacyGateway) peerObject() object {
	key := l.Key.Public().String()
	id := l.ID()
	if l.Era == E {
		id = key[:16]
	}
	return object{{"id", id}, {"displayName", "Old " + string(l.Era)}, {"email", "old@example.org"}, {"gatewayUrl", l.URL}, {"publicKey", key}}
}

// Request asks a gateway for federation and keeps it as pending, whatever the
// answer is.
func (l *LegacyGateway) Request(gatewayURL string) core.Answer {
	l.t.Helper()
	card := l.card(gatewayURL, nil)
	var body string
	switch l.Era {
	case E:
		body = l.envelope(object{{"peer", l.peerObject()}, {"offeredIntents", core.BuiltinIntents}, {"timestamp", now()}})
	case H:
		body = encode(object{{"peer", l.peerObject()}, {"signature", l.Key.Sign([]byte(encode(l.peerObject())))}})
	default:
		body = encode(object{{"peer", l.peerObject()}, {"signature", l.Key.Sign([]byte(encode(l.peerObject())))},
			{"offeredIntents", core.BuiltinIntents}})
	}
	answer := l.send(gatewayURL, "/federation/request", body)
	u, _ := url.Parse(gatewayURL)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(&LegacyPeer{ID: l.idOf(card.PublicKey, u.Host), PublicKey: card.PublicKey, URL: card.GatewayURL, Name: card.DisplayName, Status: "pending"})
	return answer
}

// put replaces the record of a key. Called with mu held.
func (l *LegacyGateway) put(p *LegacyPeer) {
	l.peers = slices.DeleteFunc(l.peers, func(x *LegacyPeer) bool { return x.PublicKey == p.PublicKey })
	l.peers = append(l.peers, p)
}

func (l *LegacyGateway) card(gatewayURL string, headers map[string]string) core.Card {
	l.t.Helper()
	var card core.Card
	req, err := http.NewRequest(http.MethodGet, gatewayURL+"/.well-known/ogp", nil)
	if err != nil {
		l.t.Error(err)
		return card
	}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	resp, err := l.client.Do(req)
	if err != nil {
		l.t.Error(err)
		return card
	}
	defer resp.Body.Close()
	if err := json.UnmarshalRead(resp.Body, &card); err != nil {
		l.t.Error(err)
	}
	return card
}

// Heartbeat gets a gateway's card as the era does: from 0.7 on with signed
// headers, which it returns, too.
func (l *LegacyGateway) Heartbeat(gatewayURL string) (core.Card, map[string]string) {
	l.t.Helper()
	headers := map[string]string{}
	if l.Era == E {
		at := now()
		text := encode(object{{"peerId", l.ID()}, {"timestamp", at}})
		headers = map[string]string{"X-OGP-Peer-ID": l.ID(), "X-OGP-Timestamp": at, "X-OGP-Signature": l.Key.Sign([]byte(text))}
	}
	return l.card(gatewayURL, headers), headers
}

func (l *LegacyGateway) bundle() *core.Bundle {
	b := &core.Bundle{Version: core.BundleVersion, GrantedAt: now()}
	for _, i := range []string{"message", "agent-comms", "project.join", "project.contribute", "project.query", "project.status"} {
		b.Scopes = append(b.Scopes, core.Grant{Intent: i, Enabled: true, RateLimit: &core.RateLimit{Requests: 100, WindowSeconds: 3600}})
	}
	return b
}

func (l *LegacyGateway) approval(p *LegacyPeer, full bool) string {
	var o object
	add := func(name string, v any) {
		o = append(o, object{{name, v}}...)
	}
	if full {
		add("peerId", p.ID)
		add("approved", true)
	}
	add("fromGatewayId", l.host())
	add("fromDisplayName", "Old "+string(l.Era))
	add("fromGatewayUrl", l.URL)
	add("fromPublicKey", l.Key.Public().String())
	add("fromEmail", "old@example.org")
	add("timestamp", now())
	if full {
		add("nonce", envelope.NewNonce())
	}
	add("protocolVersion", core.BundleVersion)
	add("scopeGrants", p.Granted)
	if l.Era == E {
		return l.envelope(o)
	}
	return encode(o)
}

// Approve approves the gateway with a key and tells it.
func (l *LegacyGateway) Approve(k core.PublicKey) core.Answer {
	l.t.Helper()
	l.mu.Lock()
	p := l.find(k.String())
	if p == nil {
		l.mu.Unlock()
		l.t.Fatalf("coretest: %s does not know %s", l.Era, k.ID())
	}
	p.Status, p.Granted = "approved", l.bundle()
	body, target := l.approval(p, true), p.URL
	l.mu.Unlock()
	return l.send(target, "/federation/approve", body)
}

// Reject turns the gateway with a key away, with the notice that every receiver
// up to 0.4.2 takes for an approval.
func (l *LegacyGateway) Reject(k core.PublicKey) core.Answer {
	l.t.Helper()
	l.mu.Lock()
	p := l.find(k.String())
	p.Status = "rejected"
	target, id := p.URL, p.ID
	l.mu.Unlock()
	return l.send(target, "/federation/approve", encode(object{{"peerId", id}, {"approved", false}}))
}

// RemovalBody is a removal notice as the era signs it.
func (l *LegacyGateway) RemovalBody() string {
	id, at := l.ID(), now()
	text := encode(object{{"peerId", id}, {"timestamp", at}})
	return encode(object{{"peerId", id}, {"timestamp", at}, {"signature", l.Key.Sign([]byte(text))}})
}

// Remove parts from the gateway with a key: first the notice, of which the
// answer does not count, then the record.
func (l *LegacyGateway) Remove(k core.PublicKey) (body string, a core.Answer) {
	l.t.Helper()
	if l.Era != H {
		body = l.RemovalBody()
		a, _ = l.trySend(l.Peer(k).URL, "/federation/removed", body)
	}
	if l.Notified != nil {
		l.Notified()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.find(k.String()); p != nil {
		*p = LegacyPeer{ID: p.ID, PublicKey: p.PublicKey, URL: p.URL, Name: p.Name, Status: "removed"}
	}
	return body, a
}

// MessageBody is a message as the era sends it.
func (l *LegacyGateway) MessageBody(to LegacyPeer, intent, payload string, withReply bool) (core.Nonce, string) {
	m := core.Message{Intent: intent, From: l.ID(), To: to.ID, Nonce: envelope.NewNonce(), Timestamp: now(), Payload: core.Raw(payload)}
	if withReply {
		m.ReplyTo = l.URL + "/federation/reply/" + string(m.Nonce)
	}
	text := encode(m)
	o := object{{"message", m}}
	if intent != core.IntentAgentComms || l.Era == M || l.Era == E {
		o = append(o, object{{"messageStr", text}}...)
	}
	o = append(o, object{{"signature", l.Key.Sign([]byte(text))}}...)
	return m.Nonce, encode(o)
}

// Send sends a message, with a reply address if withReply.
func (l *LegacyGateway) Send(k core.PublicKey, intent, payload string, withReply bool) (core.Nonce, core.Answer) {
	l.t.Helper()
	p := l.Peer(k)
	nonce, body := l.MessageBody(p, intent, payload, withReply)
	return nonce, l.send(p.URL, "/federation/message", body)
}

// find looks a record up as the TypeScript gateways do: by id or key, else the
// first whose key begins with at least 16 characters of the text. Called with mu
// held.
func (l *LegacyGateway) find(id string) *LegacyPeer {
	for _, p := range l.peers {
		if id != "" && (p.ID == id || p.PublicKey == id) {
			return p
		}
	}
	if len(id) >= 16 {
		for _, p := range l.peers {
			if strings.HasPrefix(p.PublicKey, id) {
				return p
			}
		}
	}
	return nil
}

func (l *LegacyGateway) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var status int
	var answer any
	path := r.URL.Path
	switch {
	case path == "/.well-known/ogp":
		status, answer = http.StatusOK, l.ownCard(r.Header)
	case path == "/federation/ping":
		status, answer = http.StatusOK, core.Pong{Pong: true, DisplayName: "Old", GatewayURL: l.URL, Timestamp: now()}
	case path == "/federation/request":
		status, answer = l.onRequest(body)
	case path == "/federation/approve":
		status, answer = l.onApprove(body)
	case path == "/federation/removed" && l.Era != H:
		status, answer = l.onRemoved(body)
	case path == "/federation/message":
		status, answer = l.onMessage(body)
	case strings.HasPrefix(path, "/federation/reply/") && r.Method == http.MethodPost:
		status, answer = l.onReply(core.Nonce(strings.TrimPrefix(path, "/federation/reply/")), body)
	default:
		http.Error(w, "<!DOCTYPE html><pre>Cannot "+r.Method+" "+path+"</pre>", http.StatusNotFound)
		l.record(Exchange{path, string(body), false, http.StatusNotFound, ""})
		return
	}
	text := encode(answer)
	l.record(Exchange{path, string(body), false, status, text})
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.Copy(w, bytes.NewReader([]byte(text)))
}

func fail(text string) any { return object{{"error", text}} }

func failed(status int, text string) (int, any) {
	return status, object{{"success", false}, {"error", text}, {"statusCode", status}}
}

func (l *LegacyGateway) ownCard(h http.Header) any {
	features := []string{core.FeatureScopes, core.FeatureReplies}
	if l.Era == E {
		features = append(features, core.FeatureHealth, core.FeaturePersonas)
	}
	o := object{{"version", string(l.Era)}, {"displayName", "Old " + string(l.Era)}, {"email", "old@example.org"}, {"gatewayUrl", l.URL},
		{"publicKey", l.Key.Public().String()},
		{"capabilities", object{{"intents", core.BuiltinIntents}, {"features", features}}},
		{"endpoints", core.Endpoints{Request: l.URL + "/federation/request", Approve: l.URL + "/federation/approve",
			Message: l.URL + "/federation/message", Reply: l.URL + "/federation/reply/:nonce"}}}
	if l.Era != E {
		return o
	}
	o = append(o, object{{"agents", []core.Persona{{ID: "old", DisplayName: "Old", Role: "primary"}}}}...)
	id, at := h.Get("X-OGP-Peer-ID"), h.Get("X-OGP-Timestamp")
	l.mu.Lock()
	p := l.find(id)
	approved := p != nil && p.Status == "approved"
	key := ""
	if p != nil {
		key = p.PublicKey
	}
	l.mu.Unlock()
	if approved && fresh(at) && verify(key, encode(object{{"peerId", id}, {"timestamp", at}}), h.Get("X-OGP-Signature")) {
		o = append(o, object{{"peerStatus", object{{"peerId", p.ID}, {"healthy", true}, {"healthState", "established"},
			{"lastCheckedAt", nil}, {"lastCheckFailedAt", nil}, {"healthCheckFailures", 0}}}}...)
	}
	return o
}

func fresh(at string) bool {
	t, err := core.ParseTime(at)
	return err == nil && time.Since(t).Abs() <= 5*time.Minute
}

func verify(key, text, signature string) bool {
	k, err := keys.Parse(key)
	if err != nil {
		return false
	}
	sig, err := hex.DecodeString(signature)
	return err == nil && len(sig) == 64 && keys.Verify(k, []byte(text), [64]byte(sig))
}

// read decodes as JavaScript would: whatever else is there is ignored.
func read(text []byte, v any) bool {
	return json.Unmarshal(text, v, jsontext.AllowDuplicateNames(true)) == nil
}

func (l *LegacyGateway) onRequest(body []byte) (int, any) {
	var in struct {
		Peer       *core.PeerCard `json:"peer"`
		Signature  string         `json:"signature"`
		PayloadStr string         `json:"payloadStr"`
	}
	read(body, &in)
	peer := in.Peer
	if l.Era == E {
		if in.PayloadStr == "" || in.Signature == "" {
			return http.StatusBadRequest, fail("Missing payloadStr or signature")
		}
		var r core.Request
		if !read([]byte(in.PayloadStr), &r) {
			return http.StatusBadRequest, fail("payloadStr is not valid JSON")
		}
		if r.Peer.PublicKey == "" {
			return http.StatusBadRequest, fail("Missing peer.publicKey in payload")
		}
		if !fresh(r.Timestamp) {
			return http.StatusUnauthorized, fail("Signature verification failed: stale-timestamp")
		}
		if !verify(r.Peer.PublicKey, in.PayloadStr, in.Signature) {
			return http.StatusUnauthorized, fail("Signature verification failed: bad-signature")
		}
		peer = &r.Peer
	} else if peer == nil || in.Signature == "" {
		return http.StatusBadRequest, fail("Missing peer or signature")
	}
	id := l.idOf(peer.PublicKey, peer.ID)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.peers {
		gone := p.Status == "removed" || p.Status == "rejected"
		if p.ID == id && l.Era != H && (l.Era == S || !gone) {
			return http.StatusOK, object{{"received", true}, {"status", "already-pending-or-approved"}, {"peerId", id}}
		}
	}
	l.put(&LegacyPeer{ID: id, PublicKey: peer.PublicKey, URL: peer.GatewayURL, Name: peer.DisplayName, Status: "pending"})
	return http.StatusOK, object{{"received", true}, {"status", "pending"}, {"message", "Federation request received and pending approval"}}
}

func (l *LegacyGateway) onApprove(body []byte) (int, any) {
	var in struct {
		core.Approval `json:",inline"`
		PayloadStr    string `json:"payloadStr"`
		Signature     string `json:"signature"`
	}
	read(body, &in)
	a := in.Approval
	if l.Era == E {
		a = core.Approval{}
		read([]byte(in.PayloadStr), &a)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	id := a.PeerID
	switch {
	case a.FromPublicKey != "":
		id = l.idOf(a.FromPublicKey, a.FromGatewayID)
	case id == "":
		id = a.FromGatewayID
	}
	p := l.find(id)
	if p == nil && a.FromGatewayURL != "" {
		for _, x := range l.peers {
			if x.URL == a.FromGatewayURL {
				p = x
			}
		}
	}
	if p == nil && (l.Era == H || l.Era == S) {
		for _, x := range l.peers {
			if x.Status == "pending" {
				p = x
			}
		}
	}
	if p == nil {
		return http.StatusNotFound, fail("No pending peer found")
	}
	if l.Era == E {
		if in.PayloadStr == "" || in.Signature == "" {
			return http.StatusBadRequest, fail("Missing payloadStr or signature")
		}
		if !fresh(a.Timestamp) {
			return http.StatusUnauthorized, fail("Signature verification failed: stale-timestamp")
		}
		if !verify(p.PublicKey, in.PayloadStr, in.Signature) {
			return http.StatusUnauthorized, fail("Signature verification failed: bad-signature")
		}
		if a.FromPublicKey != "" && a.FromPublicKey != p.PublicKey {
			return http.StatusForbidden, fail("fromPublicKey does not match stored peer publicKey")
		}
	}
	p.Status = "approved"
	for from, to := range map[string]*string{a.FromPublicKey: &p.PublicKey, a.FromGatewayURL: &p.URL, a.FromDisplayName: &p.Name} {
		if from != "" {
			*to = from
		}
	}
	if a.ScopeGrants != nil {
		p.Received = a.ScopeGrants
	}
	if p.Granted == nil {
		p.Granted = l.bundle()
		body, target := l.approval(p, false), p.URL
		l.mu.Unlock()
		_, _ = l.trySend(target, "/federation/approve", body)
		l.mu.Lock()
	}
	return http.StatusOK, object{{"received", true}}
}

func (l *LegacyGateway) onRemoved(body []byte) (int, any) {
	var in struct {
		PeerID    string `json:"peerId"`
		Timestamp string `json:"timestamp"`
		Signature string `json:"signature"`
	}
	read(body, &in)
	no := func(status int, text string) (int, any) { return status, object{{"success", false}, {"error", text}} }
	if in.PeerID == "" || in.Timestamp == "" || in.Signature == "" {
		return no(http.StatusBadRequest, "Missing required fields: peerId, timestamp, signature")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.find(in.PeerID)
	switch {
	case p == nil:
		return no(http.StatusNotFound, "Unknown peer")
	case !verify(p.PublicKey, encode(object{{"peerId", in.PeerID}, {"timestamp", in.Timestamp}}), in.Signature):
		return no(http.StatusForbidden, "Invalid signature")
	case !fresh(in.Timestamp):
		return no(http.StatusBadRequest, "Invalid or stale timestamp")
	}
	*p = LegacyPeer{ID: p.ID, PublicKey: p.PublicKey, URL: p.URL, Name: p.Name, Status: "removed"}
	return http.StatusOK, object{{"success", true}, {"peerId", p.ID}, {"status", "removed"}}
}

func (l *LegacyGateway) onMessage(body []byte) (int, any) {
	var in struct {
		Message    jsontext.Value `json:"message"`
		MessageStr string         `json:"messageStr"`
		Signature  string         `json:"signature"`
	}
	read(body, &in)
	var m core.Message
	if len(in.Message) == 0 || in.Signature == "" || !read(in.Message, &m) {
		return http.StatusBadRequest, fail("Missing message or signature")
	}
	text := in.MessageStr
	if text == "" {
		text = string(in.Message)
	}
	l.mu.Lock()
	p := l.find(m.From)
	if p == nil {
		l.mu.Unlock()
		return failed(http.StatusForbidden, "Unknown peer")
	}
	peer := *p
	l.mu.Unlock()
	if peer.Status != "approved" {
		return failed(http.StatusForbidden, "Peer not approved")
	}
	if !verify(peer.PublicKey, text, in.Signature) {
		return failed(http.StatusUnauthorized, "Invalid signature")
	}
	l.mu.Lock()
	l.messages = append(l.messages, m)
	l.mu.Unlock()
	if m.ReplyTo != "" && (l.Era == M || l.Era == E) { // a receipt, before the message is answered
		r := core.Reply{Nonce: m.Nonce, Success: true, Data: core.Raw(`{"received":true}`), Timestamp: now(), From: l.host(), To: m.From}
		_, _ = l.trySend("", m.ReplyTo, l.replyBody(r))
	}
	return http.StatusOK, object{{"success", true}, {"nonce", m.Nonce}, {"response", object{{"received", true}, {"timestamp", now()}}}}
}

func (l *LegacyGateway) replyBody(r core.Reply) string {
	text := encode(r)
	o := object{{"reply", r}}
	if l.Era == E {
		o = append(o, object{{"replyStr", text}}...)
	}
	return encode(append(o, object{{"signature", l.Key.Sign([]byte(text))}}...))
}

func (l *LegacyGateway) onReply(nonce core.Nonce, body []byte) (int, any) {
	var in struct {
		Reply     jsontext.Value `json:"reply"`
		ReplyStr  string         `json:"replyStr"`
		Signature string         `json:"signature"`
	}
	read(body, &in)
	var r core.Reply
	read(in.Reply, &r)
	if l.Era == E {
		if len(in.Reply) == 0 || in.Signature == "" {
			return http.StatusBadRequest, fail("Missing reply or signature")
		}
		l.mu.Lock()
		ok := slices.ContainsFunc(l.peers, func(p *LegacyPeer) bool {
			return p.Status == "approved" && verify(p.PublicKey, in.ReplyStr, in.Signature)
		})
		l.mu.Unlock()
		if !ok {
			return http.StatusUnauthorized, fail("Invalid signature")
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replies[nonce] = r
	return http.StatusOK, object{{"received", true}}
}

// SendReply answers a message at its replyTo, as no old gateway's agent could.
func (l *LegacyGateway) SendReply(m core.Message, data string) core.Answer {
	l.t.Helper()
	r := core.Reply{Nonce: m.Nonce, Success: true, Data: core.Raw(data), Timestamp: now(), From: l.host(), To: m.From}
	return l.send("", m.ReplyTo, l.replyBody(r))
}

// UpdateIdentity sends the envelope of 0.6.0 and later.
func (l *LegacyGateway) UpdateIdentity(gatewayURL, name string) (string, core.Answer) {
	l.t.Helper()
	key := l.Key.Public().String()
	id := object{{"id", key[:16]}, {"displayName", name}, {"humanName", "Hu Man"}, {"email", "old@example.org"}, {"gatewayUrl", l.URL}, {"publicKey", key}}
	body := encode(object{{"identity", id}, {"signature", l.Key.Sign([]byte(encode(id)))}})
	return body, l.send(gatewayURL, "/federation/update-identity", body)
}
