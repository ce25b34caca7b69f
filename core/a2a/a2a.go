// Package a2a shows each approved peer as an A2A 1.0 agent to programs on this machine: a
// card, and JSON-RPC in which a task is a message of ours in the outbox. It keeps nothing:
// a task's state is what the outbox and the peer's signed reply say.
//
// Whoever holds its token can do what the agent's role can, and no more; what a peer wrote
// stands in texts alone, fenced as in notices (docs/threat-model.md#g1).
package a2a

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/a2aproject/a2a-go/v2/a2asrv"
	"github.com/a2aproject/a2a-go/v2/log"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/gate"
)

// Bounds on what a client may hold or send.
const (
	maxBody     = 256 << 10
	maxRequests = 64 // at once; streams are among them
	maxStream   = time.Hour
	maxWait     = 55 * time.Second // for an answer, within one request
	maxWrite    = 30 * time.Second // until a client has read what is written
)

// Role is what the door does things through: the agent's role, with its limits.
type Role interface {
	Peers(ctx context.Context) ([]api.AgentPeer, error)
	Send(ctx context.Context, p api.AgentSendParams) (api.AgentSent, error)
	Result(ctx context.Context, p api.AgentResultParams) (api.AgentSent, error)
	Follow(ctx context.Context, last api.AgentSent, most time.Duration) (api.AgentSent, error)
	Tasks(ctx context.Context, peer, conversation string) ([]api.AgentSent, error)
	Cancel(ctx context.Context, id string) (api.AgentSent, error)
	Watch(ctx context.Context, id string, changed func()) (stop func(), err error)
}

// Options are what a Server is made of. All are needed.
type Options struct {
	Role    Role
	Store   PushStore
	Posting Posting
	Token   func() (string, error) // the token in force; empty or an error lets nobody in
	OwnHost func(host string) bool // whether a Host header means us
	Version string                 // of the program
	Logger  *slog.Logger
}

// Server serves the agents. Safe for concurrent use.
type Server struct {
	o      Options
	busy   chan struct{} // a place for each request that is served
	mux    *http.ServeMux
	pushes *pushes
}

// New makes a server.
func New(o Options) *Server {
	s := &Server{o: o, busy: make(chan struct{}, maxRequests), mux: http.NewServeMux(), pushes: newPushes(o)}
	s.mux.HandleFunc("GET /a2a/{peer}/.well-known/agent-card.json", s.card)
	s.mux.HandleFunc("POST /a2a/{peer}", s.call)
	s.mux.HandleFunc("POST /a2a/{peer}/{$}", s.call)
	return s
}

// Serve answers at ln until ctx is done, and closes it, and tells clients of their tasks.
// Streams end with ctx. Whoever shows no token keeps out nobody who does: his connection is
// the first to go.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	told := make(chan error, 1)
	go func() {
		err := s.pushes.run(ctx)
		if err != nil {
			stop()
		}
		told <- err
	}()
	err := s.serve(ctx, ln)
	stop()
	return errors.Join(err, <-told)
}

func (s *Server) serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return log.AttachLogger(ctx, s.o.Logger) },
		ErrorLog:    slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug),
	}
	gate.Watch(server)
	g := gate.New(ln, gate.Options{Name: "a2a", Max: gate.Local(), Logger: s.o.Logger})
	defer g.End()
	done := context.AfterFunc(ctx, func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if server.Shutdown(last) != nil {
			server.Close()
		}
	})
	defer done()
	err := server.Serve(g)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// ServeHTTP asks who it is before anything is read: a Host that is not ours is a page that
// was made to point here, and without the token nothing is told, not even which peers there
// are.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w = &timely{w, maxWrite}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !s.o.OwnHost(r.Host) {
		fail(w, http.StatusMisdirectedRequest, "this host name is not ours")
		return
	}
	if !s.knows(r.Header.Get("Authorization")) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="ogp"`)
		fail(w, http.StatusUnauthorized, `send "Authorization: Bearer" with the token that "ogp a2a token" shows`)
		return
	}
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	default:
		w.Header().Set("Retry-After", "5")
		fail(w, http.StatusServiceUnavailable, "too many requests at once")
		return
	}
	gate.Works(r.Context())
	s.mux.ServeHTTP(w, r)
}

// timely ends the connection of a client that does not read: a stream has no end by which
// all of it must be written, so that each piece has.
type timely struct {
	http.ResponseWriter
	most time.Duration
}

func (t *timely) Write(b []byte) (int, error) {
	t.begin()
	return t.ResponseWriter.Write(b)
}

// Flush is what the protocol's streams ask for.
func (t *timely) Flush() {
	t.begin()
	_ = http.NewResponseController(t.ResponseWriter).Flush() // the next Write has the error
}

func (t *timely) begin() {
	_ = http.NewResponseController(t.ResponseWriter).SetWriteDeadline(time.Now().Add(t.most)) // a recorder of a test has none
}

// knows compares a token in constant time.
func (s *Server) knows(header string) bool {
	want, err := s.o.Token()
	scheme, got, _ := strings.Cut(header, " ")
	if err != nil || want == "" || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	a, b := sha256.Sum256([]byte(strings.TrimSpace(got))), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// find finds the approved peer that a path names, by our name for it or its fingerprint.
// An unknown one and one that is not approved have the same answer.
func (s *Server) find(w http.ResponseWriter, r *http.Request) *api.AgentPeer {
	peers, err := s.o.Role.Peers(r.Context())
	if err != nil {
		s.o.Logger.Error("a2a: peers cannot be read", "err", err)
		fail(w, http.StatusInternalServerError, "internal error")
		return nil
	}
	name := r.PathValue("peer")
	for _, p := range peers {
		if strings.EqualFold(p.Name, name) || strings.EqualFold(p.Fingerprint, name) {
			return &p
		}
	}
	fail(w, http.StatusNotFound, "there is no approved peer of this name")
	return nil
}

func (s *Server) card(w http.ResponseWriter, r *http.Request) {
	p := s.find(w, r)
	if p == nil {
		return
	}
	// The types of the protocol write themselves for the standard library.
	a2asrv.NewStaticAgentCardHandler(s.cardOf(p, r.Host)).ServeHTTP(&sameOrigin{w}, r)
}

// sameOrigin leaves out the header that lets pages of any origin read.
type sameOrigin struct{ http.ResponseWriter }

func (s *sameOrigin) WriteHeader(status int) {
	s.clean()
	s.ResponseWriter.WriteHeader(status)
}

func (s *sameOrigin) Write(b []byte) (int, error) {
	s.clean()
	return s.ResponseWriter.Write(b)
}

func (s *sameOrigin) clean() {
	for name := range s.Header() {
		if strings.HasPrefix(name, "Access-Control-") {
			s.Header().Del(name)
		}
	}
}

// cardOf is the card of a peer as an agent: its skills are what it grants us.
func (s *Server) cardOf(p *api.AgentPeer, host string) *a2a.AgentCard {
	card := &a2a.AgentCard{
		Name:        p.Name,
		Description: "A federated peer, " + p.Fingerprint + ". Messages reach its gateway signed; what comes back is the peer's word, and data.",
		Version:     s.o.Version,
		SupportedInterfaces: []*a2a.AgentInterface{
			a2a.NewAgentInterface("http://"+host+"/a2a/"+url.PathEscape(p.Name), a2a.TransportProtocolJSONRPC),
		},
		Capabilities:         a2a.AgentCapabilities{Streaming: true, PushNotifications: true},
		DefaultInputModes:    []string{"text/plain", "application/json"},
		DefaultOutputModes:   []string{"text/plain"},
		SecuritySchemes:      a2a.NamedSecuritySchemes{"token": a2a.HTTPAuthSecurityScheme{Scheme: "Bearer"}},
		SecurityRequirements: a2a.SecurityRequirementsOptions{{"token": {}}},
		Skills:               []a2a.AgentSkill{},
	}
	for _, may := range p.WeMay {
		intent, topics, some := strings.Cut(may, " on ")
		skill := a2a.AgentSkill{ID: intent, Name: intent, Tags: []string{"ogp"}, Description: "Send the peer a message with the intent " + intent + "."}
		if some {
			skill.Description += " Topics: " + topics + "."
			skill.Tags = append(skill.Tags, strings.Split(topics, ", ")...)
		}
		card.Skills = append(card.Skills, skill)
	}
	return card
}

// call answers one call. Its JSON is judged strictly before it is read.
func (s *Server) call(w http.ResponseWriter, r *http.Request) {
	p := s.find(w, r)
	if p == nil {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			fail(w, http.StatusRequestEntityTooLarge, "the body is longer than 256 KiB")
			return
		}
		fail(w, http.StatusBadRequest, "the body did not arrive")
		return
	}
	if !jsontext.Value(body).IsValid() { // names that come twice, and broken UTF-8, are not
		body = []byte("!") // which the handler answers as the protocol wants
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	a2asrv.NewJSONRPCHandler(&handler{role: s.o.Role, pushes: s.pushes, peer: *p, log: s.o.Logger}, a2asrv.WithTransportKeepAlive(20*time.Second),
		a2asrv.WithTransportPanicHandler(func(v any) error {
			s.o.Logger.Error("a2a: a call panicked", "err", v)
			return a2a.ErrInternalError
		})).ServeHTTP(w, r)
}

func fail(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.MarshalWrite(w, map[string]string{"error": text}) // the reader has gone
}

// fault is an error in the protocol's words.
func (h *handler) fault(err error) error {
	var said *a2a.Error
	if err == nil || errors.As(err, &said) {
		return err
	}
	var e *core.Error
	if !errors.As(err, &e) {
		h.log.Error("a2a: a call failed", "err", err)
		return a2a.ErrInternalError
	}
	kind := a2a.ErrServerError
	switch e.Kind {
	case core.Malformed, core.TooLarge:
		kind = a2a.ErrInvalidParams
	case core.NotFound, core.NotApproved:
		kind = a2a.ErrTaskNotFound
	}
	return a2a.NewError(kind, e.Error())
}
