// Package rendezvoustest has a server to test clients of a rendezvous against:
// one of 0.2.14 to 0.6.0, which knows only unsigned bodies and signs nothing, or
// one of 0.7, which wants its own signature.
package rendezvoustest

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// Legacy answers as the servers before 0.7 were recorded to. The zero value is
// ready to use and safe for concurrent use.
type Legacy struct {
	// Signed makes it one of 0.7.
	Signed bool

	mu      sync.Mutex // guards the rest
	bodies  []string
	peers   map[string]legacyPeer
	invites map[string]legacyPeer
}

type legacyPeer struct {
	PubKey   string `json:"pubkey"`
	IP       string `json:"ip"`
	Port     int    `json:"port"`
	LastSeen int64  `json:"lastSeen,omitzero"`
}

// Peers is how many gateways are registered.
func (l *Legacy) Peers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.peers)
}

// Bodies are those that came, in their order.
func (l *Legacy) Bodies() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.bodies)
}

// ServeHTTP implements http.Handler.
func (l *Legacy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peers == nil {
		l.peers, l.invites = map[string]legacyPeer{}, map[string]legacyPeer{}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 100<<10))
	if err != nil {
		return
	}
	l.bodies = append(l.bodies, string(body))
	ip, _, _ := net.SplitHostPort(r.RemoteAddr)
	kind, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/":
		answer(w, 200, fmt.Sprintf(`{"ok":true,"peers":%d}`, len(l.peers)))
	case r.Method == http.MethodPost && kind == "register" && name == "":
		p, refusal := l.read(body, true)
		if refusal != "" {
			fail(w, 400, refusal)
			return
		}
		p.IP, p.LastSeen = ip, time.Now().UnixMilli()
		l.peers[p.PubKey] = p
		answer(w, 200, `{"ok":true,"yourIp":`+strconv.Quote(ip)+`}`)
	case r.Method == http.MethodGet && kind == "peer":
		l.give(w, l.peers, name, "Peer not found")
	case r.Method == http.MethodDelete && kind == "peer":
		if _, ok := l.peers[name]; !ok {
			fail(w, 404, "Peer not found")
			return
		}
		delete(l.peers, name)
		answer(w, 200, `{"ok":true}`)
	case r.Method == http.MethodPost && kind == "invite" && name == "":
		p, refusal := l.read(body, false)
		if refusal != "" {
			fail(w, 400, refusal)
			return
		}
		p.IP = ip
		token := fmt.Sprintf("old%03d", len(l.invites))
		l.invites[token] = p
		answer(w, 200, `{"ok":true,"token":`+strconv.Quote(token)+`,"expiresIn":600}`)
	case r.Method == http.MethodGet && kind == "invite":
		l.give(w, l.invites, name, "Invite not found or expired")
	default:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(404)
		io.WriteString(w, "<!DOCTYPE html><pre>Cannot "+r.Method+"</pre>")
	}
}

func (l *Legacy) give(w http.ResponseWriter, from map[string]legacyPeer, name, missing string) {
	p, ok := from[name]
	if !ok {
		fail(w, 404, missing)
		return
	}
	text, err := json.Marshal(p)
	if err != nil {
		fail(w, 500, "Internal server error")
		return
	}
	answer(w, 200, string(text))
}

func (l *Legacy) read(body []byte, timed bool) (p legacyPeer, refusal string) {
	if !l.Signed {
		return read(body, timed)
	}
	var b struct {
		PayloadStr string `json:"payloadStr"`
		Signature  string `json:"signature"`
	}
	if json.Unmarshal(body, &b) != nil || b.PayloadStr == "" || b.Signature == "" {
		return p, "Missing payloadStr or signature"
	}
	p, refusal = read([]byte(b.PayloadStr), false)
	if refusal != "" {
		return p, refusal
	}
	key, err1 := hex.DecodeString(strings.TrimPrefix(p.PubKey, "302a300506032b6570032100"))
	signature, err2 := hex.DecodeString(b.Signature)
	if err1 != nil || err2 != nil || len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, []byte(b.PayloadStr), signature) {
		return p, "Signature verification failed: bad-signature"
	}
	return p, ""
}

// read checks the plain fields in the order of the servers in the field.
func read(body []byte, timed bool) (p legacyPeer, refusal string) {
	var b map[string]any
	if err := json.Unmarshal(body, &b); err != nil {
		return p, "Malformed JSON"
	}
	key, ok := b["pubkey"].(string)
	if !ok || key == "" {
		return p, "pubkey is required and must be a string"
	}
	port, ok := b["port"].(float64)
	if !ok || port < 1 || port > 65535 {
		return p, "port is required and must be a number (1-65535)"
	}
	if _, ok := b["timestamp"].(float64); timed && !ok {
		return p, "timestamp is required and must be a number"
	}
	return legacyPeer{PubKey: key, Port: int(port)}, ""
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, body)
}

func fail(w http.ResponseWriter, status int, text string) {
	answer(w, status, `{"error":`+strconv.Quote(text)+`}`)
}
