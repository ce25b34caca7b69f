// Package control is the local API that the command line speaks to a running
// daemon, both ends: calls of named methods with JSON, over a Unix socket that
// only its owner can open. It knows no methods; cmd/ogp registers them.
//
// The daemon is the one writer of the state, so every command that changes
// something goes through here (docs/threat-model.md#s2).
package control

import (
	"bufio"
	"bytes"
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
	"sync"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/web"
)

// SocketName is the socket's file in the state directory.
const SocketName = "ogp.sock"

// maxSocketPath is what a Unix socket's address holds on every system that we
// run on.
const maxSocketPath = 100

// Path is where the socket of a state directory is: in it, or, where that path is
// too long for a socket, in the system's directory for temporary files under a
// name made from it.
func Path(stateDir string) string {
	path := filepath.Join(stateDir, SocketName)
	if len(path) <= maxSocketPath {
		return path
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("ogp-%d-%s.sock", os.Getuid(), short(stateDir)))
}

func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}

// Method answers one call. params is a JSON object; the result is written as
// JSON. An error of type *core.Error reaches the caller whole.
type Method func(ctx context.Context, params jsontext.Value) (any, error)

// Stream answers one call with many values, each sent as it comes, until ctx is
// done or it returns.
type Stream func(ctx context.Context, params jsontext.Value, send func(v any) error) error

// Server answers calls.
type Server struct {
	Methods map[string]Method
	Streams map[string]Stream
	Logger  *slog.Logger
	// Beat is how often a stream that has nothing to say shows that it is alive, and
	// so learns that its client has gone. Zero means 10 seconds.
	Beat time.Duration
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
func Listen(path string) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("control: %w", err)
	case info.Mode().Type() != os.ModeSocket:
		return nil, fmt.Errorf("control: %s is no socket; move it away", path)
	case !ours(info):
		return nil, fmt.Errorf("control: the socket %s belongs to another user", path)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("control: a daemon is running already (it answers on %s)", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control: %w", err)
	}
	ln, err := listenPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return ln, nil
}

// Serve answers calls until ctx is done.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	// A call may carry a message of 64 KiB with all its escapes, or an import.
	app := web.New(web.Options{Name: "control", Logger: s.Logger, MaxBodyBytes: 16 << 20, NoTimeouts: true})
	app.Fiber.Post("/v1/call/:method", func(c *fiber.Ctx) error {
		method, ok := s.Methods[c.Params("method")]
		if !ok {
			return fail(c, core.Refusef(core.NotFound, "the running daemon does not know %q; is it of another version?", c.Params("method")))
		}
		callCtx, cancel := context.WithCancel(ctx)
		defer cancel()
		result, err := method(callCtx, web.Body(c))
		if err != nil {
			return fail(c, err)
		}
		return web.JSON(c, http.StatusOK, result)
	})
	app.Fiber.Post("/v1/stream/:method", func(c *fiber.Ctx) error {
		stream, ok := s.Streams[c.Params("method")]
		if !ok {
			return fail(c, core.Refusef(core.NotFound, "the running daemon does not know %q", c.Params("method")))
		}
		params := web.Body(c)
		c.Set("Content-Type", "application/x-ndjson")
		c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
			s.stream(ctx, w, stream, params)
		})
		return nil
	})
	return app.Serve(ctx, ln)
}

// errorMark begins the last line of a stream that ended with an error; no JSON
// value begins with it.
const errorMark = '!'

// stream runs a stream and writes what it sends, one line each. Empty lines are
// beats.
func (s *Server) stream(ctx context.Context, w *bufio.Writer, f Stream, params jsontext.Value) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex // guards w
	write := func(line []byte) error {
		mu.Lock()
		defer mu.Unlock()
		w.Write(append(line, '\n')) // Flush has its error
		err := w.Flush()
		if err != nil {
			cancel()
		}
		return err
	}
	if write(nil) != nil { // the head goes out before there is anything to say
		return
	}
	var beats sync.WaitGroup
	defer beats.Wait()
	defer cancel()
	beats.Go(func() {
		every := s.Beat
		if every <= 0 {
			every = 10 * time.Second
		}
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				_ = write(nil) // a client that has gone ends the stream
			}
		}
	})
	err := f(ctx, params, func(v any) error {
		line, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return write(line)
	})
	if err == nil || ctx.Err() != nil {
		return
	}
	line, err := json.Marshal(failureOf(err))
	if err == nil {
		_ = write(append([]byte{errorMark}, line...)) // as good as can be: the client may have gone
	}
}

func failureOf(err error) failure {
	f := failure{Kind: core.Internal, Message: err.Error()}
	var e *core.Error
	if errors.As(err, &e) {
		f = failure{Kind: e.Kind, Message: err.Error(), Hint: e.Hint, RetryAfter: int((e.RetryAfter + time.Second - 1) / time.Second),
			Candidates: e.Candidates, Detail: jsontext.Value(e.Detail)}
	}
	return f
}

func fail(c *fiber.Ctx, err error) error {
	f := failureOf(err)
	return web.JSON(c, web.StatusOf(f.Kind), f)
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

// Dial returns a client for a socket. Nothing is opened before the first call.
func Dial(path string) *Client {
	return &Client{path, &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if info, err := os.Lstat(path); err == nil && !ours(info) {
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
	if err != nil || result == nil {
		return err
	}
	return json.Unmarshal(text, result)
}

// Stream calls a streaming method and hands each value's text to f until the
// stream ends, f returns an error, or ctx is done.
func (c *Client) Stream(ctx context.Context, method string, params any, f func(line []byte) error) error {
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
		if len(line) == 0 {
			continue // a beat
		}
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
	body, err := json.Marshal(params)
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
		var outer *url.Error // names an address that means nothing here
		if errors.As(err, &outer) {
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
		return nil, fmt.Errorf("control: the daemon answered %d", resp.StatusCode)
	}
	return nil, f.err()
}
