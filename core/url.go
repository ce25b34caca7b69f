package core

import (
	"net"
	"net/url"
	"strings"
)

// MaxURLBytes bounds a gateway URL that a peer says of itself.
const MaxURLBytes = 512

// GatewayURL reads the URL of a gateway as somebody wrote it and returns its plain
// form: scheme, host, port and path without a trailing slash. Errors are of kind
// Malformed.
func GatewayURL(text string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || len(text) > MaxURLBytes || u.Scheme != "http" && u.Scheme != "https" ||
		u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", Refuse(Malformed, "not a gateway URL").WithHint("a gateway URL looks like https://ogp.example.org")
	}
	u.Host = strings.ToLower(u.Host)
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u.String(), nil
}

// Origin is a URL's scheme, host and port, the scheme's own port written out; empty
// for nil. RFC 6454 §4
func Origin(u *url.URL) string {
	if u == nil {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// SameOrigin reports whether two URLs share scheme, host and port.
// docs/threat-model.md#r2
func SameOrigin(a, b string) bool {
	x, err1 := url.Parse(a)
	y, err2 := url.Parse(b)
	if err1 != nil || err2 != nil || x.Host == "" || x.User != nil || len(a) > MaxURLBytes {
		return false
	}
	return (x.Scheme == "http" || x.Scheme == "https") && Origin(x) == Origin(y)
}

// Reachable reports whether others may post to a gateway URL of ours. Where they
// cannot, answers are polled for.
func Reachable(gatewayURL string) bool {
	u, err := url.Parse(gatewayURL)
	return err == nil && u.Hostname() != "" && !IsThisMachine(u.Hostname())
}
