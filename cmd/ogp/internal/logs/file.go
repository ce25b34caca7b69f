package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// The log of a daemon in the background: daemon.log, and before it daemon.log.1 up
// to daemon.log.5, the oldest.
const (
	maxLogBytes = 10 << 20
	oldLogs     = 5
)

// rotatedLog is the name of the nth log before the current one.
func rotatedLog(path string, n int) string {
	if n == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, n)
}

// logWriter appends to a log file and, when it would grow past a bound, puts it
// aside and begins another. Standard output and error go with it, so that what the
// runtime says when it panics lands in the newest file. Safe for concurrent use.
type logWriter struct {
	path string
	max  int64
	use  func(*os.File) error // makes the file the process's standard output and error; nil: nothing does

	mu   sync.Mutex // guards file, size
	file *os.File
	size int64
}

// openLog opens the log, and puts it aside first if it is full.
func openLog(path string, max int64, use func(*os.File) error) (*logWriter, error) {
	w := &logWriter{path: path, max: max, use: use}
	if info, err := os.Stat(path); err == nil && info.Size() >= max {
		if err := w.shift(); err != nil {
			return nil, err
		}
	}
	return w, w.open()
}

func (w *logWriter) open() error {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && w.use != nil {
		err = w.use(f)
	}
	if err != nil {
		f.Close()
		return err
	}
	w.file, w.size = f, info.Size()
	return nil
}

// Write appends one line of the log.
func (w *logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.size > 0 && w.size+int64(len(p)) > w.max {
		if err := w.rotate(); err != nil {
			// Better too long a log than none: it is tried again after as much as this.
			w.size = w.max / 2
			fmt.Fprintf(w.file, "log not rotated: %v\n", err)
		}
	}
	n, err := w.file.Write(p)
	w.size += int64(n)
	return n, err
}

func (w *logWriter) rotate() error {
	old := w.file
	if closeBeforeRename {
		old.Close()
	}
	err := w.shift()
	if opened := w.open(); opened != nil {
		return errors.Join(err, opened)
	}
	if !closeBeforeRename {
		old.Close()
	}
	return err
}

// shift gives each file the next number; the last one is overwritten.
func (w *logWriter) shift() error {
	for n := oldLogs; n > 0; n-- {
		err := os.Rename(rotatedLog(w.path, n-1), rotatedLog(w.path, n))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Open opens a log, to which a child can write before it has opened it itself, and
// says how long it is.
func Open(path string) (*os.File, int64, error) {
	w, err := openLog(path, maxLogBytes, nil)
	if err != nil {
		return nil, 0, err
	}
	return w.file, w.size, nil
}
