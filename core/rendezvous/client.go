package rendezvous

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/text"
)

const (
	maxAnswerBytes   = 64 << 10
	callTimeout      = 10 * time.Second
	deregisterWithin = 5 * time.Second // in all, at shutdown

	defaultHeartbeat = 30 * time.Second
	minHeartbeat     = 5 * time.Second
	maxHeartbeat     = time.Hour
	firstBackoff     = time.Second
	maxBackoff       = time.Minute

	// maxRecordAge bounds how old a looked-up registration may be: its life, the
	// longest hold of a server that preserves itself, and the windows of two clocks.
	maxRecordAge = 15 * time.Minute
)

// ClientOptions are a Client's settings.
type ClientOptions struct {
	// URLs are the servers, in the order they are asked. None: every call fails
	// with the hint how to configure them.
	URLs []string
	// Key signs. Required, but for lookups alone.
	Key keys.Private
	// Port is what our gateway listens on, asked anew for each registration.
	Port func() int
	// PublicURL is where our gateway is reached from outside, asked likewise; nil
	// or an empty text leaves it out, and peers are told our address and Port.
	PublicURL func() string
	// HTTP sends. Nil: a client of our own that keeps its connections, follows no
	// redirect and takes no proxy from the environment. The servers are the
	// operator's word, so private addresses are reached.
	HTTP *http.Client
	// Stranger sends to servers that a link names and URLs does not. Nil: through
	// the guard of core/dial, which reaches public addresses only.
	Stranger *http.Client
	// Logger gets what an operator should see. Nil: none.
	Logger *slog.Logger
	// Now is the clock of signed times. Nil: time.Now.
	Now func() time.Time
}

// Client registers our gateway and looks others up. Safe for concurrent use.
type Client struct {
	opts    ClientOptions
	sealer  *envelope.Sealer
	opener  *envelope.Opener
	own     *http.Transport // nil: opts.HTTP is the caller's
	servers []*remote

	mu   sync.Mutex // guards last
	last time.Time  // the last signed time; no two are the same
}

// remote is one server as we know it.
type remote struct {
	url  string
	http *http.Client

	mu     sync.Mutex // guards status, legacy
	status Status
	// legacy says that the server has asked for the signature of 0.7. It goes to no
	// other, as it passes for a message at every gateway before v2.
	// docs/threat-model.md#t11
	legacy bool
}

// Status is how we stand with one server.
type Status struct {
	URL        string    `json:"url"`
	Registered bool      `json:"registered"`
	At         time.Time `json:"at,omitzero"`     // of the last registration that was taken
	Next       time.Time `json:"next,omitzero"`   // when we try again
	YourIP     string    `json:"yourIp"`          // our address as the server sees it
	Failures   int       `json:"failures"`        // in a row
	Error      string    `json:"error,omitempty"` // of the last try
}

// NewClient returns a Client; Run registers.
func NewClient(o ClientOptions) *Client {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Client{opts: o, sealer: &envelope.Sealer{Key: o.Key}, opener: &envelope.Opener{}}
	if o.HTTP == nil {
		c.own = &http.Transport{
			DialContext:            (&net.Dialer{Timeout: callTimeout, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:    callTimeout,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        2 * time.Minute,
			MaxResponseHeaderBytes: 16 << 10,
			ForceAttemptHTTP2:      true,
		}
		c.opts.HTTP = &http.Client{
			Transport:     c.own,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if o.Stranger == nil {
		c.opts.Stranger = dial.New(dial.Options{Timeout: callTimeout, MaxAnswerBytes: maxAnswerBytes + 1}).HTTPClient()
	}
	for _, text := range o.URLs {
		text = strings.TrimRight(text, "/")
		c.servers = append(c.servers, &remote{url: text, http: c.opts.HTTP, status: Status{URL: text}})
	}
	return c
}

var errNotConfigured = &core.Error{
	Kind: core.Unavailable, Public: "no rendezvous is configured",
	Hint: `set rendezvous.enabled = true and rendezvous.urls = ["https://..."] in the configuration`,
}

// Run keeps us registered with every server until ctx is done, then deregisters,
// for at most 5 s. It renews when the server says, otherwise every 30 s, a fifth
// sooner or later by chance, and waits longer and longer for a server that does
// not answer. It returns nil.
func (c *Client) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, r := range c.servers {
		wg.Go(func() { c.stay(ctx, r) })
	}
	wg.Wait()
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
	return nil
}

// stay keeps us registered with one server.
func (c *Client) stay(ctx context.Context, r *remote) {
	for ctx.Err() == nil {
		timer := time.NewTimer(c.renew(ctx, r))
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	if !r.get().Registered {
		return
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), deregisterWithin)
	defer cancel()
	body := c.sealer.SealHints(envelope.Hints{Purpose: envelope.PurposeDeregister}, c.stamp())
	if err := c.call(last, r, http.MethodDelete, pathPeer+c.opts.Key.Public().String(), body, nil); err != nil {
		c.opts.Logger.Info("not deregistered: the record expires by itself", "rendezvous", r.url, "error", err)
	}
	r.set(func(s *Status) { s.Registered = false })
}

// renew registers once and returns how long to wait.
func (c *Client) renew(ctx context.Context, r *remote) time.Duration {
	var answer registered
	err := c.tell(ctx, r, pathRegister, envelope.Hints{Purpose: envelope.PurposeRegister}, &answer)
	if ctx.Err() != nil {
		return 0
	}
	before := r.get()
	wait := defaultHeartbeat
	if err == nil {
		if answer.ReannounceAfter > 0 {
			wait = time.Duration(min(answer.ReannounceAfter, int(maxHeartbeat/time.Second))) * time.Second
		}
		wait = jitter(max(wait, minHeartbeat))
	} else {
		wait = jitter(min(firstBackoff<<min(before.Failures, 6), maxBackoff))
		var e *core.Error
		if errors.As(err, &e) {
			wait = max(wait, min(e.RetryAfter, maxHeartbeat))
		}
	}
	now := c.opts.Now()
	r.set(func(s *Status) {
		s.Next = now.Add(wait)
		if err != nil {
			s.Failures++
			s.Error = err.Error()
			// The record outlives its renewals by a minute.
			s.Registered = s.Registered && now.Sub(s.At) < 3*defaultHeartbeat
			return
		}
		r.legacy = r.legacy && answer.ReannounceAfter == 0 // it has become one of ours
		s.Registered, s.At, s.YourIP, s.Failures, s.Error = true, now, answer.YourIP, 0, ""
	})
	switch {
	case err == nil && (before.Failures > 0 || before.At.IsZero()):
		c.opts.Logger.Info("registered", "rendezvous", r.url, "ip", answer.YourIP)
	case err != nil && before.Failures == 0:
		c.opts.Logger.Warn("not registered", "rendezvous", r.url, "error", err)
	}
	return wait
}

// jitter is d, a fifth more or less by chance.
func jitter(d time.Duration) time.Duration { return d - d/5 + mathrand.N(2*d/5+1) }

// stamp is the time for the next signature: now, and later than the last one, as
// a server refuses an older text and ignores an equal one.
func (c *Client) stamp() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opts.Now().Truncate(time.Millisecond)
	if !now.After(c.last) {
		now = c.last.Add(time.Millisecond)
	}
	c.last = now
	return now
}

// errWantsLegacy begins what servers of 0.7 say to a body without their signature.
const errWantsLegacy = "Missing payloadStr or signature"

// tell sends a registration or an invite: in the v2 form, with plain members for
// servers before 0.7, and with the signature of 0.7 only where the server has
// asked for it.
func (c *Client) tell(ctx context.Context, r *remote, path string, h envelope.Hints, v any) error {
	h.PublicURL = c.publicURL()
	if c.opts.Port != nil {
		h.Port = c.opts.Port()
	}
	h.Legacy = r.wantsLegacy()
	err := c.call(ctx, r, http.MethodPost, path, c.sealer.SealHints(h, c.stamp()), v)
	var e *core.Error
	if h.Legacy || !errors.As(err, &e) || e.Kind != core.Refused || !strings.HasSuffix(e.Public, ": "+errWantsLegacy) {
		return err
	}
	r.mu.Lock()
	r.legacy = true
	r.mu.Unlock()
	h.Legacy = true
	return c.call(ctx, r, http.MethodPost, path, c.sealer.SealHints(h, c.stamp()), v)
}

func (c *Client) publicURL() string {
	if c.opts.PublicURL == nil {
		return ""
	}
	return c.opts.PublicURL()
}

// Status is how we stand with each server, in their order.
func (c *Client) Status() []Status {
	all := make([]Status, 0, len(c.servers))
	for _, r := range c.servers {
		all = append(all, r.get())
	}
	return all
}

func (r *remote) get() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func (r *remote) wantsLegacy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.legacy
}

func (r *remote) set(f func(*Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.status)
}

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
		if age := c.opts.Now().Sub(reg.SentAt); purpose == envelope.PurposeRegister && age.Abs() > maxRecordAge {
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
		return Found{}, core.Refuse(core.Malformed, "rendezvous: the server says no place for the key")
	}
	return f, nil
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

// InviteOptions are an invite's terms.
type InviteOptions struct {
	// Uses is how often the code can be resolved. Zero means without limit.
	Uses int
	// Expires is the code's life, 10 s to 24 h. Zero means the server's 10 minutes.
	Expires time.Duration
	// Approve adds a secret, with which whoever accepts can show that we approve.
	// Hand the invite to an Approvals.
	Approve bool
}

// Invite is a code of ours.
type Invite struct {
	Ref
	Uses    int       // 0: without limit
	Used    int       // as of the server's list
	Created time.Time // of the server's list
}

// Invite asks the first server that answers for a code.
//
// Errors: kind Unreachable when none answers, Unavailable without servers, and
// what a server refused with otherwise.
func (c *Client) Invite(ctx context.Context, o InviteOptions) (Invite, error) {
	if len(c.servers) == 0 {
		return Invite{}, errNotConfigured
	}
	if o.Uses < 0 || o.Uses > maxInviteUses {
		return Invite{}, core.Refusef(core.Malformed, "rendezvous: invite: uses %d, want 1 to %d", o.Uses, maxInviteUses)
	}
	if o.Expires != 0 && (o.Expires < minInviteLife || o.Expires > maxInviteLife) {
		return Invite{}, core.Refusef(core.Malformed, "rendezvous: invite: life %v, want %v to %v", o.Expires, minInviteLife, maxInviteLife)
	}
	var first error
	for _, r := range c.servers {
		var a struct {
			Token     string `json:"token"`
			ExpiresIn int    `json:"expiresIn"`
		}
		err := c.tell(ctx, r, pathInvite, envelope.Hints{Purpose: envelope.PurposeInvite, Uses: o.Uses, ExpiresIn: seconds(o.Expires)}, &a)
		if err == nil && !isCode(a.Token) {
			err = core.Refuse(core.Malformed, "rendezvous: the server gave no code")
		}
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		now := c.opts.Now()
		key := c.opts.Key.Public()
		i := Invite{Uses: o.Uses, Created: now, Ref: Ref{
			Code: a.Token, Pin: pinOf(key), Key: key, URL: c.publicURL(), Rendezvous: r.url,
			Expires: now.Add(time.Duration(min(max(a.ExpiresIn, 0), seconds(maxInviteLife))) * time.Second),
		}}
		if o.Approve {
			i.Secret = NewSecret()
		}
		return i, nil
	}
	return Invite{}, first
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

// ListInvites returns our open invites of all servers, without their secrets.
// Servers that know no lists are passed over.
func (c *Client) ListInvites(ctx context.Context) ([]Invite, error) {
	if len(c.servers) == 0 {
		return nil, errNotConfigured
	}
	var all []Invite
	var failed error
	for _, r := range c.servers {
		var a struct {
			Invites []listed `json:"invites"`
		}
		body := c.sealer.SealHints(envelope.Hints{Purpose: envelope.PurposeList}, c.stamp())
		if err := c.call(ctx, r, http.MethodPost, pathInvites, body, &a); err != nil {
			if !errors.Is(err, core.NotFound) {
				failed = err
			}
			continue
		}
		key := c.opts.Key.Public()
		for _, l := range a.Invites {
			if isCode(l.Token) {
				all = append(all, Invite{Uses: l.Uses, Used: l.Used, Created: time.UnixMilli(l.CreatedAt), Ref: Ref{
					Code: l.Token, Pin: pinOf(key), Key: key, URL: c.publicURL(), Rendezvous: r.url, Expires: time.UnixMilli(l.ExpiresAt)}})
			}
		}
	}
	if len(all) == 0 && failed != nil {
		return nil, failed
	}
	return all, nil
}

// Revoke ends an invite of ours, on whichever server has it. Errors: kind
// NotFound when none has it, Unreachable when none answers.
func (c *Client) Revoke(ctx context.Context, code string) error {
	if len(c.servers) == 0 {
		return errNotConfigured
	}
	ref, err := ParseRef(code)
	if err != nil {
		return err
	}
	var answers []asked
	for _, r := range c.servers {
		body := c.sealer.SealHints(envelope.Hints{Purpose: envelope.PurposeRevoke, Token: ref.Code}, c.stamp())
		err := c.call(ctx, r, http.MethodDelete, pathToken+ref.Code, body, nil)
		if err == nil {
			return nil
		}
		answers = append(answers, asked{err: err})
	}
	return verdict(answers, "No open invite of ours has this code", "")
}

// call sends one request and reads the answer into v. Errors are of kind
// Unreachable when there is no answer, of the kind that the status says when
// there is one (with its text, clipped), and Malformed for an answer that is no
// JSON.
func (c *Client) call(ctx context.Context, r *remote, method, path string, body []byte, v any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	u, err := url.Parse(r.url)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return &core.Error{Kind: core.Malformed, Public: "rendezvous: the address is no http or https URL", Err: err}
	}
	request, err := http.NewRequestWithContext(ctx, method, r.url+path, bytes.NewReader(body))
	if err != nil {
		return &core.Error{Kind: core.Malformed, Public: "rendezvous: the address is no http or https URL", Err: err}
	}
	request.Header.Set("User-Agent", "ogp")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := r.http.Do(request)
	if err != nil {
		var uerr *url.Error
		if errors.As(err, &uerr) {
			err = uerr.Err // its URL holds the code
		}
		return &core.Error{Kind: core.Unreachable, Public: "the rendezvous " + u.Host + " did not answer", Err: err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	if err != nil {
		return &core.Error{Kind: core.Unreachable, Public: "the rendezvous " + u.Host + " broke off", Err: err}
	}
	if len(text) > maxAnswerBytes {
		return core.Refusef(core.TooLarge, "the rendezvous %s answers with more than %d bytes", u.Host, maxAnswerBytes)
	}
	if response.StatusCode != http.StatusOK {
		return refused(u.Host, response, text)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return &core.Error{Kind: core.Malformed, Public: "the rendezvous " + u.Host + " answers no JSON of the protocol", Err: err}
	}
	return nil
}

// kinds are what a server's statuses mean to us.
var kinds = map[int]core.Kind{
	http.StatusNotFound:           core.NotFound,
	http.StatusConflict:           core.Conflict,
	http.StatusTooManyRequests:    core.RateLimited,
	http.StatusServiceUnavailable: core.Unavailable,
	http.StatusBadGateway:         core.Unreachable,
	http.StatusGatewayTimeout:     core.Unreachable,
}

// maxRetryAfterSeconds bounds what we read of Retry-After.
const maxRetryAfterSeconds = 86_400

func refused(host string, response *http.Response, body []byte) error {
	kind, ok := kinds[response.StatusCode]
	if !ok {
		kind = core.Refused
	}
	e := &core.Error{Kind: kind, Public: fmt.Sprintf("the rendezvous %s says %d", host, response.StatusCode)}
	var a struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &a) == nil && a.Error != "" {
		e.Public += ": " + text.Line(a.Error, 200)
	}
	if after, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && after > 0 {
		e.RetryAfter = time.Duration(min(after, maxRetryAfterSeconds)) * time.Second
	}
	return e
}
