// Package conformance checks a gateway from outside, by cases that are data:
// cases.json says what is sent and what must come back, so that a runner in any
// language can do the same. Run is the one in Go.
//
// The cases leave nothing behind: every envelope in them must be refused, and is
// signed with a key that is made for the run and forgotten after it.
//
// The recorded exchanges in testdata, which need known keys and a clock, are
// played to our own gateway by this package's tests.
package conformance

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

//go:embed cases.json
var casesJSON []byte

// Case is one request and what must come back. In Path, Body and Text, ${key},
// ${id}, ${short}, ${nonce}, ${now} and ${now-10m} (any Go duration) stand for
// the run's public key, its labels, a fresh UUID and times; ${signature:...} for
// the run's signature over what follows; ${repeat:N} for N bytes.
type Case struct {
	Name    string            `json:"name"`
	Promise string            `json:"promise"` // of docs/threat-model.md, or "field" for what every version does
	Why     string            `json:"why"`
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers,omitzero"`
	Body    string            `json:"body,omitzero"`
	// Text is a signed text. It is put into the body as the member As, with its
	// signature; with Twin, also as an object beside it.
	Text string `json:"text,omitzero"`
	As   string `json:"as,omitzero"`
	Twin string `json:"twin,omitzero"`

	Status []int `json:"status"` // each of these will do
	// Answer maps members of the answer, by dots, to what they must be: a JSON
	// value, or one of "string", "number", "bool", "array", "object", "/pattern/".
	// A value that is such a word is written as "=word".
	Answer map[string]jsontext.Value `json:"answer,omitzero"`
}

// Cases returns the cases, in the order that Run takes them.
func Cases() []Case {
	var file struct {
		About string `json:"about"`
		Cases []Case `json:"cases"`
	}
	if err := json.Unmarshal(casesJSON, &file, json.RejectUnknownMembers(true)); err != nil {
		panic(err) // our own file; a test reads it
	}
	return file.Cases
}

// Options are a run's settings. The zero value is ready to use.
type Options struct {
	// Client sends the requests. Nil: one with a limit of 10 seconds for each, that
	// follows no redirects.
	Client *http.Client
	// Only selects the cases whose name or promise contains it. Empty: all.
	Only string
}

// Result is what came of one case.
type Result struct {
	Name    string `json:"name"`
	Promise string `json:"promise"`
	Why     string `json:"why"`
	OK      bool   `json:"ok"`
	Problem string `json:"problem,omitempty"` // what came, and what should have
}

// Report is what came of a run.
type Report struct {
	URL     string   `json:"url"`
	Passed  int      `json:"passed"`
	Failed  int      `json:"failed"`
	Results []Result `json:"results"`
}

// Run checks the gateway at a URL. A case that gets no answer has failed; the
// error is ctx's, or about the URL. The gateway sees some thirty envelopes of a
// stranger within a few seconds, which its limits may count.
func Run(ctx context.Context, baseURL string, o Options) (Report, error) {
	baseURL = strings.TrimRight(baseURL, "/")
	if _, err := http.NewRequest(http.MethodGet, baseURL+"/", nil); err != nil || !strings.HasPrefix(baseURL, "http") {
		return Report{}, fmt.Errorf("conformance: not a gateway URL: %q", baseURL)
	}
	if o.Client == nil {
		o.Client = &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Report{}, fmt.Errorf("conformance: %w", err)
	}
	r := runner{o: o, url: baseURL, key: private, public: spkiPrefix + hex.EncodeToString(public)}
	report := Report{URL: baseURL}
	for _, c := range Cases() {
		if !strings.Contains(c.Name, o.Only) && c.Promise != o.Only {
			continue
		}
		problem := r.check(ctx, c)
		if ctx.Err() != nil {
			return report, ctx.Err()
		}
		report.Results = append(report.Results, Result{c.Name, c.Promise, c.Why, problem == "", problem})
		if problem == "" {
			report.Passed++
		} else {
			report.Failed++
		}
	}
	return report, nil
}

// spkiPrefix is the header of an Ed25519 public key (RFC 8410 §4).
const spkiPrefix = "302a300506032b6570032100"

// maxAnswerBytes bounds what is read of an answer.
const maxAnswerBytes = 64 << 10

type runner struct {
	o      Options
	url    string
	key    ed25519.PrivateKey
	public string // wire form
}

// check plays a case and says what is wrong; empty: nothing.
func (r *runner) check(ctx context.Context, c Case) string {
	status, header, body, err := r.send(ctx, c)
	if err != nil {
		return err.Error()
	}
	if !slices.Contains(c.Status, status) {
		return fmt.Sprintf("status %d, want %s; answer %s", status, oneOf(c.Status), shown(body))
	}
	if c.Method == http.MethodHead {
		return ""
	}
	if mediaType, _, _ := strings.Cut(header.Get("Content-Type"), ";"); mediaType != "application/json" {
		return fmt.Sprintf("content type %q, want application/json", header.Get("Content-Type"))
	}
	if !jsontext.Value(body).IsValid() {
		return "the answer is no JSON: " + shown(body)
	}
	for _, path := range slices.Sorted(maps.Keys(c.Answer)) {
		got := at(body, path)
		if problem := match(got, c.Answer[path]); problem != "" {
			return fmt.Sprintf("%s %s; answer %s", path, problem, shown(body))
		}
	}
	return ""
}

func oneOf(statuses []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(statuses), " ", " or "), "[]")
}

func shown(body []byte) string {
	const most = 300
	if len(body) > most {
		return fmt.Sprintf("%q and %d bytes more", body[:most], len(body)-most)
	}
	return fmt.Sprintf("%q", body)
}

func (r *runner) send(ctx context.Context, c Case) (int, http.Header, []byte, error) {
	body := r.fill(c.Body)
	if c.Text != "" {
		body = r.letter(c)
	}
	req, err := newRequest(ctx, c.Method, r.url+r.fill(c.Path), body)
	if err != nil {
		return 0, nil, nil, err
	}
	if c.Method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range c.Headers {
		req.Header.Set(name, r.fill(value))
	}
	resp, err := r.o.Client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	return resp.StatusCode, resp.Header, answer, err
}

// newRequest makes a request. A body that a gateway may refuse for its length is
// held back for a moment: a server that answers and closes before it has read
// everything makes some systems lose its answer (RFC 9112 §9.6).
func newRequest(ctx context.Context, method, url, body string) (*http.Request, error) {
	var reader io.Reader = strings.NewReader(body)
	if len(body) > largeBytes {
		reader = &late{ctx: ctx, rest: reader}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, reader)
	if err != nil {
		return nil, err
	}
	req.ContentLength = int64(len(body))
	return req, nil
}

const (
	largeBytes = 60 << 10
	holdBack   = 2 * time.Second
)

// late gives its bytes only after a while.
type late struct {
	ctx  context.Context
	rest io.Reader
	once bool
}

func (l *late) Read(p []byte) (int, error) {
	if !l.once {
		l.once = true
		select {
		case <-l.ctx.Done():
		case <-time.After(holdBack):
		}
	}
	return l.rest.Read(p)
}

// envelope signs a case's text and puts it into a body.
func (r *runner) letter(c Case) string {
	text := r.fill(c.Text)
	quoted, _ := jsontext.AppendQuote(nil, text) // the cases are UTF-8
	twin := ""
	if c.Twin != "" {
		twin = fmt.Sprintf("%q:%s,", c.Twin, text)
	}
	return fmt.Sprintf(`{%s%q:%s,"signature":%q}`, twin, c.As, quoted, r.sign(text))
}

func (r *runner) sign(text string) string {
	return hex.EncodeToString(ed25519.Sign(r.key, []byte(text)))
}

var (
	placeholder = regexp.MustCompile(`\$\{[^{}]*\}`)
	signature   = regexp.MustCompile(`\$\{signature:(\{[^{}]*\})\}`)
)

// fill puts the run's values into a text: names first, then the signatures over
// what they have become.
func (r *runner) fill(text string) string {
	nonce := newUUID()
	now := time.Now()
	text = placeholder.ReplaceAllStringFunc(text, func(p string) string {
		name, arg, _ := strings.Cut(p[2:len(p)-1], ":")
		switch {
		case name == "key":
			return r.public
		case name == "id":
			return r.public[:32]
		case name == "short":
			return r.public[:16]
		case name == "nonce":
			return nonce
		case name == "repeat":
			var n int
			fmt.Sscan(arg, &n)
			return strings.Repeat("x", n)
		case name == "now":
			return iso(now)
		case strings.HasPrefix(name, "now"):
			if d, err := time.ParseDuration(strings.TrimPrefix(name, "now")); err == nil {
				return iso(now.Add(d))
			}
		}
		return p
	})
	return signature.ReplaceAllStringFunc(text, func(p string) string {
		return r.sign(signature.FindStringSubmatch(p)[1])
	})
}

func iso(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562 §5.4
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// at gives the member at a path of names and dots; nil where there is none.
func at(body jsontext.Value, path string) jsontext.Value {
	for name := range strings.SplitSeq(path, ".") {
		var members map[string]jsontext.Value
		if body.Kind() != '{' || json.Unmarshal(body, &members) != nil {
			return nil
		}
		body = members[name]
	}
	return body
}

var kinds = map[string]string{"string": `"`, "number": "0", "bool": "tf", "array": "[", "object": "{"}

// match says how a member differs from what it must be; empty: not at all.
func match(got, want jsontext.Value) string {
	if got == nil {
		return "is missing"
	}
	var word string
	if want.Kind() == '"' && json.Unmarshal(want, &word) == nil {
		if kind, ok := kinds[word]; ok {
			if !strings.ContainsRune(kind, rune(got.Kind())) {
				return fmt.Sprintf("is %s, want a %s", got, word)
			}
			return ""
		}
		if len(word) > 1 && word[0] == '/' && word[len(word)-1] == '/' {
			var text string
			if json.Unmarshal(got, &text) != nil || !regexp.MustCompile(word[1:len(word)-1]).MatchString(text) {
				return fmt.Sprintf("is %s, want a text like %s", got, word)
			}
			return ""
		}
		want, _ = jsontext.AppendQuote(nil, strings.TrimPrefix(word, "="))
	}
	a, b := bytes.Clone(got), bytes.Clone(want)
	if (*jsontext.Value)(&a).Canonicalize() != nil || (*jsontext.Value)(&b).Canonicalize() != nil || !bytes.Equal(a, b) {
		return fmt.Sprintf("is %s, want %s", got, want)
	}
	return ""
}
