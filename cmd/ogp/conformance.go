package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/conformance"
)

func conformanceCommand(a *app) *cobra.Command {
	var only string
	cmd := &cobra.Command{
		Use: "conformance <gateway URL>", Short: "Check how any gateway speaks the protocol", Args: cobra.ExactArgs(1),
		Long: `Put black-box cases to a gateway of any kind and compare its answers with the
protocol's. The cases leave nothing behind. Exit status 1 says that some failed.

  ogp conformance http://localhost:18790`,
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := conformance.Run(cmd.Context(), strings.TrimRight(args[0], "/"),
				conformance.Options{Client: &http.Client{Timeout: 15 * time.Second}, Only: only})
			if err != nil {
				return err
			}
			failed := 0
			for _, r := range report.Results {
				if !r.OK {
					failed++
				}
			}
			if a.json {
				a.writeJSON(report)
			} else {
				for _, r := range report.Results {
					if !r.OK {
						fmt.Fprintf(a.out, "FAIL %s: %s\n", r.Name, safeText(r.Problem))
					}
				}
				fmt.Fprintf(a.out, "%d cases, %d failed\n", len(report.Results), failed)
			}
			if failed > 0 {
				return errPrinted(exitFailed)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&only, "only", "", "only cases whose name holds this text")
	return cmd
}
