// Package answer judges what came back for an envelope of ours. Between two gateways
// stand proxies, tunnels, captive pages and hosters, which answer in a gateway's
// place with any status: only what a gateway itself says is a yes or a no, and all
// else is no answer.
//
// docs/protocol.md#answers
package answer

import (
	"bytes"
	"cmp"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// Endpoint is what an envelope was posted to.
type Endpoint string

// The endpoints.
const (
	Request  Endpoint = "request"
	Approve  Endpoint = "approve"
	Removed  Endpoint = "removed"
	Message  Endpoint = "message"
	Reply    Endpoint = "reply"
	Identity Endpoint = "update-identity"
)

// Verdict is what an answer means.
type Verdict string

// The verdicts.
const (
	Yes Verdict = "yes" // the gateway has taken the envelope
	No  Verdict = "no"  // the gateway refuses it; trying again cannot help
	// NoEndpoint is a gateway's software without that endpoint. It is final where the
	// card at that URL shows the peer's key, which the caller must see for itself;
	// otherwise it is Wait.
	NoEndpoint Verdict = "no such endpoint"
	Wait       Verdict = "wait" // not now, or no answer of a gateway's: try again
)

// NoPending is what a gateway says to an approval of which it knows no request. Its
// command line may not have written its request down yet, so that it is Wait.
const NoPending = "No pending peer found"

// Judged is an answer as it counts.
type Judged struct {
	Verdict Verdict
	// Text says what was answered, and by whom, in one line for people. It is never
	// empty and never ends in a colon.
	Text string
	// Said is the gateway's own error, cleaned; empty where no gateway spoke.
	Said string
	// Hint says what the operator can do, or nothing.
	Hint string
	// RetryAfter is how long the peer asks us to wait; zero: it does not say.
	RetryAfter time.Duration
	// Stale says that the gateway finds our time too far from its own.
	Stale bool
}

// Err is the answer as an error: nil for Yes, of kind Refused where a gateway has
// spoken, also "not now", and of kind Unreachable where none has.
func (j Judged) Err() error {
	if j.Verdict == Yes {
		return nil
	}
	e := &core.Error{Kind: core.Refused, Public: j.Text, Hint: j.Hint, RetryAfter: j.RetryAfter}
	if j.Verdict == Wait && j.Said == "" {
		e.Kind = core.Unreachable
	}
	return e
}

// Try is what the judge must know of the envelope. The zero value is a first try at
// a peer that has not shown v2.
type Try struct {
	Peer  string // what the operator calls the peer, for hints
	V2    bool   // the peer has shown v2
	Again bool   // this envelope was sent before, perhaps signed anew
	// Nonce is the message's; empty: any. A yes that names another is to another message:
	// something on the way has kept it.
	Nonce core.Nonce
	// Now is when the answer came; zero: unknown, and then no clocks are compared.
	Now time.Time
}

// said is what a gateway's answer holds, of whatever endpoint.
type said struct {
	object   bool // a JSON object
	members  map[string]jsontext.Value
	err      string // the member "error", if it is a string
	hasError bool
}

func read(body []byte) said {
	var s said
	if json.Unmarshal(body, &s.members) != nil || s.members == nil {
		return said{}
	}
	s.object = true
	if v := s.members["error"]; v.Kind() == '"' {
		s.hasError = json.Unmarshal(v, &s.err) == nil
	}
	return s
}

// is reports whether a member is the literal true or false.
func (s said) is(name string, value bool) bool {
	v, ok := s.members[name]
	return ok && string(bytes.TrimSpace(v)) == map[bool]string{true: "true", false: "false"}[value]
}

// takes reports whether a body says that an endpoint has taken an envelope of ours.
func (s said) takes(to Endpoint, ours core.Nonce) bool {
	return s.is(yes[to], true) && !s.elsewhere(ours)
}

// elsewhere reports whether an answer names another message than ours.
func (s said) elsewhere(ours core.Nonce) bool {
	var theirs core.Nonce
	return ours != "" && json.Unmarshal(s.members["nonce"], &theirs) == nil && theirs != "" && theirs != ours
}

// yes is the member by which an endpoint says that it has taken an envelope.
var yes = map[Endpoint]string{
	Request: "received", Approve: "received", Reply: "received",
	Message: "success", Removed: "success", Identity: "updated",
}

// Judge says what an answer means for an envelope that was posted to an endpoint.
// It does no I/O.
func Judge(to Endpoint, a core.Answer, t Try) Judged {
	s := read(a.Body)
	j := Judged{Verdict: Wait, RetryAfter: a.RetryAfter}
	if s.hasError {
		j.Said = shown(s.err, s.members["response"])
	}
	ok := a.Status/100 == 2
	switch {
	case ok && s.takes(to, t.Nonce):
		return Judged{Verdict: Yes, Text: "the peer has taken it"}
	case a.Status == http.StatusConflict && to == Message && t.V2 && t.Again && s.hasError && s.is("success", false):
		// Its nonce is used: by a try of which the answer got lost.
		return Judged{Verdict: Yes, Text: "the peer has it from an earlier try"}
	case a.Status == http.StatusNotFound && !s.object && noRoute(to, a.Body):
		j.Verdict = NoEndpoint
		j.Text = fmt.Sprintf("the peer's gateway has no endpoint for this: 404 Cannot POST /federation/%s", to)
		j.Hint = "its version is too old for it; tell its operator another way"
		return j
	case waits(to, a.Status, s.err):
	case refuses(to, a.Status, s, t):
		j.Verdict = No
	}
	if j.Verdict != No && (ok || !isOfGateway(to, s, t)) {
		j.Said = ""
		j.Text, j.Hint = nobody(a, s, t), nobodyHint(a, t)
		return j
	}
	j.Text = fmt.Sprintf("the peer answered %d: %s", a.Status, cmp.Or(j.Said, http.StatusText(a.Status), "without a reason"))
	j.Text = strings.TrimRight(j.Text, ": ")
	if j.Stale = j.Verdict == No && stale(s.err); j.Stale {
		j.Text += clocks(a, t)
		j.Hint = "set the clock that is wrong: ours with this machine's time service, the peer's by its operator"
	}
	return j
}

// isOfGateway reports whether a body that is no yes is a gateway's, not a proxy's before it.
func isOfGateway(to Endpoint, s said, t Try) bool {
	return s.hasError && (s.is("success", false) || !shaped(to) && listed(to, s.err, t) || fits(passing, s.err))
}

// waits reports whether a gateway's refusal means "not now".
func waits(to Endpoint, status int, text string) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusMisdirectedRequest:
		return true
	case http.StatusNotFound:
		return to == Approve && text == NoPending
	}
	return false
}

// shaped reports whether an endpoint's refusals have the member success.
func shaped(to Endpoint) bool { return to == Message || to == Removed }

// refuses reports whether a gateway has said no.
func refuses(to Endpoint, status int, s said, t Try) bool {
	switch {
	case status < 400 || status > 499 || !s.hasError:
		return false
	case !shaped(to):
		return listed(to, s.err, t)
	case s.is("success", false):
		return status != http.StatusNotFound || listed(to, s.err, t)
	}
	// A body without its members, or one that its server does not read, is answered
	// before the endpoint's own shape begins.
	return to == Message && status == http.StatusBadRequest && s.err == missingMessage || t.V2 && fits(unread, s.err)
}

var staleTexts = []string{"stale-timestamp", "stale timestamp"}

func stale(text string) bool {
	for _, t := range staleTexts {
		if strings.Contains(text, t) {
			return true
		}
	}
	return false
}

// clocks says how far the two clocks are apart, by the answer's Date.
func clocks(a core.Answer, t Try) string {
	if a.Date.IsZero() || t.Now.IsZero() {
		return ""
	}
	switch d := t.Now.Sub(a.Date).Round(time.Second); {
	case d.Abs() < 5*time.Second:
		return " (its clock and ours agree: the envelope was too long on its way)"
	case d > 0:
		return fmt.Sprintf(" (our clock is %s ahead of the one there)", d)
	default:
		return fmt.Sprintf(" (our clock is %s behind the one there)", -d)
	}
}

// noRoute reports whether a page is Express's word for an unknown route.
func noRoute(to Endpoint, body []byte) bool {
	return bytes.Contains(body, []byte("Cannot POST /federation/"+string(to)))
}

// nobody describes an answer that no gateway gave.
func nobody(a core.Answer, s said, t Try) string {
	status := strings.TrimSpace(fmt.Sprintf("%d %s", a.Status, http.StatusText(a.Status)))
	by := ""
	if from := line(a.Server, 60); from != "" {
		by = " from " + from
	}
	return "no gateway answered, but something before it: " + status + by + what(a, s, t)
}

// what is the body in a few words.
func what(a core.Answer, s said, t Try) string {
	body := bytes.TrimSpace(a.Body)
	switch {
	case len(body) == 0:
		return ", without a body"
	case s.object && s.err != "":
		return ", " + quoted(s.err)
	case s.object && s.elsewhere(t.Nonce):
		return ", with the answer to another message"
	case s.object, json.Unmarshal(body, new(jsontext.Value)) == nil:
		return ", with JSON that is not the protocol's"
	}
	if title := titleOf(body); title != "" {
		return ", a web page " + quoted(title)
	}
	if looksHTML(body) {
		return ", a web page"
	}
	if words := line(string(body[:min(len(body), 300)]), 80); words != "" && !packed(body) {
		return ", " + quoted(words)
	}
	return ", with something that is not text"
}

// packed reports whether a body begins as gzip or zlib does, or holds what no text does.
func packed(body []byte) bool {
	return bytes.HasPrefix(body, []byte{0x1f, 0x8b}) || bytes.ContainsAny(body[:min(len(body), 300)], "\x00\x01\x02\x03\x04\x05")
}

func quoted(words string) string { return `"` + line(words, 80) + `"` }

func nobodyHint(a core.Answer, t Try) string {
	switch {
	case a.Status >= 200 && a.Status < 300:
		hint := "the URL leads to something that is not a gateway: a login page, a hoster or another service"
		if t.Peer != "" {
			hint += "; check it with \"ogp federation ping " + t.Peer + "\""
		}
		return hint
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden, a.Status == http.StatusProxyAuthRequired:
		return "something before the peer's gateway asks for a login or blocks us; its operator must let /federation/ through"
	case a.Status == http.StatusNotFound:
		return "the peer's gateway or tunnel is down, or its URL has changed"
	}
	return ""
}

var title = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)

func titleOf(body []byte) string {
	if m := title.FindSubmatch(body[:min(len(body), 8<<10)]); m != nil {
		return line(html.UnescapeString(string(m[1])), 80)
	}
	return ""
}

func looksHTML(body []byte) bool {
	head := bytes.ToLower(body[:min(len(body), 512)])
	return bytes.Contains(head, []byte("<html")) || bytes.Contains(head, []byte("<!doctype")) || bytes.Contains(head, []byte("<body")) ||
		bytes.Contains(head, []byte("<pre>"))
}

// shown is a gateway's error with the reason that its response may hold.
func shown(words string, response jsontext.Value) string {
	words = line(words, 200)
	var r struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	}
	if json.Unmarshal(response, &r) == nil {
		if why := line(cmp.Or(r.Message, r.Reason), 200); why != "" && why != words {
			words += " (" + why + ")"
		}
	}
	return words
}

// line makes words from outside one bounded line that is safe to show and does not end in
// a colon.
func line(words string, maxRunes int) string {
	words = strings.ReplaceAll(strings.ToValidUTF8(words, ""), "\uFFFD", "") // of what is no text, nothing is left
	words = strings.Join(strings.Fields(text.Line(words, 0)), " ")
	return strings.TrimRight(text.Line(words, maxRunes), ": ")
}
