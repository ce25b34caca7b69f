package core

import (
	"context"
	"time"
)

// Sleep waits for a time, or until ctx is done.
func Sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Every calls f after each interval until ctx is done, one call at a time, in the
// caller's goroutine. It always returns nil, so that it suits what runs several.
func Every(ctx context.Context, interval time.Duration, f func(context.Context)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			f(ctx)
		}
	}
}
