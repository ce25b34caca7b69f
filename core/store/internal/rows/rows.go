// Package rows is how values become the columns of a database.
package rows

import (
	"encoding/base64"
	"math"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
)

// codec is how values become the JSON of a row. A Raw is kept as base64, so that
// it comes back byte for byte: written as JSON it would lose its spaces, and an
// empty object would count as omitted. Text that is not UTF-8 is no reason to
// refuse a change; it is fixed.
var codec = json.JoinOptions(
	jsontext.AllowInvalidUTF8(true),
	json.WithMarshalers(json.MarshalToFunc(func(enc *jsontext.Encoder, raw core.Raw) error {
		return enc.WriteToken(jsontext.String(base64.StdEncoding.EncodeToString(raw)))
	})),
	json.WithUnmarshalers(json.UnmarshalFromFunc(func(dec *jsontext.Decoder, raw *core.Raw) error {
		var text string
		if err := json.UnmarshalDecode(dec, &text); err != nil || text == "" {
			return err
		}
		b, err := base64.StdEncoding.DecodeString(text)
		*raw = b
		return err
	})),
)

// Encode writes a value as the JSON of a row.
func Encode(v any) (string, error) {
	b, err := json.Marshal(v, codec, json.Deterministic(true))
	return string(b), err
}

// Decode reads what Encode has written. Its error is a DamagedError.
func Decode[T any](text []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(text, v, codec); err != nil {
		return nil, &DamagedError{err}
	}
	return v, nil
}

// DamagedError is a row that holds what was never written there. It does not say what
// its parser says, which nobody can fix by hand.
type DamagedError struct{ Err error }

func (e *DamagedError) Error() string { return "a row is damaged" }
func (e *DamagedError) Unwrap() error { return e.Err }

// MinTime and MaxTime are the ends of what Unix nanoseconds can say: the years 1678 and 2262.
var (
	MinTime = time.Unix(0, math.MinInt64)
	MaxTime = time.Unix(0, math.MaxInt64)
)

// NoTime is before every time.
const NoTime = math.MinInt64

// Nanos is how a time is kept in a column. Times beyond the ends become the ends.
func Nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Before(MinTime):
		return math.MinInt64
	case t.After(MaxTime):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// FromNanos is the time of a column, UTC.
func FromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// DueTime is FromNanos for a time that something waits for: one that never had a
// time is due since the epoch, as a zero time would say that nothing waits.
func DueTime(n int64) time.Time { return time.Unix(0, n).UTC() }
