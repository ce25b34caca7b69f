package delivery_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
)

// What a notifier is at work on comes again at its own pace, counts as no failure, holds up
// nothing else, and is given up like all else.
func TestWorkingHasItsOwnPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := coretest.NewNotifier("n", 1)
		began, asked := time.Now(), []time.Duration{}
		n.Answer(func(_ context.Context, notices []core.Notice) core.Outcome {
			if ids(notices) != "1" {
				return core.Outcome{Status: core.OutcomeDelivered}
			}
			asked = append(asked, time.Since(began).Round(time.Second))
			if notices[0].Attempt != 1 {
				t.Errorf("attempt %d, want no failed one before", notices[0].Attempt)
			}
			return core.Outcome{Status: core.OutcomeWorking, RetryAfter: 7 * time.Second, Detail: "it thinks"}
		})
		d := newDesk(t, n)
		d.owe("n", 3)
		defer d.run()()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := ids(n.Notified()); got != "2 3" {
			t.Errorf("delivered %q, want those behind it at once", got)
		}
		if len(asked) < 4 || len(asked) > 6 || asked[1]-asked[0] < 7*time.Second || asked[1]-asked[0] > 9*time.Second {
			t.Errorf("asked at %v, want every 7 s", asked)
		}
		if h := d.dispatcher.Health()[0]; h.Failures != 0 || h.LastError != "" || h.LastSuccess.IsZero() || h.Delivered != 2 {
			t.Errorf("Health = %+v, want no failure", h)
		}
		time.Sleep(8 * 24 * time.Hour)
		synctest.Wait()
		if x := d.depths(); x.DeadDeliveries != 1 {
			t.Errorf("after the time for giving up: %+v, want it set aside", x)
		}
	})
}
