package rendezvous

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// Found is where a gateway is said to be. Whoever goes there must find Key on the
// card.
type Found struct {
	Key        core.PublicKey `json:"key"`
	URL        string         `json:"url"`                 // where to fetch the card
	PublicURL  string         `json:"publicUrl,omitempty"` // what the gateway says of itself
	IP         netip.Addr     `json:"ip,omitzero"`         // as the rendezvous says; nobody has signed it
	Port       int            `json:"port,omitempty"`
	Verified   bool           `json:"verified"`             // PublicURL and Port are signed by Key; we have checked
	SignedAt   time.Time      `json:"signedAt,omitzero"`    // when, for Verified
	LastSeen   time.Time      `json:"lastSeen,omitzero"`    // as the rendezvous says
	Rendezvous string         `json:"rendezvous,omitempty"` // who says it; empty: a link
	Ref        Ref            `json:"-"`                    // for an invite: what it was resolved from
}

// answer is what a server says of a key or a code, old and new.
type answer struct {
	PubKey    string           `json:"pubkey"`
	IP        string           `json:"ip"`
	Port      int              `json:"port"`
	LastSeen  int64            `json:"lastSeen"`
	PublicURL string           `json:"publicUrl"`
	Record    *envelope.Record `json:"record"`
}

// found checks an answer. want is the key that was asked for; zero: any. What a
// signed record says counts; without one the rest is hearsay.
//
// docs/threat-model.md#v1
func (c *Client) found(a answer, want core.PublicKey, purpose, from string) (Found, error) {
	key, err := keys.Parse(a.PubKey)
	if err != nil || !want.IsZero() && key != want {
		return Found{}, core.Refuse(core.Conflict, "rendezvous: the server answers for another key")
	}
	f := Found{Key: key, Port: a.Port, PublicURL: a.PublicURL, Rendezvous: from}
	if a.LastSeen > 0 {
		f.LastSeen = time.UnixMilli(a.LastSeen)
	}
	f.IP, _ = netip.ParseAddr(a.IP)
	f.IP = f.IP.Unmap()
	if a.Record != nil {
		reg, err := c.opener.OpenRecord(*a.Record, purpose)
		if err != nil || reg.Key != key {
			return Found{}, &core.Error{Kind: core.BadSignature, Public: "rendezvous: the record is not signed by its key", Err: err}
		}
		if age := c.opts.Now().Sub(reg.SentAt); purpose == envelope.PurposeRegister && age < -maxRecordAge || age > maxRecordAge+signedLife(reg.Value) {
			return Found{}, core.Refusef(core.Stale, "rendezvous: the record was signed %v ago", age.Round(time.Second))
		}
		f.Verified, f.SignedAt = true, reg.SentAt
		f.Port, f.PublicURL = reg.Value.Port, reg.Value.PublicURL
	}
	switch {
	case f.PublicURL != "" && checkPublicURL(f.PublicURL) == nil:
		f.URL = f.PublicURL
	case f.IP.IsValid() && f.Port > 0 && f.Port <= 65535:
		f.URL = "http://" + net.JoinHostPort(f.IP.String(), strconv.Itoa(f.Port))
	default:
		return Found{}, core.Refuse(core.Malformed, "rendezvous: the server gives no address for the key")
	}
	return f, nil
}

// signedLife is how long a gateway has signed that its record may live.
func signedLife(h envelope.Hints) time.Duration {
	return time.Duration(min(max(h.MaxAge, 0), seconds(maxMaxAge))) * time.Second
}

// asked is one server's word.
type asked struct {
	found Found
	err   error
}

// ask puts the same question to all servers at once and gives their answers in
// the servers' order.
func (c *Client) ask(ctx context.Context, servers []*remote, path string, want core.PublicKey, purpose string) []asked {
	out := make([]asked, len(servers))
	var wg sync.WaitGroup
	for i, r := range servers {
		wg.Go(func() {
			var a answer
			if out[i].err = c.call(ctx, r, http.MethodGet, path, nil, &a); out[i].err == nil {
				out[i].found, out[i].err = c.found(a, want, purpose, r.url)
			}
		})
	}
	wg.Wait()
	return out
}

// Lookup asks every server for a key and takes the newest record whose signature
// holds; without one, the first server's word, which is not Verified.
//
// Errors: kind NotFound when the servers that answer do not know the key,
// Unreachable when none answers, Unavailable without servers, and what a server
// refused with otherwise.
//
// docs/threat-model.md#v1
func (c *Client) Lookup(ctx context.Context, key core.PublicKey) (Found, error) {
	if len(c.servers) == 0 {
		return Found{}, errNotConfigured
	}
	var best Found
	answers := c.ask(ctx, c.servers, pathPeer+key.String(), key, envelope.PurposeRegister)
	for _, a := range answers {
		if a.err == nil && (best.URL == "" || a.found.Verified && a.found.SignedAt.After(best.SignedAt)) {
			best = a.found
		}
	}
	if best.URL != "" {
		return best, nil
	}
	return Found{}, verdict(answers, "No gateway with this key is registered",
		"the peer must be running with the same rendezvous configured")
}

// verdict sums up answers none of which helps. A server that does not know
// outweighs one that does not answer.
func verdict(answers []asked, unknown, hint string) error {
	var worst error
	for _, a := range answers {
		if errors.Is(a.err, core.NotFound) {
			return &core.Error{Kind: core.NotFound, Public: unknown, Hint: hint}
		}
		if worst == nil || errors.Is(worst, core.Unreachable) {
			worst = a.err
		}
	}
	return worst
}

const unknownInvite = "Invite code not found or expired. Ask your peer to generate a new one."

// Resolve finds the inviter of a code, a long code or a link. A link with a
// gateway's address asks no server. A key that the text pins must be the key that
// is found; the pin and the secret are never sent.
//
// Errors: kind Malformed for a text that is no invite, NotFound for an unknown or
// expired code, Conflict for another key than the pinned one, Ambiguous when two
// servers know the code for different keys, Unreachable when none answers,
// Unavailable without servers.
//
// docs/threat-model.md#v4
func (c *Client) Resolve(ctx context.Context, text string) (Found, error) {
	ref, err := ParseRef(text)
	if err != nil {
		return Found{}, err
	}
	if !ref.Expires.IsZero() && c.opts.Now().After(ref.Expires) {
		return Found{}, core.Refuse(core.NotFound, unknownInvite)
	}
	if ref.URL != "" {
		return Found{Key: ref.Key, URL: ref.URL, PublicURL: ref.URL, Ref: ref}, nil
	}
	servers := c.servers
	if ref.Rendezvous != "" {
		servers = []*remote{c.server(ref.Rendezvous)}
	}
	if len(servers) == 0 {
		return Found{}, errNotConfigured
	}
	answers := c.ask(ctx, servers, pathToken+ref.Code, core.PublicKey{}, envelope.PurposeInvite)
	var best Found
	var pinned error
	for _, a := range answers {
		switch {
		case a.err != nil:
		case ref.Check(a.found.Key) != nil:
			pinned = ref.Check(a.found.Key)
		case best.URL == "":
			best = a.found
		case best.Key != a.found.Key:
			return Found{}, &core.Error{Kind: core.Ambiguous, Public: "two rendezvous know this code for different gateways",
				Hint: "ask your peer for the long form of the code"}
		case a.found.Verified && !best.Verified:
			best = a.found
		}
	}
	switch {
	case best.URL != "":
		best.Ref = ref
		return best, nil
	case pinned != nil:
		return Found{}, pinned
	}
	return Found{}, verdict(answers, unknownInvite, "")
}

// server is the configured server of an address, or a stranger.
func (c *Client) server(address string) *remote {
	address = strings.TrimRight(address, "/")
	for _, r := range c.servers {
		if r.url == address {
			return r
		}
	}
	return &remote{url: address, http: c.opts.Stranger}
}
