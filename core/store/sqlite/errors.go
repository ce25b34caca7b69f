package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// file is the database's name within the state directory.
const file = "ogp.db"

// code is SQLite's result code, extended, or 0.
func code(err error) int {
	var e interface {
		error
		Code() int
	}
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// lostSync reports whether a write to disk was not confirmed. What is on disk is
// then unknown, and trying again may succeed without writing anything, as the
// kernel has dropped the pages (LWN 752063). A write that failed is different: it
// was reported before anything depended on it.
func lostSync(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC, sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_CLOSE:
		return true
	}
	return false
}

// spoken is an error of SQLite in words: without its codes, and each part once, as a part
// is repeated by each layer that it has come through.
type spoken struct{ error }

var sqliteCode = regexp.MustCompile(` \(\d+\)`)

func (s spoken) Error() string {
	var parts []string
	for part := range strings.SplitSeq(sqliteCode.ReplaceAllString(s.error.Error(), ""), ": ") {
		if !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

func (s spoken) Unwrap() error { return s.error }

// wrap gives an SQL error its kind. Errors of ours and of contexts pass unchanged.
func (s *Store) wrap(doing string, err error) error {
	var ours *core.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ours), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	e := &core.Error{Kind: core.Internal, Public: "store: " + doing, Err: spoken{err}}
	switch code(err) & 0xff {
	case sqlite3.SQLITE_FULL:
		e.Kind, e.Hint = core.Full, "no space is left for "+filepath.Join(s.dir, file)+": free some and try again"
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		e.Kind, e.Hint = core.Unavailable, corruptHint(s.dir)
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM,
		sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM:
		e.Kind, e.Hint = core.Unavailable, "look at the disk and the permissions of "+s.dir
	}
	var row *rows.DamagedError
	if strings.HasPrefix(err.Error(), "sql: Scan error") { // a column has not the type that it always has
		e.Err = &rows.DamagedError{Err: err}
	}
	if errors.As(e.Err, &row) {
		e.Kind, e.Hint = core.Unavailable, corruptHint(s.dir)
	}
	if errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone) || s.isClosed() {
		e.Kind = core.Unavailable
	}
	return e
}

func corruptHint(dir string) string {
	path := filepath.Join(dir, file)
	return fmt.Sprintf("%s is damaged: stop the gateway, keep a copy of %s, %s-wal and %s-shm, then move the state directory away and \"ogp restore\" a backup; "+
		"without a backup, \"sqlite3 %[1]s .recover\" saves what can be read", path, file, file, file)
}
