// Package web sets fiber up once, safely: limits, raw bodies, framing checks and
// JSON errors. It is the only place that builds a fiber.App. Handlers read the
// body with Body, the client's address with ClientIP, answer with JSON, and
// return a *core.Error where something is wrong; nothing of that error but its
// public text leaves the process.
//
// docs/threat-model.md#n2, #n3, #n4
package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/valyala/fasthttp"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/gate"
)

// The limits of every server of ours. docs/threat-model.md#n2
const (
	DefaultMaxBodyBytes = core.DefaultBodyBytes
	MaxHeaderBytes      = 8 << 10
	ReadTimeout         = 5 * time.Second  // for a whole request, head and body
	WriteTimeout        = 10 * time.Second // for a whole answer
	IdleTimeout         = 30 * time.Second // between two requests of a connection
	DefaultDrain        = 5 * time.Second
)

// Options are an App's settings. The zero value is ready to use.
type Options struct {
	// Name stands in the log lines.
	Name string
	// Logger gets panics and internal errors. Nil: none.
	Logger *slog.Logger
	// MaxBodyBytes bounds a request's body. Zero means 64 KiB.
	MaxBodyBytes int
	// MaxConns bounds the open connections; more are answered 503. Zero means
	// gate.Limit().
	MaxConns int
	// MaxConnsPerAddress bounds those of one address, in IPv6 of one /64. Loopback
	// and TrustedProxies, behind which are many, have seven eighths of MaxConns
	// together. Zero means an eighth of MaxConns, 16 to 512.
	MaxConnsPerAddress int
	// OwnHost judges the Host header; what it does not take is answered 421. Nil
	// takes every one.
	OwnHost func(host string) bool
	// BodyMemory bounds the bytes of all bodies that are being read. Zero means 32 MiB.
	BodyMemory int64
	// TrustedProxies may say in X-Forwarded-For who their client is.
	TrustedProxies []netip.Prefix
	// Status replaces StatusOf for the errors that handlers return. Nil: StatusOf.
	Status func(core.Kind) int
	// Drain is how long Serve waits for running requests when it ends. Zero means 5 s.
	Drain time.Duration
}

// App is a fiber.App within our limits. Register routes on Fiber, then call
// Serve. Routes match in any case and with a trailing slash, as gateways in the
// field do; GET routes answer HEAD.
type App struct {
	Fiber *fiber.App

	opts   Options
	bodies bodies
}

// New returns an App that is ready for routes.
func New(o Options) *App {
	if o.MaxBodyBytes == 0 {
		o.MaxBodyBytes = DefaultMaxBodyBytes
	}
	if o.MaxConns == 0 {
		o.MaxConns = gate.Limit()
	}
	if o.Drain == 0 {
		o.Drain = DefaultDrain
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Status == nil {
		o.Status = StatusOf
	}
	if o.BodyMemory == 0 {
		o.BodyMemory = DefaultBodyMemory
	}
	a := &App{opts: o, bodies: bodies{most: o.BodyMemory}}
	a.Fiber = fiber.New(fiber.Config{
		AppName:                      o.Name,
		Immutable:                    true,
		BodyLimit:                    o.MaxBodyBytes,
		Concurrency:                  2*o.MaxConns + 1024, // the gate holds what there may be, and some are about to end
		ReadBufferSize:               MaxHeaderBytes,
		ReadTimeout:                  ReadTimeout,
		WriteTimeout:                 WriteTimeout,
		IdleTimeout:                  IdleTimeout,
		ErrorHandler:                 a.fail,
		DisableStartupMessage:        true,
		DisablePreParseMultipartForm: true,
	})
	server := a.Fiber.Server()
	inner := server.Handler
	server.Handler = func(rctx *fasthttp.RequestCtx) { a.handle(rctx, inner) }
	server.CloseOnShutdown = true
	server.ConnState = track
	// A body is read by handle, so that it takes the memory of what has come of it.
	server.StreamRequestBody = true
	server.HeaderReceived = func(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
		if h.ContentLength() > o.MaxBodyBytes {
			h.SetContentLength(0) // refused by handle, unread
		}
		return fasthttp.RequestConfig{MaxRequestBodySize: 1} // that fasthttp reads by itself
	}
	return a
}

// Get serves a path with a handler of net/http's.
func (a *App) Get(path string, h http.Handler) { a.Fiber.Get(path, adaptor.HTTPHandler(h)) }

// Serve answers requests until ctx is done. Then it takes no more, lets running
// requests end within Options.Drain, closes what is left and returns nil. It
// closes ln. An App serves once.
func (a *App) Serve(ctx context.Context, ln net.Listener) error {
	g := gate.New(ln, gate.Options{Max: a.opts.MaxConns, PerAddress: a.opts.MaxConnsPerAddress, Proxies: a.opts.TrustedProxies, Logger: a.opts.Logger, Name: a.opts.Name})
	defer g.End()
	giving, stop := context.WithCancel(ctx)
	defer stop()
	go giveBack(giving, g)
	served := make(chan error, 1)
	go func() { served <- a.Fiber.Listener(g) }()
	select {
	case err := <-served:
		if err == nil {
			err = net.ErrClosed
		}
		return fmt.Errorf("web: serve %s: %w", a.opts.Name, err)
	case <-ctx.Done():
	}
	ln.Close() // also where Listener has not come to serving yet
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.opts.Drain)
	defer cancel()
	a.Fiber.ShutdownWithContext(drain) // its error says that connections are left, or that ln is closed
	g.CloseAll()
	<-served
	for g.Open() > 0 { // their handlers end with their connections
		time.Sleep(time.Millisecond)
	}
	return nil
}

// track notes which connections wait for their next request.
func track(c net.Conn, state fasthttp.ConnState) {
	if held, ok := c.(*gate.Conn); ok && state == fasthttp.StateIdle {
		held.Waits(true)
	}
}

const (
	manyConns   = 500              // from which on what they took is worth giving back
	lookAfter   = 5 * time.Second  // how often
	calmedDown  = 15 * time.Second // how long after most of them went; fasthttp keeps what served them for 10 s
	mostOfThose = 4                // one in so many is left
)

// giveBack returns memory to the system after a flood of connections, which the
// runtime does only when it next collects garbage: in a calm program in minutes.
//
// docs/threat-model.md#d6
func giveBack(ctx context.Context, g *gate.Gate) {
	most, calm := 0, time.Time{}
	core.Every(ctx, lookAfter, func(context.Context) {
		most = max(most, g.TakePeak())
		switch open := g.Open(); {
		case most < manyConns || open > most/mostOfThose:
			calm = time.Time{}
		case calm.IsZero():
			calm = time.Now()
		case time.Since(calm) >= calmedDown-2*lookAfter:
			runtime.GC() // takes what fasthttp keeps for reuse out of its pools, and the next one frees it
			debug.FreeOSMemory()
			most, calm = open, time.Time{}
		}
	})
}

// appKey is where a request finds its App.
const appKey = "ogp.web.app"

// handle stands around fiber: it refuses what fasthttp lets pass and turns a
// panic into an answer.
func (a *App) handle(rctx *fasthttp.RequestCtx, inner fasthttp.RequestHandler) {
	defer func() {
		if r := recover(); r != nil {
			a.opts.Logger.Error("panic while answering", "server", a.opts.Name,
				"panic", clip(fmt.Sprint(r)), "stack", string(debug.Stack()))
			rctx.Response.Reset()
			rctx.SetConnectionClose()
			writeError(rctx, fasthttp.StatusInternalServerError, "Internal server error")
		}
	}()
	if status, text := framing(&rctx.Request.Header); status != 0 {
		rctx.SetConnectionClose()
		writeError(rctx, status, text)
		return
	}
	if a.opts.OwnHost != nil && !a.opts.OwnHost(string(rctx.Host())) {
		rctx.SetConnectionClose()
		_ = writeError(rctx, fasthttp.StatusMisdirectedRequest, statusText(fasthttp.StatusMisdirectedRequest))
		return
	}
	if !slices.Contains(fiber.DefaultMethods, string(rctx.Method())) {
		// fiber answers an unknown method in plain text; one that is known and that
		// nobody serves gets 404, or 405 with Allow.
		rctx.Request.Header.SetMethod(fiber.MethodTrace)
	}
	rctx.SetUserValue(appKey, a)
	if announced(&rctx.Request.Header) > a.opts.MaxBodyBytes {
		refuseBody(rctx, errTooLong)
		return
	}
	if stream := rctx.Request.BodyStream(); stream != nil {
		buf, err := a.bodies.read(stream, a.opts.MaxBodyBytes)
		defer a.bodies.free(buf)
		if err != nil {
			refuseBody(rctx, err)
			return
		}
		rctx.Request.SetBodyRaw(*buf)
	}
	if held, ok := rctx.Conn().(*gate.Conn); ok {
		held.Waits(false)
	}
	inner(rctx)
}

// refuseBody answers for a body that was not read to its end, so that nothing can
// follow on the connection.
func refuseBody(rctx *fasthttp.RequestCtx, err error) {
	status := fasthttp.StatusBadRequest
	switch {
	case errors.Is(err, errTooLong):
		status = fasthttp.StatusRequestEntityTooLarge
	case errors.Is(err, errBusy):
		status = fasthttp.StatusServiceUnavailable
		rctx.Response.Header.Set(fiber.HeaderRetryAfter, "5")
	case isTimeout(err):
		status = fasthttp.StatusRequestTimeout
	}
	rctx.SetConnectionClose()
	_ = writeError(rctx, status, statusText(status))
}

// framing refuses requests that two servers could read differently. fasthttp by
// itself (v1.74.0) refuses a second Host, a second Content-Length, a space before
// a colon and unknown Transfer-Encodings; it lets Transfer-Encoding: chunked win
// over Content-Length, ignores "identity", takes absolute URIs, and does without
// a Host.
//
// docs/threat-model.md#n2
func framing(h *fasthttp.RequestHeader) (status int, text string) {
	uri := h.RequestURI()
	switch {
	case len(uri) == 0 || uri[0] != '/' || bytes.HasPrefix(uri, []byte("//")):
		return fasthttp.StatusBadRequest, "Bad request"
	case h.IsHTTP11() && len(h.Host()) == 0:
		return fasthttp.StatusBadRequest, "Bad request"
	case unclear(h):
		return fasthttp.StatusBadRequest, "Bad request"
	case len(h.Peek(fasthttp.HeaderContentEncoding)) > 0:
		return fasthttp.StatusUnsupportedMediaType, "Content-Encoding is not supported"
	}
	return 0, ""
}

// unclear reports whether a request has both Content-Length and Transfer-Encoding, a
// Transfer-Encoding that is not "chunked", or a header that goes on in the next line
// (obsolete since RFC 7230, and read in two ways).
func unclear(h *fasthttp.RequestHeader) bool {
	length, encoding := false, false
	for raw := h.RawHeaders(); len(raw) > 0; {
		var line []byte
		line, raw, _ = bytes.Cut(raw, []byte("\n"))
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			return true
		}
		length = length || hasName(line, "content-length")
		encoding = encoding || hasName(line, "transfer-encoding")
	}
	return encoding && (length || h.ContentLength() != -1)
}

func hasName(line []byte, name string) bool {
	return len(line) > len(name) && line[len(name)] == ':' && strings.EqualFold(string(line[:len(name)]), name)
}

// clip bounds what of a panic's value goes to the log.
func clip(s string) string { return s[:min(len(s), 512)] }

// fail answers for the error of a handler, of the router or of the parser.
func (a *App) fail(c *fiber.Ctx, err error) error {
	if routed, ok := errors.AsType[*fiber.Error](err); ok {
		return writeError(c.Context(), routed.Code, statusText(routed.Code))
	}
	return Fail(c, err)
}

// Fail answers with an error in the shape of the specification, {"error": text}, its
// status by the kind, and Retry-After where the error has one. An error that is
// no *core.Error, or of kind Internal, is logged and answered 500.
//
// docs/threat-model.md#n3
func Fail(c *fiber.Ctx, err error) error {
	status, text := fasthttp.StatusInternalServerError, "Internal server error"
	statusOf, logger := StatusOf, slog.New(slog.DiscardHandler)
	if a := appOf(c); a != nil {
		statusOf, logger = a.opts.Status, a.opts.Logger
	}
	var e *core.Error
	if errors.As(err, &e) && e.Kind != core.Internal {
		status = statusOf(e.Answer())
		if text = e.Public; text == "" {
			text = statusText(status)
		}
		SetRetryAfter(c, e.RetryAfter)
	} else {
		logger.Error("could not answer", "route", c.Route().Path, "error", err) // the path may hold a secret nonce
	}
	return writeError(c.Context(), status, text)
}

func appOf(c *fiber.Ctx) *App {
	a, _ := c.Context().UserValue(appKey).(*App)
	return a
}
