package console

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// crowd has a stream hear of so many events at once, and says on done that all were taken.
func crowd(n int, done chan<- bool) func(context.Context, api.EventParams, func(api.EventView) error) error {
	return func(ctx context.Context, p api.EventParams, send func(api.EventView) error) error {
		for i := 1; i <= n; i++ {
			if err := send(api.EventView{Event: core.Event{ID: fmt.Sprintf("%026d", i), Type: core.EventMessage}}); err != nil {
				return err
			}
		}
		close(done)
		<-ctx.Done()
		return nil
	}
}

// TestManyEventsAreFewLines: what happens together is told together, all of it, and the last line
// says where to go on.
func TestManyEventsAreFewLines(t *testing.T) {
	s, _, b := open(t)
	const n = 100_000
	done := make(chan bool)
	s.o.Events = crowd(n, done)
	b.enter(s)
	resp, err := b.Get(b.base + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	sum, lines, last := 0, 0, ""
	for in := bufio.NewScanner(resp.Body); sum < n && in.Scan(); {
		if text, ok := strings.CutPrefix(in.Text(), "data: "); ok {
			var of int
			if _, err := fmt.Sscan(text, &of); err != nil {
				t.Fatal(err)
			}
			sum, lines = sum+of, lines+1
		}
		if text, ok := strings.CutPrefix(in.Text(), "id: "); ok {
			last = text
		}
	}
	if sum != n || lines > n/100 || last != fmt.Sprintf("%026d", n) {
		t.Errorf("%d events in %d lines, the last %s", sum, lines, last)
	}
}

// TestAReaderThatStops: a browser that reads no more holds nothing up, and nothing is kept for it.
func TestAReaderThatStops(t *testing.T) {
	s, _, b := open(t)
	done := make(chan bool)
	s.o.Events = crowd(1_000_000, done) // their lines would be 60 MB, which no socket takes
	b.enter(s)
	resp, err := b.Get(b.base + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-done // though nobody reads
	if r, _ := b.get("/"); r.StatusCode != 200 {
		t.Errorf("another page: %d", r.StatusCode)
	}
}
