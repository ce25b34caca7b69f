// Package logs keeps the log of a gateway in the background, and shows it.
package logs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/service"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
)

// logFilter says which records are shown. Zero fields show all.
type logFilter struct {
	level slog.Level
	since time.Time
	peer  []string // its names
}

func (f *logFilter) shows(r *logRecord) bool {
	if !r.ours && r.level < slog.LevelError && (f.level > slog.LevelDebug || !f.since.IsZero() || len(f.peer) > 0) {
		return false // such as what the daemon printed when it started
	}
	return r.level >= f.level && !r.at.Before(f.since) && (len(f.peer) == 0 || r.ours && slices.Contains(f.peer, r.get("peer")))
}

// logsEvery is how often a followed log is looked at.
const logsEvery = 200 * time.Millisecond

// Command is "ogp logs".
func Command(a *cli.App) *cobra.Command {
	var follow bool
	var since, peer, level string
	var lines int
	cmd := &cobra.Command{
		Use: "logs", Short: "Show the log of a gateway in the background", Args: cobra.NoArgs,
		Long: `Show the log that "ogp start --background" keeps in the state directory, with its
rotated files. A gateway that runs as a service or on a terminal logs elsewhere;
the command then says where. With --json, each record is one JSON object on a line of
its own.

  ogp logs --level warn --since 24h
  ogp logs --follow --peer ben`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := logFilter{level: slog.LevelDebug}
			if level != "" && f.level.UnmarshalText([]byte(level)) != nil {
				return cli.Usagef("--level %q: want debug, info, warn or error", level)
			}
			if since != "" {
				var err error
				if f.since, err = cli.ParseSince(since); err != nil {
					return err
				}
			}
			if lines < 0 {
				return cli.Usagef("--lines %d: want 0 for all, or how many", lines)
			}
			if since != "" && !cmd.Flags().Changed("lines") {
				lines = 0
			}
			if peer != "" {
				f.peer = namesOf(cmd.Context(), a, peer)
			}
			return logs(cmd.Context(), a, f, lines, follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "keep going until interrupted")
	cmd.Flags().StringVar(&since, "since", "", "from the last 24h, 7d, ..., or since a time")
	cmd.Flags().StringVar(&peer, "peer", "", "only what concerns this peer")
	cmd.Flags().StringVar(&level, "level", "", "only from this level on: debug, info, warn, error")
	lines = 100
	cli.CountVarP(cmd.Flags(), &lines, "lines", "n", "how many of the last lines; 0: all. With --since: all")
	return cmd
}

// namesOf are the names that a peer has in the log, now and before it got an
// alias. Where no daemon knows it, it is what the user has written.
func namesOf(ctx context.Context, a *cli.App, ref string) []string {
	p, err := api.Peer.Call(ctx, a, api.PeerRef{Peer: ref})
	if err != nil {
		return []string{ref}
	}
	return []string{p.Name, p.Fingerprint, p.ID, p.PublicKey.String()}
}

func logs(ctx context.Context, a *cli.App, f logFilter, lines int, follow bool) error {
	dir, err := a.StateDir()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, daemon.LogFile)
	r, err := openLogs(path)
	if errors.Is(err, fs.ErrNotExist) {
		return noLog(ctx, a, path)
	}
	if err != nil {
		return err
	}
	defer r.close()
	if s, err := api.Status.Call(ctx, a, api.None{}); err == nil && s.Log != path {
		fmt.Fprintf(a.Err, "This is an older log. %s\n", whereLog(s))
	}
	var record logRecord
	var last []logRecord // that wait until we know how many there are
	live := false
	for {
		line, err := r.next()
		switch {
		case errors.Is(err, io.EOF):
			for _, x := range last[max(len(last)-lines, 0):] {
				logLine(a, &x)
			}
			if last, live = nil, true; !follow {
				return nil
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(logsEvery):
			}
			continue
		case err != nil:
			return err
		}
		record = parseRecord(line, record)
		switch {
		case !f.shows(&record):
		case live || lines == 0:
			logLine(a, &record)
		default:
			if last = append(last, record); len(last) >= 2*lines {
				last = slices.Clone(last[len(last)-lines:])
			}
		}
	}
}

func logLine(a *cli.App, r *logRecord) {
	text := term.SafeText(r.line)
	switch {
	case a.JSON:
		text = r.json()
	case r.level >= slog.LevelError:
		text = a.Styled(a.Out, "31", text)
	case r.level >= slog.LevelWarn:
		text = a.Styled(a.Out, "33", text)
	}
	fmt.Fprintln(a.Out, text)
}

// noLog says where the log is if it is not in the state directory.
func noLog(ctx context.Context, a *cli.App, path string) error {
	e := core.Refusef(core.NotFound, "no log at %s", path)
	s, err := api.Status.Call(ctx, a, api.None{})
	if err != nil {
		e.Hint = "\"ogp start --background\" keeps one there; that of a service is shown by \"journalctl --user -u " + service.UnitName + "\" or, of a system service, \"journalctl -u " + service.UnitName + "\""
		return e
	}
	e.Hint = whereLog(s)
	return e
}

func whereLog(s api.StatusView) string {
	switch s.Log {
	case daemon.LogJournal:
		return fmt.Sprintf("The gateway (pid %d) logs to the journal: journalctl %s --since -1h -f", s.PID, cmp.Or(s.Unit, fmt.Sprintf("_PID=%d", s.PID)))
	case daemon.LogStderr:
		return fmt.Sprintf("The gateway (pid %d) runs in the foreground, and logs to its standard error.", s.PID)
	}
	return fmt.Sprintf("The gateway (pid %d) logs to %s", s.PID, s.Log)
}

// ToFile puts the output of a daemon in the background into its log.
func ToFile(a *cli.App) error {
	dir, err := a.StateDir()
	if err != nil {
		return err
	}
	w, err := openLog(filepath.Join(dir, daemon.LogFile), maxLogBytes, useAsOutput)
	if err != nil {
		return err
	}
	a.LogFile, a.Out, a.Err = w.path, w, w
	return nil
}
