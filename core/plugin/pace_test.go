package plugin

import (
	"testing"
	"testing/synctest"
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

// The hours go back two days, and those without a call are left out.
func TestPaceHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Paces
		if got := p.Hours(); got != nil {
			t.Errorf("of nothing: %+v", got)
		}
		for i := range 100 {
			if i != 90 {
				p.Add(time.Duration(i)*time.Microsecond, int64(i))
				p.Add(time.Duration(i+2)*time.Microsecond, int64(i+2))
			}
			time.Sleep(time.Hour)
		}
		got := p.Hours()
		if len(got) != 46 || got[0].Work != 54 || got[0].Micros != 54 || got[0].Calls != 2 || got[45].Work != 100 || !got[45].From.Equal(got[0].From.Add(46*time.Hour)) {
			t.Errorf("%d hours: %+v", len(got), got)
		}
	})
}
