// Package dial is the one HTTP client for addresses that somebody else gave us.
// The address is judged when the socket is about to connect, after DNS, so that
// a name that answers differently the second time gains nothing.
//
// Promise N1 of docs/threat-model.md: no loopback, private, link-local, multicast,
// carrier-grade NAT, NAT64, 6to4, Teredo, documentation or metadata addresses
// unless the operator allowed the range; no proxy from the environment; no
// redirect to another origin; a bounded answer; one limit of time for all of it.
package dial

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/files"
)

const (
	// DefaultTimeout is the time that a whole exchange may take, from the lookup
	// of the name to the last byte of the answer.
	DefaultTimeout = 10 * time.Second
	// DefaultMaxAnswerBytes is the longest body that is read.
	DefaultMaxAnswerBytes = 64 << 10
	// maxAnswerHeaderBytes bounds the head of an answer, which is read before
	// the body and would otherwise be up to 1 MiB (net/http's default).
	maxAnswerHeaderBytes = 16 << 10
	// maxRedirects is how many redirects within one origin are followed.
	maxRedirects = 3
)

// Options are the settings of a Client. The zero value reaches public addresses
// only, with the defaults above.
type Options struct {
	// Allow lists ranges that are reached although they are not public, such as
	// 127.0.0.0/8 (the setting network.allow_private). IPv4 ranges may be written
	// in their IPv4-mapped form.
	Allow []netip.Prefix
	// Private also opens loopback and private ranges; not the addresses where clouds
	// give out credentials, which lie within some of them.
	Private bool
	// NoRedirects gives redirects back as answers.
	NoRedirects bool
	// Timeout is the time for a whole exchange, redirects and body included.
	// Zero means DefaultTimeout.
	Timeout time.Duration
	// MaxAnswerBytes is the longest body that is read. Zero means DefaultMaxAnswerBytes.
	MaxAnswerBytes int64
	// UserAgent is sent where a request has none. Empty means "ogp".
	UserAgent string
	// RootCAs are the authorities that a server's certificate must come from.
	// Nil means the system's.
	RootCAs *x509.CertPool
	// Resolver looks names up. Nil means the system's. It changes nothing about
	// which addresses are allowed.
	Resolver *net.Resolver
}

// Client sends requests through the guard and keeps connections for reuse.
// It is safe for concurrent use. Make it with New.
type Client struct {
	http           *http.Client
	guard          *guard
	transport      *http.Transport
	maxAnswerBytes int64
}

// Answer is what came back: the status code, the header, and the whole body.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// New returns a Client that is ready for use.
func New(o Options) *Client {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxAnswerBytes <= 0 {
		o.MaxAnswerBytes = DefaultMaxAnswerBytes
	}
	if o.UserAgent == "" {
		o.UserAgent = "ogp"
	}
	if o.Private {
		o.Allow = slices.Concat(o.Allow, private)
	}
	guard := newGuard(o.Allow)
	dialer := &net.Dialer{
		Timeout:        o.Timeout,
		KeepAlive:      30 * time.Second,
		Resolver:       o.Resolver,
		ControlContext: guard.control,
	}
	transport := &http.Transport{
		Proxy:                  nil, // an environment variable must not choose who sees our envelopes
		DialContext:            guard.dialWith(dialer),
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs},
		TLSHandshakeTimeout:    o.Timeout,
		MaxIdleConns:           idleConns(files.Limit()),
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxAnswerHeaderBytes,
		DisableCompression:     true, // the bound counts the bytes that were sent
	}
	c := &Client{guard: guard, transport: transport, maxAnswerBytes: o.MaxAnswerBytes}
	c.http = &http.Client{
		Transport:     &door{next: transport, maxAnswerBytes: o.MaxAnswerBytes, userAgent: o.UserAgent},
		CheckRedirect: checkRedirect,
		Timeout:       o.Timeout,
	}
	if o.NoRedirects {
		c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return c
}

// idleConns is how many connections a client keeps for reuse: a sixteenth of the
// descriptors, so that several clients stay within what is left beside connections from
// outside.
func idleConns(most int64) int {
	if most <= 0 {
		return mostIdle
	}
	return int(min(max(most/16, 4), mostIdle))
}

const mostIdle = 256

// HTTPClient returns the guarded http.Client, for code that wants to read the
// answer itself. Its bodies are bounded too: reading past MaxAnswerBytes fails
// with TooLong. Its errors hold an *Error, wrapped in a *url.Error; Do's do not
// show the path, which may hold a secret nonce.
func (c *Client) HTTPClient() *http.Client { return c.http }

// CloseIdle closes the connections that are kept for reuse.
func (c *Client) CloseIdle() { c.transport.CloseIdleConnections() }

// Do sends the request and reads the whole answer. Any status is an answer, not
// an error. Errors are of type *Error and tell their Kind by errors.Is: BadURL,
// Blocked, DNS, Refused, Unreachable, TLS, Timeout, Redirected, TooLong, Canceled
// or Broken.
func (c *Client) Do(ctx context.Context, req *http.Request) (Answer, error) {
	origin := core.Origin(req.URL)
	resp, err := c.http.Do(req.WithContext(ctx))
	if err != nil {
		return Answer{}, classify(origin, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		e := *classify(origin, err)
		e.After = begun(resp)
		return Answer{}, &e
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

// begun is what is known of an answer by its head: its status, and who gave it.
func begun(resp *http.Response) string {
	if resp == nil {
		return ""
	}
	words := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	by := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, cmp.Or(resp.Header.Get("Server"), resp.Header.Get("Via")))
	if by = strings.Trim(by[:min(len(by), 60)], ": "); by != "" {
		words += " from " + by
	}
	return words
}

// CheckURL reports, without any I/O, whether a URL has a form that a Client
// sends to: http or https, a host, no user name, no IPv4 address dressed as IPv6.
// The error is an *Error of kind BadURL or Blocked. That the address behind the
// host is allowed is known only when it is dialled.
func CheckURL(u *url.URL) error {
	bad := func(why string) error { return &Error{Kind: BadURL, Origin: core.Origin(u), Detail: why} }
	switch {
	case u == nil:
		return bad("no url")
	case u.Scheme != "http" && u.Scheme != "https":
		return bad(fmt.Sprintf("scheme %q, want http or https", u.Scheme))
	case u.User != nil:
		return bad("a user name in the url")
	case u.Opaque != "" || u.Hostname() == "":
		return bad("no host")
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && a.Is4In6() {
		return &Error{Kind: Blocked, Origin: core.Origin(u), Addr: a, Detail: "an IPv4 address in IPv6 form"}
	}
	return nil
}

// Permits is CheckURL, and judges the address that a URL names; this machine has one,
// whatever it is called. Where another name leads is judged when it is dialled. It does no I/O.
func (c *Client) Permits(u *url.URL) error {
	if err := CheckURL(u); err != nil {
		return err
	}
	a, err := netip.ParseAddr(u.Hostname())
	if err != nil && core.IsThisMachine(u.Hostname()) {
		a, err = netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	if err != nil {
		return nil
	}
	if err := c.guard.checkAddr(a); err != nil {
		return classify(core.Origin(u), err)
	}
	return nil
}

// door is what every request, redirected ones included, and every answer passes.
type door struct {
	next           http.RoundTripper
	maxAnswerBytes int64
	userAgent      string
}

// RoundTrip is http.RoundTripper's.
func (d *door) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := CheckURL(req.URL); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	if req.Header.Get("User-Agent") == "" {
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", d.userAgent)
	}
	resp, err := d.next.RoundTrip(req)
	if err != nil {
		return nil, classify(core.Origin(req.URL), err)
	}
	if req.Method != http.MethodHead && resp.ContentLength > d.maxAnswerBytes {
		resp.Body.Close()
		e := tooLong(core.Origin(req.URL), d.maxAnswerBytes)
		e.After = begun(resp)
		return nil, e
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: d.maxAnswerBytes, err: tooLong(core.Origin(req.URL), d.maxAnswerBytes)}
	return resp, nil
}

// boundedBody reads at most left bytes, and fails with err where more follow.
type boundedBody struct {
	io.ReadCloser
	left int64
	err  error
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if b.left == 0 {
		var next [1]byte
		n, err := b.ReadCloser.Read(next[:])
		if n > 0 {
			return 0, b.err
		}
		return 0, err
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}

// checkRedirect follows a GET or HEAD within its origin, three times at most.
// An envelope that was posted is never sent on.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	refuse := func(why string) error {
		return &Error{Kind: Redirected, Origin: core.Origin(first.URL), Detail: why, After: begun(req.Response)}
	}
	if first.Method != http.MethodGet && first.Method != http.MethodHead {
		return refuse("a " + first.Method + " is not sent on to " + core.Origin(req.URL))
	}
	if to := core.Origin(req.URL); to != core.Origin(first.URL) {
		return refuse("to another origin, " + to)
	}
	if len(via) > maxRedirects {
		return refuse(fmt.Sprintf("more than %d times", maxRedirects))
	}
	return nil
}

// attempts notes whether any address of a name passed the guard. Addresses of
// the two families are tried at the same time.
type attempts struct{ permitted atomic.Bool }

type attemptKey struct{}

// dialWith dials as the dialer does. Where a name had blocked and permitted
// addresses and none answered, the permitted ones explain the failure.
func (g *guard) dialWith(d *net.Dialer) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		tries := &attempts{}
		conn, err := d.DialContext(context.WithValue(ctx, attemptKey{}, tries), network, address)
		if err != nil && isBlocked(err) && tries.permitted.Load() {
			return nil, &net.OpError{Op: "dial", Net: network, Err: errNoPermittedAnswered}
		}
		return conn, err
	}
}

func (g *guard) control(ctx context.Context, network, address string, _ syscall.RawConn) error {
	if err := g.check(network, address); err != nil {
		return err
	}
	if tries, ok := ctx.Value(attemptKey{}).(*attempts); ok {
		tries.permitted.Store(true)
	}
	return nil
}
