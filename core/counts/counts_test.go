package counts

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// TestCounters: each envelope counts once, under one word for what came of it.
func TestCounters(t *testing.T) {
	var c Counters
	for range 2 {
		c.Add("message", core.Answer{Status: 200}, nil)
	}
	c.Add("message", core.Answer{Status: 403}, nil)
	c.Add("message", core.Answer{}, errors.Join(errors.New("x"), core.Refuse(core.RateLimited, "slowly")))
	c.Add("reply", core.Answer{}, errors.New("x"))
	want := map[[2]string]uint64{{"message", "ok"}: 2, {"message", string(core.Forbidden)}: 1, {"message", string(core.RateLimited)}: 1, {"reply", string(core.Internal)}: 1}
	if got := c.Snapshot(); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	c.AskedPolicy(time.Second)
	c.AskedPolicy(2 * time.Second)
	if n, took := c.Policies(); n != 2 || took != 3*time.Second {
		t.Errorf("%d questions took %v", n, took)
	}
}
