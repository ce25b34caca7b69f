package sqlite

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opengatewayprotocol/ogp/core"
)

// Stats returns what the writer has done so far.
func (s *Store) Stats() core.StoreStats {
	st := s.writer.Stats()
	st.Waiting = s.queue.Len()
	st.Broken = s.bad.Load()
	return st
}

// Size returns the bytes that the store takes on disk, its log included.
func (s *Store) Size() (int64, error) {
	var n int64
	for _, name := range []string{file, file + "-wal", file + "-shm"} {
		info, err := os.Stat(filepath.Join(s.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, s.wrap("size", asUnavailable(err))
		}
		n += info.Size()
	}
	return n, nil
}
