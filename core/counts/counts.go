// Package counts counts envelopes by what came of them, and questions to policies, for
// status, metrics and traces.
package counts

import (
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Verdict is one word for what came of an envelope, for counters and traces: "ok",
// the error's kind, or "forbidden" for a refusal that is an answer on record.
func Verdict(a core.Answer, err error) string {
	if e, ok := errors.AsType[*core.Error](err); ok {
		return string(e.Kind)
	}
	switch {
	case err != nil:
		return string(core.Internal)
	case a.Status >= 400:
		return string(core.Forbidden)
	}
	return "ok"
}

// Counters are of one gateway since its start. The zero value is ready. Safe for concurrent
// use.
type Counters struct {
	mu        sync.Mutex // guards all below
	verdict   map[[2]string]uint64
	questions uint64
	asked     time.Duration
}

// Policies is how many questions were put to policies, and how long the answers
// took together.
func (c *Counters) Policies() (questions uint64, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.questions, c.asked
}

// AskedPolicy counts a question to a policy, whose answer took a while.
func (c *Counters) AskedPolicy(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.questions++
	c.asked += took
}

// Add counts an envelope of a kind, which is the end of its path, by what came of it.
func (c *Counters) Add(kind string, a core.Answer, err error) {
	verdict := Verdict(a, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.verdict == nil {
		c.verdict = map[[2]string]uint64{}
	}
	c.verdict[[2]string{kind, verdict}]++
}

// Snapshot returns the counts by kind of envelope and verdict.
func (c *Counters) Snapshot() map[[2]string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.verdict)
}
