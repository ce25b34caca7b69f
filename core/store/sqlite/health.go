package sqlite

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// lookedKey is where heal writes.
const lookedKey = "store.looked"

// healEvery is how long the writer waits, while nothing can be kept, until it looks
// whether that is over.
const healEvery = 5 * time.Second

// lookBytes is how much heal writes: about what a batch of messages takes. A disk that
// has room for a few pages alone is still full.
const lookBytes = 256 << 10

// Health is nil while changes can be kept, and otherwise why they cannot.
func (s *Store) Health() error {
	if s.isClosed() {
		return rows.ErrClosed
	}
	if e := s.writer.Ill(); e != nil {
		return e
	}
	return nil
}

// heal looks whether changes can be kept again, by keeping when it looked: what stands there
// already would not be written.
// After a lost sync the file is opened anew, and all of the log is written into it,
// so that nothing rests on pages that the system has dropped.
func (s *Store) heal() {
	if s.broken != nil {
		if err := s.reopen(); err != nil {
			return
		}
		s.broken = nil
		s.bad.Store(false)
	}
	err := s.look(lookBytes)
	if err == nil {
		_ = s.look(0) // gives the room back
	}
	s.writer.Feel(err)
}

// look keeps when it looked, in so many bytes more.
func (s *Store) look(more int) error {
	s.looks++
	r := &request{probe: true}
	r.then = func() error {
		_, err := s.exec(putMeta, lookedKey, core.FormatTime(time.Now())+strconv.FormatUint(s.looks, 10)+strings.Repeat(" ", more))
		return err
	}
	return s.transact([]*request{r})
}

// reopen gives the writer a new connection, once all of the log is in the file.
func (s *Store) reopen() error {
	ctx := context.Background()
	_ = s.closeWriter() // it has failed
	if err := s.openWriter(ctx); err != nil {
		return err
	}
	var busy, pages, moved int
	if err := s.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil {
		return err
	}
	if busy != 0 {
		return errors.New("somebody reads")
	}
	return nil
}

// openWriter opens the writer's connection, prepares its statements, and reads the
// index.
func (s *Store) openWriter(ctx context.Context) (err error) {
	if s.write, err = open(s.path(), "rwc",
		"journal_mode(WAL)", "synchronous(FULL)", "fullfsync(1)", "checkpoint_fullfsync(1)",
		"wal_autocheckpoint(2000)", "journal_size_limit(67108864)", "cache_size(-8000)", "temp_store(MEMORY)"); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if err := migrate(ctx, s.write); err != nil {
		return err
	}
	if err := s.prepareWriter(ctx); err != nil {
		return err
	}
	return s.readIndex(ctx)
}

func (s *Store) closeWriter() error {
	var errs []error
	if s.conn != nil {
		errs = append(errs, s.conn.Raw(func(any) error {
			for _, st := range s.stmts {
				errs = append(errs, st.Close())
			}
			return nil
		}), s.conn.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close()) // the last connection: it empties the log into the file
	}
	s.stmts, s.conn, s.write = nil, nil, nil
	return errors.Join(errs...)
}
