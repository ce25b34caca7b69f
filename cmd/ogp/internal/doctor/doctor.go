// Package doctor checks a gateway's setup and says what fixes it: what the command can
// see itself, and what the daemon sees.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
)

// doctorLimit bounds what the daemon looks at, of which the slowest is a notifier.
const doctorLimit = 90 * time.Second

// View is what all checks have found.
type View struct {
	OK      bool        `json:"ok"` // nothing has failed
	Running bool        `json:"running"`
	Failed  int         `json:"failed"`
	Warned  int         `json:"warned"`
	Checks  []api.Check `json:"checks"`
}

// Command is "ogp doctor".
func Command(a *cli.App) *cobra.Command {
	var peer string
	var noCall bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check the setup and suggest fixes", Args: cobra.NoArgs,
		Long: `Check everything that a working gateway needs: one line for each check, and below
each problem the command or the line of config.toml that fixes it. If the daemon is
running, each notifier gets one test call, unless --no-test-call is given. With
--peer, check one peer instead, in both directions. The exit status is 1 when a
check failed.

  ogp doctor
  ogp doctor --peer ben`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := doctor(cmd.Context(), a, api.DoctorParams{Peer: peer, TestCall: !noCall})
			if err != nil {
				return err
			}
			_ = a.Print(v, func() { showDoctor(a, v) })
			if !v.OK {
				return cli.ErrPrinted(cli.Failed)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&peer, "peer", "", "check this peer: name, fingerprint or key")
	cmd.Flags().BoolVar(&noCall, "no-test-call", false, "do not call the notifiers, which makes an agent run once")
	return cmd
}

var checkColours = map[string]string{api.CheckOK: "32", api.CheckWarn: "33", api.CheckFail: "31"}

func showDoctor(a *cli.App, v View) {
	for _, c := range v.Checks {
		ShowCheck(a, c)
	}
	switch {
	case v.Failed > 0:
		fmt.Fprintf(a.Err, "%d of %d checks failed, %d to look at.\n", v.Failed, len(v.Checks), v.Warned)
	case v.Warned > 0:
		fmt.Fprintf(a.Err, "Nothing failed; %d to look at.\n", v.Warned)
	default:
		fmt.Fprintln(a.Err, "All is well.")
	}
}

// ShowCheck prints a check in one line, and what fixes it below.
func ShowCheck(a *cli.App, c api.Check) {
	word := a.Styled(a.Out, checkColours[c.State], fmt.Sprintf("%-4s", c.State))
	fmt.Fprintf(a.Out, "%s  %-11s %s\n", word, c.Name, term.SafeLine(c.Text))
	if c.Fix != "" {
		fmt.Fprintf(a.Out, "      fix: %s\n", strings.ReplaceAll(a.Here(term.SafeText(c.Fix)), "\n", "\n            "))
	}
}

// doctor makes every check that can be made from here and, where a daemon runs,
// from there.
func doctor(ctx context.Context, a *cli.App, p api.DoctorParams) (View, error) {
	dir, err := a.StateDir()
	if err != nil {
		return View{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, doctorLimit)
	defer cancel()
	r := api.Report{}
	v := View{}
	var cfg *config.Config
	if p.Peer == "" {
		cfg = checkConfig(a, &r)
		checkStateDir(&r, dir)
		checkFileModes(&r, dir)
	}
	runs, restart := checkDaemon(ctx, a, &r)
	v.Running = runs
	switch {
	case v.Running:
		there, err := api.Doctor.Call(ctx, a, p)
		if err != nil {
			if p.Peer != "" { // a name that nobody has, say
				return v, err
			}
			r.Failed("daemon", restart, err)
		}
		r = append(r, there...)
	case p.Peer != "":
		return v, control.ErrNoDaemon
	case cfg != nil:
		o, err := a.DaemonOptions(nil)
		if err != nil {
			return v, err
		}
		here, err := daemon.DoctorOffline(ctx, o, p)
		if err != nil {
			return v, err
		}
		if r.Has("key") { // the state directory holds another gateway's
			here = slices.DeleteFunc(here, func(c api.Check) bool { return c.Name == "key" })
		}
		r = append(r, here...)
	}
	v.Checks = r
	for i, c := range r {
		r[i].Fix = a.Here(c.Fix)
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
