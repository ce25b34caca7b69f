package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// Backup writes a copy of the store to path, which must not exist. The copy is one
// consistent state, and the store goes on working meanwhile. It is on disk, with
// mode 0600, when Backup returns nil; otherwise there is nothing at path.
func (s *Store) Backup(ctx context.Context, path string) (err error) {
	if s.isClosed() {
		return rows.ErrClosed
	}
	if _, err := os.Lstat(path); err == nil {
		return &core.Error{Kind: core.Conflict, Public: "store: backup: " + path + " exists", Hint: "choose another name"}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return s.wrap("backup", asUnavailable(err))
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return s.wrap("backup", asUnavailable(err))
	}
	defer func() { err = errors.Join(err, f.Close(), gone(os.Remove(f.Name()))) }()
	// The readers may not write, not even elsewhere.
	db, err := open(filepath.Join(s.dir, file), "ro", "temp_store(MEMORY)")
	if err != nil {
		return s.wrap("backup", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", f.Name()); err != nil {
		return s.wrap("backup", err)
	}
	// A link, unlike a rename, does not replace what came to be there meanwhile.
	if err := errors.Join(f.Sync(), os.Link(f.Name(), path), syncDir(filepath.Dir(path))); err != nil {
		return s.wrap("backup", asUnavailable(err))
	}
	return nil
}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Check reads the whole file and looks for damage. It returns an error of kind
// Unavailable, with a hint what to do, when there is some.
func (s *Store) Check(ctx context.Context) error {
	var damage []string
	err := s.search(ctx, "PRAGMA quick_check(10)", nil, func(row scanner) error {
		var line string
		if err := row.Scan(&line); err != nil {
			return err
		}
		if line != "ok" {
			damage = append(damage, line)
		}
		return nil
	})
	if err == nil && len(damage) > 0 {
		err = fmt.Errorf("faults: %d, the first: %s", len(damage), damage[0])
		return &core.Error{Kind: core.Unavailable, Public: "store: check: damaged", Hint: corruptHint(s.dir), Err: err}
	}
	return s.wrap("check", err)
}
