package sdk

import "strconv"

// Time is milliseconds since 1970-01-01T00:00:00Z; zero means none. It stands in for
// time.Time, because package time alone adds 260 KB to a module.
type Time int64

const dayMs = 24 * 60 * 60 * 1000

// ParseTime reads RFC 3339, any offset, any fraction (cut to milliseconds).
func ParseTime(s string) (Time, bool) {
	const shape = "0000-00-00T00:00:00"
	if len(s) < len(shape)+1 {
		return 0, false
	}
	for i := range shape {
		switch c := s[i]; {
		case shape[i] == '0' && (c < '0' || c > '9'),
			shape[i] == 'T' && c != 'T' && c != 't',
			(shape[i] == '-' || shape[i] == ':') && c != shape[i]:
			return 0, false
		}
	}
	year, month, day := number(s[0:4]), number(s[5:7]), number(s[8:10])
	hour, minute, second := number(s[11:13]), number(s[14:16]), number(s[17:19])
	if month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60 {
		return 0, false
	}
	rest, ms := s[19:], int64(0)
	if rest[0] == '.' {
		digits := 1
		for scale := int64(100); digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9'; digits++ {
			ms += int64(rest[digits]-'0') * scale
			scale /= 10
		}
		if digits == 1 {
			return 0, false
		}
		rest = rest[digits:]
	}
	offset, ok := zone(rest)
	if !ok {
		return 0, false
	}
	t := daysFrom(year, month, day)*dayMs + (hour*60+minute-offset)*60_000 + second*1000 + ms
	return Time(t), true
}

// number reads digits that were checked.
func number(s string) int64 {
	var n int64
	for _, c := range []byte(s) {
		n = n*10 + int64(c-'0')
	}
	return n
}

// zone reads Z or ±hh:mm, in minutes east.
func zone(s string) (int64, bool) {
	if s == "Z" || s == "z" {
		return 0, true
	}
	if len(s) != 6 || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, false
	}
	for _, i := range [...]int{1, 2, 4, 5} {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	minutes := number(s[1:3])*60 + number(s[4:6])
	if s[0] == '-' {
		minutes = -minutes
	}
	return minutes, true
}

// daysFrom counts days from 1970-01-01 in the proleptic Gregorian calendar: Howard
// Hinnant's days_from_civil, whose years begin in March so that the leap day comes last.
func daysFrom(y, m, d int64) int64 {
	if m <= 2 {
		y--
	}
	era := floorDiv(y, 400)
	yearOfEra := y - era*400
	dayOfYear := (153*((m+9)%12)+2)/5 + d - 1
	return era*146097 + yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear - 719468
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Date gives the day in UTC: month and day from 1.
func (t Time) Date() (year, month, day int) {
	z := floorDiv(int64(t), dayMs) + 719468
	era := floorDiv(z, 146097)
	dayOfEra := z - era*146097
	yearOfEra := (dayOfEra - dayOfEra/1460 + dayOfEra/36524 - dayOfEra/146096) / 365
	dayOfYear := dayOfEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	mp := (5*dayOfYear + 2) / 153
	day = int(dayOfYear - (153*mp+2)/5 + 1)
	month = int((mp+2)%12) + 1
	year = int(yearOfEra + era*400)
	if month <= 2 {
		year++
	}
	return year, month, day
}

// MinuteOfDay counts from midnight UTC, 0 to 1439.
func (t Time) MinuteOfDay() int { return int((int64(t) - floorDiv(int64(t), dayMs)*dayMs) / 60_000) }

// Weekday is the day of the week in UTC: 0 is Sunday.
func (t Time) Weekday() int {
	d := (floorDiv(int64(t), dayMs) + 4) % 7 // 1970-01-01 was a Thursday
	if d < 0 {
		d += 7
	}
	return int(d)
}

// Add moves by milliseconds.
func (t Time) Add(ms int64) Time { return t + Time(ms) }

// String writes RFC 3339 in UTC with milliseconds, as the wire does.
func (t Time) String() string {
	y, m, d := t.Date()
	ms := int64(t) - floorDiv(int64(t), dayMs)*dayMs
	b := make([]byte, 0, 24)
	b = digits(b, int64(y), 4)
	b = digits(append(b, '-'), int64(m), 2)
	b = digits(append(b, '-'), int64(d), 2)
	b = digits(append(b, 'T'), ms/3_600_000, 2)
	b = digits(append(b, ':'), ms/60_000%60, 2)
	b = digits(append(b, ':'), ms/1000%60, 2)
	b = digits(append(b, '.'), ms%1000, 3)
	return string(append(b, 'Z'))
}

func digits(b []byte, n int64, width int) []byte {
	s := strconv.FormatInt(n, 10)
	for i := len(s); i < width; i++ {
		b = append(b, '0')
	}
	return append(b, s...)
}

// timeOf reads an RFC 3339 string, or a number of milliseconds.
func timeOf(v Value) Time {
	if ms, ok := v.IsInt(); ok {
		return Time(ms)
	}
	t, _ := ParseTime(v.Text())
	return t
}
