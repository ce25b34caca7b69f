package conformance

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
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

// spkiPrefix is the header of an Ed25519 public key (RFC 8410 §4).
const spkiPrefix = "302a300506032b6570032100"

// maxAnswerBytes bounds what is read of an answer.
const maxAnswerBytes = 64 << 10

type runner struct {
	o      Options
	url    string
	key    ed25519.PrivateKey
	public string // wire form
	theirs string // the gateway's key, from its card; empty before that
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
		body = r.envelope(c)
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
func (r *runner) envelope(c Case) string {
	text := r.fill(c.Text)
	quoted, _ := jsontext.AppendQuote(nil, text) // the cases are UTF-8
	members := []string{fmt.Sprintf("%q:%s", c.As, quoted)}
	if c.Twin != "" {
		members = append([]string{fmt.Sprintf("%q:%s", c.Twin, text)}, members...)
	}
	if !c.Bare {
		members = append(members, fmt.Sprintf(`"signature":%q`, r.sign(text)))
	}
	if c.V2 != nil {
		members = append(members, `"v2":`+r.v2(c.V2, text))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// v2 makes a v2 signature for a text. docs/protocol.md#v2-signatures
func (r *runner) v2(v *V2, text string) string {
	sum := sha256.Sum256([]byte(text))
	payload := fmt.Sprintf(`{"ctx":%q,"iss":%q,"aud":%q,"nonce":%q,"timestamp":%q,"digest":%q}`,
		v.Ctx, r.public, r.fill(v.Aud), newUUID(), iso(time.Now()), hex.EncodeToString(sum[:]))
	over := "\xff" + v.Ctx + "\x00" + payload
	if v.Plain {
		over = payload
	}
	quoted, _ := jsontext.AppendQuote(nil, payload)
	return fmt.Sprintf(`{"payloadStr":%s,"signature":%q}`, quoted, r.sign(over))
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
		case name == "theirs":
			return r.theirs
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
		if how, name, ok := strings.Cut(word, " "); ok && (how == "with" || how == "without") {
			var list []string
			if json.Unmarshal(got, &list) != nil || slices.Contains(list, name) != (how == "with") {
				return fmt.Sprintf("is %s, want a list %s", got, word)
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
