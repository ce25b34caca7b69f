package storetest

import (
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// firstReads has many read a store that nobody has read yet, as the parts of a daemon
// do when it starts.
func firstReads(t *testing.T, s core.Store) {
	ctx := t.Context()
	reads := []func() error{
		func() error { _, err := s.Events(ctx, "", 10); return err },
		func() error { _, err := s.DueDeliveries(ctx, "log", at(1), 10); return err },
		func() error { _, err := s.Deliveries(ctx, core.DeliveryFilter{}); return err },
		func() error { _, err := s.Outbox(ctx, core.OutboxFilter{}); return err },
		func() error { _, err := s.Inbox(ctx, core.InboxFilter{}); return err },
		func() error { _, err := s.Depths(ctx, 0); return err },
		func() error { _, err := s.WaitingPeers(ctx); return err },
		func() error { return s.EachNonce(ctx, func(uint64) {}) },
		func() error {
			return s.EachEvent(ctx, time.Time{}, []core.EventType{core.EventMessage}, func(core.Counted) {})
		},
	}
	start, done := make(chan struct{}), make(chan error)
	const times = 4
	for range times {
		for _, read := range reads {
			go func() {
				<-start
				done <- read()
			}()
		}
	}
	close(start)
	late := time.After(20 * time.Second)
	for range times * len(reads) {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-late:
			t.Fatal("the reads wait for each other")
		}
	}
}
