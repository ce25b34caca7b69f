package doctor

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
		result TestResult
		health delivery.Health
		want   bool
	}{
		{TestResult{At: at, Detail: "401", Failed: true}, later, false},
		{TestResult{At: at, Detail: "401", Failed: true}, before, true},
		{TestResult{At: at, Detail: "its model did not run it"}, later, true},
		{TestResult{At: at, Failed: true}, before, false},
	} {
		if got := x.result.Stands(x.health); got != x.want {
			t.Errorf("%+v with the last success %v after it stands: %t, want %t", x.result, x.health.LastSuccess.Sub(at), got, x.want)
		}
	}
}

// A secret that nobody has named stops no notifier, and its URL that is not granted does.
func TestWhatANotifierLacks(t *testing.T) {
	const url = "http://localhost:1/x"
	for _, x := range []struct {
		missing         []string
		powers, secrets int
	}{
		{nil, 0, 0},
		{[]string{"secret webhook_secret for " + url}, 0, 1},
		{[]string{"http " + url, "http " + url + " at private addresses", "secret webhook_secret for " + url}, 2, 0},
		{[]string{"http " + url + " at private addresses", "secret webhook_secret for " + url}, 1, 1},
		{[]string{"kv.get"}, 1, 0},
	} {
		if powers, secrets := lacking(x.missing); len(powers) != x.powers || len(secrets) != x.secrets {
			t.Errorf("%q: powers %q, secrets %q", x.missing, powers, secrets)
		}
	}
}
