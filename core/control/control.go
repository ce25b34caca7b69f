// Package control is the local API that the command line speaks to a running
// daemon, both ends: calls of named methods with JSON, over a Unix socket that
// only its owner can open. core/control/api lists the methods.
//
// The daemon is the one writer of the state, so every command that changes
// something goes through here (docs/threat-model.md#s2).
package control

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/gate"
	"github.com/opengatewayprotocol/ogp/core/web"
)

// The sockets' files in the state directory: the operator's, and the agent's.
const (
	SocketName      = "ogp.sock"
	AgentSocketName = "agent.sock"
)

// maxSocketPath is what a Unix socket's address holds on every system that we
// run on.
const maxSocketPath = 100

// Path is where the socket of a state directory is: in it, or, where that path is
// too long for a socket, in the system's directory for temporary files under a
// name made from it.
func Path(stateDir string) string { return pathOf(stateDir, SocketName, "") }

// AgentPath is where the agent's socket of a state directory is, in the same way.
func AgentPath(stateDir string) string { return pathOf(stateDir, AgentSocketName, "-agent") }

func pathOf(stateDir, name, mark string) string {
	path := filepath.Join(stateDir, name)
	if len(path) <= maxSocketPath {
		return path
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("ogp-%d-%s%s.sock", os.Getuid(), short(stateDir), mark))
}

func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}

// Server answers calls.
type Server struct {
	Handlers []Handler
	Logger   *slog.Logger  // nil: none
	Name     string        // in the log
	MaxBytes int64         // of a call; zero: 16 MiB, as one may carry an import
	Restart  func() string // what restarts us, in words; nil: nobody knows
}

// failure is an error on its way to the caller.
type failure struct {
	Kind       core.Kind      `json:"kind"`
	Message    string         `json:"message"`
	Hint       string         `json:"hint,omitempty"`
	RetryAfter int            `json:"retryAfter,omitzero"` // seconds
	Candidates []string       `json:"candidates,omitempty"`
	Detail     jsontext.Value `json:"detail,omitzero"`
}

// Listen opens the socket, mode 0600. A socket that nobody answers on is left
// over from a daemon that was killed, and is replaced. Anything else in its place
// is left alone, and is an error.
func Listen(path string) (net.Listener, error) { return ListenFor(path, "a daemon") }

// ListenFor is Listen for what is called who, where it answers already.
func ListenFor(path, who string) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("control: %w", err)
	case info.Mode().Type() != os.ModeSocket:
		return nil, core.Refusef(core.Conflict, "%s is not a socket: move it away", path)
	case !ours(info):
		return nil, core.Refusef(core.Forbidden, "the socket %s belongs to another user", path)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("control: %s is running already (it answers on %s)", who, path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control: %w", err)
	}
	if len(path) > maxSocketPath {
		return nil, core.Refusef(core.Malformed, "%s is too long for a socket: at most %d bytes", path, maxSocketPath)
	}
	ln, err := listenPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return ln, nil
}

const (
	importBytes = 16 << 20
	// SpokenBytes is enough for a call that carries a message of 64 KiB, whatever its
	// escapes.
	SpokenBytes = 512 << 10
)

// drain is how long Serve waits for running calls when it ends.
const drain = 5 * time.Second

// Serve answers calls until ctx is done. It closes ln. A handler's context ends
// when its caller goes away, and with ctx. Connections on which no whole call has
// come make room for others.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/call/{method}", s.safely(s.answer))
	mux.HandleFunc("POST /v1/stream/{method}", s.safely(s.stream))
	server := &http.Server{Handler: mux, MaxHeaderBytes: 8 << 10, BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelWarn)}
	gate.Watch(server)
	g := gate.New(ln, gate.Options{Name: s.Name, Max: gate.Local(), Logger: s.Logger})
	defer g.End()
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		if server.Shutdown(limited) != nil {
			server.Close()
		}
	})
	err := server.Serve(g)
	if stop() {
		return fmt.Errorf("control: %w", err)
	}
	<-ended
	return nil
}

// safely turns a handler's panic into an answer, and bounds the body.
func (s *Server) safely(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				s.Logger.Error("panic while answering", "server", "control", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				s.fail(w, core.Refuse(core.Internal, "the daemon failed; its log says where"))
			}
		}()
		r.Body = http.MaxBytesReader(w, r.Body, cmp.Or(s.MaxBytes, importBytes))
		f(w, r)
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	h, err := find(s.Handlers, r.PathValue("method"))
	if err == nil && h.call == nil {
		err = core.Refusef(core.NotFound, "%q is a stream", h.name)
	}
	params, readErr := io.ReadAll(r.Body)
	if err = cmp.Or(err, readErr); err != nil {
		s.fail(w, err)
		return
	}
	gate.Works(r.Context())
	result, err := h.call(r.Context(), params)
	if err != nil {
		s.fail(w, err)
		return
	}
	write(w, http.StatusOK, result)
}

func write(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"kind":"internal","message":"the daemon cannot write its answer"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the caller may have gone
}

// errorMark begins the last line of a stream that ended with an error; no JSON
// value begins with it.
const errorMark = '!'

// stream runs a stream and writes what it sends, one line each.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	h, err := find(s.Handlers, r.PathValue("method"))
	if err == nil && h.stream == nil {
		err = core.Refusef(core.NotFound, "%q is not a stream", h.name)
	}
	params, readErr := io.ReadAll(r.Body)
	if err = cmp.Or(err, readErr); err != nil {
		s.fail(w, err)
		return
	}
	gate.Works(r.Context())
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	if out.Flush() != nil { // the head goes out before there is anything to say
		return
	}
	send := func(v any) error {
		line, err := json.Marshal(v, json.Deterministic(true))
		if err != nil {
			return err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
		return out.Flush()
	}
	err = h.stream(r.Context(), params, send)
	if err == nil || r.Context().Err() != nil {
		return
	}
	if line, err := json.Marshal(s.failureOf(err)); err == nil {
		_, _ = w.Write(append(append([]byte{errorMark}, line...), '\n')) // the caller may have gone
	}
}

// failureOf says what restarts us where that is what helps.
func (s *Server) failureOf(err error) failure {
	f := failure{Kind: core.Internal, Message: err.Error()}
	var e *core.Error
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		f = failure{Kind: core.TooLarge, Message: fmt.Sprintf("the call is longer than %d KiB", long.Limit>>10)}
	case errors.As(err, &e):
		f = failure{Kind: e.Kind, Message: err.Error(), Hint: e.Hint, RetryAfter: int((e.RetryAfter + time.Second - 1) / time.Second),
			Candidates: e.Candidates, Detail: jsontext.Value(e.Detail)}
	}
	if s.Restart != nil && errors.Is(err, errOtherVersion) {
		f.Hint = "after an upgrade, restart it: " + s.Restart()
	}
	return f
}

func (s *Server) fail(w http.ResponseWriter, err error) {
	f := s.failureOf(err)
	write(w, web.StatusOf(f.Kind), f)
}

func (f failure) err() error {
	return &core.Error{Kind: f.Kind, Public: f.Message, Hint: f.Hint, RetryAfter: time.Duration(f.RetryAfter) * time.Second,
		Candidates: f.Candidates, Detail: core.Raw(f.Detail)}
}

// Client calls a daemon. Safe for concurrent use.
type Client struct {
	path string
	http *http.Client
}

// Dial returns a client for a socket, which must be this user's. Nothing is opened before
// the first call.
func Dial(path string) *Client { return dial(path, false) }

// DialShared returns a client for a socket that another account serves, at a path that
// this user has chosen.
func DialShared(path string) *Client { return dial(path, true) }

func dial(path string, shared bool) *Client {
	return &Client{path, &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if info, err := os.Lstat(path); err == nil && !shared && !ours(info) {
				return nil, fmt.Errorf("the socket %s belongs to another user", path)
			}
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		DisableCompression: true,
		DisableKeepAlives:  true, // a command makes a call or two, and a daemon that stops waits for nobody
	}}}
}

// ErrNoDaemon is the error of a call that nobody answers.
var ErrNoDaemon = errors.New("control: no daemon is running")

// Call calls a method and reads its result into result, which may be nil. Errors
// are ErrNoDaemon, what the method returned, as a *core.Error, or what keeps us from
// the socket.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	body, err := c.post(ctx, "/v1/call/"+method, params)
	if err != nil {
		return err
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil && cutShort(err) {
		return errCutShort()
	}
	if err != nil || result == nil {
		return err
	}
	return json.Unmarshal(text, result)
}

// cutShort reports whether the daemon has ended while it was at work on a call.
func cutShort(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

const cutShortText = "the gateway ended before it answered: what was asked for may be done, or not"

// IsCutShort reports whether a call's error means that the daemon ended while it was at work
// on it.
func IsCutShort(err error) bool {
	var e *core.Error
	return errors.As(err, &e) && e.Public == cutShortText
}

func errCutShort() error {
	return core.Refuse(core.Unavailable, cutShortText).WithHint(`"ogp status" shows whether it runs again; check what was done before you repeat the command`)
}

// errBusy says that the call was not taken.
func errBusy() error {
	e := core.Refuse(core.Unavailable, "the gateway is busy with as many calls as it can handle; try again in a moment")
	e.RetryAfter = 5 * time.Second
	return e
}

// stream calls a streaming method and hands each value's text to f until the
// stream ends, f returns an error, or ctx is done.
func (c *Client) stream(ctx context.Context, method string, params any, f func(line []byte) error) error {
	body, err := c.post(ctx, "/v1/stream/"+method, params)
	if err != nil && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		line := lines.Bytes()
		if line[0] == errorMark {
			var f failure
			if err := json.Unmarshal(line[1:], &f); err != nil {
				return fmt.Errorf("control: stream: %w", err)
			}
			return f.err()
		}
		if err := f(line); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return lines.Err()
}

func (c *Client) post(ctx context.Context, path string, params any) (io.ReadCloser, error) {
	if params == nil {
		params = struct{}{}
	}
	body, err := json.Marshal(params, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://ogp"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, ErrNoDaemon
		}
		if errors.Is(err, syscall.ENOTDIR) {
			return nil, core.Refusef(core.Malformed, "%s is not a folder", filepath.Dir(c.path))
		}
		// Turned away before it was read, or before it was written, for which net/http has a
		// text alone.
		if errors.Is(err, syscall.EPIPE) || strings.Contains(err.Error(), "readLoopPeekFailLocked") {
			return nil, errBusy()
		}
		if cutShort(err) {
			return nil, errCutShort()
		}
		if outer, ok := errors.AsType[*url.Error](err); ok { // names an address that means nothing here
			err = outer.Err
		}
		return nil, fmt.Errorf("control: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var f failure
	if err := json.Unmarshal(text, &f); err != nil || f.Message == "" {
		if resp.StatusCode == http.StatusServiceUnavailable {
			return nil, errBusy()
		}
		return nil, fmt.Errorf("control: the daemon answered %d", resp.StatusCode)
	}
	return nil, f.err()
}
