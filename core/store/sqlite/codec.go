package sqlite

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

func encode(v any) (string, error) {
	b, err := json.Marshal(v, codec, json.Deterministic(true))
	return string(b), err
}

func decode[T any](text []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(text, v, codec); err != nil {
		return nil, &damagedError{err}
	}
	return v, nil
}

// damagedError is a row that holds what was never written there. It does not say what
// its parser says, which nobody can fix by hand.
type damagedError struct{ err error }

func (e *damagedError) Error() string { return "a row is damaged" }
func (e *damagedError) Unwrap() error { return e.err }

// The ends of what Unix nanoseconds can say: the years 1678 and 2262.
var (
	minTime = time.Unix(0, math.MinInt64)
	maxTime = time.Unix(0, math.MaxInt64)
)

// noTime is before every time.
const noTime = math.MinInt64

// nanos is how a time is kept in a column. Times beyond the ends become the ends.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Before(minTime):
		return math.MinInt64
	case t.After(maxTime):
		return math.MaxInt64
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// dueTime is fromNanos for a time that something waits for: one that never had a
// time is due since the epoch, as a zero time would say that nothing waits.
func dueTime(n int64) time.Time { return time.Unix(0, n).UTC() }
