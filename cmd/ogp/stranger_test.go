package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// nasty is a name that does what it likes with a terminal that prints it raw: it
// clears the screen, forges a line of ours, hides what follows, and turns the
// direction of reading.
const nasty = "Bob\x1b[2J\x1b]0;owned\x07\r\n✓ Removed peer: you (You)\u009b31m\x7f\u202eevil\u2066\u2028\u200b\b\b"

// stranger is a gateway that behaves as a test wants it to.
type stranger struct {
	name    string
	mode    string
	sealer  envelope.Sealer
	server  *httptest.Server
	display string
}

func (s *stranger) Close() error { s.server.Close(); return nil }

// The ways of a stranger.
const (
	polite  = "polite"  // takes every message
	refuses = "refuses" // answers 403 to messages and removals
	hostile = "hostile" // has the nasty text wherever text can be
	huge    = "huge"    // has names of a megabyte
)

// stranger <name> polite|refuses|hostile|huge: starts a gateway that is none of
// ours. It sets $<name>_URL, _FP and _KEY.
func strangerCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: stranger name polite|refuses|hostile|huge")
	}
	s := &stranger{name: args[0], mode: args[1], sealer: envelope.Sealer{Key: keys.Generate()}, display: args[0]}
	switch s.mode {
	case hostile:
		s.display = nasty
	case huge:
		s.display = strings.Repeat("a", 1<<20)
	}
	s.server = httptest.NewUnstartedServer(s) // it serves only when s.server is set
	s.server.Start()
	sc := sceneOf(ts)
	sc.closers = append(sc.closers, s)
	sc.strangers[s.name] = s
	k := s.sealer.Key.Public()
	for suffix, v := range map[string]string{"URL": s.server.URL, "FP": k.Fingerprint(), "KEY": k.String()} {
		ts.Setenv(s.name+"_"+suffix, v)
	}
}

func (s *stranger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	status, answer := http.StatusOK, any(map[string]any{"received": true, "success": true, "status": "pending"})
	switch {
	case r.URL.Path == federation.PathCard:
		answer = core.Card{Version: s.text("0.7.2"), DisplayName: s.display, Email: s.text("a@example.org"), GatewayURL: s.server.URL,
			PublicKey:    s.sealer.Key.Public().String(),
			Capabilities: core.Capabilities{Intents: []string{s.text("message")}, Features: []string{s.text("signature-v2")}}}
	case r.URL.Path == federation.PathPing:
		answer = core.Pong{Pong: true, DisplayName: s.display, GatewayURL: s.text(s.server.URL), Timestamp: s.text(core.FormatTime(time.Now()))}
	case s.mode == hostile && r.URL.Path == federation.PathRequest:
		answer = map[string]any{"received": true, "status": nasty}
	case s.mode == hostile, s.mode == refuses && (r.URL.Path == federation.PathMessage || r.URL.Path == federation.PathRemoved):
		status, answer = http.StatusForbidden, map[string]any{"success": false, "error": s.text("Invalid signature")}
	}
	text, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(text)
}

// text is what a hostile stranger says instead.
func (s *stranger) text(otherwise string) string {
	if s.mode == hostile {
		return nasty
	}
	return otherwise
}

// message <stranger> request|approve|message|agent|removed <daemon>: sends a
// message of a stranger to a daemon. The status and the body of the answer are the
// output.
func envelopeCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: message stranger request|approve|message|agent|removed daemon")
	}
	s := sceneOf(ts).strangers[args[0]]
	if s == nil {
		ts.Fatalf("no stranger %q", args[0])
	}
	aud, err := keys.Parse(ts.Getenv(args[2] + "_KEY"))
	ts.Check(err)
	path, body := s.envelope(ts, args[1], aud)
	resp, err := http.Post(ts.Getenv(args[2]+"_URL")+path, "application/json", bytes.NewReader(body))
	if err != nil { // cut off, as one who sends too much is
		fmt.Fprintln(ts.Stdout(), "no answer")
		return
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%d %s\n", resp.StatusCode, text)
}

func (s *stranger) envelope(ts *testscript.TestScript, kind string, aud core.PublicKey) (string, []byte) {
	self := s.sealer.Key.Public()
	message := core.Message{Intent: core.IntentMessage, From: self.ID(), To: aud.ID(), Nonce: envelope.NewNonce()}
	switch kind {
	case "request":
		return federation.PathRequest, must(s.sealer.SealRequest(aud, core.Request{
			Peer: core.PeerCard{ID: self.ID(), DisplayName: s.display, Email: s.text("a@example.org"), GatewayURL: s.server.URL, PublicKey: self.String(),
				HumanName: s.text(""), AgentName: s.text(""), Organization: s.text("")},
			OfferedIntents: []string{s.text("message")}}))
	case "approve":
		yes := true
		return federation.PathApprove, must(s.sealer.SealApproval(aud, core.Approval{Approved: &yes, FromPublicKey: self.String(),
			FromDisplayName: s.text(s.name), FromGatewayURL: s.server.URL, Nonce: envelope.NewNonce(),
			ScopeGrants: &core.Bundle{Version: core.BundleVersion, Scopes: []core.Grant{{Intent: "message", Enabled: true},
				{Intent: s.text("agent-comms"), Enabled: true, Topics: []string{s.text("general")}}}}}))
	case "message":
		payload, err := json.Marshal(map[string]string{"text": s.text("hello from " + s.name), "more": s.text("")})
		ts.Check(err)
		message.Payload = payload
		message.ConversationID = s.text("")
	case "agent":
		payload, err := json.Marshal(core.AgentComms{Topic: s.text("general"), Message: s.text("a question")})
		ts.Check(err)
		message.Intent, message.Payload = core.IntentAgentComms, payload
	case "removed":
		return federation.PathRemoved, must(s.sealer.SealRemoval(aud))
	default:
		ts.Fatalf("no message %q", kind)
	}
	body, err := s.sealer.SealMessage(aud, message)
	ts.Check(err)
	return federation.PathMessage, body
}

// must is what a key of our own signs, which never fails.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
