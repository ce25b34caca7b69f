package coretest

import (
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// What an old gateway's daemon answers.

// maxLegacyBody is Express's limit.
const maxLegacyBody = 100 << 10

// ServeHTTP answers as the gateway's daemon does.
func (l *LegacyGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.asleep.Load() {
		panic(http.ErrAbortHandler) // the connection ends without an answer
	}
	l.serve(w, r)
}

func (l *LegacyGateway) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	path := r.URL.Path
	html := func(status int, text string) {
		l.record(Exchange{path, string(body), false, status, ""})
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<!DOCTYPE html>\n<html lang=\"en\"><body>\n<pre>"+text+"</pre>\n</body></html>\n")
	}
	if len(body) > maxLegacyBody {
		html(http.StatusRequestEntityTooLarge, "PayloadTooLargeError: request entity too large")
		return
	}
	var status int
	var answer any
	nonce, reply := strings.CutPrefix(path, "/federation/reply/")
	post := r.Method == http.MethodPost
	switch {
	case path == "/.well-known/ogp":
		status, answer = http.StatusOK, l.ownCard(r.Header)
	case path == "/federation/ping":
		status, answer = http.StatusOK, core.Pong{Pong: true, DisplayName: "Old", GatewayURL: l.URL, Timestamp: now()}
	case post && path == "/federation/request":
		status, answer = l.onRequest(body)
	case post && path == "/federation/approve":
		status, answer = l.onApprove(body)
	case post && path == "/federation/removed" && l.Era != H:
		status, answer = l.onRemoved(body)
	case post && path == "/federation/update-identity" && l.Era.since(N):
		status, answer = l.onIdentity(body)
	case post && path == "/federation/message":
		status, answer = l.onMessage(body)
	case post && reply:
		status, answer = l.onReply(core.Nonce(nonce), body)
	case reply:
		status, answer = l.onPoll(core.Nonce(nonce))
	default:
		html(http.StatusNotFound, "Cannot "+r.Method+" "+path)
		return
	}
	text := encode(answer)
	l.record(Exchange{path, string(body), false, status, text})
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func fail(text string) any { return object{{"error", text}} }

func (l *LegacyGateway) ownCard(h http.Header) any {
	features := []string{core.FeatureScopes, core.FeatureReplies}
	if l.Era.Signed() {
		features = append(features, core.FeatureHealth, core.FeaturePersonas)
	}
	o := object{{"version", string(l.Era)}, {"displayName", "Old " + string(l.Era)}, {"email", "old@example.org"}, {"gatewayUrl", l.URL},
		{"publicKey", l.Key.Public().String()},
		{"capabilities", object{{"intents", l.intents()}, {"features", features}}},
		{"endpoints", core.Endpoints{Request: l.URL + "/federation/request", Approve: l.URL + "/federation/approve",
			Message: l.URL + "/federation/message", Reply: l.URL + "/federation/reply/:nonce"}}}
	if !l.Era.Signed() {
		return o
	}
	o = append(o, object{{"agents", []core.Persona{{ID: "old", DisplayName: "Old", Role: "primary"}}}}...)
	id, at := h.Get("X-OGP-Peer-ID"), h.Get("X-OGP-Timestamp")
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.find(id)
	if p != nil && p.Status == "approved" && fresh(at) && verify(p.PublicKey, encode(object{{"peerId", id}, {"timestamp", at}}), h.Get("X-OGP-Signature")) {
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

// signedPart is an envelope of 0.7.
type signedPart struct {
	PayloadStr string `json:"payloadStr"`
	Signature  string `json:"signature"`
}

// holds verifies an envelope of 0.7 under a key and gives its timestamp's verdict.
func (s signedPart) holds(key string) (reason string) {
	var t struct {
		Timestamp any `json:"timestamp"`
	}
	read([]byte(s.PayloadStr), &t)
	at, ok := t.Timestamp.(string)
	switch {
	case !ok || at == "":
		return "missing-timestamp"
	case !fresh(at):
		return "stale-timestamp"
	case !verify(key, s.PayloadStr, s.Signature):
		return "bad-signature"
	}
	return ""
}

func (l *LegacyGateway) onRequest(body []byte) (int, any) {
	var in struct {
		core.Request `json:",inline"`
		signedPart   `json:",inline"`
		Peer         *core.PeerCard `json:"peer"`
	}
	read(body, &in)
	if l.Era.Signed() {
		if in.PayloadStr == "" || in.Signature == "" {
			return http.StatusBadRequest, fail("Missing payloadStr or signature")
		}
		signature := in.signedPart
		in.Request, in.Peer = core.Request{}, &core.PeerCard{}
		if !read([]byte(signature.PayloadStr), &in.Request) {
			return http.StatusBadRequest, fail("payloadStr is not valid JSON")
		}
		*in.Peer = in.Request.Peer
		if in.Peer.PublicKey == "" {
			return http.StatusBadRequest, fail("Missing peer.publicKey in payload")
		}
		if reason := signature.holds(in.Peer.PublicKey); reason != "" {
			return http.StatusUnauthorized, fail("Signature verification failed: " + reason)
		}
	} else if in.Peer == nil || in.Signature == "" {
		return http.StatusBadRequest, fail("Missing peer or signature")
	}
	peer := in.Peer
	id := l.idOf(peer.PublicKey, peer.ID)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Era.since(N) { // another key at a known URL takes that peer's place
		if i := slices.IndexFunc(l.peers, func(p *LegacyPeer) bool { return p.URL == peer.GatewayURL }); i >= 0 && l.peers[i].PublicKey != peer.PublicKey {
			tombstone(l.peers[i], "removed")
		}
	}
	if l.Era != H {
		if p := l.find(id); p != nil && (l.Era == S || p.Status != "removed" && p.Status != "rejected") {
			return http.StatusOK, object{{"received", true}, {"status", "already-pending-or-approved"}, {"peerId", id}}
		}
	}
	p := &LegacyPeer{ID: id, PublicKey: peer.PublicKey, URL: peer.GatewayURL, Name: peer.DisplayName, Status: "pending"}
	if l.Era != H {
		p.Offered = in.OfferedIntents
	}
	l.put(p)
	return http.StatusOK, object{{"received", true}, {"status", "pending"}, {"message", "Federation request received and pending approval"}}
}

func (l *LegacyGateway) onApprove(body []byte) (int, any) {
	var in struct {
		core.Approval `json:",inline"`
		signedPart    `json:",inline"`
	}
	read(body, &in)
	a := in.Approval
	if l.Era.Signed() {
		a = core.Approval{}
		read([]byte(in.PayloadStr), &a)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.approvable(a)
	if p == nil {
		return http.StatusNotFound, fail("No pending peer found")
	}
	if l.Era.Signed() {
		if in.PayloadStr == "" || in.Signature == "" {
			return http.StatusBadRequest, fail("Missing payloadStr or signature")
		}
		if reason := in.holds(p.PublicKey); reason != "" {
			return http.StatusUnauthorized, fail("Signature verification failed: " + reason)
		}
		if a.FromPublicKey != "" && a.FromPublicKey != p.PublicKey {
			return http.StatusForbidden, fail("fromPublicKey does not match stored peer publicKey")
		}
	}
	next := *p
	next.Status = "approved"
	for from, to := range map[string]*string{a.FromPublicKey: &next.PublicKey, a.FromDisplayName: &next.Name} {
		if from != "" {
			*to = from
		}
	}
	if a.ScopeGrants != nil {
		next.Received = a.ScopeGrants
	}
	if l.Era.since(M) {
		if a.FromGatewayURL != "" {
			next.URL = a.FromGatewayURL
		}
		if a.FromPublicKey != "" {
			next.ID = l.idOf(a.FromPublicKey, "")
		}
		l.put(&next)
	} else {
		*p = next
	}
	l.grantBack(next.PublicKey)
	return http.StatusOK, object{{"received", true}}
}

// grantBack sends the daemon's own approval, within the handler, if it has granted
// nothing yet. Called with mu held, which is given up meanwhile.
func (l *LegacyGateway) grantBack(key string) {
	p := l.byKey(key)
	if p == nil || p.Granted != nil {
		return
	}
	p.Granted = l.bundle(nil)
	body, target := l.ApprovalBody(*p, false), p.URL
	l.mu.Unlock()
	defer l.mu.Lock()
	_, _ = l.trySend(target, "/federation/approve", body)
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
	tombstone(p, "removed")
	return http.StatusOK, object{{"success", true}, {"peerId", p.ID}, {"status", "removed"}}
}

func (l *LegacyGateway) onIdentity(body []byte) (int, any) {
	var in struct {
		Identity  jsontext.Value `json:"identity"`
		Signature string         `json:"signature"`
	}
	read(body, &in)
	var id core.Identity
	if len(in.Identity) == 0 || in.Signature == "" || !read(in.Identity, &id) {
		return http.StatusBadRequest, fail("Missing identity or signature")
	}
	if !verify(id.PublicKey, string(in.Identity), in.Signature) {
		return http.StatusUnauthorized, fail("Invalid signature")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.find(l.idOf(id.PublicKey, ""))
	switch {
	case p == nil:
		return http.StatusNotFound, fail("Peer not found - no existing federation")
	case p.Status != "approved":
		return http.StatusForbidden, fail("Cannot update identity - peer is not approved")
	}
	p.Name = id.DisplayName
	return http.StatusOK, object{{"updated", true}, {"message", "Identity updated successfully"}}
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
	if status, why := l.judge(m, text, in.Signature); status != 0 {
		o := object{{"success", false}, {"error", why}}
		if l.Era.since(M) {
			o = append(o, object{{"statusCode", status}}...)
		}
		if status == http.StatusTooManyRequests && l.Era.since(M) {
			o = append(o, object{{"retryAfter", 3600}}...)
		}
		return status, o
	}
	if m.ReplyTo != "" && l.Era.since(M) { // a receipt, before the message is answered
		r := core.Reply{Nonce: m.Nonce, Success: true, Data: core.Raw(`{"received":true}`), Timestamp: now(), From: l.host(), To: m.From}
		_, _ = l.trySend("", m.ReplyTo, l.replyBody(r))
	}
	return http.StatusOK, object{{"success", true}, {"nonce", m.Nonce}, {"response", object{{"received", true}, {"timestamp", now()}}}}
}

// judge refuses a message in the order of the sources: who, signature, grant,
// rate, intent.
func (l *LegacyGateway) judge(m core.Message, text, signature string) (status int, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.find(m.From)
	switch {
	case p == nil:
		return http.StatusForbidden, "Unknown peer"
	case p.Status != "approved":
		return http.StatusForbidden, "Peer not approved"
	case !verify(p.PublicKey, text, signature):
		return http.StatusUnauthorized, "Invalid signature"
	}
	granted := p.Granted
	if granted == nil {
		granted = l.bundle([]string{"message", "task-request", "status-update"})
	}
	i := slices.IndexFunc(granted.Scopes, func(g core.Grant) bool { return g.Intent == m.Intent && g.Enabled })
	if i < 0 {
		return http.StatusForbidden, "Intent '" + m.Intent + "' not in granted scope"
	}
	most := 100
	if r := granted.Scopes[i].RateLimit; r != nil {
		most = r.Requests
	}
	if l.rates[m.From+":"+m.Intent] >= most {
		return http.StatusTooManyRequests, "Rate limit exceeded for intent '" + m.Intent + "'"
	}
	l.rates[m.From+":"+m.Intent]++
	if !slices.Contains(l.intents(), m.Intent) {
		return http.StatusBadRequest, "Unknown intent: " + m.Intent
	}
	l.messages = append(l.messages, m)
	return 0, ""
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
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Era.Signed() {
		if len(in.Reply) == 0 || in.Signature == "" {
			return http.StatusBadRequest, fail("Missing reply or signature")
		}
		text := in.ReplyStr
		if text == "" {
			text = string(in.Reply)
		}
		if !slices.ContainsFunc(l.peers, func(p *LegacyPeer) bool {
			return p.Status == "approved" && verify(p.PublicKey, text, in.Signature)
		}) {
			return http.StatusUnauthorized, fail("Invalid signature")
		}
	}
	l.replies[nonce] = r
	return http.StatusOK, object{{"received", true}}
}

// onPoll gives a reply out once.
func (l *LegacyGateway) onPoll(nonce core.Nonce) (int, any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.replies[nonce]
	if !ok {
		return http.StatusNotFound, object{{"nonce", nonce}, {"status", "pending"}, {"message", "Reply not yet available"}}
	}
	delete(l.replies, nonce)
	return http.StatusOK, object{{"nonce", nonce}, {"status", "complete"}, {"reply", object{{"success", r.Success}, {"data", r.Data}, {"error", r.Error}, {"timestamp", r.Timestamp}}}}
}
