package core_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second-time.Nanosecond)
		defer cancel()
		var at []time.Duration
		start := time.Now()
		if err := core.Every(ctx, 3*time.Second, func(context.Context) { at = append(at, time.Since(start)) }); err != nil {
			t.Errorf("Every = %v, want nil", err)
		}
		if len(at) != 3 || at[0] != 3*time.Second || at[2] != 9*time.Second {
			t.Errorf("called at %v, want after 3, 6 and 9 s", at)
		}
	})
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		start := time.Now()
		if core.Sleep(ctx, 3*time.Second); time.Since(start) != 3*time.Second || ctx.Err() != nil {
			t.Errorf("slept %v, %v, want 3 s", time.Since(start), ctx.Err())
		}
		if core.Sleep(ctx, 3*time.Second); time.Since(start) != 5*time.Second {
			t.Errorf("slept until %v, want the end of the context after 5 s", time.Since(start))
		}
	})
}
