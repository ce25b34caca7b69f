package daemon

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
)

// What let others in has ended before the rest does, however the end comes.
func TestStages(t *testing.T) {
	for name, fails := range map[string]error{"asked to stop": nil, "a part fails": errors.New("failed")} {
		d := &Daemon{log: slog.New(slog.DiscardHandler)}
		var ctx context.Context
		ctx, d.stop = context.WithCancel(t.Context())
		var order []string
		working := make(chan context.Context, 1)
		if fails == nil {
			time.AfterFunc(20*time.Millisecond, d.stop)
		}
		err := d.stages(ctx, []part{func(ctx context.Context) error {
			work := <-working
			<-ctx.Done()
			time.Sleep(20 * time.Millisecond) // what is under way
			if work.Err() != nil {
				t.Errorf("%s: the rest ended before what had come in was answered", name)
			}
			order = append(order, "doors")
			return nil
		}}, []part{func(ctx context.Context) error {
			working <- ctx
			<-ctx.Done()
			order = append(order, "work")
			return nil
		}, func(ctx context.Context) error { return fails }}, []part{func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, "leases")
			return nil
		}})
		if !errors.Is(err, fails) || len(order) != 3 || order[0] != "doors" || order[2] != "leases" {
			t.Errorf("%s: ended in the order %v with %v", name, order, err)
		}
	}
}
