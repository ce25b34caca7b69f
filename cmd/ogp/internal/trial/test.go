package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/trial"
)

// TestCommand is "ogp plugin test".
func TestCommand(a *cli.App) *cobra.Command {
	var grant bool
	cmd := &cobra.Command{
		Use: "test <file, folder or name> [folder of cases]", Short: "Run a plugin's cases", Args: cobra.RangeArgs(1, 2),
		Long: "Run every case (*.json) of a folder, by default the folder \"cases\" beside the plugin, and compare the answers with what the cases expect. The exit status is 1 when one failed. A case may hold the answers of the servers that the plugin asks; otherwise requests go out only with --grant.\n\n  ogp plugin test ./small-only",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			f, err := Find(ctx, a, args[0])
			if err != nil {
				return err
			}
			dir := filepath.Join(filepath.Dir(f.Spec.Path), "cases")
			if len(args) == 2 {
				dir = args[1]
			}
			v, err := testPlugin(ctx, a, f, dir, grant)
			if err != nil {
				return err
			}
			_ = a.Print(v, func() { showTest(a.Out, a, v) })
			if v.Failed > 0 {
				return cli.ErrPrinted(cli.Failed)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&grant, "grant", false, "let its requests go out")
	return cmd
}

// Cases runs the cases that lie beside a plugin's module, before it is installed: those
// that fail are an error. It says how many there were.
func Cases(ctx context.Context, a *cli.App, spec plugin.Spec, module *plugin.Module) (int, error) {
	dir := filepath.Join(filepath.Dir(spec.Path), "cases")
	if entries, err := trial.CasesIn(dir); err != nil || len(entries) == 0 {
		return 0, err
	}
	v, err := testPlugin(ctx, a, &trial.Plugin{Spec: spec, Module: module}, dir, false)
	if err != nil {
		return 0, err
	}
	if err := v.Failing(); err != nil {
		showTest(a.Err, a, v)
		if e, ok := errors.AsType[*core.Error](err); ok {
			e.Hint = "\"ogp plugin test\" runs them again; --no-cases installs it without them"
		}
		return 0, err
	}
	return v.Passed, nil
}

func testPlugin(ctx context.Context, a *cli.App, f *trial.Plugin, dir string, grant bool) (trial.TestView, error) {
	h, err := open(a, grant)
	if err != nil {
		return trial.TestView{}, err
	}
	defer h.Close()
	return h.Test(ctx, f, dir)
}

func showTest(to io.Writer, a *cli.App, v trial.TestView) {
	for _, c := range v.Cases {
		if c.Passed {
			fmt.Fprintf(to, "ok    %s\n", c.Name)
			continue
		}
		fmt.Fprintf(to, "FAIL  %s\n", c.Name)
		for _, d := range c.Differences {
			fmt.Fprintf(to, "      %s\n", term.SafeText(d))
		}
		if c.Error != "" {
			fmt.Fprintf(to, "      %s\n", term.SafeText(c.Error))
		}
	}
	fmt.Fprintf(a.Err, "%d passed, %d failed\n", v.Passed, v.Failed)
}
