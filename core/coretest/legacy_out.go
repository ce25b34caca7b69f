package coretest

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
)

// What an old gateway's command line and daemon send.

func (l *LegacyGateway) envelope(v any) string {
	text := encode(v)
	return encode(object{{"payloadStr", text}, {"signature", l.Key.Signature([]byte(text))}})
}

// send posts an envelope and records it.
func (l *LegacyGateway) send(gatewayURL, path, body string) core.Answer {
	l.t.Helper()
	a, err := l.trySend(gatewayURL, path, body)
	if err != nil {
		l.failed(path, err)
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

func (l *LegacyGateway) pause() {
	if l.Pause != nil {
		l.Pause()
	}
}

func (l *LegacyGateway) peerObject() object {
	key := l.Key.Public().String()
	id := key[:16] // 0.2.24 to 0.7.2, whatever they go by otherwise
	if l.Era == H {
		id = l.host()
	}
	return object{{"id", id}, {"displayName", "Old " + string(l.Era)}, {"email", "old@example.org"}, {"gatewayUrl", l.URL}, {"publicKey", key}}
}

// intents are what the era has registered.
func (l *LegacyGateway) intents() []string {
	return []string{"message", "task-request", "status-update", "agent-comms", "project.join", "project.contribute", "project.query", "project.status"}
}

// RequestBody is a federation request as the era signs it.
func (l *LegacyGateway) RequestBody() string {
	peer := l.peerObject()
	switch {
	case l.Era.Signed():
		return l.envelope(object{{"peer", peer}, {"offeredIntents", l.intents()}, {"timestamp", now()}})
	case l.Era == H:
		return encode(object{{"peer", peer}, {"signature", l.Key.Signature([]byte(encode(peer)))}})
	}
	return encode(object{{"peer", peer}, {"signature", l.Key.Signature([]byte(encode(peer)))}, {"offeredIntents", l.intents()}})
}

// Request asks a gateway for federation. When it has the 200 it pauses, and then
// writes the other side down as pending, whatever the answer said: 0.2 after
// fetching the card once more, and under the host:port that was typed.
func (l *LegacyGateway) Request(gatewayURL string) core.Answer {
	l.t.Helper()
	typed := gatewayURL
	if l.Typed != "" {
		typed = l.Typed
	}
	var card core.Card
	target := typed
	if l.Era.since(M) {
		if card = l.card(typed, nil); card.PublicKey == "" {
			return core.Answer{}
		}
		target = card.GatewayURL
	}
	answer := l.send(target, "/federation/request", l.RequestBody())
	if answer.Status != http.StatusOK {
		return answer
	}
	l.pause()
	p := &LegacyPeer{URL: target, Status: "pending"}
	if l.Era.since(M) {
		p.ID = l.idOf(card.PublicKey, "")
	} else {
		if card = l.card(typed, nil); card.PublicKey == "" {
			return answer
		}
		p.ID = hostPort(typed)
	}
	p.PublicKey, p.Name = card.PublicKey, card.DisplayName
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(p)
	return answer
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
		l.failed("card", err)
		return card
	}
	defer resp.Body.Close()
	if err := json.UnmarshalRead(resp.Body, &card); err != nil {
		l.failed("card", err)
	}
	return card
}

// Heartbeat gets a gateway's card as the era does: 0.7 with signed headers, which
// it returns, too. Their text is a removal notice's.
func (l *LegacyGateway) Heartbeat(gatewayURL string) (core.Card, map[string]string) {
	l.t.Helper()
	headers := map[string]string{}
	if l.Era.Signed() {
		at := now()
		text := encode(object{{"peerId", l.ID()}, {"timestamp", at}})
		headers = map[string]string{"X-OGP-Peer-ID": l.ID(), "X-OGP-Timestamp": at, "X-OGP-Signature": l.Key.Signature([]byte(text))}
	}
	return l.card(gatewayURL, headers), headers
}

func (l *LegacyGateway) bundle(intents []string) *core.Bundle {
	if len(intents) == 0 {
		intents = []string{"message", "agent-comms", "project.join", "project.contribute", "project.query", "project.status"}
	}
	b := &core.Bundle{Version: core.BundleVersion, GrantedAt: now()}
	for _, i := range intents {
		b.Scopes = append(b.Scopes, core.Grant{Intent: i, Enabled: true, RateLimit: &core.RateLimit{Requests: 100, WindowSeconds: 3600}})
	}
	return b
}

// ApprovalBody is an approval as the era writes it: the one of the command line,
// which names the other side, or the daemon's grants back, which name nobody. The
// eras before 0.7 sign neither.
func (l *LegacyGateway) ApprovalBody(p LegacyPeer, commandLine bool) string {
	var o object
	add := func(name string, v any) { o = append(o, object{{name, v}}...) }
	if commandLine {
		add("peerId", p.ID)
		add("approved", true)
	}
	add("fromGatewayId", l.host())
	add("fromDisplayName", "Old "+string(l.Era))
	add("fromGatewayUrl", l.URL)
	add("fromPublicKey", l.Key.Public().String())
	add("fromEmail", "old@example.org")
	if !l.Era.Signed() {
		add("timestamp", now())
	}
	if commandLine {
		add("nonce", envelope.NewNonce())
	}
	add("protocolVersion", core.BundleVersion)
	add("scopeGrants", p.Granted)
	if l.Era.Signed() {
		add("timestamp", now())
		return l.envelope(o)
	}
	return encode(o)
}

// Approve approves the gateway with a key, granting what it offered, and tells it.
// For a gateway that it has approved already its command line does nothing, and
// the answer is empty.
func (l *LegacyGateway) Approve(k core.PublicKey) core.Answer {
	l.t.Helper()
	l.mu.Lock()
	p := l.byKey(k.String())
	if p == nil {
		l.mu.Unlock()
		l.t.Fatalf("coretest: %s does not know %s", l.Era, k.ID())
	}
	if p.Status == "approved" {
		l.mu.Unlock()
		return core.Answer{}
	}
	p.Status, p.Granted = "approved", l.bundle(p.Offered)
	body, target := l.ApprovalBody(*p, true), p.URL
	l.mu.Unlock()
	return l.send(target, "/federation/approve", body)
}

// Reject turns the gateway with a key away, with the notice that every receiver
// up to 0.4.2 takes for an approval.
func (l *LegacyGateway) Reject(k core.PublicKey) core.Answer {
	l.t.Helper()
	l.mu.Lock()
	p := l.byKey(k.String())
	target, id := p.URL, p.ID
	if l.Era.since(M) {
		tombstone(p, "rejected")
	} else {
		p.Status = "rejected"
	}
	l.mu.Unlock()
	return l.send(target, "/federation/approve", encode(object{{"peerId", id}, {"approved", false}}))
}

// RemovalBody is a removal notice as the era signs it.
func (l *LegacyGateway) RemovalBody() string {
	id, at := l.ID(), now()
	text := encode(object{{"peerId", id}, {"timestamp", at}})
	return encode(object{{"peerId", id}, {"timestamp", at}, {"signature", l.Key.Signature([]byte(text))}})
}

// Remove parts from the gateway with a key: first the notice, of which the answer
// does not count, then a pause, then the record. 0.2.20 has no notice.
func (l *LegacyGateway) Remove(k core.PublicKey) (body string, a core.Answer) {
	l.t.Helper()
	if l.Era != H {
		body = l.RemovalBody()
		a, _ = l.trySend(l.Peer(k).URL, "/federation/removed", body)
	}
	l.pause()
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.byKey(k.String()); p != nil {
		tombstone(p, "removed")
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
	if intent != core.IntentAgentComms || l.Era.since(M) {
		o = append(o, object{{"messageStr", text}}...)
	}
	o = append(o, object{{"signature", l.Key.Signature([]byte(text))}}...)
	return m.Nonce, encode(o)
}

// Send sends a message, with a reply address if withReply.
func (l *LegacyGateway) Send(k core.PublicKey, intent, payload string, withReply bool) (core.Nonce, core.Answer) {
	l.t.Helper()
	p := l.Peer(k)
	nonce, body := l.MessageBody(p, intent, payload, withReply)
	return nonce, l.send(p.URL, "/federation/message", body)
}

func (l *LegacyGateway) replyBody(r core.Reply) string {
	text := encode(r)
	o := object{{"reply", r}}
	if l.Era.Signed() {
		o = append(o, object{{"replyStr", text}}...)
	}
	return encode(append(o, object{{"signature", l.Key.Signature([]byte(text))}}...))
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
	id := object{{"id", key[:32]}, {"displayName", name}}
	if l.Era != E0 { // what its operator has not set is not there
		id = append(id, object{{"humanName", "Hu Man"}}...)
	}
	id = append(id, object{{"email", "old@example.org"}, {"gatewayUrl", l.URL}, {"publicKey", key}}...)
	body := encode(object{{"identity", id}, {"signature", l.Key.Signature([]byte(encode(id)))}})
	return body, l.send(gatewayURL, "/federation/update-identity", body)
}

// Carry posts an envelope that the gateway got to somebody else, as a hostile one
// could: the text stays what its sender signed.
func (l *LegacyGateway) Carry(x Exchange, gatewayURL string) core.Answer {
	l.t.Helper()
	return l.send(gatewayURL, x.Path, x.Body)
}

// Got are the envelopes that came in on a path, with what was answered.
func (l *LegacyGateway) Got(path string) []Exchange {
	return slices.DeleteFunc(l.Exchanges(path), func(x Exchange) bool { return x.Sent })
}
