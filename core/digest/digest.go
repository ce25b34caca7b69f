// Package digest sums up what strangers bring about, so that an operator gets one notice
// in a while instead of one each.
//
// docs/threat-model.md#t6
package digest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// Key is where a digest is kept, with what it counts, so that a restart forgets nobody.
const Key = "gateway.digest"

// Interval is how often an operator is told at most.
const Interval = 10 * time.Minute

// Digest is what an operator has not been told of yet. It is a value: what a copy counts,
// the other does not know.
type Digest struct {
	Last      time.Time   `json:"last,omitzero"`       // when the operator was last told
	Count     int         `json:"count,omitzero"`      // requests since then
	Restored  int         `json:"restored,omitzero"`   // peers that have not removed us though a notice said so, since then
	Withdrawn []time.Time `json:"withdrawn,omitempty"` // when requests came that were taken back and left no record
}

// Read reads a digest as Text wrote it.
func Read(text string) (d Digest, err error) {
	err = json.Unmarshal([]byte(text), &d)
	return d, err
}

// Text is the digest as it is kept under Key.
func (d Digest) Text() string {
	b, err := json.Marshal(d, json.Deterministic(true))
	if err != nil {
		panic(err) // our own type, which always encodes
	}
	return string(b)
}

// Same reports whether two digests say the same.
func (d Digest) Same(e Digest) bool {
	return d.Last.Equal(e.Last) && d.Count == e.Count && d.Restored == e.Restored && slices.EqualFunc(d.Withdrawn, e.Withdrawn, time.Time.Equal)
}

// Request takes a stranger's request in. It reports whether the operator is told of it at
// once, as the first in a while; else it is counted.
func (d *Digest) Request(now time.Time, every time.Duration) (tell bool) {
	if !d.Last.IsZero() && now.Sub(d.Last) < every {
		d.Count++
		return false
	}
	d.Last = now
	return true
}

// TakenBack notes that a request of a time was taken back and left no record: its place
// stays taken as long as if it waited.
func (d *Digest) TakenBack(at time.Time) { d.Withdrawn = append(slices.Clip(d.Withdrawn), at) }

// Expire frees the places of requests that were taken back, and came before a time.
func (d *Digest) Expire(before time.Time) {
	d.Withdrawn = slices.DeleteFunc(slices.Clone(d.Withdrawn), func(t time.Time) bool { return t.Before(before) })
}

// Due reports whether there is something to tell, and the last time is long enough ago.
func (d Digest) Due(now time.Time, every time.Duration) bool {
	return (d.Count > 0 || d.Restored > 0) && now.Sub(d.Last) >= every
}

// Anew is the digest that begins once the operator has been told.
func (d Digest) Anew(now time.Time) Digest { return Digest{Last: now, Withdrawn: d.Withdrawn} }

// Words are what the operator is told, and its numbers. waiting is how many requests wait
// in all.
func (d Digest) Words(waiting int) (words string, data map[string]any) {
	var texts []string
	either := func(n int, one, many string) string {
		if n == 1 {
			return one
		}
		return many
	}
	if d.Count > 0 {
		texts = append(texts, fmt.Sprintf("%s for federation came; %d in all %s.", text.Count(d.Count, "more request"), waiting, either(waiting, "waits", "wait")))
	}
	if d.Restored > 0 {
		texts = append(texts, fmt.Sprintf("%s that seemed to have removed us %s not, and %s again.", text.Count(d.Restored, "peer"),
			either(d.Restored, "has", "have"), either(d.Restored, "is approved", "are approved")))
	}
	return strings.Join(texts, " "), map[string]any{"requests": d.Count, "pending": waiting, "restored": d.Restored}
}

// Put lets a change keep the digest.
func (d Digest) Put(c *core.Change) { c.Meta = map[string]string{Key: d.Text()} }
