package sdk

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestParseTimeAgreesWithPackageTime(t *testing.T) {
	for _, s := range []string{
		"1970-01-01T00:00:00Z", "2026-11-21T20:47:35.730Z", "2024-02-29T23:59:59.999999999Z", "2000-03-01T00:00:00+02:00",
		"1969-12-31T23:59:59.5Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-01-01T00:30:00-05:30", "2100-02-28T12:00:00.1Z",
	} {
		want, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := ParseTime(s)
		if !ok || int64(got) != want.UnixMilli() {
			t.Errorf("ParseTime(%s) = %d %v, want %d", s, got, ok, want.UnixMilli())
		}
		if got, want := got.String(), want.UTC().Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Errorf("String = %s, want %s", got, want)
		}
	}
	for _, s := range []string{
		"", "2026-11-21", "2026-11-21T20:47:35", "2026-13-21T20:47:35Z", "2026-00-21T20:47:35Z", "2026-11-32T20:47:35Z", "2026-11-21T24:47:35Z",
		"2026-11-21T20:60:35Z", "2026-11-21T20:47:35.Z", "2026-11-21T20:47:35+2", "2026-11-21T20:47:35+0200", "2026-11-21T20:47:35ZZ", "x026-11-21T20:47:35Z", "2026-11-21 20:47:35Z",
	} {
		if got, ok := ParseTime(s); ok {
			t.Errorf("ParseTime(%q) = %v, want none", s, got)
		}
	}
}

func TestTimePartsAgreeWithPackageTime(t *testing.T) {
	for range 10_000 {
		ms := rand.Int64N(4e14) - 6e13
		want := time.UnixMilli(ms).UTC()
		y, m, d := Time(ms).Date()
		if y != want.Year() || m != int(want.Month()) || d != want.Day() ||
			Time(ms).Weekday() != int(want.Weekday()) || Time(ms).MinuteOfDay() != want.Hour()*60+want.Minute() {
			t.Fatalf("%d = %d-%d-%d weekday %d minute %d, want %s", ms, y, m, d, Time(ms).Weekday(), Time(ms).MinuteOfDay(), want)
		}
	}
}
