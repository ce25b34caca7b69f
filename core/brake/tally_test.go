package brake_test

import (
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core/brake"
)

func TestTally(t *testing.T) {
	var day brake.Tally[string]
	start := time.Date(2026, 11, 28, 0, 30, 0, 0, time.UTC)
	for i := range 30 { // one an hour
		day.Add("a", start.Add(time.Duration(i)*time.Hour), brake.Use{Messages: 1, Bytes: 10})
	}
	end := start.Add(29 * time.Hour)
	if got := day.Of("a", end); got != (brake.Use{Messages: 24, Bytes: 240}) {
		t.Errorf("Of = %+v, want the last 24", got)
	}
	if day.Take("a", end, brake.Use{Messages: 1}, brake.Use{Messages: 24}) || !day.Take("a", end, brake.Use{Messages: 1}, brake.Use{Messages: 25}) {
		t.Error("Take does not keep to its bound")
	}
	if got := day.Of("a", end.Add(24*time.Hour)); got != (brake.Use{}) {
		t.Errorf("a day later: %+v", got)
	}
	day.Add("b", end.Add(48*time.Hour), brake.Use{Messages: 1})
	seen := 0
	day.Each(end.Add(48*time.Hour), func(string, brake.Use) { seen++ })
	if seen != 1 {
		t.Errorf("Each saw %d", seen)
	}
}
