package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/group"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// maxBatch bounds the changes that share one transaction, and with it how long
// the first of them waits for the last.
const maxBatch = 512

// request is a change on its way to the writer.
type request struct {
	group.Change
	needs       []string // events that are to be there
	expect      []core.Expect
	fences      []core.Fence
	receipt     *receipt // nil: none
	merged      bool     // the receipt is that of the first row
	rows        []logRow
	settle      []settling
	ops         []op
	keepReceipt []int64      // rows of messages to prune, for then
	then        func() error // runs last, in the writer; nil: nothing

	probe bool // is not counted
	lazy  bool // Change.Lazy
}

// Commit keeps a change. When ctx ends before the writer has taken the change,
// nothing is kept and the context's error is returned; from then on Commit waits
// for the disk. It returns NotFound when a delivery names an event that is not
// kept, and Internal for a change that no store could keep.
func (s *Store) Commit(ctx context.Context, c *core.Change) error {
	r := &request{lazy: c.Lazy}
	if err := r.compile(c); err != nil {
		return err
	}
	return s.submit(ctx, r)
}

func (s *Store) submit(ctx context.Context, r *request) error {
	return s.queue.Submit(ctx, r, r.lazy, rows.ErrClosed)
}

// keep keeps or refuses a batch. A disk that fails is nobody's fault, and trying it again for
// each takes long.
func (s *Store) keep(batch []*request) {
	group.Write(&s.writer, s.queue, batch, s.transact, core.Internal, core.Full)
}

// run is the writer of what no caller writes itself. It ends when the store is closed and nothing waits.
func (s *Store) run() {
	defer close(s.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var looked time.Time // when heal was last tried, or the illness began; zero: all is well
	for {
		some, wait := s.queue.Step()
		switch {
		case some:
		case wait < 0:
			return
		default:
			ill := s.writer.Ill() != nil
			switch {
			case !ill:
				looked = time.Time{}
			case looked.IsZero():
				looked = time.Now()
				fallthrough
			default:
				wait = min(wait, max(0, time.Until(looked.Add(s.healIn))))
			}
			timer.Reset(wait)
			select {
			case <-s.queue.Wake():
			case <-timer.C:
			}
			if ill && time.Since(looked) >= s.healIn {
				s.queue.Alone(s.heal)
				looked = time.Now()
			}
		}
	}
}

// transact runs the changes in one transaction. Refusals are left in the request
// itself; a returned error means that none of the batch is kept, whatever their
// own errors say.
func (s *Store) transact(batch []*request) error {
	if s.broken != nil {
		return s.broken
	}
	if s.unread != nil {
		if s.unread = s.readIndex(context.Background()); s.unread != nil {
			return s.wrap("read", s.unread)
		}
	}
	for _, r := range batch {
		r.Err = nil
	}
	kept := 0
	if err := s.begin(); err != nil {
		return s.wrap("begin", err)
	}
	for _, r := range batch {
		refusal, err := s.apply(r)
		if err != nil {
			s.abort()
			return s.wrap("write", err)
		}
		r.Err = refusal
		if refusal == nil && !r.probe {
			kept++
		}
	}
	next := s.index.tally.next(kept, time.Now())
	if kept > 0 {
		if _, err := s.exec(putTally, int64(next.n), int64(next.hash)); err != nil {
			s.abort()
			return s.wrap("write", err)
		}
	}
	if err := s.commit(); err != nil {
		if lostSync(err) {
			s.broken = &core.Error{Kind: core.Unavailable, Public: "store: the disk did not confirm a write", Err: err,
				Hint: "check the disk of " + s.dir + "; ogp tries again every few seconds"}
			s.bad.Store(true)
		}
		s.abort()
		return s.wrap("commit", err)
	}
	if kept > 0 {
		s.index.tally = next
		if err := s.record.write(next); err != nil { // the changes themselves are on disk
			s.writer.RecordFailed(err)
		}
	}
	return nil
}

// abort ends a transaction that failed. Its own error says nothing new: some
// failures have ended the transaction already, and if it did stay open the next
// begin fails.
func (s *Store) abort() {
	_ = s.rollback()
	if err := s.readIndex(context.Background()); err != nil {
		s.unread = err
	}
}

// prepareWriter pins the writer's connection and prepares its statements on it.
// They are run through the driver itself: database/sql around them costs as much
// as a small insert.
func (s *Store) prepareWriter(ctx context.Context) (err error) {
	if s.conn, err = s.write.Conn(ctx); err != nil {
		return err
	}
	return s.conn.Raw(func(dc any) error {
		prep, ok := dc.(driver.ConnPrepareContext)
		if !ok {
			return fmt.Errorf("driver %T cannot prepare", dc)
		}
		for _, q := range append(writes[:], "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK") {
			st, err := prep.PrepareContext(ctx, q)
			if err != nil {
				return fmt.Errorf("prepare %q: %w", q, err)
			}
			s.stmts = append(s.stmts, st)
		}
		exec := func(st driver.Stmt) func() error {
			return func() error {
				_, err := st.(driver.StmtExecContext).ExecContext(context.Background(), nil)
				return err
			}
		}
		s.begin, s.commit, s.rollback = exec(s.stmts[numWrites]), exec(s.stmts[numWrites+1]), exec(s.stmts[numWrites+2])
		return nil
	})
}
