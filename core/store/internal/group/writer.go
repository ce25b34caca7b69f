package group

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Writer is what the writer of a store knows of its own work: how it went, and whether
// anything can be kept. The zero value is ready. Safe for concurrent use.
type Writer struct {
	ill atomic.Pointer[core.Error] // why nothing can be kept

	mu  sync.Mutex // guards now
	now core.StoreStats
}

// Ill is why nothing can be kept; nil: it can.
func (w *Writer) Ill() *core.Error { return w.ill.Load() }

// Feel notes how a transaction went. What one change alone is to blame for is no
// illness; nor is a caller who left.
func (w *Writer) Feel(err error) {
	var e *core.Error
	switch {
	case err == nil:
		w.ill.Store(nil)
	case errors.As(err, &e) && (e.Kind == core.Full || e.Kind == core.Unavailable):
		w.ill.Store(e)
	}
}

// Stats is what the writer has done so far.
func (w *Writer) Stats() core.StoreStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// RecordFailed notes why the count of changes beside the store is not written.
func (w *Writer) RecordFailed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.RecordError = err.Error()
}

// Write keeps each change of a batch of q, or says why not, and answers all. Where nothing can
// be kept, it wakes the writer, who is to look when that is over. Where a batch
// failed with one of the kinds of blamed, one of its changes may be to blame: each alone
// then costs only itself.
func Write[M Member](w *Writer, q *Queue[M], batch []M, transact func([]M) error, blamed ...core.Kind) {
	start := time.Now()
	err := transact(batch)
	w.Feel(err)
	alone := false
	for _, kind := range blamed {
		alone = alone || len(batch) > 1 && errors.Is(err, kind)
	}
	for _, m := range batch {
		c := m.change()
		switch {
		case alone:
			err := transact([]M{m})
			if c.Err == nil {
				c.Err = err
			}
			w.Feel(err)
		case err != nil:
			c.Err = err
		}
	}
	w.add(func(now *core.StoreStats) {
		for _, m := range batch {
			switch err := m.change().Err; {
			case err == nil:
				now.Commits++
			case errors.Is(err, errOvertaken):
				now.Fenced++
			case errors.Is(err, core.Moved), errors.Is(err, core.Replayed), errors.Is(err, core.RateLimited): // as it was to be judged
			default:
				now.Refused++
			}
		}
		took := time.Since(start)
		now.Batches++
		now.LastBatch = len(batch)
		now.LastCommit = took
		now.TotalCommit += took
	})
	if w.Ill() != nil {
		q.Poke()
	}
	for _, m := range batch {
		m.change().Answer()
	}
}

func (w *Writer) add(f func(*core.StoreStats)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.now)
}
