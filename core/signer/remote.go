package signer

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/text"
)

const (
	// most is how many connections a Remote has at a time.
	most = 8
	// callTime bounds one signature, the wait for a connection included.
	callTime = 3 * time.Second
	// restTime is how long nothing is asked after a failure, so that a signer that hangs
	// does not hold up everything.
	restTime = time.Second
	// lookEvery is how often Run looks.
	lookEvery = 5 * time.Second
	// retryAfter is what peers are told.
	retryAfter = 10 * time.Second
)

// Remote is the key of a signer in another process. Safe for concurrent use.
type Remote struct {
	path   string
	public core.PublicKey
	log    *slog.Logger

	slots chan struct{} // one for each connection in use
	idle  chan *conn

	mu    sync.Mutex // guards ill, since
	ill   error      // of the last call; nil: it went well
	since time.Time  // when the last call failed
}

var _ core.Signer = (*Remote)(nil)

// conn is a connection whose greeting was read.
type conn struct {
	net.Conn
	r *bufio.Reader
}

// Open finds the signer at a path, whose key is fixed from then on. Errors are of kind
// Unavailable when none answers, and Forbidden when others could put a socket of their own
// in its place, who would be shown what we sign.
func Open(path string, log *slog.Logger) (*Remote, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r := &Remote{path: path, log: log, slots: make(chan struct{}, most), idle: make(chan *conn, most)}
	if info, err := os.Stat(filepath.Dir(path)); err == nil && info.Mode().Perm()&0o002 != 0 && os.PathSeparator == '/' {
		return nil, core.Refusef(core.Forbidden, "signer: anybody may write in %s, and so put another socket there", filepath.Dir(path)).
			WithHint("put the socket in a folder of its own, such as /run/ogp-signer, that only the signer's user may write in")
	}
	c, err := r.dial(time.Now().Add(callTime))
	if err != nil {
		return nil, r.failure(err)
	}
	r.idle <- c
	return r, nil
}

// Public is the signer's public key.
func (r *Remote) Public() core.PublicKey { return r.public }

// Sign has a text signed, and verifies the signature.
func (r *Remote) Sign(text []byte) (string, error) {
	if len(text) > maxText {
		return "", core.Refusef(core.TooLarge, "%d bytes are more than a signer signs", len(text))
	}
	said, err := r.ask(askSign, text, func(said []byte) error {
		if len(said) != 64 || !keys.Verify(r.public, text, [64]byte(said)) {
			return errors.New("it has answered with a signature that does not hold")
		}
		return nil
	})
	return hex.EncodeToString(said), err
}

// Derive gives a secret of ours for a purpose, as keys.Private does.
func (r *Remote) Derive(purpose string) (secret [32]byte, err error) {
	said, err := r.ask(askDerive, []byte(purpose), func(said []byte) error {
		if len(said) != len(secret) {
			return errors.New("it has answered with no secret")
		}
		return nil
	})
	copy(secret[:], said)
	return secret, err
}

// Check has something signed that is of no use.
func (r *Remote) Check() error {
	_, err := r.Sign([]byte(checkText + rand.Text() + rand.Text()[:6]))
	return err
}

// Health is nil while the signer signs, and otherwise why it does not.
func (r *Remote) Health() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ill == nil {
		return nil
	}
	return r.failure(r.ill)
}

// Run looks every few seconds whether the signer signs, until ctx is done.
func (r *Remote) Run(ctx context.Context) error {
	return core.Every(ctx, lookEvery, func(context.Context) { _ = r.Check() })
}

// Close ends the connections that nobody uses.
func (r *Remote) Close() {
	for {
		select {
		case c := <-r.idle:
			c.Close()
		default:
			return
		}
	}
}

// refusal is what a signer that is well will not do. It may be of another version, or what
// is in its place, so what is to be signed waits, as for one that is away.
type refusal string

func (r refusal) Error() string { return "it refuses: " + text.Line(string(r), 200) }

// ask asks one question, once more where a connection had ended that nobody used.
func (r *Remote) ask(what byte, data []byte, sound func(said []byte) error) ([]byte, error) {
	r.mu.Lock()
	ill, since := r.ill, r.since
	r.mu.Unlock()
	if ill != nil && time.Since(since) < restTime {
		return nil, r.failure(ill)
	}
	said, err := r.call(what, data)
	if err == nil {
		err = sound(said)
	}
	var no refusal
	if !errors.As(err, &no) {
		r.feel(err)
	}
	if err != nil {
		return nil, r.failure(err)
	}
	return said, nil
}

func (r *Remote) call(what byte, data []byte) ([]byte, error) {
	deadline := time.Now().Add(callTime)
	wait := time.NewTimer(callTime)
	defer wait.Stop()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-wait.C:
		return nil, errors.New("it is too slow: all connections to it wait")
	}
	for {
		var c *conn
		used := true
		select {
		case c = <-r.idle:
		default:
			var err error
			if c, err = r.dial(deadline); err != nil {
				return nil, err
			}
			used = false
		}
		said, err := c.ask(what, data, deadline)
		var no refusal
		if err == nil || errors.As(err, &no) {
			r.idle <- c // never more than slots
			return said, err
		}
		c.Close()
		if !used || errors.Is(err, os.ErrDeadlineExceeded) { // else it has ended since: the signer was restarted, say
			return nil, err
		}
	}
}

func (c *conn) ask(what byte, data []byte, deadline time.Time) ([]byte, error) {
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if err := writeFrame(c, what, data); err != nil {
		return nil, err
	}
	said, n, err := readHead(c.r, maxAnswer)
	if err != nil {
		return nil, err
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(c.r, answer); err != nil {
		return nil, err
	}
	switch said {
	case saysYes:
		return answer, nil
	case saysNo:
		return nil, refusal(answer)
	}
	return nil, errors.New("it does not speak the signer's protocol")
}

// dial connects, and holds the signer to the key that was first seen.
func (r *Remote) dial(deadline time.Time) (*conn, error) {
	c, err := (&net.Dialer{Deadline: deadline}).Dial("unix", r.path)
	if err != nil {
		return nil, err
	}
	k, reader, err := greet(c, deadline)
	switch {
	case err == nil && r.public.IsZero():
		r.public = k
	case err == nil && k != r.public:
		err = fmt.Errorf("it has another key now, %s, and %s is ours", k.Fingerprint(), r.public.Fingerprint())
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return &conn{c, reader}, nil
}

// greet reads what a signer begins with.
func greet(c net.Conn, deadline time.Time) (k core.PublicKey, r *bufio.Reader, err error) {
	if err := c.SetDeadline(deadline); err != nil {
		return k, nil, err
	}
	r = bufio.NewReaderSize(c, 512)
	line, err := r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return k, nil, err
	}
	text, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\n"), greeting)
	if !ok || err != nil {
		if strings.HasPrefix(string(line), "ogp-signer/") {
			return k, nil, errors.New("it speaks another version of the signer's protocol: run the same version of ogp on both sides")
		}
		return k, nil, errors.New("it does not speak the signer's protocol")
	}
	k, err = keys.Parse(text)
	return k, r, err
}

// feel notes how the last call went, and says once for each reason that nothing is signed
// any more, and once that it is again.
func (r *Remote) feel(err error) {
	r.mu.Lock()
	was := r.ill
	r.ill, r.since = err, time.Now()
	r.mu.Unlock()
	switch {
	case err != nil && (was == nil || fact(was) != fact(err)):
		f := r.failure(err)
		r.log.Error("the signer does not sign: what we send waits", "err", f.Err, "hint", f.Hint)
	case err == nil && was != nil:
		r.log.Warn("the signer signs again")
	}
}

// failure says that the key cannot be reached, and what to do.
func (r *Remote) failure(why error) *core.Error {
	e := &core.Error{Kind: core.Unavailable, Public: "Nothing can be signed now", RetryAfter: retryAfter,
		Err: fmt.Errorf("the signer at unix:%s: %s", r.path, fact(why)), Hint: "look at the signer there: its log says more"}
	var no refusal
	switch {
	case errors.As(why, &no):
		e.Hint = "look at the signer's log, and run the same version of ogp on both sides"
	case errors.Is(why, fs.ErrNotExist), errors.Is(why, syscall.ECONNREFUSED):
		e.Hint = "start the signer there: ogp --home <its state directory> signer --socket " + r.path
	case errors.Is(why, fs.ErrPermission):
		e.Hint = "let this user open it: run the signer with --group and a group that this user is in"
	}
	return e
}

// fact is what went wrong, without the layers of the network around it.
func fact(err error) string {
	var no syscall.Errno
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such socket"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there"
	case errors.Is(err, fs.ErrPermission):
		return "this user may not open it"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("no answer within %v", callTime)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return "it has ended the connection"
	case errors.As(err, &no):
		return no.Error()
	}
	return err.Error()
}
