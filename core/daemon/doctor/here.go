package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon/certs"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// The checks of what is on this machine.

const (
	// storeLimit bounds the reading of the whole store.
	storeLimit = time.Minute
	// storePatience is how long doctor waits for that in a gateway that runs: long
	// enough for a hundred MB, and with all the rest below a second. What takes longer
	// goes on, for the next time.
	storePatience = 400 * time.Millisecond
	// storeFresh is how long a result counts.
	storeFresh = 10 * time.Minute
)

// Reading is the reading of the whole store for damage, at most one at a time. The zero
// value has read nothing.
type Reading struct {
	mu   sync.Mutex    // guards the rest
	done chan struct{} // of the reading under way, closed at its end; nil: none was begun
	at   time.Time     // when the last one ended; zero: none has
	err  error         // what it found
	cut  bool          // it was not finished within storeLimit
}

// begin starts a reading unless one is under way or fresh, and returns what is closed
// at its end.
func (x *Reading) begin(check func(context.Context) error) <-chan struct{} {
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

// onDisk is a store that can be read for damage.
type onDisk interface {
	Size() (int64, error)
	Check(ctx context.Context) error
}

// fixDisk is what to do where the store cannot be read.
func fixDisk(dir string) string {
	return "is the disk full or broken, or are its files another user's? df -h " + dir + "; ls -l " + dir
}

// Damage reads the store and looks for damage. In a gateway that runs it waits
// for no longer than storePatience.
func (d *Doctor) Damage(ctx context.Context, r *api.Report) {
	s, ok := d.Store.(onDisk)
	if !ok {
		return // there is none yet
	}
	if err := d.Store.Health(); err != nil {
		r.Failed("store", fixDisk(d.Dir), err)
		return
	}
	size, err := s.Size()
	if err != nil {
		r.Failed("store", fixDisk(d.Dir), err)
		return
	}
	patience := storePatience
	if d.Listener == nil { // nobody would hear of it later
		patience = storeLimit
	}
	done := d.Reading.begin(s.Check)
	select {
	case <-done:
	case <-ctx.Done():
		return
	case <-time.After(patience):
		r.Ok("store", "%s, still being checked for damage: run this again in a moment for the result", text.Bytes(uint64(size)))
		return
	}
	d.Reading.mu.Lock()
	defer d.Reading.mu.Unlock()
	switch {
	case d.Reading.cut:
		r.Warn("store", "the store is too large to check in one go. To check all of it: \"ogp stop\", then \"ogp backup\", which reads every row", "not checked to its end within %v; no damage so far", storeLimit)
	case d.Reading.err != nil:
		r.Failed("store", "put your backup back: \"ogp stop\", move "+d.Dir+" elsewhere, then \"ogp restore <backup>\"", d.Reading.err)
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

// Disk looks at the space that is left for the store.
func (d *Doctor) Disk(_ context.Context, r *api.Report) {
	dir := d.Dir
	free, total, ok := diskFreeOf(dir)
	if !ok {
		return
	}
	fix := "free some space where " + dir + " is; \"ogp config set inbox.keep 30d\" keeps less"
	switch {
	case free < diskFailBytes:
		r.Fail("disk", fix, "%s of %s free: soon no message can be kept, and peers' messages are turned away", text.Bytes(free), text.Bytes(total))
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

// Descriptors looks at how many files may be open.
func (d *Doctor) Descriptors(_ context.Context, r *api.Report) {
	used, most, ok := descriptorsOf()
	if !ok {
		return
	}
	fix := "run ulimit -n 4096 in the shell before \"ogp start\"; for a service LimitNOFILE=4096 in its unit"
	switch {
	case used >= most-most/20:
		r.Fail("descriptors", fix, "%d of %d files are open: new connections are turned away", used, most)
	case used >= most/5*4:
		r.Warn("descriptors", fix, "%d of %d files are open", used, most)
	case most < minDescriptors:
		r.Warn("descriptors", fix, "only %d files and connections may be open at a time, want at least %d", most, minDescriptors)
	default:
		r.Ok("descriptors", "%d of %d open", used, most)
	}
}

// Start repeats what the start has found, such as variables that nobody reads.
func (d *Doctor) Start(_ context.Context, r *api.Report) {
	for _, note := range d.Notes {
		what, fix, _ := strings.Cut(note, "; ")
		r.Warn("start", fix, "%s", what)
	}
}

// FreePort tries to listen where a start would.
func (d *Doctor) FreePort(ctx context.Context, r *api.Report) {
	address := d.Config.ListenAddress()
	ln, err := net.Listen("tcp", address)
	if err == nil {
		ln.Close()
		r.Ok("port", "%s is free", address)
		return
	}
	fix := PortFix(err, d.Config.DaemonPort, config.Origin{})
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		who := "something"
		if card, err := fetchCard(ctx, localURL(address, "http"), true); err == nil {
			who = "another OGP gateway (" + fingerprintOf(card.PublicKey) + ")"
		}
		r.Fail("port", fix+"\nor stop the other program; what it is: ss -ltnp sport = :"+fmt.Sprint(d.Config.DaemonPort), "%s listens on %s already", who, address)
	case errors.Is(err, syscall.EACCES):
		r.Fail("port", fix, "this user may not listen on %s: ports below 1024 are for root", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		r.Fail("port", fix, "this machine does not have the address of %s", address)
	default:
		r.Fail("port", fix, "cannot listen on %s: %s", address, dial.Fact(err))
	}
}

// PortFix says what to do where a port, which the configuration has from somewhere,
// cannot be listened on.
func PortFix(err error, port int, from config.Origin) string {
	next := core.DefaultPort
	if port >= 1024 && port < 65000 {
		next = port + 10
	}
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "\"ogp config unset listen\" listens on every address"
	case !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES):
		return "correct listen and daemon_port in config.toml"
	case from.Layer == config.LayerFlag:
		return fmt.Sprintf("another port: --daemon-port %d", next)
	case from.Layer == config.LayerEnv:
		return fmt.Sprintf("another port: %s=%d", from.Where, next)
	}
	return fmt.Sprintf("ogp config set daemon_port %d", next)
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

// OwnPort asks our own listener, and whether it is where the configuration
// says.
func (d *Doctor) OwnPort(ctx context.Context, r *api.Report) {
	scheme := "http"
	if d.Config.TLS.Cert != "" || d.Config.TLS.Domain != "" {
		scheme = "https"
	}
	address := d.Listener.String()
	card, err := fetchCard(ctx, localURL(address, scheme), true)
	switch {
	case err != nil:
		r.Fail("port", d.Restart, "our own listener on %s does not answer: %s", address, dial.Words(err))
		return
	case card.PublicKey != d.Key.Public().String():
		r.Fail("port", "stop the other one; what it is: ss -ltnp sport = :"+fmt.Sprint(d.Listener.Port), "%s is answered by another gateway (%s)", address, fingerprintOf(card.PublicKey))
		return
	}
	if want := d.Config.DaemonPort; want != 0 && want != d.Listener.Port {
		r.Warn("port", d.Restart, "listening on %s, while daemon_port is %d now", address, want)
		return
	}
	if d.TooNarrow {
		r.Warn("port", d.Restart, "listening on %s, which this machine alone reaches, while the gateway URL is not on it any more", address)
		return
	}
	r.Ok("port", "listening on %s", address)
}

// CertificateFiles looks at tls.cert and tls.key.
func (d *Doctor) CertificateFiles(_ context.Context, r *api.Report) {
	c := d.Config.TLS
	if c.Cert == "" {
		return
	}
	pair, err := certs.Load(c.Cert, c.Key)
	if err != nil {
		r.Fail("tls", "tls.cert and tls.key in config.toml: PEM files of the same key pair that this user can read", "%v", err)
		return
	}
	checkExpiry(r, pair.Leaf, c.Cert)
}

// Ages from which a queue is worth a look.
const (
	outboxOld   = time.Hour
	deliveryOld = 10 * time.Minute
)

// Queues looks at what waits.
func (d *Doctor) Queues(_ context.Context, r *api.Report) {
	depths, err := d.Depths()
	if err != nil {
		r.Failed("queues", fixDisk(d.Dir), err)
		return
	}
	old := func(t time.Time, most time.Duration) bool { return !t.IsZero() && time.Since(t) > most }
	good := true
	if depths.Outbox > 0 && old(depths.OldestOutbox, outboxOld) {
		good = false
		r.Warn("queues", "\"ogp outbox\" shows to whom and why; then \"ogp doctor --peer <name>\"", "%s to be sent, the oldest since %s", core.OrMore(depths.Outbox, text.Count(depths.Outbox, "message waits", "messages wait")), text.Ago(depths.OldestOutbox))
	}
	if depths.Deliveries > 0 && old(depths.OldestDelivery, deliveryOld) {
		good = false
		r.Warn("queues", "\"ogp delivery list --all\" shows for whom and why", "%s, the oldest since %s", core.OrMore(depths.Deliveries, text.Count(depths.Deliveries, "notice waits", "notices wait")), text.Ago(depths.OldestDelivery))
	}
	if good {
		r.Ok("queues", "%s and %s waiting, none for long", core.OrMore(depths.Outbox, text.Count(depths.Outbox, "message")), core.OrMore(depths.Deliveries, text.Count(depths.Deliveries, "notice")))
	}
}

// Peers counts those that cannot be reached.
func (d *Doctor) Peers(_ context.Context, r *api.Report) {
	approved, pending := 0, 0
	failures := d.Gateway.Settings().Health.Failures
	for _, p := range d.peers() {
		switch p.Trust {
		case core.Pending:
			pending++
		case core.Approved:
			approved++
			if h := d.Gateway.Health(p.Key); h.Failures >= failures {
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
