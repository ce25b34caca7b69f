// Package trial has the commands that run plugins beside the gateway: on a case, on many, on
// what has come.
package trial

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/trial"
)

// open makes a host. Compiled modules come from the gateway's cache, if there is a gateway
// here.
func open(a *cli.App, grant bool) (*trial.Host, error) {
	dir, err := a.StateDir()
	if err != nil {
		return nil, err
	}
	o := trial.Options{Grant: grant, Logger: daemon.NewLogger(a.Err, "text", slog.LevelInfo)}
	if _, err := os.Stat(dir); err == nil {
		o.CacheDir = filepath.Join(dir, daemon.CompileCache)
	}
	return trial.Open(o)
}

// readCase reads a case from a file, or from the standard input for "-".
func readCase(a *cli.App, file string) (c trial.Case, err error) {
	in := a.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return c, err
		}
		defer f.Close()
		in = f
	} else if f, ok := in.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return c, cli.Usagef("no case: name a file with --case, or pipe one in")
		}
	}
	return trial.ReadCase(in, file)
}

// asUsage makes wrong usage of what --hook would have said.
func asUsage(err error) error {
	if e, ok := errors.AsType[*trial.HookError](err); ok {
		return cli.Usagef("--hook: %v", e.Err)
	}
	return err
}

// RunCommand is "ogp plugin run".
func RunCommand(a *cli.App) *cobra.Command {
	var file, hook string
	var grant bool
	cmd := &cobra.Command{
		Use: "run <file, folder or name>", Short: "Run a plugin on one case", Args: cobra.ExactArgs(1),
		Long: `Run a plugin on one case, and print its answer and what the call used. It runs outside the gateway, with a store of its own. Its HTTP requests are answered by the case, or go out with --grant.

To try a policy on what your gateway has received, see "ogp policy replay --with".

  ogp plugin run ./small-only --case cases/first.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			f, err := Find(ctx, a, args[0])
			if err != nil {
				return err
			}
			h, err := open(a, grant)
			if err != nil {
				return err
			}
			defer h.Close()
			c, err := readCase(a, file)
			if err != nil {
				return err
			}
			v, err := h.Run(ctx, f, c, hook)
			if err != nil {
				return asUsage(err)
			}
			return showRun(a, v)
		},
	}
	cmd.Flags().StringVar(&file, "case", "-", "the case: a file, or - for the standard input")
	cmd.Flags().StringVar(&hook, "hook", "", "message, request, notify or handle, where the case does not say")
	cmd.Flags().BoolVar(&grant, "grant", false, "let its requests go out")
	return cmd
}

func showRun(a *cli.App, v trial.RunView) error {
	if a.JSON {
		a.WriteJSON(v)
	} else {
		if v.Error == "" {
			fmt.Fprintf(a.Out, "%s\n", v.Answer)
		}
		fmt.Fprintf(a.Err, "fuel %d, memory %d KiB, host calls %d, %d us\n", v.Fuel, v.MemoryBytes>>10, v.HostCalls, v.Micros)
	}
	if v.Error == "" {
		return nil
	}
	if a.JSON {
		return cli.ErrPrinted(cli.Failed)
	}
	return errors.New(term.SafeText(v.Error))
}
