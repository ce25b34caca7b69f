package valkey

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/opengatewayprotocol/ogp/core"
)

const (
	callTimeout  = 2 * time.Second
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	saidEvery    = time.Minute // the same trouble in the log

	cacheBytes = 32 << 20 // of looked-up records, in each of two connections
)

// link is the connection to the engine, and who makes a new one when it breaks. While
// there is none every call fails at once.
type link struct {
	o      Options
	client atomic.Pointer[valkey.Client] // nil: away
	broken chan struct{}                 // says that the client does not work any more
	full   throttle
	other  throttle
}

func newLink(o Options) *link { return &link{o: o, broken: make(chan struct{}, 1)} }

// open connects for the first time.
func (l *link) open(ctx context.Context) error {
	err := l.connect(ctx)
	if err == nil {
		return nil
	}
	t := troubleOf(err)
	if !t.passes {
		return &core.Error{Kind: core.Unavailable, Public: l.o.At.String() + ": " + t.text, Err: t.err, Hint: t.hint}
	}
	l.say(t)
	l.report()
	return nil
}

func (l *link) say(t trouble) {
	attrs := []any{"store", l.o.At.String(), "trouble", t.text}
	if t.err != nil {
		attrs = append(attrs, "error", t.err)
	}
	if t.hint != "" {
		attrs = append(attrs, "hint", t.hint)
	}
	l.o.Logger.Error("the store is away: every request gets 503 until it is back", attrs...)
}

// report has the client replaced.
func (l *link) report() {
	select {
	case l.broken <- struct{}{}:
	default:
	}
}

// keep makes a new client whenever one has broken, until ctx is done.
func (l *link) keep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.broken:
		}
		l.close()
		began, said := time.Now(), time.Now()
		for wait := firstBackoff; ; wait = min(2*wait, maxBackoff) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait/2 + rand.N(wait/2+1)):
			}
			err := l.connect(ctx)
			if err == nil {
				break
			}
			if time.Since(said) >= saidEvery {
				l.say(troubleOf(err))
				said = time.Now()
			}
		}
		select { // what was said of the client before
		case <-l.broken:
		default:
		}
		l.o.Logger.Info("the store is back", "store", l.o.At.String(), "after", time.Since(began).Round(time.Millisecond))
	}
}

func (l *link) close() {
	if c := l.client.Swap(nil); c != nil {
		(*c).Close()
	}
}

// connect makes a client that works: of a primary, with scripts.
func (l *link) connect(ctx context.Context) error {
	o := valkey.ClientOption{
		InitAddress: []string{l.o.At.host}, Username: l.o.At.user, Password: l.o.At.password, SelectDB: l.o.At.database, TLSConfig: l.o.At.tls,
		ForceSingleClient: true, DisableRetry: true, PipelineMultiplex: 1, CacheSizeEachConn: cacheBytes,
		ConnWriteTimeout: callTimeout, Dialer: net.Dialer{Timeout: callTimeout, KeepAlive: time.Second},
		ClientName: "ogp-rendezvous", ClientSetInfo: valkey.DisableClientSetInfo,
	}
	c, err := valkey.NewClient(o)
	if err != nil && knowsNoCache(err) {
		o.DisableCache = true
		if c, err = valkey.NewClient(o); err == nil {
			l.o.Logger.Info("every lookup goes to the store: it knows no client-side caching", "store", l.o.At.String())
		}
	}
	if err != nil {
		return err
	}
	if err := l.probe(ctx, c); err != nil {
		c.Close()
		return err
	}
	l.client.Store(&c)
	return nil
}

func knowsNoCache(err error) bool {
	if errors.Is(err, valkey.ErrNoCache) {
		return true
	}
	var e *valkey.ValkeyError
	return errors.As(err, &e) && strings.Contains(strings.ToLower(e.Error()), "unknown")
}

// probe looks whether the engine is one to work with, and warns of what is unwise.
func (l *link) probe(ctx context.Context, c valkey.Client) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info := map[string]string{}
	for _, section := range []string{"replication", "memory", "persistence"} {
		text, err := c.Do(ctx, c.B().Info().Section(section).Build()).ToString()
		if err != nil {
			continue // it may be forbidden; what counts is tried below
		}
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			info[name] = value
		}
	}
	if info["role"] == "slave" {
		return errReplica
	}
	if info["loading"] == "1" {
		return errLoading
	}
	if err := admitScript.Exec(ctx, c, []string{l.o.At.prefix + "probe"}, []string{"", "1", "1", "1"}).Error(); err != nil {
		return err
	}
	if policy := info["maxmemory_policy"]; policy != "" && policy != "noeviction" && info["maxmemory"] != "0" {
		l.o.Logger.Warn("the store may forget records and limits when it is full", "maxmemory-policy", policy, "hint", "set maxmemory-policy noeviction: then it says that it is full")
	}
	if l.o.MaxAge > 0 && info["aof_enabled"] == "0" {
		l.o.Logger.Warn("a restart of the store loses what it has not saved: gateways with a long life register again within a quarter of it",
			"longest", l.o.MaxAge/4, "hint", "set appendonly yes")
	}
	if info["aof_enabled"] == "1" && l.forgets(ctx, c) {
		l.o.Logger.Warn("a restart of the store loses all that it has kept: its user default may not write, as whom it reads its own appendonly file",
			"hint", "give that user a password and all rights, and not off: user default on >password ~* &* +@all")
	}
	return nil
}

// forgets reports whether the engine, when it starts, drops what it finds in its append-only
// file of our scripts: it checks that against the rights of the user default (Redis 7.0.15
// and Valkey 8.1.1 do). Where it cannot be asked, it is taken to do no such thing.
func (l *link) forgets(ctx context.Context, c valkey.Client) bool {
	said, err := c.Do(ctx, c.B().Arbitrary("ACL", "DRYRUN", "default", "SET", l.o.At.prefix+"probe", "1").Build()).ToString()
	return err == nil && said != "OK"
}

// do runs a call. Its errors are of kind Unavailable, with RetryAfter.
func (l *link) do(ctx context.Context, call func(context.Context, valkey.Client) error) error {
	c := l.client.Load()
	if c == nil {
		return away()
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := call(ctx, *c)
	if err == nil {
		return nil
	}
	t := troubleOf(err)
	switch {
	case t.reconnect:
		if l.client.CompareAndSwap(c, nil) { // the first to see it
			l.say(t)
			l.report()
			go (*c).Close()
		}
	case t.full:
		l.full.do(func() { l.o.Logger.Error("the store is full", "store", l.o.At.String(), "hint", t.hint) })
		return &core.Error{Kind: core.Unavailable, Public: "The rendezvous is full", RetryAfter: time.Minute, Err: err}
	default:
		l.other.do(func() {
			l.o.Logger.Error("the store refuses", "store", l.o.At.String(), "trouble", t.text, "error", t.err, "hint", t.hint)
		})
	}
	return away()
}

func away() error {
	return &core.Error{Kind: core.Unavailable, Public: "The rendezvous cannot reach its store", RetryAfter: maxBackoff}
}

// trouble is what an error of the engine means to an operator.
type trouble struct {
	text, hint string
	err        error
	passes     bool // it may pass by itself: a server starts all the same
	reconnect  bool
	full       bool
}

var (
	errReplica = errors.New("READONLY")
	errLoading = errors.New("LOADING")
)

// troubles are what an engine says, by how it begins.
var troubles = []struct {
	begins string
	trouble
}{
	{"NOAUTH", trouble{text: "it wants a password", hint: hintPassword, reconnect: true}},
	{"WRONGPASS", trouble{text: "user or password is wrong", hint: hintPassword, reconnect: true}},
	{"invalid password", trouble{text: "user or password is wrong", hint: hintPassword, reconnect: true}},
	{"AUTH <password> called without any password", trouble{text: "it wants no password", hint: "leave the password out of the URL, or set requirepass there", reconnect: true}},
	{"Client sent AUTH, but no password is set", trouble{text: "it wants no password", hint: "leave the password out of the URL, or set requirepass there", reconnect: true}},
	{"NOPERM", trouble{text: "its user may not do what we need", hint: "ACL SETUSER <name> ~ogp:rv:* +@all -@admin -@dangerous +info allows it", reconnect: true}},
	{"READONLY", trouble{text: "it is a replica, which takes no registrations", hint: "name the primary, or a name that follows it", passes: true, reconnect: true}},
	{"LOADING", trouble{text: "it is still reading its data", passes: true, reconnect: true}},
	{"MASTERDOWN", trouble{text: "it is a replica without its primary", hint: "name the primary", passes: true, reconnect: true}},
	{"NOREPLICAS", trouble{text: "it has too few replicas to take writes (min-replicas-to-write)", passes: true}},
	{"MISCONF", trouble{text: "it cannot save its data, and takes no writes", hint: "look at its log: often its disk is full", passes: true}},
	{"OOM", trouble{text: "it is full", hint: "give it more memory (maxmemory), or a lower --max-peers here", passes: true, full: true}},
	{"BUSY", trouble{text: "it is busy with a script that somebody runs", passes: true}},
	{"MOVED", trouble{text: "it is a cluster", hint: hintCluster, reconnect: true}},
	{"CLUSTERDOWN", trouble{text: "it is a cluster", hint: hintCluster, reconnect: true}},
	{"CROSSSLOT", trouble{text: "it is a cluster", hint: hintCluster}},
	{"WRONGTYPE", trouble{text: "something else writes under our names", hint: "give the rendezvous a database of its own, or another prefix: ?prefix=..."}},
	{"DB index is out of range", trouble{text: "it has no such database", hint: "the path of the URL is the number of a database, such as /0"}},
	{"unknown command", trouble{text: "it does not know a command that we need", hint: "it must be a Valkey, or a Redis from 6.0"}},
}

const (
	hintPassword = "the URL carries both, valkey://user:password@host:6379/0, percent-encoded; file:/path keeps it off the command line"
	hintCluster  = "give the rendezvous an engine that is no cluster, or one for each shard (docs/rendezvous.md#a-hundred-million)"
)

// troubleOf says what an error means.
func troubleOf(err error) trouble {
	text := err.Error()
	var said *valkey.ValkeyError
	if errors.As(err, &said) {
		text = strings.TrimPrefix(said.Error(), "ERR ")
	}
	if said != nil || errors.Is(err, errReplica) || errors.Is(err, errLoading) {
		for _, t := range troubles {
			if strings.HasPrefix(text, t.begins) || strings.Contains(text, "-"+t.begins+" ") { // a script's error carries the command's
				t.err = err
				return t.trouble
			}
		}
		return trouble{text: "it answers with an error", err: err, hint: "it must be a Valkey, or a Redis from 6.0"}
	}
	t := trouble{text: "it does not answer", err: err, passes: true, reconnect: true}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var cert *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown), errors.As(err, &name), errors.As(err, &cert):
		t.text, t.hint, t.passes = "its certificate is not valid", "?ca=/path/ca.pem names the authority that has signed it; the host in the URL must be among its names", false
	case errors.As(err, &header):
		t.text, t.hint, t.passes = "it speaks no TLS there", "valkey:// or redis:// is without TLS", false
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		t.hint = "is it a Valkey or a Redis there? With TLS it is valkeys:// or rediss://, without it valkey:// or redis://"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		t.text, t.hint = "it closes the connection", "with TLS it is valkeys:// or rediss://, without it valkey:// or redis://: try the other"
	}
	return t
}

// throttle lets something be said once a minute.
type throttle struct{ at atomic.Int64 }

func (t *throttle) do(f func()) {
	now, last := time.Now().UnixNano(), t.at.Load()
	if now-last >= int64(saidEvery) && t.at.CompareAndSwap(last, now) {
		f()
	}
}

// odd says what an engine answered that no script of ours does.
func oddAnswer(what string, v any) error {
	return fmt.Errorf("valkey: %s: an answer of another form: %.80v", what, v)
}
