package doctor

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A large store is read once, and doctor does not wait for it.
func TestStoreReading(t *testing.T) {
	var x Reading
	release, reads := make(chan struct{}), 0
	check := func(context.Context) error { reads++; <-release; return errors.New("damaged") }
	first := x.begin(check)
	if again := x.begin(check); again != first {
		t.Error("a second reading begins while one is under way")
	}
	select {
	case <-first:
		t.Fatal("done before it has read")
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	<-first
	if x.err == nil || x.at.IsZero() || x.cut {
		t.Errorf("after it: %v at %v, want what it found", x.err, x.at)
	}
	if x.begin(check) != first || reads != 1 {
		t.Errorf("read %d times, want once while that is fresh", reads)
	}
	x.at = time.Now().Add(-storeFresh)
	<-x.begin(check)
	if reads != 2 {
		t.Errorf("read %d times, want again when it is stale", reads)
	}
}
