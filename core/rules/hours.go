package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a rule names a time zone, and a small container has none
)

// hours are times of the week: hours("Mon-Fri 09:00-17:00, Sat 10:00-12:00").
type hours struct {
	spans []span
	zone  *time.Location // nil: the rules' own
}

// span is a time of some days, in minutes from midnight. One that ends at or before
// its beginning goes on into the next day.
type span struct {
	days       [7]bool // by time.Weekday
	from, till int
}

var days = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

var errHours = errors.New(`want days and hours such as "Mon-Fri 09:00-17:00" or "Sat,Sun 10:00-12:00"; several are separated by ";"`)

// parseHours reads times of the week. Without days it is every day.
func parseHours(text string) (h hours, err error) {
	for part := range strings.SplitSeq(text, ";") {
		fields := strings.Fields(part)
		var s span
		switch len(fields) {
		case 1:
			s.days = [7]bool{true, true, true, true, true, true, true}
		case 2:
			if s.days, err = parseDays(fields[0]); err != nil {
				return h, err
			}
		default:
			return h, errHours
		}
		from, till, ok := strings.Cut(fields[len(fields)-1], "-")
		if !ok {
			return h, errHours
		}
		if s.from, ok = minutes(from); !ok || s.from == 24*60 {
			return h, errHours
		}
		if s.till, ok = minutes(till); !ok {
			return h, errHours
		}
		h.spans = append(h.spans, s)
	}
	return h, nil
}

func parseDays(text string) (out [7]bool, err error) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, b := slices.Index(days, strings.ToLower(first)), slices.Index(days, strings.ToLower(last))
		if a < 0 || b < 0 {
			return out, fmt.Errorf("%q: days are Mon, Tue, Wed, Thu, Fri, Sat, Sun", part)
		}
		for ; ; a = (a + 1) % 7 {
			out[a] = true
			if a == b {
				break
			}
		}
	}
	return out, nil
}

// minutes reads 00:00 to 24:00.
func minutes(text string) (int, bool) {
	if text == "24:00" {
		return 24 * 60, true
	}
	t, err := time.Parse("15:04", text)
	return t.Hour()*60 + t.Minute(), err == nil && len(text) == 5
}

// hold reports whether a moment is within the hours.
func (h *hours) hold(at time.Time, zone *time.Location) bool {
	if h.zone != nil {
		zone = h.zone
	}
	at = at.In(zone)
	day, minute := int(at.Weekday()), at.Hour()*60+at.Minute()
	for _, s := range h.spans {
		switch {
		case s.from < s.till:
			if s.days[day] && minute >= s.from && minute < s.till {
				return true
			}
		case s.days[day] && minute >= s.from, s.days[(day+6)%7] && minute < s.till:
			return true
		}
	}
	return false
}
