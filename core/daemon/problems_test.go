package daemon

import (
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core/delivery"
)

// A test call that failed as events did is over with their next success; what only a test
// finds, a model that does not work, stands until a test goes well.
func TestWhatATestFoundEnds(t *testing.T) {
	at := time.Now()
	later, before := delivery.Health{LastSuccess: at.Add(time.Second)}, delivery.Health{LastSuccess: at.Add(-time.Second)}
	for _, x := range []struct {
		result testResult
		health delivery.Health
		want   bool
	}{
		{testResult{at: at, detail: "401", failed: true}, later, false},
		{testResult{at: at, detail: "401", failed: true}, before, true},
		{testResult{at: at, detail: "its model did not run it"}, later, true},
		{testResult{at: at, failed: true}, before, false},
	} {
		if got := x.result.stands(x.health); got != x.want {
			t.Errorf("%+v with the last success %v after it stands: %t, want %t", x.result, x.health.LastSuccess.Sub(at), got, x.want)
		}
	}
}
