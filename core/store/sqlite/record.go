package sqlite

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// SQLite ends its log at the first page that does not hold, and says nothing: a
// flipped bit or a deleted log takes with it what was acknowledged. So each batch
// counts its changes within the store, and, once it is on disk, in a file beside
// it. A store that counts fewer than the file has lost the difference.
//
// The file is written after every batch, before the answer, and reaches the disk
// within recordWait. After a power loss, changes of that last moment may be missing
// from the file's count; after a crash of the program none are.

// recordFile is the name of the count's file within the state directory.
const recordFile = file + ".last"

// recordWait is how long a written count may wait for the disk.
const recordWait = 100 * time.Millisecond

// tally is how many changes were kept in all, and a running hash of when.
type tally struct{ n, hash uint64 }

func (t tally) next(changes int, now time.Time) tally {
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], t.hash)
	binary.BigEndian.PutUint64(b[8:], t.n)
	binary.BigEndian.PutUint64(b[16:], uint64(now.UnixNano()))
	sum := sha256.Sum256(b[:])
	return tally{t.n + uint64(changes), binary.BigEndian.Uint64(sum[:]) >> 1}
}

// The file has two slots, written in turn, so that one cut short leaves the other.
const (
	slotBytes  = 512
	recordMark = "ogp last commit 1\n"
)

func (t tally) slot() []byte {
	b := make([]byte, slotBytes)
	n := copy(b, recordMark)
	binary.BigEndian.PutUint64(b[n:], t.n)
	binary.BigEndian.PutUint64(b[n+8:], t.hash)
	binary.BigEndian.PutUint32(b[n+16:], crc32.ChecksumIEEE(b[:n+16]))
	return b
}

func readSlot(b []byte) (t tally, ok bool) {
	n := len(recordMark)
	if len(b) < n+20 || !bytes.HasPrefix(b, []byte(recordMark)) || binary.BigEndian.Uint32(b[n+16:]) != crc32.ChecksumIEEE(b[:n+16]) {
		return tally{}, false
	}
	return tally{binary.BigEndian.Uint64(b[n:]), binary.BigEndian.Uint64(b[n+8:])}, true
}

// record is the file with the count.
type record struct {
	f    *os.File
	turn int64

	mu    sync.Mutex // guards the rest
	dirty bool
	err   error
	stop  chan struct{}
	done  chan struct{}
}

// openRecord opens or makes the file and reads what it says; known is false for one
// that is new or unreadable.
func openRecord(dir string) (r *record, t tally, known bool, err error) {
	path := filepath.Join(dir, recordFile)
	made := false
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		made = true
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, t, false, err
	}
	b := make([]byte, 2*slotBytes)
	n, _ := f.ReadAt(b, 0)
	for i := 0; i+slotBytes <= n; i += slotBytes {
		if s, ok := readSlot(b[i : i+slotBytes]); ok && (!known || s.n >= t.n) {
			t, known = s, true
		}
	}
	if made { // both slots take their place now, so that a full disk does not matter later
		_, err = f.WriteAt(make([]byte, 2*slotBytes), 0)
		err = errors.Join(err, f.Sync(), syncDir(dir))
	}
	if err != nil {
		return nil, t, false, errors.Join(err, f.Close())
	}
	r = &record{f: f, stop: make(chan struct{}), done: make(chan struct{})}
	go r.run()
	return r, t, known, nil
}

// write says what is kept now.
func (r *record) write(t tally) error {
	_, err := r.f.WriteAt(t.slot(), r.turn*slotBytes)
	r.turn = 1 - r.turn
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dirty = true
	return errors.Join(err, r.err)
}

// run brings what was written to the disk, within recordWait.
func (r *record) run() {
	defer close(r.done)
	ticker := time.NewTicker(recordWait)
	defer ticker.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-ticker.C:
			r.sync()
		}
	}
}

func (r *record) sync() {
	r.mu.Lock()
	dirty := r.dirty
	r.dirty = false
	r.mu.Unlock()
	if !dirty {
		return
	}
	err := r.f.Sync()
	r.mu.Lock()
	r.err = err
	r.mu.Unlock()
}

func (r *record) close() error {
	close(r.stop)
	<-r.done
	r.sync()
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.err, r.f.Close())
}

// checkRecord compares the store's count with the file's, and notes what is lost.
func (s *Store) checkRecord() error {
	r, last, known, err := openRecord(s.dir)
	if err != nil {
		return s.wrap("open "+recordFile, asUnavailable(err))
	}
	s.record = r
	switch {
	case !known:
	case last.n > s.index.tally.n:
		s.lost = &core.Error{Kind: core.Unavailable,
			Public: fmt.Sprintf("store: %d of %d changes that were acknowledged are not in the store any more", last.n-s.index.tally.n, last.n),
			Hint:   "its log " + filepath.Join(s.dir, file) + "-wal was damaged or taken away, or an older copy was put in place; a backup may have them: \"ogp restore\""}
	case last.n == s.index.tally.n && last.hash != s.index.tally.hash:
		s.lost = &core.Error{Kind: core.Unavailable, Public: "store: this is not the store whose last change was acknowledged here",
			Hint: "another copy was put in place; a backup may have what is missing: \"ogp restore\""}
	}
	// From here on the count goes on above both, so that a loss is told once.
	if known && last.n > s.index.tally.n {
		s.index.tally.n = last.n
	}
	return nil
}

// Lost says what was acknowledged and was not found when the store was opened: an
// error whose text has how many changes, and whose Hint says what to do; nil for
// nothing. It is told once: the next time that the store is opened after a commit,
// there is nothing to tell.
func (s *Store) Lost() error {
	if s.lost == nil {
		return nil
	}
	return s.lost
}
