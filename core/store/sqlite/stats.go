package sqlite

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

type stats struct {
	mu  sync.Mutex // guards now
	now core.StoreStats
}

func (s *stats) add(batch []*request, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range batch {
		if r.Err != nil {
			s.now.Refused++
		} else {
			s.now.Commits++
		}
	}
	s.now.Batches++
	s.now.LastBatch = len(batch)
	s.now.LastCommit = took
	s.now.TotalCommit += took
}

func (s *stats) recordFailed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.RecordError = err.Error()
}

// Stats returns what the writer has done so far.
func (s *Store) Stats() core.StoreStats {
	s.stats.mu.Lock()
	st := s.stats.now
	s.stats.mu.Unlock()
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
