package rendezvous

import (
	"context"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/envelope"
)

const (
	maxAnswerBytes   = 64 << 10
	callTimeout      = 10 * time.Second
	deregisterWithin = 5 * time.Second // in all, at shutdown

	defaultHeartbeat = 30 * time.Second
	minHeartbeat     = 5 * time.Second
	maxHeartbeat     = time.Hour
	lookAgain        = 30 * time.Second // at what we have said, between renewals of a long life
	firstBackoff     = time.Second
	maxBackoff       = time.Minute

	// maxRecordAge bounds how old a looked-up registration may be: its life, the
	// longest hold of a server that preserves itself, and the windows of two clocks. One
	// that its gateway has signed a longer life for may be so much older.
	maxRecordAge = 15 * time.Minute
)

// ClientOptions are a Client's settings.
type ClientOptions struct {
	// URLs are the servers, in the order they are asked. None: every call fails
	// with the hint how to configure them.
	URLs []string
	// Key signs. Required, but for lookups alone.
	Key core.Signer
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
	// Stay says that Run ends without deregistering: others of the same key go on.
	Stay bool
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

	mu     sync.Mutex // guards status, legacy, maxAge
	status Status
	// legacy says that the server has asked for the signature of 0.7. It goes to no
	// other, as it passes for a message at every gateway before v2.
	// docs/threat-model.md#t11
	legacy bool
	// maxAge is the longest life that the server grants, as it said last; 0: the ordinary
	// one.
	maxAge time.Duration
}

// Status is how we stand with one server.
type Status struct {
	URL        string    `json:"url"`
	Registered bool      `json:"registered"`
	At         time.Time `json:"at,omitzero"`     // of the last registration that was taken
	Next       time.Time `json:"next,omitzero"`   // when we try again
	YourIP     string    `json:"yourIp"`          // our address as the server sees it
	Until      time.Time `json:"until,omitzero"`  // how long the record lives without renewal
	Failures   int       `json:"failures"`        // in a row
	Error      string    `json:"error,omitempty"` // of the last try
	// Elsewhere says that another node of this gateway registers it, and nothing else is known.
	Elsewhere bool `json:"elsewhere,omitempty"`
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
// for at most 5 s, unless others stay. It renews when the server says, otherwise every 30 s, a fifth
// sooner or later by chance, and waits longer and longer for a server that does
// not answer. Where a server offers a longer life, and we have a public URL, it asks
// for that, and renews sooner only when what we say has changed. It returns nil.
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
		said := c.hints(r)
		for end := time.Now().Add(c.renew(ctx, r, said)); ctx.Err() == nil && time.Now().Before(end); {
			timer := time.NewTimer(min(time.Until(end), lookAgain))
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
			if now := c.hints(r); r.get().Registered && (now.Port != said.Port || now.PublicURL != said.PublicURL) {
				break
			}
		}
	}
	if c.opts.Stay || !r.get().Registered {
		return
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), deregisterWithin)
	defer cancel()
	if err := c.order(last, r, http.MethodDelete, pathPeer+c.opts.Key.Public().String(), envelope.Hints{Purpose: envelope.PurposeDeregister}, nil); err != nil {
		c.opts.Logger.Info("not deregistered: the record expires by itself", "rendezvous", r.url, "error", err)
	}
	r.set(func(s *Status) { s.Registered = false })
}

// hints is what we have to say to a server. A life longer than the ordinary one is for
// a gateway that has signed where it is: the address of the connection may be another
// one within the hour.
func (c *Client) hints(r *remote) envelope.Hints {
	h := c.place(envelope.Hints{Purpose: envelope.PurposeRegister})
	if h.PublicURL != "" {
		h.MaxAge = seconds(r.offer())
	}
	return h
}

// place adds where we are reached.
func (c *Client) place(h envelope.Hints) envelope.Hints {
	h.PublicURL = c.publicURL()
	if c.opts.Port != nil {
		h.Port = c.opts.Port()
	}
	return h
}

// renew registers once and returns how long to wait.
func (c *Client) renew(ctx context.Context, r *remote, h envelope.Hints) time.Duration {
	var answer registered
	err := c.tell(ctx, r, pathRegister, h, &answer)
	if ctx.Err() != nil {
		return 0
	}
	before := r.get()
	var wait, life time.Duration
	if err == nil {
		wait, life = terms(h, answer)
	} else {
		wait = jitter(min(firstBackoff<<min(before.Failures, 6), maxBackoff))
		if e, ok := errors.AsType[*core.Error](err); ok {
			wait = max(wait, min(e.RetryAfter, maxHeartbeat))
		}
	}
	now := c.opts.Now()
	r.set(func(s *Status) {
		s.Next = now.Add(wait)
		if err != nil {
			s.Failures++
			s.Error = err.Error()
			// The record outlives its renewals.
			s.Registered = s.Registered && now.Before(s.Until)
			return
		}
		r.legacy = r.legacy && answer.ReannounceAfter == 0 // it has become one of ours
		r.maxAge = time.Duration(min(max(answer.MaxAge, 0), seconds(maxMaxAge))) * time.Second
		s.Registered, s.At, s.Until, s.YourIP, s.Failures, s.Error = true, now, now.Add(life), answer.YourIP, 0, ""
	})
	switch {
	case err == nil && (before.Failures > 0 || before.At.IsZero()):
		c.opts.Logger.Info("registered", "rendezvous", r.url, "ip", answer.YourIP)
	case err != nil && before.Failures == 0:
		c.opts.Logger.Warn("not registered", "rendezvous", r.url, "error", err)
	}
	return wait
}

// terms are when to renew a registration that was taken, and how long it lives without.
// What a server says is bounded by what we have asked for: its word alone keeps nobody
// away for hours.
func terms(h envelope.Hints, a registered) (wait, life time.Duration) {
	wait, life = defaultHeartbeat, 3*defaultHeartbeat
	longest := maxHeartbeat
	if asked := time.Duration(h.MaxAge) * time.Second; asked > 0 && a.TTL > 0 {
		life = min(max(life, time.Duration(min(a.TTL, seconds(maxMaxAge)))*time.Second), max(asked, life))
		longest = max(longest, life*3/10) // a quarter, as far as a server spreads it
	}
	if a.ReannounceAfter > 0 {
		wait = min(time.Duration(min(a.ReannounceAfter, seconds(maxMaxAge)))*time.Second, longest)
	}
	return jitter(max(wait, minHeartbeat)), life
}

// jitter is d, a fifth more or less by chance.
func jitter(d time.Duration) time.Duration { return d - d/5 + mathrand.N(2*d/5+1) }

// putBack is how far ahead of now a time is that every server takes, with clocks apart.
const putBack = core.DefaultWindow - time.Minute

// stamp is the time for the next signature: now, and later than the last one, as
// a server refuses an older text and ignores an equal one. Where the clock was put back by
// more than putBack, the last one is refused as ahead, and a server takes one of now.
func (c *Client) stamp() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opts.Now().Truncate(time.Millisecond)
	if ahead := c.last.Sub(now); ahead >= 0 && ahead <= putBack {
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
	h.Legacy = r.wantsLegacy()
	err := c.order(ctx, r, http.MethodPost, path, h, v)
	var e *core.Error
	if h.Legacy || !errors.As(err, &e) || e.Kind != core.Refused || !strings.HasSuffix(e.Public, ": "+errWantsLegacy) {
		return err
	}
	r.mu.Lock()
	r.legacy = true
	r.mu.Unlock()
	h.Legacy = true
	return c.order(ctx, r, http.MethodPost, path, h, v)
}

// order signs what a server is told, and calls it.
func (c *Client) order(ctx context.Context, r *remote, method, path string, h envelope.Hints, v any) error {
	body, err := c.sealer.SealHints(h, c.stamp())
	if err != nil {
		return err
	}
	return c.call(ctx, r, method, path, body, v)
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

func (r *remote) offer() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.maxAge
}

func (r *remote) set(f func(*Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.status)
}
