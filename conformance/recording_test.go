package conformance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// recording is what gateways of one version said to each other.
type recording struct {
	Version   string     `json:"version"`
	Keys      []named    `json:"keys"`
	Exchanges []exchange `json:"exchanges"`
}

type named struct {
	Name       string `json:"name"`
	PublicKey  string `json:"publicKey"`
	PrivateKey string `json:"privateKey"`
}

type exchange struct {
	Name     string            `json:"name"`
	Server   string            `json:"server"`
	Method   string            `json:"method"`
	Path     string            `json:"path"`
	Headers  map[string]string `json:"request_headers"`
	Body     string            `json:"request_body"`
	Status   int               `json:"status"`
	Response string            `json:"response_body"`
	Signed   []struct {
		By string `json:"verifies_with"`
	} `json:"signatures"`

	at time.Time // as late as anything that was said up to here
}

var (
	isoTime   = regexp.MustCompile(`2026-11-21T\d\d:\d\d:\d\d\.\d\d\dZ`)
	isoMillis = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
)

// recordings reads the recorded exchanges with gateways. Those with a rendezvous
// are core/rendezvous's.
func recordings(t *testing.T) (all []*recording) {
	t.Helper()
	files, err := filepath.Glob("testdata/exchanges-*.json")
	if err != nil || len(files) != 4 {
		t.Fatalf("%d recordings, %v; want 4", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r := new(recording)
		if err := json.Unmarshal(text, r); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		latest, err := core.ParseTime(isoTime.FindString(string(text)))
		if err != nil {
			t.Fatalf("%s: no time: %v", file, err)
		}
		kept := r.Exchanges[:0]
		for _, x := range r.Exchanges {
			for _, said := range append(isoTime.FindAllString(x.Body+x.Response, -1), x.Headers["x-ogp-timestamp"]) {
				if at, err := core.ParseTime(said); err == nil && at.After(latest) {
					latest = at
				}
			}
			x.at = latest
			x.Body = uncut(x.Body)
			if x.Server != "rendezvous" {
				kept = append(kept, x)
			}
		}
		r.Exchanges = kept
		all = append(all, r)
	}
	return all
}

var cutMark = regexp.MustCompile(`(.)\.\.\. \(cut, (\d+) characters\)$`)

// uncut gives a body that was cut in the recording its length again.
func uncut(body string) string {
	m := cutMark.FindStringSubmatchIndex(body)
	if m == nil {
		return body
	}
	n, err := strconv.Atoi(body[m[4]:m[5]])
	if err != nil {
		panic(err)
	}
	return body[:m[3]] + strings.Repeat(body[m[2]:m[3]], n-m[3])
}

func (r *recording) key(t *testing.T, name string) keys.Private {
	t.Helper()
	for _, k := range r.Keys {
		if k.Name == name {
			key, err := keys.FromPKCS8Hex(k.PrivateKey)
			if err != nil || key.Public().String() != k.PublicKey {
				t.Fatalf("key of %s: %v", name, err)
			}
			return key
		}
	}
	t.Fatalf("no key of %s", name)
	return keys.Private{}
}

// literal are the members whose very values are part of the protocol.
var literal = map[string]bool{"error": true, "status": true, "received": true, "success": true, "statusCode": true,
	"pong": true, "updated": true, "nonce": true, "topic": true, "replyEndpoint": true, "reason": true,
	"displayName": true, "email": true, "gatewayUrl": true, "publicKey": true, "endpoints": true, "agents": true, "reply": true}

// differs says how an answer differs from the recorded one: a member that is
// missing, of another type, or, where its value is part of the protocol, of
// another value. Further members are none: every version ignores them.
func differs(recorded, ours []byte) string {
	want, got := jsontext.Value(recorded), jsontext.Value(ours)
	if !got.IsValid() {
		return "no JSON"
	}
	if !want.IsValid() {
		return "the recorded answer is no JSON"
	}
	return differsAt("", "", want, got)
}

func differsAt(path, name string, want, got jsontext.Value) string {
	if kind(want) != kind(got) {
		return fmt.Sprintf("%s is %s, was %s", path, got, want)
	}
	if literal[name] {
		if w, g := canonical(want), canonical(got); w != g {
			return fmt.Sprintf("%s is %s, was %s", path, g, w)
		}
		return ""
	}
	if want.Kind() != '{' {
		return ""
	}
	var w, g map[string]jsontext.Value
	if json.Unmarshal(want, &w) != nil || json.Unmarshal(got, &g) != nil {
		return path + " cannot be read"
	}
	for _, member := range sortedKeys(w) {
		value, ok := g[member]
		if !ok {
			return path + "." + member + " is missing"
		}
		if d := differsAt(path+"."+member, member, w[member], value); d != "" {
			return d
		}
	}
	return ""
}

func kind(v jsontext.Value) jsontext.Kind {
	if k := v.Kind(); k != 'f' {
		return k
	}
	return 't' // false and true are of one type
}

func canonical(v jsontext.Value) string {
	v = bytes.Clone(v)
	if err := v.Canonicalize(); err != nil {
		return err.Error()
	}
	return string(v)
}

func sortedKeys(m map[string]jsontext.Value) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
