package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon/openclaw"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/peers"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// The checks of what is out there. Only URLs that the operator has written down are
// asked without the guard of core/dial.

// askLimit bounds one question to another machine.
const askLimit = 10 * time.Second

// fetchCard gets the card at a gateway URL of ours.
func fetchCard(ctx context.Context, base string, anyCertificate bool) (core.Card, error) {
	var card core.Card
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+federation.PathCard, nil)
	if err != nil {
		return card, err
	}
	// A listener of ours, whatever its certificate is: no word of ours goes there.
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: anyCertificate}}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return card, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, dial.DefaultMaxAnswerBytes))
	if err != nil {
		return card, err
	}
	err = readCard(res.StatusCode, text, &card)
	return card, err
}

func readCard(status int, text []byte, card *core.Card) error {
	if status != http.StatusOK {
		return fmt.Errorf("%s is answered with status %d", federation.PathCard, status)
	}
	if err := json.Unmarshal(text, card); err != nil || card.PublicKey == "" {
		return fmt.Errorf("what answers at %s is not a gateway", federation.PathCard)
	}
	return nil
}

// saidBy is an error of readCard's as it is, and one of the network's in plain words.
func saidBy(err error) string {
	if e, ok := errors.AsType[*dial.Error](err); ok {
		return e.Words()
	}
	return err.Error()
}

// fingerprintOf is for people who compare; nothing is decided by it.
func fingerprintOf(key string) string {
	k, err := keys.Parse(key)
	if err != nil {
		return "no sound key"
	}
	return k.Fingerprint()
}

// OwnURL asks for our card where peers would.
func (d *Doctor) OwnURL(ctx context.Context, r *api.Report) {
	own := d.Gateway.Settings().URL
	u, err := url.Parse(own)
	if err != nil {
		r.Fail("url", "ogp config set gateway_url https://<your host>", "gateway_url is not a URL: %q", own)
		return
	}
	took := time.Now()
	client := dial.New(dial.Options{Allow: openclaw.Everywhere, Timeout: askLimit, UserAgent: "ogp/" + d.Version})
	defer client.CloseIdle()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(own, "/")+federation.PathCard, nil)
	if err != nil {
		r.Fail("url", "ogp config set gateway_url https://<your host>", "gateway_url cannot be asked: %q", own)
		return
	}
	var card core.Card
	answer, err := client.Do(ctx, req)
	if err == nil {
		err = readCard(answer.Status, answer.Body, &card)
	}
	passOn := fmt.Sprintf("let the proxy or tunnel of %s pass %s and /federation/ to port %d, or correct gateway_url in config.toml", u.Host, federation.PathCard, d.Listener.Port)
	switch {
	case errors.Is(err, dial.TLS):
		r.Fail("url", "fix what \"tls\" says below", "%s cannot be asked: %s", own, dial.Words(err))
	case errors.Is(err, dial.DNS):
		r.Fail("url", "make a DNS record for "+u.Hostname()+", or correct gateway_url in config.toml", "%s cannot be found: %s", own, dial.Words(err))
	case err != nil:
		r.Fail("url", passOn, "%s does not answer, asked from this machine: %s", own, saidBy(err))
	case card.PublicKey != d.Key.Public().String():
		r.Fail("url", passOn, "another gateway answers at %s: its fingerprint is %s, ours is %s", own, fingerprintOf(card.PublicKey), d.Key.Public().Fingerprint())
	case core.IsThisMachine(u.Hostname()):
		r.Warn("url", "ogp init --gateway-url https://<your host>", "%s is this machine for whoever asks: only gateways on it can answer us", own)
	case card.GatewayURL != own:
		r.Warn("url", "ogp config set gateway_url "+own, "our card at %s says that we are at %s, which is where peers will write", own, card.GatewayURL)
	default:
		if ip := privateAddress(ctx, u.Hostname()); ip.IsValid() {
			r.Warn("url", "for peers outside: a public DNS record, a tunnel, or the rendezvous; for peers in your network leave it so", "%s answers with our key, and leads to %s, which only your own network reaches", own, ip)
			return
		}
		r.Ok("url", "%s answers with our key in %v, asked from this machine", own, time.Since(took).Round(time.Millisecond))
	}
}

// privateAddress is an address that a name has and that is not for the outside.
func privateAddress(ctx context.Context, host string) netip.Addr {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}
	}
	for _, ip := range addrs {
		if ip = ip.Unmap(); ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			return ip
		}
	}
	return netip.Addr{}
}

// Times before the end of a certificate.
const certificateWarn = 14 * 24 * time.Hour

func checkExpiry(r *api.Report, leaf *x509.Certificate, where string) {
	left := time.Until(leaf.NotAfter)
	switch {
	case left < 0:
		r.Fail("tls", "renew it where it was made (certbot renew, say); the gateway reads the new file by itself", "the certificate of %s expired %s", where, text.Ago(leaf.NotAfter))
	case time.Now().Before(leaf.NotBefore):
		r.Fail("tls", "look at this machine's clock", "the certificate of %s is not valid before %s", where, leaf.NotBefore.UTC().Format(time.DateTime))
	case left < certificateWarn:
		r.Warn("tls", "renew it where it was made (certbot renew, say); the gateway reads the new file by itself", "the certificate of %s expires %s", where, text.Until(leaf.NotAfter))
	default:
		r.Ok("tls", "the certificate of %s is valid, and expires %s", where, text.Until(leaf.NotAfter))
	}
}

// TLS looks at the certificate that others see.
func (d *Doctor) TLS(ctx context.Context, r *api.Report) {
	own, err := url.Parse(d.Gateway.Settings().URL)
	if err != nil || own.Scheme != "https" {
		d.CertificateFiles(ctx, r)
		if err == nil && own.Scheme == "http" && !core.IsThisMachine(own.Hostname()) {
			r.Warn("tls", "tls.domain = \""+own.Hostname()+"\" in config.toml, or a proxy or tunnel with HTTPS; then gateway_url = \"https://"+own.Hostname()+"\"",
				"messages are signed and not secret: %s is plain http", own)
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	// Verified below, to say what is wrong with which certificate.
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: own.Hostname()}}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(own.Hostname(), cmp.Or(own.Port(), "443")))
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" { // which the look at the URL explains
		r.Warn("tls", "fix what \"url\" says first", "not checked, as there is no connection to %s", own.Host)
		return
	}
	if err != nil {
		r.Fail("tls", "does the proxy or tunnel run, and speak HTTPS there? Otherwise correct gateway_url in config.toml", "no TLS at %s: %s", own.Host, dial.Words(err))
		return
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	if len(chain) == 0 {
		r.Fail("tls", "give the proxy or tunnel in front of the gateway a certificate", "%s shows no certificate", own.Host)
		return
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{DNSName: own.Hostname(), Intermediates: between})
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &name):
		r.Fail("tls", "get a certificate for "+own.Hostname()+", or correct gateway_url in config.toml", "the certificate at %s is for another name: %s", own.Host, dial.Words(err))
	case errors.As(err, &authority):
		r.Fail("tls", "let the server send its whole chain (fullchain.pem), or take a certificate that everybody trusts: tls.domain = \""+own.Hostname()+"\"",
			"peers do not trust the certificate of %s: %s", own.Host, dial.Words(err))
	case err != nil && time.Now().Before(chain[0].NotAfter) && time.Now().After(chain[0].NotBefore):
		r.Fail("tls", "get another certificate for the proxy or tunnel in front of the gateway", "the certificate at %s is not valid: %s", own.Host, dial.Words(err))
	default:
		checkExpiry(r, chain[0], own.Host)
	}
}

// clockWarn is a skew that is no trouble yet and becomes one.
const clockWarn = 30 * time.Second

// Clock compares our clock with that of the database, where there is one, and with the Date
// of a rendezvous, else of peers.
func (d *Doctor) Clock(ctx context.Context, r *api.Report) {
	window := d.Config.Freshness.Window
	if d.Skew != nil {
		if skew, ok := d.Skew(); ok {
			checkSkew(r, skew.Round(time.Second), window, "the database")
		}
	}
	type source struct {
		url    string
		client *dial.Client
	}
	var sources []source
	if d.Config.Rendezvous.Enabled {
		client := dial.New(dial.Options{Allow: openclaw.Everywhere, Timeout: askLimit})
		defer client.CloseIdle()
		for _, server := range d.Config.Rendezvous.Servers() {
			sources = append(sources, source{server, client})
		}
	}
	guarded := dial.New(dial.Options{Allow: d.Config.Network.AllowPrivate, Timeout: askLimit})
	defer guarded.CloseIdle()
	for _, p := range d.peers() {
		if p.Trust == core.Approved && len(sources) < 4 {
			sources = append(sources, source{strings.TrimRight(p.URL, "/") + federation.PathPing, guarded})
		}
	}
	for _, s := range sources {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
		if err != nil {
			continue
		}
		sent := time.Now()
		answer, err := s.client.Do(ctx, req)
		if err != nil {
			continue
		}
		date, err := http.ParseTime(answer.Header.Get("Date"))
		if err != nil {
			continue
		}
		took := time.Since(sent)
		// The header has whole seconds, of a moment on the way there and back.
		skew := sent.Add(took / 2).Sub(date.Add(500 * time.Millisecond)).Round(time.Second)
		host := s.url
		if u, err := url.Parse(s.url); err == nil {
			host = u.Host
		}
		checkSkew(r, skew, window, host)
		return
	}
	if len(sources) == 0 {
		r.Ok("clock", "%s; there is no rendezvous and no approved peer to compare it with", time.Now().UTC().Format(time.RFC3339))
		return
	}
	r.Warn("clock", "compare date -u with a clock that you trust", "not compared: %s, none of which told its time", text.Count(len(sources), "server and peer asked", "servers and peers asked"))
}

func checkSkew(r *api.Report, skew, window time.Duration, host string) {
	how := fmt.Sprintf("%v behind", -skew)
	if skew > 0 {
		how = fmt.Sprintf("%v ahead of", skew)
	}
	fix := "set the clock that is wrong: timedatectl set-ntp true, here or there"
	switch {
	case skew.Abs() >= window:
		r.Fail("clock", fix, "our clock is %s that of %s: messages are refused when clocks differ by %v or more", how, host, window)
	case skew.Abs() >= clockWarn:
		r.Warn("clock", fix, "our clock is %s that of %s", how, host)
	default:
		r.Ok("clock", "within %v of that of %s", max(skew.Abs(), time.Second), host)
	}
}

// Registrations looks at each registration, and whether the record that others
// get is the one that we signed.
func (d *Doctor) Registrations(ctx context.Context, r *api.Report) {
	c := d.Config.Rendezvous
	servers := c.Servers()
	status := d.Rendezvous
	switch {
	case !c.Enabled && len(status) == 0:
		r.Ok("rendezvous", "not used")
		return
	case c.Enabled != (len(status) > 0):
		r.Warn("rendezvous", d.Restart, "the setting has changed since the start")
		return
	}
	fix := "does that server run? curl " + strings.Join(servers, " ") + "; otherwise correct rendezvous.url in config.toml"
	for _, s := range status {
		switch {
		case s.Elsewhere:
			d.checkRecord(ctx, r, s)
		case !s.Registered && s.Failures == 0:
			r.Warn("rendezvous", "look again in a moment: \"ogp doctor\"", "%s "+api.NotYet, s.URL)
		case !s.Registered:
			r.Fail("rendezvous", fix, "not registered with %s, tried %s: %s", s.URL, text.Count(s.Failures, "time"), s.Error)
		case s.Failures > 0:
			r.Warn("rendezvous", fix, "registered with %s, and %s failed since then: %s", s.URL, text.Count(s.Failures, "renewal"), s.Error)
		default:
			d.checkRecord(ctx, r, s)
		}
	}
}

// checkRecord looks ourselves up.
func (d *Doctor) checkRecord(ctx context.Context, r *api.Report, s rendezvous.Status) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	client := rendezvous.NewClient(rendezvous.ClientOptions{Key: d.Key, URLs: []string{s.URL}})
	found, err := client.Lookup(ctx, d.Key.Public())
	public := d.PublicURL
	switch {
	case err != nil && s.Elsewhere:
		r.Fail("rendezvous", "look at the node that has the lease rendezvous: \"ogp status --nodes --json\"", "another node registers this gateway with %s, which does not return it: %s", s.URL, api.ErrorOf(err).Message)
	case err != nil:
		view := api.ErrorOf(err)
		r.Fail("rendezvous", "wait a minute; if it stays so, name another server: rendezvous.url in config.toml", "%s has accepted our registration and does not return it: %s", s.URL, view.Message)
	case !found.Verified:
		r.Warn("rendezvous", "ask its operator to update it, or name another: rendezvous.url in config.toml", "%s gives others our address without our signature: they must take its word", s.URL)
	case public == "":
		r.Warn("rendezvous", "set gateway_url, or rendezvous.public_url, in config.toml, unless others reach that address",
			"registered with %s without a URL: peers are sent to %s", s.URL, found.URL)
	case core.IsThisMachine(peers.HostName(public)):
		r.Warn("rendezvous", "ogp config set rendezvous.public_url https://<your host>", "registered with %s as %s, which leads others to themselves", s.URL, public)
	case strings.TrimRight(found.PublicURL, "/") != strings.TrimRight(public, "/"):
		r.Warn("rendezvous", "wait half a minute for the next renewal", "%s sends peers to %s, and we are at %s", s.URL, found.PublicURL, public)
	case s.Elsewhere:
		r.Ok("rendezvous", "registered with %s as %s, by another node", s.URL, public)
	default:
		r.Ok("rendezvous", "registered with %s as %s, renewed %s", s.URL, public, text.Ago(s.At))
	}
}

// RendezvousThere asks whether the servers are there at all.
func (d *Doctor) RendezvousThere(ctx context.Context, r *api.Report) {
	if !d.Config.Rendezvous.Enabled {
		return
	}
	for _, server := range d.Config.Rendezvous.Servers() {
		limited, cancel := context.WithTimeout(ctx, askLimit)
		_, err := rendezvous.NewClient(rendezvous.ClientOptions{URLs: []string{server}}).Lookup(limited, keys.Generate().Public())
		cancel()
		if err == nil || errors.Is(err, core.NotFound) {
			r.Ok("rendezvous", "%s answers", server)
			continue
		}
		r.Failed("rendezvous", "rendezvous.url in config.toml; is it up? curl "+server, err)
	}
}
