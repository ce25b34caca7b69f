package peering_test

import (
	"errors"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core/peering"
)

// TestEveryReach: every state and outcome, one by one.
func TestEveryReach(t *testing.T) {
	outcomes := [3]peering.Check{peering.Answered, peering.Failed, peering.GaveUp}
	table := map[peering.Reach][3]peering.Reach{
		"":               {peering.Up, peering.Degraded, peering.Down},
		peering.Unknown:  {peering.Up, peering.Degraded, peering.Down},
		peering.Up:       {peering.Up, peering.Degraded, peering.Down},
		peering.Degraded: {peering.Up, peering.Degraded, peering.Down},
		peering.Down:     {peering.Up, peering.Down, peering.Down},
	}
	for from, row := range table {
		for i, c := range outcomes {
			if got := peering.NextReach(from, c); got != row[i] {
				t.Errorf("%s in %q goes to %q, want %q", c, from, got, row[i])
			}
		}
	}
}

// TestChecked: failures are counted in a row, and one answer ends the row.
func TestChecked(t *testing.T) {
	fail := errors.New("no answer")
	var h peering.Health
	steps := []struct {
		err      error
		outbound peering.Reach
		failures int
	}{
		{nil, peering.Up, 0}, {fail, peering.Degraded, 1}, {fail, peering.Degraded, 2}, {fail, peering.Down, 3}, {fail, peering.Down, 4},
		{nil, peering.Up, 0}, {fail, peering.Degraded, 1},
	}
	for i, s := range steps {
		now := at.Add(time.Duration(i) * time.Minute)
		h = h.Checked(s.err, now, 3)
		if h.Outbound != s.outbound || h.Failures != s.failures || !h.LastCheck.Equal(now) {
			t.Errorf("step %d: %+v, want %s after %d failures", i, h, s.outbound, s.failures)
		}
		if s.err == nil && (!h.LastSuccess.Equal(now) || h.LastError != "") || s.err != nil && (!h.LastFailure.Equal(now) || h.LastError != "no answer") {
			t.Errorf("step %d: %+v", i, h)
		}
	}
}

// TestWord: the field's one word, for every reach with and without recent envelopes
// from the peer.
func TestWord(t *testing.T) {
	const within = 10 * time.Minute
	for _, test := range []struct {
		outbound       peering.Reach
		recent, silent string
	}{
		{"", "", ""},
		{peering.Unknown, "", ""},
		{peering.Up, "established", "degraded-inbound"},
		{peering.Degraded, "degraded-outbound", "degraded-outbound"},
		{peering.Down, "degraded-outbound", "down"},
	} {
		for last, want := range map[time.Time]string{at.Add(-within): test.recent, at.Add(-within - 1): test.silent, {}: test.silent} {
			if got := (peering.Health{Outbound: test.outbound, LastInbound: last}).Word(at, within); got != want {
				t.Errorf("outbound %q, last envelope %v: %q, want %q", test.outbound, last, got, want)
			}
		}
	}
}
