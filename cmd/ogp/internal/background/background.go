// Package background starts a gateway as a process of its own.
package background

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/logs"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
)

// Wait is how long a daemon in the background may take to answer, and to stop.
const Wait = 15 * time.Second

// Start runs this program with these arguments, those of "ogp start", until it answers,
// and says what it says of itself. What kept the daemon from its start comes as
// it was said, with its hint.
func Start(ctx context.Context, a *cli.App, args []string) (running api.StatusView, err error) {
	dir, err := a.StateDir()
	if err != nil {
		return running, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return running, err
	}
	if running, err = api.Status.Call(ctx, a, api.None{}); err == nil {
		return running, core.Refusef(core.Conflict, "a daemon is running already (pid %d)", running.PID).WithHint(`"ogp status" shows it; to restart it: ` + running.Restart)
	}
	path := filepath.Join(dir, daemon.LogFile)
	log, from, err := logs.Open(path)
	if err != nil {
		return running, err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return running, err
	}
	child := exec.Command(self, append(append([]string{}, args...), "--"+cli.ToFileFlag)...)
	child.Env = a.Env
	child.Stdout, child.Stderr = log, log // until it has opened the log itself
	cli.Detach(child)
	if err := child.Start(); err != nil {
		return running, err
	}
	gone := make(chan error, 1)
	go func() { gone <- child.Wait() }()
	deadline := time.After(Wait)
	for {
		if running, err = api.Status.Call(ctx, a, api.None{}); err == nil && running.PID == child.Process.Pid {
			return running, nil
		}
		select {
		case <-gone:
			said, _ := tail(path, from)
			return running, failure(said)
		case <-deadline:
			child.Process.Kill()
			return running, fmt.Errorf("the daemon does not answer after %v; see %s", Wait, path)
		case <-ctx.Done(): // nobody waits for it any more
			child.Process.Kill()
			return running, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// failure is the error with which a daemon has ended, from what it wrote into its log:
// as cli.Fail says it, in words or as JSON, behind what was logged before. A daemon that
// was killed, or has crashed, has said none; then it is all that it said.
func failure(said string) error {
	said = "\n" + strings.TrimSpace(said)
	if i := strings.LastIndex(said, "\n{\n"); i >= 0 {
		var v struct {
			Error api.ErrorView `json:"error"`
		}
		if json.Unmarshal([]byte(said[i:]), &v) == nil && v.Error.Message != "" {
			return notStarted(core.Kind(v.Error.Kind), v.Error.Message, v.Error.Hint)
		}
	}
	const name = "\nogp start: "
	i := strings.LastIndex(said, name)
	if i < 0 {
		return notStarted(core.Internal, said, "")
	}
	words, hint, _ := strings.Cut(said[i+len(name):], "\nhint: ")
	return notStarted(core.Internal, words, strings.ReplaceAll(hint, "\n      ", "\n"))
}

func notStarted(kind core.Kind, words, hint string) error {
	return &core.Error{Kind: kind, Public: "the daemon did not start: " + strings.TrimSpace(words), Hint: hint}
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
