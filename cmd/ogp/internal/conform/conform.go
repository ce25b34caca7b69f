// Package conform puts the cases of package conformance to a gateway: "ogp conformance".
package conform

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/conformance"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/federation"
)

// Command is "ogp conformance".
func Command(a *cli.App) *cobra.Command {
	var only, level, junit string
	var asPeer bool
	var peer conformance.Peer
	cmd := &cobra.Command{
		Use: "conformance <gateway URL>", Short: "Check how any gateway speaks the protocol", Args: cobra.ExactArgs(1),
		Long: `Run black-box cases against any gateway and compare its answers with the protocol.
The cases leave no trace.

Each case has a level: "seeds" is what the specification demands, "field" what
gateways of 0.7 do, "hardened" what this gateway enforces beyond that. All cases
run, and each level gets a score. The exit status is 1 when a case up to --level
failed; failures above it are shown as notes.

With --peer it also asks for federation, waits for the gateway's operator to
approve, and tests what only an approved peer can do. It runs a small gateway for
that, which the other one must be able to reach. Afterwards the other gateway still
has the record of a removed peer: "ogp federation forget" there deletes it.

  ogp conformance http://localhost:18790
  ogp conformance https://ogp.example.org --level hardened --junit report.xml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(conformance.Levels, conformance.Level(level)) {
				return cli.Usagef("--level %q: want seeds, field or hardened", level)
			}
			target := strings.TrimRight(args[0], "/")
			client := &http.Client{Timeout: 15 * time.Second}
			if err := reachable(cmd.Context(), client, target); err != nil {
				return err
			}
			o := conformance.Options{Client: client, Only: only, Level: conformance.Level(level)}
			if asPeer {
				peer.Asked = func(id, key string) {
					fmt.Fprintf(a.Err, "Approve the peer %s on the gateway within %s: ogp federation approve %s\n", id, peer.ApproveWithin, key)
				}
				o.Peer = &peer
			}
			report, err := conformance.Run(cmd.Context(), target, o)
			if err != nil {
				return err
			}
			if len(report.Results) == 0 {
				return cli.Usagef("--only %q: no case has this in its name", only)
			}
			if junit != "" {
				if err := writeJUnit(junit, &report); err != nil {
					return err
				}
			}
			_ = a.Print(report, func() { printReport(a.Out, &report) })
			if !report.OK {
				return cli.ErrPrinted(cli.Failed)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&only, "only", "", "only cases with this text in their name, or of this level or promise")
	cmd.Flags().StringVar(&level, "level", string(conformance.Field), "the highest level that counts: seeds, field or hardened")
	cmd.Flags().BoolVar(&asPeer, "peer", false, "also play a peer, which the gateway's operator approves")
	cmd.Flags().StringVar(&peer.Listen, "peer-listen", "127.0.0.1:0", "where that peer listens")
	cmd.Flags().StringVar(&peer.URL, "peer-url", "", "where the gateway reaches it (default: the address it listens on)")
	peer.ApproveWithin = 2 * time.Minute
	cli.DurationVar(cmd.Flags(), &peer.ApproveWithin, "approve-within", "how long the operator has to approve")
	cmd.Flags().StringVar(&junit, "junit", "", "also write a JUnit report to this file")
	return cmd
}

func writeJUnit(path string, report *conformance.Report) error {
	var b bytes.Buffer
	if err := report.WriteJUnit(&b); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// printReport shows failures, then what is let through, then the scores.
func printReport(out io.Writer, report *conformance.Report) {
	for _, r := range report.Failures(true) {
		fmt.Fprintf(out, "FAIL %s: %s\n", r.Name, term.SafeText(r.Problem))
	}
	for _, r := range report.Failures(false) {
		fmt.Fprintf(out, "note %s: %s (%s)\n", r.Name, r.Why, term.SafeText(r.Problem))
	}
	reasons := map[string]bool{}
	for _, r := range report.Results {
		if strings.HasPrefix(r.Name, "peer: ") && r.Skipped != "" && !reasons[r.Skipped] {
			reasons[r.Skipped] = true
			fmt.Fprintf(out, "not sent %s and others: %s\n", r.Name, term.SafeText(r.Skipped))
		}
	}
	for _, s := range report.Scores {
		fmt.Fprintf(out, "%-9s %d of %d", s.Level, s.Passed, s.Passed+s.Failed)
		if s.Skipped > 0 {
			fmt.Fprintf(out, ", %d not sent", s.Skipped)
		}
		fmt.Fprintf(out, ". %s\n", s.Advice)
	}
}

// reachable asks for the card once, so that nobody waits for every case to time
// out. What answers is the cases' matter.
func reachable(ctx context.Context, client *http.Client, target string) error {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return core.Refusef(core.Malformed, "%q is not a gateway URL", target).WithHint("a gateway URL looks like https://ogp.example.org")
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
