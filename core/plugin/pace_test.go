package plugin

import (
	"testing"
	"time"
)

func TestPaces(t *testing.T) {
	var p Paces
	if got := p.Pace(); got != nil {
		t.Errorf("of nothing: %+v", got)
	}
	p.Add(3*time.Microsecond, 7)
	if got := *p.Pace(); got != (Pace{1, 3, 3, 7, 7}) {
		t.Errorf("of one call: %+v", got)
	}
	for i := range 10 * mostPaces {
		p.Add(time.Duration(i+1)*time.Microsecond, int64(i))
	}
	if got, want := *p.Pace(), (Pace{256, 2433, 2558, 2432, 2559}); got != want {
		t.Errorf("the last of many: %+v, want %+v", got, want)
	}
}
