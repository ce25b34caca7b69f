package plugin

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// Grants are what the operator allows a plugin. The zero value allows nothing. What the manifest asks for and
// the grants do not hold is refused when it is used, with a code that the plugin can read.
type Grants struct {
	HTTP []HTTPGrant
	// KV are the operations of the key-value store by name: "kv.get", "kv.set", "kv.delete", "kv.list", or
	// "kv.*" for all. A policy has no other power than what is named here.
	KV []string
	// Approves lets a policy approve strangers, with at most AtMost, or with at most the gateway's default
	// grants where AtMost is empty.
	Approves bool
	AtMost   []core.Grant
	// Replies lets a notifier answer peers' messages in the gateway's name.
	Replies bool
}

// HTTPGrant allows requests to one URL prefix.
type HTTPGrant struct {
	// URL is scheme, host, port and a prefix of the path, which ends at a "/" of the request's path.
	URL string
	// Private allows the host to be at a loopback or private address.
	Private bool
	// Secrets are the names of those that may be put into requests to this URL.
	Secrets []string
}

// Missing lists, one line each, what is asked and not granted: what an operator is shown at a first
// installation or a wider ask.
func (g Grants) Missing(ask Grants) []string {
	var out []string
	for _, a := range ask.HTTP {
		want, err := parseGrant(a)
		if err != nil {
			continue
		}
		have := g.holding(want)
		if have == nil {
			out = append(out, "http "+a.URL)
			have = &grant{}
		}
		if a.Private && !have.private {
			out = append(out, "http "+a.URL+" at private addresses")
		}
		for _, s := range a.Secrets {
			if !slices.Contains(have.secrets, s) {
				out = append(out, "secret "+s+" for "+a.URL)
			}
		}
	}
	for _, op := range []string{"kv.get", "kv.set", "kv.delete", "kv.list"} {
		if ask.kv(op) && !g.kv(op) {
			out = append(out, op)
		}
	}
	if ask.Approves && !(g.Approves && within(ask.AtMost, g.AtMost)) {
		out = append(out, mayApprove+GrantWords(ask.AtMost))
	}
	if ask.Replies && !g.Replies {
		out = append(out, MayReply)
	}
	return out
}

// Missing says what a plugin asks for and is not granted. A default URL that the operator
// has replaced asks for nothing: the one in its place does.
func (s *Spec) Missing(m *Manifest) []string {
	ask := m.Asks()
	var c struct {
		URL string `json:"url"`
	}
	was, _ := m.Config["url"].(string)
	if json.Unmarshal(s.Config, &c) != nil || c.URL == "" || c.URL == was || CheckURL(c.URL) != nil || CheckURL(was) != nil {
		return s.Grants.Missing(ask)
	}
	want, err := parseGrant(HTTPGrant{URL: PrefixOf(was)})
	for i, a := range ask.HTTP {
		if err == nil && (Grants{HTTP: []HTTPGrant{a}}).holding(want) != nil {
			ask.HTTP[i] = HTTPGrant{URL: PrefixOf(c.URL), Secrets: a.Secrets}
		}
	}
	return s.Grants.Missing(ask)
}

// holding is the grant that a URL is within; nil for none.
func (g Grants) holding(want *grant) *grant {
	for _, h := range g.HTTP {
		if p, err := parseGrant(h); err == nil && p.holds(want.scheme, want.host, want.path) {
			return p
		}
	}
	return nil
}

// Line is what to write into a [plugins.<name>.grants] table of the configuration, so that these grants hold what
// is missing, too, in the words of Missing.
func (g Grants) Line(missing []string) string {
	var urls, kv []string
	private := false
	for _, h := range g.HTTP {
		urls, private = append(urls, strconv.Quote(h.URL)), private || h.Private
	}
	for _, op := range g.KV {
		kv = append(kv, strconv.Quote(strings.TrimPrefix(op, "kv.")))
	}
	nURLs, nKV, wasPrivate, line := len(urls), len(kv), private, []string(nil)
	for _, m := range missing {
		url, isURL := strings.CutPrefix(m, "http ")
		op, isKV := strings.CutPrefix(m, "kv.")
		switch {
		case isURL && strings.HasSuffix(url, " at private addresses"):
			private = true
		case isURL:
			urls = append(urls, strconv.Quote(url))
		case isKV:
			kv = append(kv, strconv.Quote(op))
		case m == MayReply:
			line = append(line, "replies = true")
		case strings.HasPrefix(m, mayApprove):
			line = append(line, "approves = true")
		}
	}
	if len(kv) > nKV {
		line = append([]string{"kv = [" + strings.Join(kv, ", ") + "]"}, line...)
	}
	if private && !wasPrivate {
		line = append([]string{"private = true"}, line...)
	}
	if len(urls) > nURLs {
		line = append([]string{"http = [" + strings.Join(urls, ", ") + "]"}, line...)
	}
	return strings.Join(line, " and ")
}

// mayApprove begins how Missing names the power of Grants.Approves.
const mayApprove = "approve strangers with at most "

// MayReply is how Missing names the power of Grants.Replies.
const MayReply = "answer peers' messages"

// within says whether a bound on grants allows no more than another one.
func within(a, b []core.Grant) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return GrantWords(scope.Narrow(a, b)) == GrantWords(a)
}

// GrantWords says for people what grants allow.
func GrantWords(grants []core.Grant) string {
	if len(grants) == 0 {
		return "the gateway's default grants"
	}
	out := make([]string, len(grants))
	for i, g := range grants {
		out[i] = g.Intent
		if len(g.Topics) > 0 {
			out[i] += " on " + strings.Join(g.Topics, ", ")
		}
		if g.RateLimit != nil {
			out[i] += fmt.Sprintf(" (%s)", g.RateLimit)
		}
		if g.ByteLimit != nil && *g.ByteLimit != core.DefaultBytes {
			out[i] += fmt.Sprintf(" (%s)", g.ByteLimit)
		}
	}
	return strings.Join(out, "; ")
}

func (g Grants) kv(op string) bool { return slices.Contains(g.KV, op) || slices.Contains(g.KV, "kv.*") }

// grant is an HTTPGrant, taken apart.
type grant struct {
	scheme, host string // host with its port
	path         string // without a slash at its end
	private      bool
	secrets      []string
}

func parseGrant(h HTTPGrant) (*grant, error) {
	u, host, err := parseURL(h.URL)
	if err != nil {
		return nil, fmt.Errorf("http url %q: %w", shown(h.URL), err)
	}
	if u.RawQuery != "" || u.ForceQuery {
		return nil, fmt.Errorf("http url %q: a grant has no query", shown(h.URL))
	}
	return &grant{u.Scheme, host, strings.TrimSuffix(u.Path, "/"), h.Private, h.Secrets}, nil
}

// holds says whether a request's parts lie within the grant.
func (g *grant) holds(scheme, host, path string) bool {
	rest, ok := strings.CutPrefix(path, g.path)
	return ok && scheme == g.scheme && host == g.host && (rest == "" || rest[0] == '/')
}

// parseURL takes a URL apart if it can be read in one way only: an absolute http or https URL without user
// information and fragment, whose path is clean and holds no encoded dot, slash or backslash. host comes in
// lower case with its port.
func parseURL(raw string) (u *url.URL, host string, err error) {
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return nil, "", fmt.Errorf("it holds the character %q", c)
		}
	}
	if u, err = url.Parse(raw); err != nil {
		return nil, "", fmt.Errorf("it is not a URL")
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	switch {
	case port == "":
		return nil, "", fmt.Errorf("want http or https")
	case u.Opaque != "" || u.Hostname() == "":
		return nil, "", fmt.Errorf("it has no host")
	case u.User != nil || strings.Contains(u.Host, "@"):
		return nil, "", fmt.Errorf("it holds user information")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, "", fmt.Errorf("it holds a fragment (#...), which no server is sent")
	case strings.ContainsAny(u.Hostname(), "%*/\\"):
		return nil, "", fmt.Errorf("its host is %q: want a name or an address", u.Hostname())
	}
	if u.Path == "" {
		u.Path = "/"
	}
	if err := checkPath(u); err != nil {
		return nil, "", err
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return nil, "", fmt.Errorf("port %s: want 1 to 65535", p)
		}
		port = p
	} else if strings.HasSuffix(u.Host, ":") {
		return nil, "", fmt.Errorf("its port is empty")
	}
	return u, net.JoinHostPort(strings.ToLower(u.Hostname()), port), nil
}

// checkPath refuses a path that servers may read in more than one way.
func checkPath(u *url.URL) error {
	for _, enc := range []string{"%2e", "%2f", "%5c", "%25", "%00"} {
		if strings.Contains(strings.ToLower(u.EscapedPath()), enc) {
			return fmt.Errorf("it holds an encoded %q in the path", enc)
		}
	}
	if clean := path.Clean(u.Path); clean != u.Path && clean+"/" != u.Path {
		return fmt.Errorf("its path has empty parts, \".\" or \"..\"")
	}
	return nil
}

// granted gives the grants that hold for a URL.
func granted(grants []*grant, scheme, host, path string) (private bool, secrets []string, ok bool) {
	for _, g := range grants {
		if g.holds(scheme, host, path) {
			ok = true
			private = private || g.private
			secrets = append(secrets, g.secrets...)
		}
	}
	return private, secrets, ok
}

// shown is a URL as an error may show it: a user and a password are left out.
func shown(raw string) string {
	scheme, rest, ok := strings.Cut(raw, "://")
	if at := strings.LastIndexByte(rest, '@'); ok && at >= 0 {
		return scheme + "://..." + rest[at:]
	}
	return raw
}
