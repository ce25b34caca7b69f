package plugin

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/dial"
)

const (
	maxBody     = 1 << 20 // of a request and of an answer
	maxRequests = 32      // in one call of a plugin
	maxHeaders  = 64
)

// httpRequest is what a guest asks with http.request. sdk/ABI.md
type httpRequest struct {
	Method     string            `json:"method"`
	URL        string            `json:"url"`
	Headers    map[string]string `json:"headers"`
	Body       *string           `json:"body"`
	BodyBase64 *string           `json:"bodyBase64"`
	TimeoutMs  int64             `json:"timeoutMs"`
	HMAC       *hmacRequest      `json:"hmac"`
}

// hmacRequest asks the host to sign the body: the header gets the prefix and the hex of HMAC-SHA256 over the
// body's bytes, under a secret that the guest never sees.
type hmacRequest struct {
	Secret string `json:"secret"`
	Header string `json:"header"`
	Prefix string `json:"prefix"`
}

type httpResponse struct {
	Status     int               `json:"status"`
	Headers    map[string]string `json:"headers"`
	Body       *string           `json:"body,omitzero"`
	BodyBase64 *string           `json:"bodyBase64,omitzero"`
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// lacked is what a plugin that has asked for a URL would have to be granted, in the words of Missing.
func lacked(raw string, u *url.URL) []string {
	prefix := PrefixOf(raw)
	if len(prefix) > maxShownURL {
		prefix = u.Scheme + "://" + u.Host + "/"
	}
	if core.IsThisMachine(u.Hostname()) {
		return []string{"http " + prefix, "http " + prefix + " at private addresses"}
	}
	return []string{"http " + prefix}
}

// maxShownURL bounds how much of a URL stands in a hint.
const maxShownURL = 200

// dropped are headers that are the connection's and not the guest's: RFC 9110 §7.6.1 and Host.
var dropped = []string{"Host", "Connection", "Content-Length", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"}

func (v *version) httpRequest(in *instance, req []byte) (any, error) {
	if in.requests++; in.requests > maxRequests {
		return nil, refuse(callLimit, "more than %d requests in one call", maxRequests)
	}
	var r httpRequest
	if err := decode(req, &r); err != nil {
		return nil, err
	}
	masked, names, err := maskSecrets(r.URL)
	if err != nil {
		return nil, refuse(callBad, "url: %v", err)
	}
	u, host, err := parseURL(masked)
	if err != nil {
		return nil, refuse(callBad, "url: %v", err)
	}
	private, secrets, ok := granted(v.urls, u.Scheme, host, u.Path)
	if !ok {
		return nil, refuse(callDenied, "no grant for %s://%s%s - write into [plugins.%s.grants] of config.toml: %s", u.Scheme, host, u.Path, v.name, v.grants.Line(lacked(r.URL, u)))
	}
	body, err := r.content()
	if err != nil {
		return nil, err
	}
	if r.Method == "" {
		r.Method = "GET"
	}
	if !slices.Contains(methods, r.Method) {
		return nil, refuse(callBad, "method %q: want one of %s", r.Method, strings.Join(methods, ", "))
	}
	fill := secretFiller{v: v, private: private, allowed: secrets}
	target, err := fill.path(u, names)
	if err != nil {
		return nil, err
	}
	header, err := fill.headers(&r, body)
	if err != nil {
		return nil, err
	}

	ctx, cancel := in.waiting()
	defer cancel()
	if r.TimeoutMs > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Duration(min(r.TimeoutMs, 3600_000))*time.Millisecond)
		defer stop()
	}
	h, err := http.NewRequestWithContext(ctx, r.Method, target, bytes.NewReader(body))
	if err != nil {
		return nil, refuse(callBad, "the request cannot be made") // its URL may hold a secret
	}
	h.Header = header
	resp, err := v.client(private).Do(h)
	if err != nil {
		return nil, fill.failed(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body) // the client bounds it
	if err != nil {
		return nil, fill.failed(err)
	}
	out := httpResponse{Status: resp.StatusCode, Headers: map[string]string{}}
	for name, values := range resp.Header {
		out.Headers[strings.ToLower(name)] = strings.ToValidUTF8(fill.redact(strings.Join(values, ", ")), "?")
	}
	text := fill.redact(string(b))
	if utf8.ValidString(text) {
		out.Body = &text
	} else {
		text = base64.StdEncoding.EncodeToString([]byte(text))
		out.BodyBase64 = &text
	}
	return out, nil
}

// content gives the body's bytes.
func (r *httpRequest) content() (b []byte, err error) {
	switch {
	case r.Body != nil && r.BodyBase64 != nil:
		return nil, refuse(callBad, "give body or bodyBase64, not both")
	case r.Body != nil:
		b = []byte(*r.Body)
	case r.BodyBase64 != nil:
		if b, err = base64.StdEncoding.DecodeString(*r.BodyBase64); err != nil {
			return nil, refuse(callBad, "bodyBase64: %v", err)
		}
	}
	if len(b) > maxBody {
		return nil, refuse(callLimit, "a body of %d bytes, at most %d", len(b), maxBody)
	}
	return b, nil
}

// secretMark stands for a secret while a URL is taken apart.
const secretMark = "ogp-secret-mark"

// maskSecrets takes the secrets out of a URL: each {secret:name} becomes secretMark.
func maskSecrets(raw string) (masked string, names []string, err error) {
	if strings.Contains(raw, secretMark) {
		return "", nil, refuse(callBad, "it holds %q", secretMark)
	}
	masked, err = replaceSecrets(raw, func(name string) (string, error) {
		names = append(names, name)
		return secretMark, nil
	})
	return masked, names, err
}

// replaceSecrets puts what by says for its name in the place of each {secret:name}.
func replaceSecrets(text string, by func(name string) (string, error)) (string, error) {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "{secret:")
		out.WriteString(before)
		if !ok {
			return out.String(), nil
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			return "", refuse(callBad, "{secret: without a closing brace")
		}
		s, err := by(name)
		if err != nil {
			return "", err
		}
		out.WriteString(s)
		text = after
	}
}

// path puts the secrets into a URL, of which only the path may hold any, behind what is granted. A secret may
// hold several parts of a path, and nothing that changes which path it is.
func (f *secretFiller) path(u *url.URL, names []string) (string, error) {
	if strings.Count(u.Path, secretMark) != len(names) {
		return "", refuse(callBad, "url: a {secret:name} may stand in the path alone")
	}
	target := u.String()
	for _, name := range names {
		value, err := f.secret(name)
		if err != nil {
			return "", err
		}
		parts := strings.Split(value, "/")
		for i, part := range parts {
			if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, func(c rune) bool { return c <= ' ' || c == '\\' || c == 0x7f }) {
				return "", refuse(callBad, "url: the secret %q is no part of a path", name)
			}
			parts[i] = url.PathEscape(part)
		}
		escaped := strings.Join(parts, "/")
		f.used = append(f.used, name, escaped)
		target = strings.Replace(target, secretMark, escaped, 1)
	}
	return target, nil
}

// secretFiller puts secrets into a request, and takes them out of what comes back.
type secretFiller struct {
	v       *version
	private bool // the grant is for private addresses, too
	allowed []string
	used    []string // name and value in turn
}

func (f *secretFiller) secret(name string) (string, error) {
	if !slices.Contains(f.allowed, name) {
		return "", refuse(callDenied, "the secret %q is not granted for this URL - its grant must name that secret: \"ogp plugin list\" shows what it lacks", name)
	}
	value, ok := f.v.secret(name)
	switch {
	case !ok:
		return "", refuse(callDenied, "the secret %q is not set - name it in [plugins.%s.secrets] of config.toml", name, f.v.name)
	case value == "":
		return "", refuse(callDenied, "the secret %q is set and cannot be read, or is empty - \"ogp config check\" says where it should be; a variable must be set where the gateway is started", name)
	}
	f.used = append(f.used, name, value)
	return value, nil
}

func (f *secretFiller) headers(r *httpRequest, body []byte) (http.Header, error) {
	if len(r.Headers) > maxHeaders {
		return nil, refuse(callLimit, "%d headers, at most %d", len(r.Headers), maxHeaders)
	}
	out := http.Header{"User-Agent": {"ogp"}}
	for name, value := range r.Headers {
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, refuse(callBad, "header %q: that is not a header's name", name)
		}
		canonical := http.CanonicalHeaderKey(name)
		if slices.Contains(dropped, canonical) {
			continue
		}
		value, err := replaceSecrets(value, f.secret)
		if err != nil {
			return nil, err
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, refuse(callBad, "the value of header %q holds a character that no header may", name)
		}
		out.Set(canonical, value)
	}
	if r.HMAC != nil {
		key, err := f.secret(r.HMAC.Secret)
		if err != nil {
			return nil, err
		}
		if !httpguts.ValidHeaderFieldName(r.HMAC.Header) || !httpguts.ValidHeaderFieldValue(r.HMAC.Prefix) ||
			slices.Contains(dropped, http.CanonicalHeaderKey(r.HMAC.Header)) {
			return nil, refuse(callBad, "hmac: header %q, or its prefix, cannot be sent", r.HMAC.Header)
		}
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(body)
		out.Set(r.HMAC.Header, r.HMAC.Prefix+hex.EncodeToString(mac.Sum(nil)))
	}
	return out, nil
}

// redact takes secrets out of an answer that repeats the request. It is a second line: what a granted URL
// answers in another encoding passes.
func (f *secretFiller) redact(s string) string {
	for i := 0; i+1 < len(f.used); i += 2 {
		if len(f.used[i+1]) >= 4 {
			s = strings.ReplaceAll(s, f.used[i+1], "{secret:"+f.used[i]+"}")
		}
	}
	return s
}

// failed is a request's failure as the guest may read it.
func (f *secretFiller) failed(err error) error {
	if errors.Is(err, dial.TooLong) {
		return refuse(callLimit, "an answer of more than %d bytes", maxBody)
	}
	words := f.redact(httpError(err))
	if why := dial.Classify(err); why.Allow.IsValid() && !f.private {
		return refuse(callDenied, "%s - write into [plugins.%s.grants] of config.toml: private = true", words, f.v.name)
	}
	return refuse(callFailed, "%s", words)
}

// httpError is an error's text without the URL, which the guest knows, so that it can tell what happened.
func httpError(err error) string {
	words := dial.Words(err)
	if errors.Is(err, dial.Blocked) {
		return "refused: an address that is not allowed: " + words
	}
	return words
}

func (v *version) secret(name string) (string, bool) {
	if v.secrets == nil {
		return "", false
	}
	return v.secrets(name)
}

// namesSecret says whether any grant names a secret.
func (v *version) namesSecret(name string) bool {
	return slices.ContainsFunc(v.urls, func(g *grant) bool { return slices.Contains(g.secrets, name) })
}

// client gives what requests are sent with.
func (v *version) client(private bool) *http.Client {
	if v.roundTrip != nil {
		return &http.Client{Transport: v.roundTrip, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return v.clients.client(private)
}

// clients are what all plugins of a host send requests with, so that a connection outlives a call and a reload:
// one client for public addresses, and one that reaches the private networks too.
type clients struct{ public, private *dial.Client }

func newClients() *clients {
	o := dial.Options{Timeout: longestCall, MaxAnswerBytes: maxBody, NoRedirects: true}
	public := dial.New(o)
	o.Private = true
	return &clients{public, dial.New(o)}
}

// client gives an HTTP client that checks every address when it is dialled. Redirects are answers.
// docs/threat-model.md#n1
func (c *clients) client(private bool) *http.Client {
	if private {
		return c.private.HTTPClient()
	}
	return c.public.HTTPClient()
}

func (c *clients) close() {
	c.public.CloseIdle()
	c.private.CloseIdle()
}
