package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// checkConfig names each mistake with its place.
func checkConfig(a *cli.App, r *api.Report) *config.Config {
	cfg, origins, warnings, err := a.Load(nil)
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			fix := cmp.Or(p.Hint, `correct it; "ogp config check" looks again`)
			r.Fail("config", fix, "%s", strings.TrimPrefix(strings.TrimPrefix(config.Problems{p}.Error(), "config: "), "config: "))
		}
		return nil
	case err != nil:
		r.Failed("config", `"ogp config example" prints a good file`, err)
		return nil
	}
	for _, w := range warnings {
		text, fix := fmt.Sprint(w), ""
		if i := strings.LastIndex(text, ": chmod "); i > 0 {
			text, fix = text[:i], text[i+2:]
		}
		r.Warn("config", fix, "%s", text)
	}
	if len(warnings) == 0 {
		r.Ok("config", "no mistakes; settings that are not defaults: %d", len(origins))
	}
	return cfg
}

// checkStateDir looks at the directory itself.
func checkStateDir(r *api.Report, dir string) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		r.Warn("state", "ogp init", "%s is not there yet", dir)
		return
	case err != nil:
		r.Fail("state", "run ogp as the user who owns it: ls -ld "+dir, "%s cannot be read: %s", dir, reason(err))
		return
	case !info.IsDir():
		r.Fail("state", "move that file elsewhere, or name another directory with --home", "%s is not a directory", dir)
		return
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		r.Fail("state", "chmod 700 "+dir, "%s has mode %04o: others can put files there", dir, info.Mode().Perm())
		return
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o055 != 0 {
		r.Warn("state", "chmod 700 "+dir, "%s has mode %04o, want 0700", dir, info.Mode().Perm())
		return
	}
	probe, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		r.Fail("state", "run ogp as the user who owns it: ls -ld "+dir, "%s cannot be written: %s", dir, reason(err))
		return
	}
	probe.Close()
	os.Remove(probe.Name())
	r.Ok("state", "%s", dir)
	if _, err := os.Stat(filepath.Join(dir, daemon.LegacyKeyFile)); err == nil {
		if _, err := os.Stat(filepath.Join(dir, daemon.KeyFile)); errors.Is(err, os.ErrNotExist) {
			r.Fail("key", "ogp import "+dir, "%s holds the identity of a TypeScript gateway, and none of ours", dir)
		}
	}
}

// reason is why the system refuses a file, without the names of its calls and of ours.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// privateFiles are those that nobody else may read.
var privateFiles = []string{daemon.KeyFile, daemon.StoreFile, daemon.StoreFile + "-wal", daemon.StoreFile + "-shm", control.SocketName, daemon.LogFile}

// checkFileModes looks for files that others can read. Of the configuration files
// checkConfig tells, as they may.
func checkFileModes(r *api.Report, dir string) {
	if runtime.GOOS == "windows" {
		return
	}
	looked, good := 0, true
	for _, name := range privateFiles {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		looked++
		if info.Mode().Perm()&0o077 != 0 {
			good = false
			path := filepath.Join(dir, name)
			r.Fail("files", "chmod 600 "+path, "%s has mode %04o, want 0600: others can read it", path, info.Mode().Perm())
		}
	}
	if good && looked > 0 {
		r.Ok("files", "nobody else can read key, store and log")
	}
}

// checkDaemon reports whether a daemon runs, and what restarts it.
func checkDaemon(ctx context.Context, a *cli.App, r *api.Report) (runs bool, restart string) {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := api.Status.Call(limited, a, api.None{})
	switch {
	case errors.Is(err, control.ErrNoDaemon):
		r.Warn("daemon", "ogp start --background", "no daemon is running: peers, rendezvous, reachability and the queues cannot be checked")
		return false, ""
	case err != nil && limited.Err() != nil:
		r.Fail("daemon", "\"ogp logs\" shows what it does; end the process and \"ogp start --background\"", "it does not answer within 10 seconds")
		return false, ""
	case err != nil:
		r.Failed("daemon", "run ogp as the user that runs the daemon", err)
		return false, ""
	}
	restart = cmp.Or(s.Restart, api.RestartByHand)
	switch {
	case s.Version != a.Version:
		r.Warn("daemon", restart, "it runs version %s, and this is %s", s.Version, a.Version)
	default:
		r.Ok("daemon", "pid %d, running since %s, version %s", s.PID, text.Ago(s.Started), s.Version)
	}
	return true, restart
}
