package trial

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/trial"
)

type benchView struct {
	Plugin      string      `json:"plugin"`
	Hook        plugin.Hook `json:"hook"`
	Calls       int         `json:"calls"`
	P50Micros   float64     `json:"p50Micros"`
	P99Micros   float64     `json:"p99Micros"`
	MaxMicros   float64     `json:"maxMicros"`
	Fuel        int64       `json:"fuel"` // of the last call
	MemoryBytes int64       `json:"memoryBytes"`
	LoadMillis  int64       `json:"loadMillis"`
}

// BenchCommand is "ogp plugin bench".
func BenchCommand(a *cli.App) *cobra.Command {
	var file, hook string
	var calls int
	cmd := &cobra.Command{
		Use: "bench <file, folder or name>", Short: "Measure a plugin on one case", Args: cobra.ExactArgs(1),
		Long: "Run a plugin on the same case many times, and print how long the calls took and what one of them used.\n\n  ogp plugin bench ./small-only --case cases/first.json --calls 5000",
		RunE: func(cmd *cobra.Command, args []string) error {
			if calls < 1 || calls > 10_000_000 {
				return cli.Usagef("--calls %d: want 1 to 10000000", calls)
			}
			ctx := cmd.Context()
			f, err := Find(ctx, a, args[0])
			if err != nil {
				return err
			}
			c, err := readCase(a, file)
			if err != nil {
				return err
			}
			v, err := bench(ctx, a, f, c, hook, calls)
			if err != nil {
				return err
			}
			return a.Print(v, func() {
				fmt.Fprintf(a.Out, "calls   %d\np50     %.1f us\np99     %.1f us\nmax     %.1f us\nfuel    %d a call\nmemory  %d KiB\nload    %d ms\n",
					v.Calls, v.P50Micros, v.P99Micros, v.MaxMicros, v.Fuel, v.MemoryBytes>>10, v.LoadMillis)
			})
		},
	}
	cmd.Flags().StringVar(&file, "case", "-", "the case: a file, or - for the standard input")
	cmd.Flags().StringVar(&hook, "hook", "", "message, request, notify or handle, where the case does not say")
	calls = 1000
	cli.CountVar(cmd.Flags(), &calls, "calls", "how many calls")
	return cmd
}

func bench(ctx context.Context, a *cli.App, f *trial.Plugin, c trial.Case, flag string, calls int) (benchView, error) {
	hook, err := c.Hook(f.Module.Manifest, flag)
	if err != nil {
		return benchView{}, asUsage(err)
	}
	h, err := open(a, false)
	if err != nil {
		return benchView{}, err
	}
	defer h.Close()
	p, err := h.Load(ctx, f, c)
	if err != nil {
		return benchView{}, trial.NotLoaded(err)
	}
	defer p.Close()
	took := make([]time.Duration, calls)
	var r plugin.Result
	for i := range took {
		if r, err = p.Call(ctx, hook, c.Input); err != nil {
			return benchView{}, fmt.Errorf("call %d: %w", i+1, err)
		}
		took[i] = r.Took
	}
	slices.Sort(took)
	micros := func(share float64) float64 {
		return float64(took[min(int(share*float64(calls)), calls-1)].Nanoseconds()) / 1000
	}
	info := p.Info()
	return benchView{Plugin: info.Name, Hook: hook, Calls: calls, P50Micros: micros(0.5), P99Micros: micros(0.99), MaxMicros: micros(1),
		Fuel: r.FuelUsed, MemoryBytes: r.MemoryBytes, LoadMillis: info.LoadTook.Milliseconds()}, nil
}
