package daemon

import (
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

func TestFailuresAreTheLastOnes(t *testing.T) {
	var f failures
	old := core.Event{ID: "old", At: time.Now().Add(-2 * recent)}
	f.add(old)
	if got := f.newestFirst(); len(got) != 0 {
		t.Errorf("got %v, want none of last week", got)
	}
	for i := range 2 * mostShown {
		f.add(core.Event{ID: string(rune('a' + i)), At: time.Now()})
	}
	got := f.newestFirst()
	if len(got) != mostShown || got[0].ID != "j" || got[mostShown-1].ID != "f" {
		t.Errorf("got %v, want j to f", got)
	}
}
