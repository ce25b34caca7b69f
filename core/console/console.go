// Package console is the operator's page: what waits for a human, who the peers are and
// how they do, what is said, and what a policy would change. It sees the gateway through
// the typed calls of the control API alone, so that every act of it is one that the
// command line has.
//
// It listens when somebody asks for it ("ogp console"), on loopback or with TLS, and lets
// nobody in without a code that the control socket has given out.
//
// docs/console.md, docs/threat-model.md#w1
package console

import (
	"context"
	"errors"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gate"
)

// Bounds on what a browser may hold or send.
const (
	maxBody    = 640 << 10 // of a form: an answer of 60,000 characters, each of which may be sent as nine
	maxRequest = 60 * time.Second
	lastWords  = time.Second // for what is being answered when the page closes
)

// Options are what a Server is made of. All are needed, but Now and Where.
type Options struct {
	Caller control.Caller // the daemon's own methods
	// Events streams what happens, as the method "events" does.
	Events func(ctx context.Context, p api.EventParams, send func(api.EventView) error) error
	// Listen opens the listener when the console is asked for, as Listen does.
	Listen func() (net.Listener, func(host string) bool, error)
	// Where names what Listen would open: what is open is closed where that is another one now. nil: it stays.
	Where   func() string
	Command string // what a command for this gateway begins with: "ogp"
	Version string // of the program
	Logger  *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Server is the console. Safe for concurrent use.
type Server struct {
	o         Options
	sessions  *sessions
	mux       http.Handler
	templates func() map[string]*template.Template // parsed when the first page is shown
	doctor    lookout

	sending          chan struct{} // has one in it for each form with files that is worked on
	patience, stalls time.Duration // how long such a form waits for a place, and may stand still
	replays          replays

	mu     sync.Mutex // guards all below
	ctx    context.Context
	server *http.Server // nil: nobody has asked for the page
	addr   net.Addr
	where  string
	serves func(host string) bool // of its certificate; nil: no TLS
	name   string                 // in the certificate
}

// New makes a console that does not listen yet.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, sessions: newSessions(o.Now), sending: make(chan struct{}, maxSends), patience: sendsWait, stalls: stallsFor}
	s.templates = sync.OnceValue(s.parse)
	s.mux = s.guard(s.routes())
	return s
}

// Run lets Open work until ctx is done. Then the page is closed, and every session ends.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	<-ctx.Done()
	s.End()
	return nil
}

// Open gives out a code that opens the page once, within a minute, and opens the listener
// where there is none yet. Where uid is not nil, the code is for browsers of that account of
// this machine, as far as the system says whose they are. The error says why it cannot listen.
func (s *Server) Open(uid *int) (api.ConsoleView, error) {
	if s.moved() {
		s.End()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil || s.ctx.Err() != nil {
		return api.ConsoleView{}, core.Refuse(core.Unavailable, "the gateway is starting or stopping")
	}
	if s.server == nil {
		if err := s.listen(); err != nil {
			return api.ConsoleView{}, err
		}
	}
	whose := anybody
	if uid != nil {
		whose = *uid
	}
	code, expires := s.sessions.invite(whose)
	host := s.sessions.host
	if s.serves != nil {
		host = s.name
	}
	return api.ConsoleView{Address: s.addr.String(), Host: host, Code: code, Expires: expires, TLS: s.serves != nil, Bound: uid != nil && saysWhose()}, nil
}

// moved reports whether the listener is to be another one than what is open.
func (s *Server) moved() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server != nil && s.where != s.place()
}

// place is where the listener is to be.
func (s *Server) place() string {
	if s.o.Where == nil {
		return ""
	}
	return s.o.Where()
}

// listen opens the listener. The caller holds mu.
func (s *Server) listen() error {
	s.where = s.place()
	ln, serves, err := s.o.Listen()
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s.mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return s.ctx },
		ErrorLog:    slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug)}
	gate.Watch(server)
	noting(server)
	g := gate.New(ln, gate.Options{Name: "console", Max: gate.Local(), Logger: s.o.Logger})
	s.server, s.addr, s.serves = server, ln.Addr(), serves
	n, _ := ln.(named)
	s.name = n.name
	s.o.Logger.Info("the console is open", "listen", ln.Addr().String())
	go func() {
		defer g.End()
		err := server.Serve(g)
		if !errors.Is(err, http.ErrServerClosed) {
			s.o.Logger.Error("the console has ended", "err", err)
		}
		s.forget(server)
	}()
	return nil
}

// tls is the judge of names of the listener's certificate; nil without TLS.
func (s *Server) tls() func(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serves
}

func (s *Server) forget(server *http.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == server {
		s.server = nil
	}
}

// End ends every session, and closes the listener.
func (s *Server) End() {
	s.sessions.end()
	s.replays.clear()
	s.mu.Lock()
	server := s.server
	s.server = nil
	s.mu.Unlock()
	if server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		server.Close()
	}
	s.o.Logger.Info("the console is closed")
}
