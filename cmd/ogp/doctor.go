package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// report collects checks. It is used by one goroutine.
type report []api.Check

func (r *report) ok(name, format string, args ...any) {
	*r = append(*r, api.Check{Name: name, State: api.CheckOK, Text: fmt.Sprintf(format, args...)})
}

func (r *report) warn(name, fix, format string, args ...any) {
	*r = append(*r, api.Check{Name: name, State: api.CheckWarn, Text: fmt.Sprintf(format, args...), Fix: fix})
}

func (r *report) fail(name, fix, format string, args ...any) {
	*r = append(*r, api.Check{Name: name, State: api.CheckFail, Text: fmt.Sprintf(format, args...), Fix: fix})
}

// failed says what an error says, with its hint or else fix.
func (r *report) failed(name, fix string, err error) {
	view, _ := describe(err)
	if view.Hint != "" {
		fix = view.Hint
	}
	r.fail(name, fix, "%s", view.Message)
}

// has reports whether a check of this name has failed.
func (r report) has(name string) bool {
	for _, c := range r {
		if c.Name == name && c.State == api.CheckFail {
			return true
		}
	}
	return false
}

// doctorLimit bounds what the daemon looks at, of which the slowest is a notifier.
const doctorLimit = 90 * time.Second

type doctorView struct {
	OK      bool        `json:"ok"` // nothing has failed
	Running bool        `json:"running"`
	Failed  int         `json:"failed"`
	Warned  int         `json:"warned"`
	Checks  []api.Check `json:"checks"`
}

func doctorCommand(a *app) *cobra.Command {
	var peer string
	var noCall bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Find out what does not work, and how to fix it", Args: cobra.NoArgs,
		Long: `Look at everything that a working gateway needs: one line for each check, and
below what is not well the command or the line of config.toml that fixes it. With a
running daemon each notifier is called once with a test; --no-test-call leaves that
out. With --peer it looks at one peer instead, both ways. The exit status is 1 when
a check has failed.

  ogp doctor
  ogp doctor --peer ben`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := a.doctor(cmd.Context(), api.DoctorParams{Peer: peer, TestCall: !noCall})
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(v)
			} else {
				a.showDoctor(v)
			}
			if !v.OK {
				return errPrinted(exitFailed)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&peer, "peer", "", "look at this peer: name, fingerprint or key")
	cmd.Flags().BoolVar(&noCall, "no-test-call", false, "do not call the notifiers, which makes an agent run once")
	return cmd
}

var checkColours = map[string]string{api.CheckOK: "32", api.CheckWarn: "33", api.CheckFail: "31"}

func (a *app) showDoctor(v doctorView) {
	for _, c := range v.Checks {
		a.showCheck(c)
	}
	switch {
	case v.Failed > 0:
		fmt.Fprintf(a.err, "%d of %d checks failed, %d to look at.\n", v.Failed, len(v.Checks), v.Warned)
	case v.Warned > 0:
		fmt.Fprintf(a.err, "Nothing failed; %d to look at.\n", v.Warned)
	default:
		fmt.Fprintln(a.err, "All is well.")
	}
}

// showCheck prints a check in one line, and what fixes it below.
func (a *app) showCheck(c api.Check) {
	word := a.styled(a.out, checkColours[c.State], fmt.Sprintf("%-4s", c.State))
	fmt.Fprintf(a.out, "%s  %-11s %s\n", word, c.Name, safeLine(c.Text))
	if c.Fix != "" {
		fmt.Fprintf(a.out, "      fix: %s\n", strings.ReplaceAll(safeText(c.Fix), "\n", "\n            "))
	}
}

// doctor makes every check that can be made from here and, where a daemon runs,
// from there.
func (a *app) doctor(ctx context.Context, p api.DoctorParams) (doctorView, error) {
	dir, err := a.stateDir()
	if err != nil {
		return doctorView{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, doctorLimit)
	defer cancel()
	r := report{}
	v := doctorView{}
	var cfg *config.Config
	if p.Peer == "" {
		cfg = a.checkConfig(&r)
		checkStateDir(&r, dir)
		checkFileModes(&r, dir)
	}
	v.Running = a.checkDaemon(ctx, &r)
	switch {
	case v.Running:
		there, err := api.Doctor.Call(ctx, a, p)
		if err != nil {
			if p.Peer != "" { // a name that nobody has, say
				return v, err
			}
			r.failed("daemon", `"ogp stop", then "ogp start --background"`, err)
		}
		r = append(r, there...)
	case p.Peer != "":
		return v, control.ErrNoDaemon
	case cfg != nil:
		a.offlineChecks(ctx, &r, dir, p)
	}
	v.Checks = r
	for _, c := range r {
		switch c.State {
		case api.CheckFail:
			v.Failed++
		case api.CheckWarn:
			v.Warned++
		}
	}
	v.OK = v.Failed == 0
	return v, ctx.Err()
}

// checkConfig names each mistake with its place.
func (a *app) checkConfig(r *report) *config.Config {
	cfg, origins, warnings, err := a.load(nil)
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			fix := p.Hint
			if fix == "" {
				fix = `correct it; "ogp config check" looks again`
			}
			r.fail("config", fix, "%s", strings.TrimPrefix(strings.TrimPrefix(config.Problems{p}.Error(), "config: "), "config: "))
		}
		return nil
	case err != nil:
		r.failed("config", `"ogp config example" prints a good file`, err)
		return nil
	}
	for _, w := range warnings {
		text, fix := fmt.Sprint(w), ""
		if i := strings.LastIndex(text, ": chmod "); i > 0 {
			text, fix = text[:i], text[i+2:]
		}
		r.warn("config", fix, "%s", text)
	}
	if len(warnings) == 0 {
		r.ok("config", "no mistakes; settings that are not defaults: %d", len(origins))
	}
	return cfg
}

// checkStateDir looks at the directory itself.
func checkStateDir(r *report, dir string) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		r.warn("state", "ogp init", "%s is not there yet", dir)
		return
	case err != nil:
		r.fail("state", "ls -ld "+dir, "%v", err)
		return
	case !info.IsDir():
		r.fail("state", "--home names another one", "%s is no directory", dir)
		return
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		r.fail("state", "chmod 700 "+dir, "%s has mode %04o: others can put files there", dir, info.Mode().Perm())
		return
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o055 != 0 {
		r.warn("state", "chmod 700 "+dir, "%s has mode %04o, want 0700", dir, info.Mode().Perm())
		return
	}
	probe, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		r.fail("state", "ls -ld "+dir+" shows whose it is; run ogp as that user", "%s cannot be written: %v", dir, err)
		return
	}
	probe.Close()
	os.Remove(probe.Name())
	r.ok("state", "%s", dir)
	if _, err := os.Stat(filepath.Join(dir, legacyKeyFile)); err == nil {
		if _, err := os.Stat(filepath.Join(dir, keyFile)); errors.Is(err, os.ErrNotExist) {
			r.fail("key", "ogp import "+dir, "%s holds the identity of a TypeScript gateway, and none of ours", dir)
		}
	}
}

// privateFiles are those that nobody else may read.
var privateFiles = []string{keyFile, storeFile, storeFile + "-wal", storeFile + "-shm", control.SocketName, logFile, legacyConfig}

// checkFileModes looks for files that others can read. Of the configuration files
// checkConfig tells, as they may.
func checkFileModes(r *report, dir string) {
	if runtime.GOOS == "windows" {
		return
	}
	looked, good := 0, true
	for _, name := range privateFiles {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || name == legacyConfig {
			continue
		}
		looked++
		if info.Mode().Perm()&0o077 != 0 {
			good = false
			path := filepath.Join(dir, name)
			r.fail("files", "chmod 600 "+path, "%s has mode %04o, want 0600: others can read it", path, info.Mode().Perm())
		}
	}
	if good && looked > 0 {
		r.ok("files", "nobody else can read key, store and log")
	}
}

// checkDaemon reports whether a daemon runs.
func (a *app) checkDaemon(ctx context.Context, r *report) bool {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := api.Status.Call(limited, a, api.None{})
	switch {
	case errors.Is(err, control.ErrNoDaemon):
		r.warn("daemon", "ogp start --background", "no daemon is running: peers, rendezvous, reachability and the queues cannot be looked at")
		return false
	case err != nil && limited.Err() != nil:
		r.fail("daemon", "look at its log; \"ogp stop\", then \"ogp start --background\"", "it does not answer within 10 seconds")
		return false
	case err != nil:
		r.failed("daemon", "run ogp as the user that runs the daemon", err)
		return false
	case s.Version != programVersion():
		r.warn("daemon", `"ogp stop", then "ogp start --background"`, "it runs version %s, and this is %s", s.Version, programVersion())
	default:
		r.ok("daemon", "pid %d, running since %s, version %s", s.PID, ago(s.Started), s.Version)
	}
	return true
}

// checkKey loads the key as a start would, and compares it with the one in force.
func checkKey(r *report, dir string, pass keys.Passphrase, inForce core.PublicKey) {
	path := filepath.Join(dir, keyFile)
	key, err := keys.Load(path, pass)
	switch {
	case errors.Is(err, core.NotFound) && inForce.IsZero():
		r.warn("key", "ogp start --background", "there is none yet; the first start makes it")
	case errors.Is(err, core.NotFound):
		r.fail("key", "put the copy from your backup back, before the daemon stops", "%s is gone; the daemon still has the key", path)
	case err != nil:
		r.failed("key", "put the copy from your backup back", err)
	case !inForce.IsZero() && key.Public() != inForce:
		r.fail("key", "put the right key.json back; \"ogp whoami\" shows the daemon's fingerprint", "%s holds another key (%s) than the daemon has (%s)", path, key.Public().Fingerprint(), inForce.Fingerprint())
	default:
		r.ok("key", "fingerprint %s", key.Public().Fingerprint())
	}
}

// offlineChecks are those that need no daemon. The store is open only for as long
// as they take.
func (a *app) offlineChecks(ctx context.Context, r *report, dir string, p api.DoctorParams) {
	d, err := a.configuredOnly(dir)
	if err != nil {
		return // checkConfig has told
	}
	d.log = slog.New(slog.DiscardHandler)
	if !r.has("key") {
		checkKey(r, dir, passphrase(a, d.config()), core.PublicKey{})
	}
	if _, done, err := a.offlineStore(ctx, d); err != nil {
		r.failed("store", "look at the disk and the permissions of "+dir, err)
	} else {
		defer done()
		d.checkStore(ctx, r)
		d.checkPlugins(ctx, r)
	}
	d.checkFreePort(ctx, r)
	d.checkCertificateFiles(r)
	d.checkClock(ctx, r, d.config().Rendezvous.Enabled, nil)
	d.checkRendezvousOffline(ctx, r)
	if p.TestCall {
		d.checkOpenClawOffline(ctx, r)
	}
	checkDisk(r, dir)
}

// doctor is the method "doctor": what the daemon can look at. What waits for
// somebody else is looked at side by side.
func (d *daemon) doctor(ctx context.Context, p api.DoctorParams) ([]api.Check, error) {
	ctx, cancel := context.WithTimeout(ctx, doctorLimit-5*time.Second)
	defer cancel()
	if p.Peer != "" {
		return d.doctorPeer(ctx, p.Peer)
	}
	parts := []struct {
		name string
		do   func(context.Context, *report)
	}{
		{"key", func(_ context.Context, r *report) { checkKey(r, d.dir, passphrase(d.app, d.config()), d.key.Public()) }},
		{"store", d.checkStore},
		{"port", d.checkOwnPort},
		{"url", d.checkURL},
		{"tls", d.checkTLS},
		{"clock", func(ctx context.Context, r *report) {
			d.checkClock(ctx, r, d.config().Rendezvous.Enabled, d.gateway.Peers())
		}},
		{"rendezvous", d.checkRendezvous},
		{"plugins", d.checkPlugins},
		{"notifier", func(ctx context.Context, r *report) { d.checkNotifiers(ctx, r, p.TestCall) }},
		{"queues", d.checkQueues},
		{"peers", d.checkPeers},
		{"disk", func(_ context.Context, r *report) { checkDisk(r, d.dir) }},
		{"descriptors", func(_ context.Context, r *report) { checkDescriptors(r) }},
	}
	reports := make([]report, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		if p.Wants(part.name) {
			wg.Go(func() { part.do(ctx, &reports[i]) })
		}
	}
	wg.Wait()
	out := []api.Check{}
	for _, r := range reports {
		out = append(out, r...)
	}
	return out, nil
}
