//go:build !wasip1

// Package sdktest is a host for plugins in native tests: it answers their calls as the
// gateway would, from fields that a test sets. It runs folders of cases too.
package sdktest

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/opengatewayprotocol/ogp/sdk"
)

// Host is a gateway for one plugin. The zero Host grants nothing.
type Host struct {
	// Now is what clock.now says. Zero: not granted.
	Now time.Time
	// KV is the plugin's store. Nil: not granted.
	KV map[string]string
	// Secrets are those set and granted, by name. An empty one is set and cannot be read:
	// requests that need it are refused.
	Secrets map[string]string
	// HTTP makes the requests, with secrets filled in and bodies signed; an
	// http.RoundTripper's RoundTrip fits. Nil: not granted.
	HTTP func(*http.Request) (*http.Response, error)
	// Logs are the lines so far.
	Logs []string
}

var _ sdk.Host = (*Host)(nil)

// Log keeps a line.
func (h *Host) Log(_ uint32, text string) { h.Logs = append(h.Logs, text) }

// Call does one operation.
func (h *Host) Call(op, request string) (string, int32) {
	in, err := sdk.Parse(request)
	if err != nil {
		return err.Error(), sdk.CallBadRequest
	}
	switch op {
	case "http.request":
		return h.request(in)
	case "secret.has":
		_, ok := h.Secrets[in.Get("name").Text()]
		return new(sdk.Object).Bool("has", ok).JSON(), 1
	case "clock.now":
		if h.Now.IsZero() {
			return "", sdk.CallNotGranted
		}
		return new(sdk.Object).Text("now", h.Now.UTC().Format(time.RFC3339Nano)).JSON(), 1
	case "rand":
		b := make([]byte, min(max(in.Get("bytes").Int(), 0), 1024))
		_, _ = rand.Read(b)
		return new(sdk.Object).Text("hex", hex.EncodeToString(b)).JSON(), 1
	case "kv.get", "kv.set", "kv.delete", "kv.list":
		if h.KV == nil {
			return "no kv in the grants", sdk.CallNotGranted
		}
		return h.kv(op, in), 1
	}
	return "", sdk.CallUnknown
}

func (h *Host) kv(op string, in sdk.Value) string {
	var out sdk.Object
	key := in.Get("key").Text()
	switch op {
	case "kv.get":
		if v, ok := h.KV[key]; ok {
			out.Text("value", v)
		}
	case "kv.set":
		h.KV[key] = in.Get("value").Text()
	case "kv.delete":
		delete(h.KV, key)
	case "kv.list":
		var keys []string
		for k := range h.KV {
			if strings.HasPrefix(k, in.Get("prefix").Text()) {
				keys = append(keys, k)
			}
		}
		sort.Strings(keys)
		out.Texts("keys", keys)
	}
	return out.JSON()
}

func (h *Host) request(in sdk.Value) (string, int32) {
	if h.HTTP == nil {
		return "no URL in the grants", sdk.CallNotGranted
	}
	body := in.Get("body").Text()
	r, err := http.NewRequest(in.Get("method").Text(), strings.ReplaceAll(in.Get("url").Text(), "{secret:", "%7Bsecret:"), strings.NewReader(body))
	if err != nil {
		return err.Error(), sdk.CallBadRequest
	}
	missing := ""
	in.Get("headers").Each(func(name string, v sdk.Value) bool {
		text := v.Text()
		if from := strings.Index(text, "{secret:"); from >= 0 {
			to := from + strings.IndexByte(text[from:], '}')
			secret, ok := h.Secrets[text[from+len("{secret:"):to]]
			if !ok || secret == "" {
				missing = text[from:]
			}
			text = text[:from] + secret + text[to+1:]
		}
		r.Header.Set(name, text)
		return true
	})
	if missing != "" {
		return "secret not granted: " + missing, sdk.CallNotGranted
	}
	if sign := in.Get("hmac"); sign.Exists() {
		secret, ok := h.Secrets[sign.Get("secret").Text()]
		if !ok || secret == "" {
			return "secret not granted: " + sign.Get("secret").Text(), sdk.CallNotGranted
		}
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(body))
		r.Header.Set(sign.Get("header").Text(), sign.Get("prefix").Text()+hex.EncodeToString(mac.Sum(nil)))
	}
	resp, err := h.HTTP(r)
	if err != nil {
		return err.Error(), sdk.CallFailed
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err.Error(), sdk.CallFailed
	}
	headers := new(sdk.Object)
	for name, values := range resp.Header {
		headers.Text(strings.ToLower(name), strings.Join(values, ", "))
	}
	out := new(sdk.Object).Int("status", int64(resp.StatusCode)).Object("headers", headers)
	if utf8.Valid(text) {
		out.Text("body", string(text))
	} else {
		out.Text("bodyBase64", base64.StdEncoding.EncodeToString(text))
	}
	return out.JSON(), 1
}

// Answer makes an HTTP func that gives one answer to everything and keeps the requests
// with their bodies.
func Answer(status int, body string, headers ...string) (do func(*http.Request) (*http.Response, error), got func() []Request) {
	var all []Request
	do = func(r *http.Request) (*http.Response, error) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		all = append(all, Request{r.Method, r.URL.String(), r.Header, string(text)})
		h := http.Header{}
		for i := 0; i+1 < len(headers); i += 2 {
			h.Set(headers[i], headers[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(bytes.NewReader([]byte(body)))}, nil
	}
	return do, func() []Request { return all }
}

// Request is one that a plugin made.
type Request struct {
	Method, URL string
	Header      http.Header
	Body        string
}

// Answers makes an HTTP func that gives one answer after the other, as a case's "http" has
// them: an array of {"status":200,"headers":{...},"body":"..."} or {"error":"refused"}. It
// fails requests beyond those.
func Answers(all sdk.Value) func(*http.Request) (*http.Response, error) {
	var list []sdk.Value
	all.Each(func(_ string, v sdk.Value) bool { list = append(list, v); return true })
	return func(*http.Request) (*http.Response, error) {
		if len(list) == 0 {
			return nil, errors.New("the case has no further answer")
		}
		a := list[0]
		list = list[1:]
		if why := a.Get("error").Text(); why != "" {
			return nil, errors.New(why)
		}
		h := http.Header{}
		a.Get("headers").Each(func(name string, v sdk.Value) bool { h.Set(name, v.Text()); return true })
		status := int(a.Get("status").Int())
		if status == 0 {
			status = http.StatusOK
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(a.Get("body").Text()))}, nil
	}
}

// Cases runs every *.json of a folder as a test of its own: the plugin gets the case's
// "input" with the configuration of plugin.toml and the case's "config" over it and, where it
// has them, "http" (see [Answers]) and, where its manifest asks for a store, "kv" (an object of
// strings), and its answer must
// contain the case's "expect" (see [Contains]). A folder without cases fails.
func Cases(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			Case(t, string(text))
		})
	}
}

// Case runs one case from its text.
func Case(t *testing.T, text string) {
	t.Helper()
	c, err := sdk.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if c.Get("expect").Kind() != sdk.Map {
		t.Fatal("the case has no expect")
	}
	host := &Host{}
	if asksKV(t) {
		host.KV = map[string]string{}
		c.Get("kv").Each(func(name string, v sdk.Value) bool { host.KV[name] = v.Text(); return true })
	}
	if answers := c.Get("http"); answers.Exists() {
		host.HTTP = Answers(answers)
		host.Secrets = map[string]string{}
		c.Get("secrets").Each(func(name string, v sdk.Value) bool { host.Secrets[name] = v.Text(); return true })
	}
	defer sdk.Use(host)()
	out, err := sdk.RunCase(text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := sdk.Parse(out)
	if err != nil {
		t.Fatalf("the answer is no JSON: %v: %s", err, out)
	}
	if !Contains(got, c.Get("expect")) {
		t.Errorf("answer = %s\nwant     %s", out, c.Get("expect").JSON())
	}
}

// asksKV says whether the manifest asks for a store, without which the gateway gives none.
// Where there is no manifest, there is one.
func asksKV(t *testing.T) bool {
	text, err := os.ReadFile("plugin.toml")
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if head, _, _ := strings.Cut(line, "#"); strings.TrimSpace(head) == "[kv]" {
			return true
		}
	}
	return false
}

// Contains says whether got has everything of want: of an object each member of want, of
// an array the same elements in the same order, and scalars as they are.
func Contains(got, want sdk.Value) bool {
	if got.Kind() != want.Kind() {
		return false
	}
	same := true
	switch want.Kind() {
	case sdk.Map:
		want.Each(func(name string, w sdk.Value) bool {
			same = Contains(got.Get(name), w)
			return same
		})
		return same
	case sdk.Array:
		var all []sdk.Value
		got.Each(func(_ string, g sdk.Value) bool { all = append(all, g); return true })
		i := 0
		want.Each(func(_ string, w sdk.Value) bool {
			same = i < len(all) && Contains(all[i], w)
			i++
			return same
		})
		return same && i == len(all)
	case sdk.Text:
		return got.Text() == want.Text()
	}
	return got.JSON() == want.JSON()
}
