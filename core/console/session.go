package console

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
)

// How long codes and sessions live, and how many there may be at once.
const (
	codeLife    = time.Minute
	sessionLife = 12 * time.Hour
	maxCodes    = 16
	maxSessions = 16
	maxUsed     = 20_000 // forms of one session
)

// digest is what is kept of a code or a cookie: enough to know it again.
type digest = [sha256.Size]byte

// sessions are the codes that are given out and the browsers that have shown one. They
// live in memory alone: when the gateway stops, all of them end.
type sessions struct {
	now  func() time.Time
	name string // of this run's cookie: cookies do not know ports, and other gateways have their own
	host string // a name at loopback that other servers on this machine do not have, nor its cookies

	mu    sync.Mutex // guards all below
	codes map[digest]code
	live  map[digest]*session
}

// code is what is known of one that was given out.
type code struct {
	expires time.Time
	uid     int // the account that it is for, or anybody
}

// session is a browser that has shown a code.
type session struct {
	secret  [32]byte // of its forms
	expires time.Time
	by      account   // whose browser has shown the code
	stolen  sync.Once // to say so
	unsent  *again    // the form that its browser sent without a session; nil: none

	mu     sync.Mutex // guards all below
	used   map[string]bool
	notice string // shown once
	stream context.CancelFunc
	ended  bool
}

func newSessions(now func() time.Time) *sessions {
	run := strings.ToLower(rand.Text()[:10])
	return &sessions{now: now, name: "ogp-console-" + run, host: "ogp-" + run + ".localhost", codes: map[digest]code{}, live: map[digest]*session{}}
}

// invite makes a code for the browsers of an account, or of anybody.
func (s *sessions) invite(uid int) (text string, expires time.Time) {
	text, expires = rand.Text(), s.now().Add(codeLife)
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.codes) >= maxCodes {
		delete(s.codes, earliest(s.codes, func(c code) time.Time { return c.expires }))
	}
	s.codes[sha256.Sum256([]byte(text))] = code{expires, uid}
	return text, expires
}

func earliest[V any](m map[digest]V, at func(V) time.Time) (key digest) {
	var first time.Time
	for k, v := range m {
		if t := at(v); first.IsZero() || t.Before(first) {
			key, first = k, t
		}
	}
	return key
}

// errOthers is of a code that another account of this machine has shown. It still counts.
var errOthers = errors.New("the code is for another account")

var errNoCode = errors.New("no such code")

// redeem turns a code into a session, once, and returns its cookie's value. by says whose
// browser shows it: the session is for that account.
func (s *sessions) redeem(text string, by func() account, unsent *again) (value string, err error) {
	text = strings.ToUpper(strings.TrimSpace(text))
	s.mu.Lock()
	defer s.mu.Unlock()
	key := sha256.Sum256([]byte(text))
	c, known := s.codes[key]
	if !known || !s.now().Before(c.expires) {
		delete(s.codes, key)
		return "", errNoCode
	}
	x := &session{expires: s.now().Add(sessionLife), by: by(), used: map[string]bool{}, unsent: unsent}
	if !x.by.allowed(account{c.uid, c.uid != anybody}) {
		return "", errOthers
	}
	delete(s.codes, key)
	for len(s.live) >= maxSessions {
		old := earliest(s.live, func(x *session) time.Time { return x.expires })
		s.live[old].end()
		delete(s.live, old)
	}
	value = rand.Text() + rand.Text()
	_, _ = rand.Read(x.secret[:]) // never fails
	s.live[sha256.Sum256([]byte(value))] = x
	return value, nil
}

// of is the session of a request, or nil. A server on another port can set cookies of our
// name, which may come first. It is also shown ours, where it has our host, and may be another
// account's: a cookie counts for the account that it was given to. others reports that another
// one has shown it.
func (s *sessions) of(r *http.Request) (x *session, others bool) {
	for _, c := range r.CookiesNamed(s.name) {
		found := s.find(sha256.Sum256([]byte(c.Value)))
		switch {
		case found == nil:
		case found.by.allowed(accountOf(r)):
			return found, false
		default:
			x, others = found, true
		}
	}
	return x, others
}

func (s *sessions) find(key digest) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.live[key]
	if x == nil || s.now().Before(x.expires) {
		return x
	}
	x.end()
	delete(s.live, key)
	return nil
}

// drop ends one session.
func (s *sessions) drop(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, other := range s.live {
		if other == x {
			delete(s.live, key)
		}
	}
	x.end()
}

// end ends all of them, and the codes.
func (s *sessions) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.live {
		x.end()
	}
	clear(s.live)
	clear(s.codes)
}

// end stops the session's stream.
func (x *session) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ended = true
	if x.stream != nil {
		x.stream()
	}
}

// follow makes a stream the session's only one: a browser has six connections for all of
// a host's pages. The context ends with the session, which has so much time left, or when
// another stream begins.
func (x *session) follow(ctx context.Context, left time.Duration) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithTimeout(ctx, left)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stream != nil {
		x.stream()
	}
	x.stream = stop
	if x.ended {
		stop()
	}
	return ctx, stop
}

// token is what a form carries, once.
func (x *session) token() string {
	id := rand.Text()
	return id + "." + x.mark(id)
}

func (x *session) mark(id string) string {
	m := hmac.New(sha256.New, x.secret[:])
	m.Write([]byte(id))
	return hex.EncodeToString(m.Sum(nil))
}

// spend reports whether a token is of this session, and whether it is new; it counts as
// used from then on.
func (x *session) spend(token string) (ours, fresh bool) {
	id, mark, _ := strings.Cut(token, ".")
	if subtle.ConstantTimeCompare([]byte(mark), []byte(x.mark(id))) != 1 {
		return false, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.used[id] || len(x.used) >= maxUsed {
		return true, false
	}
	x.used[id] = true
	return true, true
}

// say keeps a sentence for the next page.
func (x *session) say(notice string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.notice = notice
}

// said is that sentence, once.
func (x *session) said() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	notice := x.notice
	x.notice = ""
	return notice
}
