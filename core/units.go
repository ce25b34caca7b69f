package core

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

var errDuration = errors.New(`want a duration such as "90s", "5m", "24h" or "90d"`)

// ParseDuration is time.ParseDuration's, with days of 24 hours before the rest:
// "90d", "1d12h". Less than nothing is no duration. Settings, flags and grants all
// read it, so that what one takes the others take.
func ParseDuration(s string) (time.Duration, error) {
	var days time.Duration
	if head, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(head, 10, 31)
		if err != nil || n > uint64(math.MaxInt64/day) {
			return 0, errDuration
		}
		days = time.Duration(n) * day
		if s = rest; s == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || strings.ContainsAny(s, "+-") || d > math.MaxInt64-days {
		return 0, errDuration
	}
	return days + d, nil
}

// FormatDuration is the shortest text that ParseDuration reads back.
func FormatDuration(d time.Duration) string {
	if d >= 2*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MaxRateWindow is the longest window of a rate: every accepted message is counted
// for that long.
const MaxRateWindow = 31 * day

var errRate = errors.New(`want a rate such as "100/1h" or "100/3600" (requests/seconds)`)

var errBytes = errors.New(`want a size in a time such as "64KiB/1h" or "65536/3600"`)

// ParseByteLimit reads "size/seconds" or "size/duration", the size in B, KiB or MiB, without a unit in bytes.
func ParseByteLimit(s string) (ByteLimit, error) {
	size, per, ok := strings.Cut(s, "/")
	size, unit := strings.TrimSpace(size), int64(1)
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"B", 1}} {
		if rest, found := strings.CutSuffix(size, u.suffix); found {
			size, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(size, 10, 31)
	if !ok || err != nil || n == 0 {
		return ByteLimit{}, errBytes
	}
	r, err := ParseRate("1/" + per)
	if errors.Is(err, errRate) {
		err = errBytes
	}
	return ByteLimit{Bytes: int64(n) * unit, WindowSeconds: r.WindowSeconds}, err
}

// String is what ParseByteLimit reads back, the size in the largest unit that fits.
func (b ByteLimit) String() string { return FormatBytes(b.Bytes) + "/" + FormatDuration(b.Window()) }

// FormatBytes writes a size in the largest unit that divides it.
func FormatBytes(n int64) string {
	switch {
	case n > 0 && n%(1<<20) == 0:
		return strconv.FormatInt(n>>20, 10) + "MiB"
	case n > 0 && n%(1<<10) == 0:
		return strconv.FormatInt(n>>10, 10) + "KiB"
	}
	if n == 0 {
		return "0"
	}
	return strconv.FormatInt(n, 10) + "B"
}

// ParseRate reads "requests/seconds" or "requests/duration".
func ParseRate(s string) (RateLimit, error) {
	n, per, ok := strings.Cut(s, "/")
	requests, err := strconv.ParseUint(strings.TrimSpace(n), 10, 31)
	if !ok || err != nil || requests == 0 {
		return RateLimit{}, errRate
	}
	per = strings.TrimSpace(per)
	seconds, err := strconv.ParseUint(per, 10, 31)
	if err != nil {
		d, err := ParseDuration(per)
		if err != nil || d%time.Second != 0 {
			return RateLimit{}, errRate
		}
		seconds = uint64(d / time.Second)
	}
	if seconds == 0 || seconds > uint64(MaxRateWindow/time.Second) {
		return RateLimit{}, fmt.Errorf("want a rate over 1 second to %d days", MaxRateWindow/day)
	}
	return RateLimit{Requests: int(requests), WindowSeconds: int(seconds)}, nil
}

// String is "requests/duration", which ParseRate reads back.
func (r RateLimit) String() string {
	return strconv.Itoa(r.Requests) + "/" + FormatDuration(r.Window())
}

// Never is what ParseExpiry takes for an end that never comes.
const Never = "never"

// ParseExpiry reads when something is to end, as people write it: a duration from now on
// such as 12h or 30d, a date or a time (of this machine's zone, where it names none), or
// "never". It returns the time as FormatTime writes it; "" for "never" and for "".
func ParseExpiry(s string, now time.Time) (string, error) {
	if s == "" || s == Never {
		return "", nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			if !t.After(now) {
				return "", errors.New("that time has passed")
			}
			return FormatTime(t), nil
		}
	}
	d, err := ParseDuration(s)
	if err != nil || d <= 0 {
		return "", errors.New("want a duration such as 12h or 30d, a date such as 2027-01-31, or never")
	}
	return FormatTime(now.Add(d)), nil
}
