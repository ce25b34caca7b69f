package sdk

import (
	"strconv"
	"strings"
)

// CallError is a host service that said no. Code is one of the Call codes.
type CallError struct {
	Op   string
	Code int32
	Text string // from the host, for the log and the operator
}

// The codes of a [CallError].
const (
	CallUnknown    = -1 // the host is older than the operation
	CallNotGranted = -2 // the operator did not grant it
	CallBadRequest = -3
	CallFailed     = -4 // it was tried; the text tells "refused" from "timed out"
	CallLimit      = -5 // too large, too many or too late
)

func (e *CallError) Error() string {
	what := "failed"
	switch e.Code {
	case CallFailed:
		if e.Op == "http.request" && e.Text != "" {
			return e.Text // the host says in plain words what came of it
		}
	case CallUnknown:
		what = "unknown to this host"
	case CallNotGranted:
		what = "not granted"
	case CallBadRequest:
		what = "bad request"
	case CallLimit:
		what = "over a limit"
	}
	if e.Text == "" {
		return e.Op + ": " + what
	}
	return e.Op + ": " + what + ": " + e.Text
}

// CallHost calls any operation of the host by name, with and for JSON. The functions
// below are built on it; use it for operations newer than this SDK. The error is a
// [*CallError], or a [*JSONError] when the host's answer is no JSON.
func CallHost(op, request string) (Value, error) {
	out, code := hostCall(op, request)
	if code < 0 {
		text, _ := hostGet("error")
		return Value{}, &CallError{op, code, text}
	}
	if out == "" {
		out = "{}"
	}
	return Parse(out)
}

// HTTPRequest is a request that the host makes for the plugin, to URLs that the operator
// granted.
type HTTPRequest struct {
	// Method is GET when empty.
	Method string
	URL    string
	// Headers are name and value in turn. A value may hold {secret:name}, which the host
	// fills in when the grant of this URL names that secret.
	Headers []string
	Body    string
	// TimeoutMs is cut to what is left of the call. Zero means all of that.
	TimeoutMs int64
	// HMAC signs the body, when its Secret is set.
	HMAC HMAC
}

// HMAC asks the host to sign the body with HMAC-SHA256 under a secret and to put
// Prefix + hex into Header.
type HMAC struct {
	Secret string // a secret's name
	Header string // such as X-Hub-Signature-256
	Prefix string // such as sha256=
}

// HTTPResponse is what came back.
type HTTPResponse struct {
	Status  int64
	Headers Value  // an object: name in lower case to value
	Body    string // as it came, which need not be UTF-8
}

// Header gives a header's value, its name in lower case.
func (r *HTTPResponse) Header(name string) string { return r.Headers.Get(name).Text() }

// HTTP makes a request through the host: http.request. No redirect is followed, and an
// answer of any status is no error.
func HTTP(r HTTPRequest) (*HTTPResponse, error) {
	method := r.Method
	if method == "" {
		method = "GET"
	}
	o := new(Object).Text("method", method).Text("url", r.URL)
	if len(r.Headers) > 1 {
		h := new(Object)
		for i := 0; i+1 < len(r.Headers); i += 2 {
			h.Text(r.Headers[i], r.Headers[i+1])
		}
		o.Object("headers", h)
	}
	o.TextIf("body", r.Body)
	if r.TimeoutMs > 0 {
		o.Int("timeoutMs", r.TimeoutMs)
	}
	if r.HMAC.Secret != "" {
		o.Object("hmac", new(Object).Text("secret", r.HMAC.Secret).Text("header", r.HMAC.Header).TextIf("prefix", r.HMAC.Prefix))
	}
	v, err := CallHost("http.request", o.JSON())
	if err != nil {
		return nil, err
	}
	body := v.Get("body").Text()
	if encoded := v.Get("bodyBase64").Text(); encoded != "" {
		body = unBase64(encoded)
	}
	return &HTTPResponse{Status: v.Get("status").Int(), Headers: v.Get("headers"), Body: body}, nil
}

// unBase64 reads what the host wrote. encoding/base64 would add reflect to a module.
func unBase64(s string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	b := make([]byte, 0, len(s)/4*3)
	var bits, n uint32
	for i := range len(s) {
		at := strings.IndexByte(digits, s[i])
		if at < 0 {
			break // the padding
		}
		bits, n = bits<<6|uint32(at), n+6
		if n >= 8 {
			n -= 8
			b = append(b, byte(bits>>n))
		}
	}
	return string(b)
}

// KVGet reads a key of the plugin's own store: kv.get.
func KVGet(key string) (value string, ok bool, err error) {
	v, err := CallHost("kv.get", new(Object).Text("key", key).JSON())
	if err != nil {
		return "", false, err
	}
	got := v.Get("value")
	return got.Text(), got.Kind() == Text, nil
}

// KVSet writes a key: kv.set. The store is bounded: CallLimit when it is full.
func KVSet(key, value string) error {
	_, err := CallHost("kv.set", new(Object).Text("key", key).Text("value", value).JSON())
	return err
}

// KVDelete removes a key, if it is there: kv.delete.
func KVDelete(key string) error {
	_, err := CallHost("kv.delete", new(Object).Text("key", key).JSON())
	return err
}

// KVList gives the keys that begin with prefix, sorted: kv.list.
func KVList(prefix string) ([]string, error) {
	v, err := CallHost("kv.list", new(Object).Text("prefix", prefix).JSON())
	if err != nil {
		return nil, err
	}
	return v.Get("keys").Texts(), nil
}

// HasSecret says whether a secret is set and granted: secret.has. Its value never comes
// into a plugin; write {secret:name} into a header instead.
func HasSecret(name string) (bool, error) {
	v, err := CallHost("secret.has", new(Object).Text("name", name).JSON())
	if err != nil {
		return false, err
	}
	return v.Get("has").Bool(), nil
}

// Now is the host's time: clock.now. A policy has [Request.Now] instead.
func Now() (Time, error) {
	v, err := CallHost("clock.now", "{}")
	if err != nil {
		return 0, err
	}
	return timeOf(v.Get("now")), nil
}

// Rand gives n random bytes, at most 1024: rand.
func Rand(n int) ([]byte, error) {
	v, err := CallHost("rand", new(Object).Int("bytes", int64(n)).JSON())
	if err != nil {
		return nil, err
	}
	text := v.Get("hex").Text()
	if len(text) != 2*n {
		return nil, &CallError{"rand", CallFailed, "want " + strconv.Itoa(n) + " bytes"}
	}
	b := make([]byte, n)
	for i := range b {
		high, ok1 := hexDigit(text[2*i])
		low, ok2 := hexDigit(text[2*i+1])
		if !ok1 || !ok2 {
			return nil, &CallError{"rand", CallFailed, "no hex"}
		}
		b[i] = high<<4 | low
	}
	return b, nil
}

// Attribute asks the host for one member of the input by its dotted path, without parsing
// the rest: peer.alias, message.intent, config.max. Lists come joined by newlines. It
// is for plugins that need one field of a large message.
func Attribute(path string) (string, bool) { return hostGet(path) }

// Debug writes a line for those who look closely. Lines are cut at 8 KiB and rate-limited.
func Debug(text string) { hostLog(0, text) }

// Info writes a line of what an operator would tell a colleague.
func Info(text string) { hostLog(1, text) }

// Warn writes a line of what an operator should look at.
func Warn(text string) { hostLog(2, text) }

// Error writes a line of what could not be done.
func Error(text string) { hostLog(3, text) }
