package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
	"github.com/opengatewayprotocol/ogp/core/store/sqlite"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// The checks of what is on this machine.

const (
	// storeLimit bounds the reading of the whole store.
	storeLimit = time.Minute
	// storePatience is how long doctor waits for that in a gateway that runs: long
	// enough for a few hundred MB. What takes longer goes on, for the next time.
	storePatience = 700 * time.Millisecond
	// storeFresh is how long a result counts.
	storeFresh = 10 * time.Minute
)

// storeReading is the reading of the whole store for damage, at most one at a time.
type storeReading struct {
	mu   sync.Mutex    // guards the rest
	done chan struct{} // of the reading under way, closed at its end; nil: none was begun
	at   time.Time     // when the last one ended; zero: none has
	err  error         // what it found
	cut  bool          // it was not finished within storeLimit
}

// begin starts a reading unless one is under way or fresh, and returns what is closed
// at its end.
func (x *storeReading) begin(check func(context.Context) error) <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done != nil && (x.at.IsZero() || time.Since(x.at) < storeFresh) {
		return x.done
	}
	done := make(chan struct{})
	x.done, x.at = done, time.Time{}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), storeLimit)
		defer cancel()
		err := check(ctx)
		x.mu.Lock()
		defer x.mu.Unlock()
		x.at, x.err, x.cut = time.Now(), err, ctx.Err() != nil
		close(done)
	}()
	return done
}

// checkStore reads the store and looks for damage. In a gateway that runs it waits
// for no longer than storePatience.
func (d *Daemon) checkStore(ctx context.Context, r *api.Report) {
	s, ok := d.store.(*sqlite.Store)
	if !ok {
		return // there is none yet
	}
	if err := s.Health(); err != nil {
		r.Failed("store", hintOf(err), err)
		return
	}
	size, err := s.Size()
	if err != nil {
		r.Failed("store", "look at the disk", err)
		return
	}
	patience := storePatience
	if d.public == nil { // nobody would hear of it later
		patience = storeLimit
	}
	done := d.reading.begin(s.Check)
	select {
	case <-done:
	case <-ctx.Done():
		return
	case <-time.After(patience):
		r.Ok("store", "%s, being read for damage: ask again in a moment for what is found", text.Bytes(uint64(size)))
		return
	}
	d.reading.mu.Lock()
	defer d.reading.mu.Unlock()
	switch {
	case d.reading.cut:
		r.Warn("store", "", "not read to its end within %v; no damage until there", storeLimit)
	case d.reading.err != nil:
		r.Failed("store", "put your backup back: docs/operating.md", d.reading.err)
	default:
		r.Ok("store", "no damage in %s", text.Bytes(uint64(size)))
	}
}

// Space below which the store has little room: a message is some KiB, and the
// write-ahead log may grow to 64 MiB.
const (
	diskFailBytes = 128 << 20
	diskWarnBytes = 1 << 30
)

// diskFreeOf is replaced by tests, as a full disk is hard to come by.
var diskFreeOf = diskFree

func checkDisk(r *api.Report, dir string) {
	free, total, ok := diskFreeOf(dir)
	if !ok {
		return
	}
	fix := "free some space where " + dir + " is; inbox.keep = \"30d\" in config.toml keeps less"
	switch {
	case free < diskFailBytes:
		r.Fail("disk", fix, "%s of %s free: senders soon get 507", text.Bytes(free), text.Bytes(total))
	case free < diskWarnBytes:
		r.Warn("disk", fix, "%s of %s free", text.Bytes(free), text.Bytes(total))
	default:
		r.Ok("disk", "%s of %s free", text.Bytes(free), text.Bytes(total))
	}
}

// minDescriptors is what a gateway needs at a busy time: connections from peers,
// and to them.
const minDescriptors = 512

// descriptorsOf is replaced by tests.
var descriptorsOf = descriptors

func checkDescriptors(r *api.Report) {
	used, most, ok := descriptorsOf()
	if !ok {
		return
	}
	fix := "ulimit -n 4096 before \"ogp start\"; for systemd LimitNOFILE=4096"
	switch {
	case used >= most-most/20:
		r.Fail("descriptors", fix, "%d of %d files are open: new connections are turned away", used, most)
	case used >= most/5*4:
		r.Warn("descriptors", fix, "%d of %d files are open", used, most)
	case most < minDescriptors:
		r.Warn("descriptors", fix, "only %d files may be open, want at least %d", most, minDescriptors)
	default:
		r.Ok("descriptors", "%d of %d open", used, most)
	}
}

// checkFreePort tries to listen where a start would.
func (d *Daemon) checkFreePort(ctx context.Context, r *api.Report) {
	address := d.config().ListenAddress()
	ln, err := net.Listen("tcp", address)
	if err == nil {
		ln.Close()
		r.Ok("port", "%s is free", address)
		return
	}
	otherPort := fmt.Sprintf("daemon_port = %d in config.toml", d.config().DaemonPort+10)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		who := "something"
		if card, err := fetchCard(ctx, localURL(address, "http"), true); err == nil {
			who = "another OGP gateway (" + fingerprintOf(card.PublicKey) + ")"
		}
		r.Fail("port", otherPort+", or stop that one: ss -ltnp sport = :"+fmt.Sprint(d.config().DaemonPort), "%s listens on %s already", who, address)
	case errors.Is(err, syscall.EACCES):
		r.Fail("port", otherPort, "%s is not for this user: %v", address, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		r.Fail("port", `listen = "" in config.toml listens on every address`, "this machine does not have the address of %s", address)
	default:
		r.Fail("port", `listen and daemon_port in config.toml`, "cannot listen on %s: %v", address, err)
	}
}

// localURL is how this machine reaches a listener of its own.
func localURL(address, scheme string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// checkOwnPort asks our own listener, and whether it is where the configuration
// says.
func (d *Daemon) checkOwnPort(ctx context.Context, r *api.Report) {
	scheme := "http"
	if d.config().TLS.Cert != "" || d.config().TLS.Domain != "" {
		scheme = "https"
	}
	address := d.public.Addr().String()
	card, err := fetchCard(ctx, localURL(address, scheme), true)
	switch {
	case err != nil:
		r.Fail("port", `"ogp stop", then "ogp start --background"`, "our own listener on %s does not answer: %v", address, err)
		return
	case card.PublicKey != d.key.Public().String():
		r.Fail("port", "ss -ltnp sport = :"+fmt.Sprint(d.port()), "%s is answered by another gateway (%s)", address, fingerprintOf(card.PublicKey))
		return
	}
	if want := d.config().DaemonPort; want != 0 && want != d.port() {
		r.Warn("port", `"ogp stop", then "ogp start --background"`, "listening on %s, while daemon_port is %d now", address, want)
		return
	}
	if d.listensTooNarrow() {
		r.Warn("port", `"ogp stop", then "ogp start --background"`, "listening on %s, which this machine alone reaches, while the gateway URL is not on it any more", address)
		return
	}
	r.Ok("port", "listening on %s", address)
}

// checkCertificateFiles looks at tls.cert and tls.key.
func (d *Daemon) checkCertificateFiles(r *api.Report) {
	c := d.config().TLS
	if c.Cert == "" {
		return
	}
	pair, err := loadPair(c.Cert, c.Key)
	if err != nil {
		r.Fail("tls", "tls.cert and tls.key in config.toml: PEM files of the same key pair that this user can read", "%v", err)
		return
	}
	checkExpiry(r, pair.Leaf, c.Cert)
}

// checkPlugins tries every plugin: its file, its hash, its self-tests, on a store
// that is thrown away; and, in a daemon, how the loaded ones do.
func (d *Daemon) checkPlugins(ctx context.Context, r *api.Report) {
	wanted, err := d.wantedPlugins(ctx)
	if err != nil {
		r.Failed("plugins", "its [plugins] table in config.toml", err)
		return
	}
	if len(wanted) == 0 {
		r.Ok("plugins", "none")
		return
	}
	states := map[string]hooks.View{}
	if d.hooks != nil {
		loading, cancel := context.WithTimeout(ctx, 30*time.Second)
		_ = d.hooks.Ready(loading) // one that failed is shown below
		cancel()
		for _, v := range d.hooks.List() {
			states[v.Name] = v
		}
	}
	manager, err := hooks.New(hooks.Options{Store: memory.New(), CacheDir: filepath.Join(d.dir, CompileCache), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.Failed("plugins", "", err)
		return
	}
	defer manager.Close()
	looks := map[string]hooks.View{}
	for _, v := range hooks.Look(ctx, d.store, wanted, d.rules()) {
		looks[v.Name] = v
	}
	for _, w := range wanted {
		name := w.Spec.Name
		v, loaded := states[name]
		if !loaded {
			v = looks[name]
		}
		if v.Approves {
			r.Ok("plugins", "%s may approve strangers, with at most these grants: %s", name, plugin.GrantWords(v.AtMost))
		}
		if v.Replies {
			r.Ok("plugins", "%s may answer peers' messages", name)
		}
		found := problems(d.pluginProblems(v))
		if try := manager.Try(ctx, w); try != nil && v.State != hooks.StateFailed {
			view := api.ErrorOf(startRefused(try))
			found = append(problems{{State: api.CheckFail, Text: hooks.Words(name, view.Message), Fix: view.Hint}}, found...)
			if v.State == hooks.StateReady {
				found[0].Text = "it runs, and the next start would refuse it: " + found[0].Text
			}
		}
		for _, p := range found {
			*r = append(*r, api.Check{Name: "plugins", State: p.State, Text: name + ": " + p.Text, Fix: p.Fix})
		}
		if len(found) == 0 {
			pinned := "not pinned"
			if v.Pinned {
				pinned = "pinned"
			}
			r.Ok("plugins", "%s: self-tests pass, SHA-256 %.12s %s", name, v.SHA256, pinned)
		}
	}
}

// Ages from which a queue is worth a look.
const (
	outboxOld   = time.Hour
	deliveryOld = 10 * time.Minute
)

// checkQueues looks at what waits.
func checkQueues(r *api.Report, count func() (core.Depths, error)) {
	depths, err := count()
	if err != nil {
		r.Failed("queues", "look at the disk", err)
		return
	}
	old := func(t time.Time, most time.Duration) bool { return !t.IsZero() && time.Since(t) > most }
	good := true
	if depths.Outbox > 0 && old(depths.OldestOutbox, outboxOld) {
		good = false
		r.Warn("queues", "\"ogp outbox\" shows to whom and why; then ogp doctor --peer <name>", "%s to be sent, the oldest since %s", text.Count(depths.Outbox, "message waits", "messages wait"), text.Ago(depths.OldestOutbox))
	}
	if depths.Deliveries > 0 && old(depths.OldestDelivery, deliveryOld) {
		good = false
		r.Warn("queues", "\"ogp delivery list --all\" shows for whom and why", "%s, the oldest since %s", text.Count(depths.Deliveries, "notice waits", "notices wait"), text.Ago(depths.OldestDelivery))
	}
	if good {
		r.Ok("queues", "%s and %s waiting, none for long", text.Count(depths.Outbox, "message"), text.Count(depths.Deliveries, "notice"))
	}
}

// checkPeers counts those that cannot be reached.
func (d *Daemon) checkPeers(_ context.Context, r *api.Report) {
	approved, pending := 0, 0
	failures := d.gateway.Settings().CheckFailures
	for _, p := range d.gateway.Peers() {
		switch p.Trust {
		case core.Pending:
			pending++
		case core.Approved:
			approved++
			if h := d.gateway.Health(p.Key); h.Failures >= failures {
				r.Warn("peers", "ogp doctor --peer "+p.Name(), "%s is down, %s failed: %s", p.Name(), text.Count(h.Failures, "check"), h.LastError)
			}
		}
	}
	if pending > 0 {
		r.Warn("peers", "ogp federation list --status pending", "%s for a decision", text.Count(pending, "peer waits", "peers wait"))
		return
	}
	r.Ok("peers", "%d approved", approved)
}
