package gateway

import (
	"net"
	"net/url"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
)

// hostOf is the host and port of a URL, the scheme's own port written out.
func hostOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// gatewayURL reads the URL of a gateway as somebody wrote it and returns its
// plain form: scheme, host, port and path without a trailing slash. Errors are of
// kind Malformed.
func gatewayURL(text string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || len(text) > maxURLBytes || u.Scheme != "http" && u.Scheme != "https" ||
		u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		e := core.Refuse(core.Malformed, "not a gateway URL")
		e.Hint = "a gateway URL looks like https://ogp.example.org"
		return "", e
	}
	u.Host = strings.ToLower(u.Host)
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u.String(), nil
}
