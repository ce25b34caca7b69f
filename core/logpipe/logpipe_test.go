package logpipe_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core/logpipe"
)

// A reader that has stopped blocks nobody who logs, and learns afterwards how much
// it has missed.
func TestD8BlockedReader(t *testing.T) {
	r, out := io.Pipe()
	w := logpipe.New(out)
	line := []byte(strings.Repeat("x", 999) + "\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 5000 { // 5 MB
			w.Write(line)
		}
	}()
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		t.Fatal("Write waits for a reader that has stopped")
	}
	var got bytes.Buffer
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(&got, r) })
	w.Close()
	out.Close()
	reading.Wait()
	if n := strings.Count(got.String(), "\n"); n < 1000 || n > 2200 {
		t.Errorf("%d lines came, want what had room", n)
	}
	if !strings.Contains(got.String(), "log lines dropped, as nobody read them") {
		t.Error("what was dropped is not said")
	}
}

func TestLinesComeInOrderAndWhole(t *testing.T) {
	var got bytes.Buffer
	w := logpipe.New(&got)
	var want bytes.Buffer
	for i := range 1000 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		w.Write([]byte(line))
	}
	w.Close()
	if got.String() != want.String() {
		t.Errorf("%d bytes came, want the %d that were written", got.Len(), want.Len())
	}
	w.Write([]byte("late\n")) // must not panic
	w.Close()
}

func TestCloseDoesNotWaitForever(t *testing.T) {
	_, out := io.Pipe()
	w := logpipe.New(out)
	w.Write([]byte("x\n"))
	start := time.Now()
	w.Close()
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("Close took %v", took)
	}
	out.Close()
}
