package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
	"github.com/opengatewayprotocol/ogp/core/scope"
	"github.com/opengatewayprotocol/ogp/core/store"
)

// The files of the state directory.
const (
	keyFile       = "key.json"
	configFile    = "config.toml"
	legacyConfig  = "config.json"
	legacyKeyFile = "keypair.json"
	logFile       = "daemon.log"
	storeLock     = "ogp.db.lock" // held by the process that has the store open
)

func startCommand(a *app) *cobra.Command {
	var background, toFile bool
	cmd := &cobra.Command{
		Use: "start", Short: "Run the gateway", Args: cobra.NoArgs,
		Long: `Run the gateway in the foreground, or in the background.

The first start makes the state directory with a key, a configuration file and
a store. Every setting can also be given as a flag; the rarer ones are not shown
here but in config.example.toml.

  ogp start --gateway-url https://ogp.example.org --background`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if background {
				return a.startBackground(cmd.Context())
			}
			if toFile {
				if err := a.logToFile(); err != nil {
					return err
				}
			}
			return a.start(cmd)
		},
	}
	cmd.Flags().BoolVar(&background, "background", false, "run as a daemon; the log goes to "+logFile+" in the state directory")
	cmd.Flags().BoolVar(&toFile, toFileFlag, false, "log to "+logFile+", as --background tells its daemon to")
	_ = cmd.Flags().MarkHidden(toFileFlag) // it is there
	config.Flags(cmd.Flags())
	return cmd
}

const toFileFlag = "log-to-file"

// load reads the configuration.
func (a *app) load(cmd *cobra.Command) (*config.Config, config.Origins, []config.Warning, error) {
	return config.Load(a.loadOptions(cmd))
}

func (a *app) loadOptions(cmd *cobra.Command) config.Options {
	o := config.Options{Home: a.home, File: a.file, Env: a.env}
	if cmd != nil {
		o.Flags = cmd.Flags()
	}
	return o
}

// start runs the daemon until it is told to stop.
func (a *app) start(cmd *cobra.Command) error {
	d, err := a.open(cmd)
	if err != nil {
		return err
	}
	defer d.close()
	for _, w := range d.warnings {
		d.log.Warn(fmt.Sprint(w))
	}
	if err := d.openExtensions(cmd.Context()); err != nil {
		return err
	}
	if err := d.listen(); err != nil {
		return err
	}
	a.banner(d)
	return managed(cmd.Context(), d.run)
}

// daemon is a gateway with all that it needs to run.
type daemon struct {
	app         *app
	dir         string
	loadOptions config.Options
	current     atomic.Pointer[loadedConfig]
	reloading   sync.Mutex        // held over a reload
	warnings    []config.Warning  // of the first configuration
	read        [sha256.Size]byte // of its files, before they were read
	logLevel    slog.LevelVar
	log         *slog.Logger
	wire        *wire
	tracing     *tracing // nil: none
	key         keys.Private
	store       core.Store
	gateway     *gateway.Gateway
	dispatcher  *delivery.Dispatcher
	extensions  *hooks.Manager
	rendezvous  *rendezvous.Client
	approvals   rendezvous.Approvals
	public      net.Listener
	control     net.Listener
	observed    net.Listener // for monitoring; nil: none
	failures    failures
	first       bool // nothing was here before
	stop        context.CancelFunc
}

// loadedConfig is a configuration and where each of its values is from.
type loadedConfig struct {
	*config.Config
	origins config.Origins
}

// loadConfig reads the configuration and makes the logger that it wants.
func (d *daemon) loadConfig(cmd *cobra.Command) error {
	d.loadOptions = d.app.loadOptions(cmd)
	d.read = d.configFiles()
	cfg, origins, warnings, err := config.Load(d.loadOptions)
	if err != nil {
		return err
	}
	d.current.Store(&loadedConfig{cfg, origins})
	d.warnings = warnings
	d.logLevel.Set(levelOf(cfg.Log.Level))
	d.log = newLogger(d.app.err, cfg.Log.Format, &d.logLevel)
	return nil
}

// config is the configuration in force.
func (d *daemon) config() *config.Config { return d.current.Load().Config }

// origins say where its values are from.
func (d *daemon) origins() config.Origins { return d.current.Load().origins }

// port is what we listen on, which the configuration does not tell where it is 0.
func (d *daemon) port() int {
	if d.public == nil {
		return d.config().DaemonPort
	}
	return d.public.Addr().(*net.TCPAddr).Port
}

// open reads or makes everything in the state directory.
func (a *app) open(cmd *cobra.Command) (_ *daemon, err error) {
	d := &daemon{app: a}
	if d.dir, err = a.stateDir(); err != nil {
		return nil, err
	}
	if d.dir, err = filepath.Abs(d.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	if err := d.loadConfig(cmd); err != nil {
		return nil, err
	}
	if err := d.openKey(); err != nil {
		return nil, err
	}
	wrote, err := writeFirstConfig(d.dir)
	if err != nil {
		return nil, err
	}
	if wrote {
		d.read = d.configFiles()
	}
	ctx := context.Background()
	if d.store, err = store.Open(ctx, store.Default, d.dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.store.Close()
		}
	}()
	return d, d.openGateway(ctx)
}

func (d *daemon) openGateway(ctx context.Context) error {
	var err error
	d.dispatcher = delivery.New(delivery.Options{
		Store: d.store, Logger: d.log,
		Peer:     func(k core.PublicKey) *core.Peer { return d.gateway.Peer(k) },
		Failed:   d.deliveryFailed,
		Settings: inForce(d.config(), d.config().DaemonPort).delivery,
	})
	d.wire = newWire(inForce(d.config(), 0).dial)
	if d.tracing, err = d.app.openTracing(ctx); err != nil {
		return err
	}
	d.gateway, err = gateway.New(ctx, gateway.Options{
		Key: d.key, Store: d.store, Transport: d.tracing.outward(d.wire), Settings: settings(d.config(), d.config().DaemonPort), Version: programVersion(),
		Logger: d.log, Notifiers: d.dispatcher.Names, Told: d.dispatcher.Wake,
		Plugins: func() (gateway.Plugins, error) { return d.extensions.Plugins() },
		Redeem: func(in *core.Invited, accepter core.PublicKey) ([]core.Grant, bool) {
			return d.approvals.Redeem(in, d.key.Public(), accepter, time.Now())
		},
	})
	return err
}

func (d *daemon) deliveryFailed(ctx context.Context, x *core.Delivery, detail string) {
	d.gateway.DeliveryFailed(ctx, x, detail)
}

// settings turns the configuration into what the gateway reads.
func settings(c *config.Config, port int) gateway.Settings {
	return gateway.Settings{
		URL: c.OwnURL(port), Port: port, Names: c.Names(),
		Intents: c.Intents, Personas: c.Personas(), AgentID: c.AgentID, Grants: c.Grants.Default.Scopes(),
		Levels:          scope.Levels{Default: c.AgentComms.DefaultLevel, Topics: c.AgentComms.Topics},
		Window:          c.Freshness.Window,
		Remember:        c.Freshness.Remember,
		NoPlainRequests: !c.Compat.PlainRequests, HostPortIDs: c.Compat.HostPortIDs,
		MaxPending: c.Limits.PendingTotal, MaxPerNetwork: c.Limits.PendingPerNetworkPerHour, PendingLife: c.Limits.PendingLife,
		OutboxGiveUp: c.Outbox.GiveUp, OutboxFirst: c.Outbox.FirstRetry, OutboxMax: c.Outbox.MaxRetry,
		InboxKeep: c.Inbox.Keep, ReplyLife: c.Replies.Life,
		CheckInterval: c.Health.Interval, CheckTimeout: c.Health.Timeout, CheckFailures: c.Health.Failures,
	}
}

// passphrase is how our key is unsealed, or nil for a key without a passphrase.
func passphrase(a *app, c *config.Config) keys.Passphrase {
	if c.Key.PassphraseFile == "" && a.getenv("OGP_KEY_PASSPHRASE") == "" {
		return nil
	}
	return func() (string, error) {
		if c.Key.PassphraseFile == "" {
			return a.getenv("OGP_KEY_PASSPHRASE"), nil
		}
		text, err := os.ReadFile(c.Key.PassphraseFile)
		if err != nil {
			return "", fmt.Errorf("key.passphrase_file: %w", err)
		}
		return strings.TrimRight(string(text), "\r\n"), nil
	}
}

// openKey loads our key, or makes it on the first start. A directory that holds
// another gateway's key is not silently given a second identity.
func (d *daemon) openKey() error {
	path := filepath.Join(d.dir, keyFile)
	_, err := os.Stat(path)
	d.first = errors.Is(err, fs.ErrNotExist)
	if d.first {
		if _, err := os.Stat(filepath.Join(d.dir, legacyKeyFile)); err == nil {
			e := core.Refusef(core.Conflict, "%s holds the identity of a TypeScript gateway, and none of ours", d.dir)
			e.Hint = fmt.Sprintf(`"ogp import %s" takes over its key and its peers; with another --home a new identity is made`, d.dir)
			return e
		}
	}
	d.key, err = keys.LoadOrCreate(path, passphrase(d.app, d.config()))
	return err
}

// writeFirstConfig leaves a configuration file to edit, in which nothing is set,
// where there is none.
func writeFirstConfig(dir string) (wrote bool, err error) {
	for _, name := range []string{configFile, legacyConfig} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return false, nil
		}
	}
	return true, atomicfile.WriteFile(filepath.Join(dir, configFile), []byte(config.Example()))
}

func newLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// listen opens both sockets.
func (d *daemon) listen() error {
	var err error
	if d.control, err = control.Listen(control.Path(d.dir)); err != nil {
		return err
	}
	if d.public, err = net.Listen("tcp", d.config().ListenAddress()); err != nil {
		d.control.Close()
		e := &core.Error{Kind: core.Unavailable, Public: fmt.Sprintf("cannot listen on %s", d.config().ListenAddress()), Err: err}
		e.Hint = "is another gateway running there? --daemon-port picks another port"
		return e
	}
	if d.port() != d.config().DaemonPort {
		d.gateway.SetSettings(settings(d.config(), d.port()))
	}
	return d.listenObserve()
}

// run serves until ctx is done or "ogp stop" comes.
func (d *daemon) run(ctx context.Context) error {
	ctx, d.stop = context.WithCancel(ctx)
	defer d.stop()
	public, err := d.secured(ctx, d.public)
	if err != nil {
		return err
	}
	server := federation.NewServer(federation.Options{
		Gateway: d.tracing.inward(d.gateway), Logger: d.log, MaxBodyBytes: d.config().Limits.BodyBytes, TrustedProxies: d.config().Network.TrustedProxies,
		Limits: federation.Limits{CardsPerMinute: d.config().Limits.CardPerMinute, StrangersPerMinute: d.config().Limits.StrangerPerMinute},
	})
	d.openRendezvous()
	local := &control.Server{Handlers: d.handlers(), Logger: d.log}
	d.log.Info("gateway is running", "listen", d.public.Addr().String(), "url", d.gateway.Settings().URL, "fingerprint", d.gateway.Key().Fingerprint())
	var wg sync.WaitGroup
	var once sync.Once
	var failed error
	for _, part := range []func(context.Context) error{
		func(ctx context.Context) error { return server.Serve(ctx, public) },
		func(ctx context.Context) error { return local.Serve(ctx, d.control) },
		d.gateway.Run,
		d.dispatcher.Run,
		d.extensions.Run,
		d.rendezvous.Run,
		d.observe,
		d.watchConfig,
		d.tellSystemd,
		d.watchFailures,
		d.giveBack,
	} {
		wg.Go(func() {
			// A part with nothing to do, as without a rendezvous, may end by itself.
			if err := part(ctx); err != nil {
				if ctx.Err() == nil {
					once.Do(func() { failed = err })
				}
				d.stop()
			}
		})
	}
	wg.Wait()
	d.log.Info("gateway has stopped")
	return failed
}

// giveBack returns to the system what compiling plugins took for a moment.
func (d *daemon) giveBack(ctx context.Context) error {
	if d.extensions.Ready(ctx) == nil {
		debug.FreeOSMemory()
	}
	return nil
}

// tellSystemd says that we are ready, that we live, and that we stop.
func (d *daemon) tellSystemd(ctx context.Context) error {
	notifySystemd("READY=1")
	var beat <-chan time.Time
	if every := watchdogEvery(); every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		beat = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			notifySystemd("STOPPING=1")
			return nil
		case <-beat:
			// A store that does not answer is no sign of life.
			if _, err := d.store.NextOutbox(ctx); err == nil {
				notifySystemd("WATCHDOG=1")
			}
		}
	}
}

func (d *daemon) close() {
	d.gateway.Close()
	if d.extensions != nil {
		d.extensions.Close()
	}
	for _, ln := range []net.Listener{d.public, d.control, d.observed} {
		if ln != nil {
			ln.Close()
		}
	}
	d.tracing.close()
	if err := d.store.Close(); err != nil {
		d.log.Error("store did not close well", "err", err)
	}
}

// banner tells a newcomer who this gateway is and what to do next.
func (a *app) banner(d *daemon) {
	s := d.gateway.Settings()
	if a.json {
		if v, err := d.status(context.Background(), api.None{}); err == nil {
			a.writeJSON(v)
		}
		return
	}
	if d.first {
		fmt.Fprintf(a.out, "Made a new gateway in %s\n\n", d.dir)
	}
	fmt.Fprintf(a.out, "  Card         %s%s\n", s.URL, federation.PathCard)
	fmt.Fprintf(a.out, "  Fingerprint  %s\n", d.gateway.Key().Fingerprint())
	fmt.Fprintf(a.out, "  Listening    %s\n\n", d.public.Addr())
	fmt.Fprintln(a.out, "Next, in another terminal: ogp federation request <their gateway URL>")
}

// startWait is how long a daemon in the background may take to answer.
const startWait = 15 * time.Second

// startBackground starts the daemon as a process of its own and waits until it
// answers.
func (a *app) startBackground(ctx context.Context) error {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	running, err := api.Status.Call(ctx, a, api.None{})
	if err == nil {
		return core.Refusef(core.Conflict, "a daemon is running already (pid %d)", running.PID)
	}
	path := filepath.Join(dir, logFile)
	log, err := openLog(path, maxLogBytes, nil)
	if err != nil {
		return err
	}
	defer log.close()
	from := log.size
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(s string) bool { return strings.HasPrefix(s, "--background") })
	child := exec.Command(self, append(args, "--"+toFileFlag)...)
	child.Env = a.env
	child.Stdout, child.Stderr = log.file, log.file // until it has opened the log itself
	detach(child)
	if err := child.Start(); err != nil {
		return err
	}
	gone := make(chan error, 1)
	go func() { gone <- child.Wait() }()
	deadline := time.After(startWait)
	for {
		if running, err = api.Status.Call(ctx, a, api.None{}); err == nil && running.PID == child.Process.Pid {
			break
		}
		select {
		case <-gone:
			said, _ := tail(path, from)
			return fmt.Errorf("the daemon did not start:\n%s", strings.TrimSpace(said))
		case <-deadline:
			child.Process.Kill()
			return fmt.Errorf("the daemon does not answer after %v; see %s", startWait, path)
		case <-ctx.Done(): // nobody waits for it any more
			child.Process.Kill()
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	if a.json {
		a.writeJSON(running)
		return nil
	}
	fmt.Fprintf(a.out, "Gateway is running (pid %d)\n\n  Card         %s\n  Fingerprint  %s\n  Log          %s\n\n", running.PID, running.CardURL, running.Fingerprint, path)
	fmt.Fprintln(a.out, "Next: ogp federation request <their gateway URL>")
	return nil
}

// tail reads a file from an offset on.
func tail(path string, from int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, 8<<10))
	return string(text), err
}

func stopCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "stop", Short: "Stop the running gateway", Args: cobra.NoArgs,
		Long: "Stop the running gateway and wait until it has stopped.\n\n  ogp stop",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			s, err := api.Status.Call(ctx, a, api.None{})
			if err != nil {
				return err
			}
			if _, err := api.Stop.Call(ctx, a, api.None{}); err != nil {
				return err
			}
			for deadline := time.Now().Add(startWait); a.answers(ctx) || inUse(s.StateDir); {
				if time.Now().After(deadline) {
					return fmt.Errorf("the daemon (pid %d) still runs after %v", s.PID, startWait)
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(20 * time.Millisecond):
				}
			}
			if a.json {
				a.writeJSON(map[string]bool{"stopped": true})
				return nil
			}
			fmt.Fprintln(a.out, "Gateway has stopped")
			return nil
		},
	}
}

// inUse reports whether a daemon holds the store. A stopping one is silent before
// it has let go.
func inUse(dir string) bool {
	lock := flock.New(filepath.Join(dir, storeLock))
	got, err := lock.TryLock()
	lock.Close()
	return err == nil && !got
}
