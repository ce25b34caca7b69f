// Command approve-by-domain approves requests of gateways that live in listed domains,
// with small grants, and leaves all others to the human.
package main

import (
	"errors"
	"strings"

	"github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/policy"
)

func init() {
	sdk.OnInit(configure)
	policy.OnRequest(decide)
}

func main() { sdk.Main() }

var (
	domains     []string
	grants      []sdk.Grant
	trustClaims bool
)

func configure(c sdk.Value) error {
	domains, grants = nil, nil
	for _, d := range c.Get("domains").Texts() {
		domains = append(domains, strings.Trim(lower(d), "."))
	}
	requests, window, ok := sdk.RateOf(c.Get("rate").Text())
	if !ok {
		return errors.New(`rate must be like "10/3600": requests in seconds`)
	}
	for _, intent := range c.Get("intents").Texts() {
		g := sdk.Grant{Intent: intent, Requests: requests, WindowSeconds: window}
		if intent == "agent-comms" {
			g.Topics = c.Get("topics").Texts()
		}
		grants = append(grants, g)
	}
	if len(grants) == 0 {
		return errors.New("intents must name at least one")
	}
	trustClaims = c.Get("trust_claimed_url").Bool()
	return nil
}

func decide(r *sdk.Request) sdk.Approval {
	host := hostOf(r.Peer.GatewayURL)
	if !listed(host) {
		return sdk.Wait("unlisted_domain", "its gateway is in no listed domain")
	}
	// Anybody can claim a URL. It counts when the gateway there shows the asker's key.
	if !r.URLVerified && !trustClaims {
		return sdk.Wait("unverified_url", "it claims a gateway in a listed domain, which was not verified")
	}
	a := sdk.Approve(grants...)
	a.Reason = "its gateway is in a listed domain"
	return a
}

func listed(host string) bool {
	for _, d := range domains {
		if d != "" && (host == d || strings.HasSuffix(host, "."+d)) {
			return true
		}
	}
	return false
}

// hostOf gives the host of an https URL in lower case, or "" for a URL that can be read in
// more than one way.
func hostOf(url string) string {
	rest, ok := strings.CutPrefix(url, "https://")
	if !ok {
		return ""
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.IndexByte(rest, ':'); i >= 0 {
		rest = rest[:i]
	}
	host := strings.TrimSuffix(lower(rest), ".")
	for _, c := range []byte(host) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return ""
		}
	}
	return host
}

// lower is for ASCII alone: the tables of strings.ToLower would double this module's own size.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
