package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/conformance"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/federation"
)

func conformanceCommand(a *cli.App) *cobra.Command {
	var only string
	cmd := &cobra.Command{
		Use: "conformance <gateway URL>", Short: "Check how any gateway speaks the protocol", Args: cobra.ExactArgs(1),
		Long: `Put black-box cases to a gateway of any kind and compare its answers with the
protocol's. The cases leave nothing behind. Exit status 1 says that some failed.

  ogp conformance http://localhost:18790`,
		RunE: func(cmd *cobra.Command, args []string) error {
			target := strings.TrimRight(args[0], "/")
			client := &http.Client{Timeout: 15 * time.Second}
			if err := reachable(cmd.Context(), client, target); err != nil {
				return err
			}
			report, err := conformance.Run(cmd.Context(), target, conformance.Options{Client: client, Only: only})
			if err != nil {
				return err
			}
			if len(report.Results) == 0 {
				return cli.Usagef("--only %q: no case has this in its name", only)
			}
			failed := 0
			for _, r := range report.Results {
				if !r.OK {
					failed++
				}
			}
			if a.JSON {
				a.WriteJSON(report)
			} else {
				for _, r := range report.Results {
					if !r.OK {
						fmt.Fprintf(a.Out, "FAIL %s: %s\n", r.Name, term.SafeText(r.Problem))
					}
				}
				fmt.Fprintf(a.Out, "%d cases, %d failed\n", len(report.Results), failed)
			}
			if failed > 0 {
				return cli.ErrPrinted(cli.Failed)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&only, "only", "", "only cases whose name holds this text")
	return cmd
}

// reachable asks for the card once, so that nobody waits for every case to time
// out. What answers is the cases' matter.
func reachable(ctx context.Context, client *http.Client, target string) error {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		e := core.Refusef(core.Malformed, "%q is no gateway URL", target)
		e.Hint = "a gateway URL looks like https://ogp.example.org"
		return e
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target+federation.PathCard, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return &core.Error{Kind: core.Unreachable, Public: target + " does not answer", Err: err}
	}
	return response.Body.Close()
}
