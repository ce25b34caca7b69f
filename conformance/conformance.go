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
	"context"
	"crypto/ed25519"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

//go:embed cases.json
var casesJSON []byte

// Case is one request and what must come back. In Path, Body and Text, ${key},
// ${id}, ${short}, ${nonce}, ${now} and ${now-10m} (any Go duration) stand for
// the run's public key, its labels, a fresh UUID and times; ${theirs} for the
// gateway's key; ${signature:...} for the run's signature over what follows;
// ${repeat:N} for N bytes.
type Case struct {
	Name    string            `json:"name"`
	Level   Level             `json:"level"`
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
	V2   *V2    `json:"v2,omitzero"`   // beside them, a v2 signature
	Bare bool   `json:"bare,omitzero"` // without the signature that gateways before v2 read
	// Careful is sent only to a gateway that verifies requests: one before 0.7 would
	// believe it, and keep what it says.
	Careful bool `json:"careful,omitzero"`

	Status []int `json:"status"` // each of these will do
	// Answer maps members of the answer, by dots, to what they must be: a JSON
	// value, or one of "string", "number", "bool", "array", "object", "/pattern/",
	// "with x" and "without x" for lists. A value that is such a word is written as
	// "=word".
	Answer map[string]jsontext.Value `json:"answer,omitzero"`
}

// V2 is a v2 signature as a case wants it.
type V2 struct {
	Ctx   string `json:"ctx"`
	Aud   string `json:"aud"`
	Plain bool   `json:"plain,omitzero"` // over its text alone, as no gateway may take it
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
	// Only selects the cases whose name contains it, or whose promise or level it is.
	// Empty: all.
	Only string
	// Level is the highest one that counts. Empty: Field.
	Level Level
	// Peer also plays a peer, which leaves a removed one behind. Nil: not.
	Peer *Peer
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
	report.Gateway, r.theirs = r.card(ctx)
	verifies := r.verifies(ctx)
	for _, c := range Cases() {
		if !strings.Contains(c.Name, o.Only) && c.Promise != o.Only && string(c.Level) != o.Only {
			continue
		}
		result := Result{Name: c.Name, Level: c.Level, Promise: c.Promise, Why: c.Why}
		switch {
		case c.Careful && !verifies:
			result.Skipped = "not sent: this gateway does not verify requests, and would keep what it says"
		default:
			result.Problem = r.check(ctx, c)
			result.OK = result.Problem == ""
		}
		if ctx.Err() != nil {
			return report, ctx.Err()
		}
		report.Results = append(report.Results, result)
	}
	if o.Peer != nil {
		results, err := r.asPeer(ctx, *o.Peer)
		report.Results = append(report.Results, results...)
		if err != nil {
			return report, err
		}
	}
	report.sum(o.Level)
	return report, nil
}

// card says what the gateway calls itself, and gives its key.
func (r *runner) card(ctx context.Context) (version, key string) {
	var card struct {
		Version   string `json:"version"`
		PublicKey string `json:"publicKey"`
	}
	_, _, body, err := r.send(ctx, Case{Method: http.MethodGet, Path: "/.well-known/ogp"})
	if err != nil || json.Unmarshal(body, &card) != nil {
		return "", ""
	}
	return card.Version, card.PublicKey
}

// verifies says whether the gateway verifies requests, by what it misses in an
// empty one. What cannot be told counts as yes: then nothing is kept back.
func (r *runner) verifies(ctx context.Context) bool {
	_, _, body, err := r.send(ctx, Case{Method: http.MethodPost, Path: "/federation/request", Body: "{}"})
	return err != nil || !strings.Contains(string(body), "Missing peer or signature")
}
