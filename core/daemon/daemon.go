// Package daemon is the composition root: it opens configuration, store, keys,
// plugins, servers, clients, metrics, tracing and TLS, and puts them together into
// a gateway that runs. What it takes from the program is in Options.
//
// A state directory without a running daemon is worked on through Offline, which
// answers the same methods.
package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/agent"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/console"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon/candidate"
	"github.com/opengatewayprotocol/ogp/core/daemon/doctor"
	"github.com/opengatewayprotocol/ogp/core/daemon/ownkey"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/history"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/lease"
	"github.com/opengatewayprotocol/ogp/core/logpipe"
	"github.com/opengatewayprotocol/ogp/core/nodes"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/record"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
	"github.com/opengatewayprotocol/ogp/core/store/replica"
	"github.com/opengatewayprotocol/ogp/core/tracing"
)

// Shipped gives the module and the manifest of a plugin that the program carries.
type Shipped func(name string) (wasm, manifest []byte, ok bool)

// Options are what a daemon takes from the program.
type Options struct {
	Dir     string         // the state directory, absolute
	Config  config.Options // file, environment and flags
	Shipped Shipped
	Version string    // of the program
	Command string    // what a command for this gateway begins with; empty: "ogp"
	Log     io.Writer // nil: standard error
	// NewStore says that a store that is missing or empty beside a key may be made anew.
	NewStore bool
	LogFile  string // where Log leads to, if it is a file; otherwise it is found out
	Restart  string // what restarts us, in words, where a service manager other than systemd runs us

	// Ready is called once the listeners are open. first says that this start has
	// made the gateway. Nil: nobody wants to know.
	Ready func(s api.StatusView, first bool)
}

func (o Options) env() []string { return o.Config.Env }

// The files of the state directory.
const (
	KeyFile       = ownkey.File
	ConfigFile    = config.FileName
	LegacyConfig  = config.FormerName
	LegacyKeyFile = ownkey.LegacyFile
	LogFile       = "daemon.log"
	A2ATokenFile  = "a2a.token"    // what an A2A client shows
	Certificates  = "Certificates" // fetched ones
	storeLock     = "ogp.db.lock"  // held by the process that has the store open
)

// Daemon is a gateway with all that it needs to run.
type Daemon struct {
	o          Options
	dir        string
	current    atomic.Pointer[loadedConfig]
	started    *loadedConfig // the first
	reloading  sync.Mutex    // held over a reload
	candidates *candidate.Service
	reading    doctor.Reading    // of the store, for doctor
	read       [sha256.Size]byte // of its files, before they were read
	logLevel   slog.LevelVar
	log        *slog.Logger
	logPipe    *logpipe.Writer // what log writes to
	wire       *wire
	tracing    *tracing.Tracing // nil: none
	key        ownkey.Own
	store      core.Store
	leases     *lease.Keeper  // of what one node alone does at a time
	nodes      *nodes.Nodes   // that share the store
	lists      *replica.Lists // where lists are read, if that is not the store
	gateway    *gateway.Gateway
	dispatcher *delivery.Dispatcher
	hooks      *hooks.Manager
	record     *record.Ring
	history    *history.History
	rendezvous *rendezvous.Client
	approvals  rendezvous.Approvals
	public     net.Listener
	control    net.Listener
	brake      *brake.Brake
	wakes      atomic.Bool  // an agent is told of each message by itself
	agentSock  net.Listener // the agent's; nil: it is switched off
	role       *agent.Role
	agents     net.Listener // peers as A2A agents; nil: none
	observed   net.Listener // for monitoring; nil: none
	console    *console.Server
	failures   failures
	tests      sync.Map // notifier to testResult: the last test calls
	first      bool     // nothing was here before
	notes      []string // what the start has found, for the status
	stop       context.CancelFunc
	ending     atomic.Bool // it was asked to stop
}

// loadedConfig is a configuration and where each of its values is from.
type loadedConfig struct {
	*config.Config
	origins config.Origins
}

// loadConfig reads the configuration and makes the logger that it wants.
func (d *Daemon) loadConfig() error {
	d.read = d.configFiles()
	cfg, origins, warnings, err := config.Load(d.o.Config)
	if err != nil {
		return err
	}
	d.started = &loadedConfig{cfg, origins}
	d.current.Store(d.started)
	for _, w := range warnings {
		d.notes = append(d.notes, string(w))
	}
	d.logLevel.Set(levelOf(cfg.Log.Level))
	d.logPipe = logpipe.New(d.o.Log)
	d.log = NewLogger(d.logPipe, cfg.Log.Format, &d.logLevel)
	return nil
}

// config is the configuration in force.
func (d *Daemon) config() *config.Config { return d.current.Load().Config }

// origins say where its values are from.
func (d *Daemon) origins() config.Origins { return d.current.Load().origins }

// port is what we listen on, which the configuration does not tell where it is 0.
func (d *Daemon) port() int {
	if d.public == nil {
		return d.config().DaemonPort
	}
	return d.public.Addr().(*net.TCPAddr).Port
}

// Open reads or makes everything in the state directory. Run runs it, and Close
// must be called in any case.
func Open(ctx context.Context, o Options) (_ *Daemon, err error) {
	if o.Log == nil {
		o.Log = os.Stderr
	}
	d := &Daemon{o: o, dir: o.Dir}
	defer func() {
		if err != nil && d.logPipe != nil {
			d.logPipe.Close()
		}
	}()
	if err := d.makeDir(); err != nil {
		return nil, err
	}
	if err := d.loadConfig(); err != nil {
		return nil, err
	}
	if err := d.checkHalves(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && d.store != nil {
			d.store.Close()
		}
	}()
	if d.config().Store.IsSet() { // it may have the key
		if d.store, err = d.openStore(ctx); err != nil {
			return nil, err
		}
	}
	if d.key, err = d.keyPlace().Open(ctx); err != nil {
		return nil, err
	}
	d.first = d.key.First
	wrote, err := writeFirstConfig(d.dir)
	if err != nil {
		return nil, err
	}
	if wrote {
		d.read = d.configFiles()
	}
	if d.store == nil {
		if d.store, err = d.openStore(ctx); err != nil {
			return nil, err
		}
	}
	if err := d.claim(ctx); err != nil {
		return nil, err
	}
	if err := d.openLists(ctx); err != nil {
		return nil, err
	}
	d.noteKey()
	d.noteLoss()
	return d, d.openGateway(ctx)
}

// signedLeases are those under which nothing is done but what has to be signed: a node whose
// signer does not sign leaves them to others.
var signedLeases = []string{"rendezvous", "confirm", "polls"}

func (d *Daemon) openGateway(ctx context.Context) error {
	var err error
	d.leases = lease.New(d.store, d.log)
	d.nodes = nodes.New(nodes.Options{Store: d.store, Key: d.key.Public(), Version: d.o.Version, Config: d.config, Modules: d.modules,
		Lag: func() time.Duration { return d.gateway.Lag() }, Log: d.log})
	d.leases.Works = func(name string) bool {
		return d.nodes.Works() && (d.key.Health() == nil || !slices.Contains(signedLeases, name))
	}
	d.approvals.Store = lease.Fenced{Store: d.store}
	d.dispatcher = delivery.New(delivery.Options{
		Store: d.store, Logger: d.log, Leases: d.leases,
		Peer:     func(k core.PublicKey) *core.Peer { return d.gateway.Peer(k) },
		Failed:   func(ctx context.Context, x *core.Delivery, detail string) { d.gateway.DeliveryFailed(ctx, x, detail) },
		SetUp:    func(ctx context.Context, name, detail string) { d.gateway.NotifierSetUp(ctx, name, detail) },
		Reply:    func(ctx context.Context, x *core.Delivery, r core.Reply) error { return d.role.ReplyBack(ctx, x, r) },
		Settings: d.inForce(d.config(), d.config().DaemonPort).delivery,
	})
	if err := d.openRecord(ctx); err != nil {
		return err
	}
	if err := d.openCandidates(); err != nil {
		return err
	}
	d.wire = newWire(d.inForce(d.config(), 0))
	if d.tracing, err = tracing.Open(ctx, d.o.env(), d.o.Version); err != nil {
		return err
	}
	d.brake = brake.New(brake.Options{Key: d.key.Marks, Settings: func() brake.Settings { return d.config().Agent.Settings }, Wakes: d.wakes.Load, Shared: d.leases.Shared()})
	d.history = history.New(history.Options{Read: d.counts})
	d.gateway, err = gateway.New(ctx, gateway.Options{
		Brake: d.brake, Leases: d.leases, AgentMost: d.agentMost,
		Elsewhere: func(e *core.Event) {
			if d.role != nil {
				d.role.Elsewhere(e)
			}
			d.hooks.Elsewhere(e)
		},
		Signer: d.key.Signer, Store: d.store, Transport: d.tracing.Outward(d.wire), Settings: settings(d.config(), d.config().DaemonPort), Version: d.o.Version,
		Logger: d.log, Notifiers: d.dispatcher.Names, Alone: d.dispatcher.Alone, Queued: d.dispatcher.Queued,
		Kept: func(c *core.Change) {
			if d.role != nil { // nobody waits while we start, nor for an import without us
				d.role.Kept(c)
			}
			d.history.Kept(c)
		},
		Plugins: func() (gateway.Plugins, error) { return d.hooks.Plugins() },
		Record:  d.record,
		Redeem:  d.redeem,
	})
	if err != nil {
		return err
	}
	return errors.Join(d.brake.RestorePauses(ctx, d.store, d.gateway.Peers()), d.brake.RestoreRuns(ctx, d.store))
}

// settings turns the configuration into what the gateway reads.
func settings(c *config.Config, port int) ours.Settings {
	return ours.Settings{
		URL: c.OwnURL(port), Port: port, Names: c.Names(),
		Intents: c.Intents, Personas: c.Personas(), AgentID: c.AgentID, Grants: c.Grants.Default.Scopes(),
		Levels: c.AgentComms, Freshness: c.Freshness, Compat: c.Compat, Limits: c.Limits.Limits,
		Outbox: c.Outbox, Inbox: c.Inbox, Replies: c.Replies, Health: c.Health,
	}
}

// Passphrase is how our key is unsealed, or nil for a key without a passphrase.
func Passphrase(env []string, c *config.Config) keys.Passphrase { return ownkey.Passphrase(env, c) }

// KeyPlace is where a gateway has its key, but for its database.
func KeyPlace(o Options) (ownkey.Place, error) {
	d, err := configured(o)
	if err != nil {
		return ownkey.Place{}, err
	}
	return d.keyPlace(), nil
}

func (d *Daemon) keyPlace() ownkey.Place {
	p := ownkey.Place{Dir: d.dir, Config: d.config(), Env: d.o.env(), Logger: d.log}
	if d.config().Store.IsSet() {
		p.Store = d.store
	}
	return p
}

func (d *Daemon) storeKey(ctx context.Context, p api.StoreKeyParams) (api.StoredKey, error) {
	sealed, err := d.keyPlace().StoreKey(ctx, p.PassphraseFile)
	return api.StoredKey{Sealed: sealed}, err
}

// writeFirstConfig leaves a configuration file to edit, in which nothing is set,
// where there is none.
func writeFirstConfig(dir string) (wrote bool, err error) {
	if configFile(Options{}, dir) != "" {
		return false, nil
	}
	return true, atomicfile.WriteFile(filepath.Join(dir, ConfigFile), []byte(config.Example()))
}

// NewLogger writes a log in a format: "json", or "text" for everything else.
func NewLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: sayNothingEmpty}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// sayNothingEmpty leaves out what has nothing to say: no line ends in err="".
func sayNothingEmpty(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindString && a.Value.String() == "" && a.Key != slog.MessageKey {
		return slog.Attr{}
	}
	return a
}

// Key is the gateway's public key.
func (d *Daemon) Key() core.PublicKey { return d.key.Public() }

// ImportPeers adds peers that are not on record, and says how many.
func (d *Daemon) ImportPeers(ctx context.Context, peers []*core.Peer) (int, error) {
	return d.gateway.ImportPeers(ctx, peers)
}

// listen opens both sockets.
func (d *Daemon) listen() error {
	var err error
	if d.control, err = control.Listen(control.Path(d.dir)); err != nil {
		return err
	}
	if d.agentSock, err = d.listenAgent(); err != nil {
		d.control.Close()
		return err
	}
	if d.public, err = net.Listen("tcp", d.config().ListenAddress()); err != nil {
		d.control.Close()
		if d.agentSock != nil {
			d.agentSock.Close()
		}
		return &core.Error{Kind: core.Unavailable, Public: fmt.Sprintf("cannot listen on %s: %s", d.config().ListenAddress(), dial.Fact(err)),
			Hint: doctor.PortFix(err, d.config().DaemonPort, d.origins().Of("daemon_port"))}
	}
	if d.port() != d.config().DaemonPort {
		d.gateway.SetSettings(settings(d.config(), d.port()))
	}
	if err := d.listenA2A(); err != nil {
		return err
	}
	return d.listenObserve()
}

// InUse reports whether a daemon holds the store. A stopping one is silent before
// it has let go.
func InUse(dir string) bool {
	lock := flock.New(filepath.Join(dir, storeLock))
	got, err := lock.TryLock()
	lock.Close()
	return err == nil && !got
}
