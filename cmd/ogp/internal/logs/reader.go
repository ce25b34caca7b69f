package logs

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
)

// logReader reads the files of a log from the oldest on, over rotations.
type logReader struct {
	path string
	file *os.File
	in   *bufio.Reader
	part []byte // of a line that is still being written
}

// openLogs begins with the oldest file. Without any, the error is fs.ErrNotExist.
func openLogs(path string) (*logReader, error) {
	r := &logReader{path: path}
	for n := oldLogs; n >= 0; n-- {
		f, err := os.Open(rotatedLog(path, n))
		if err == nil {
			r.begin(f)
			return r, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || n == 0 {
			return nil, err
		}
	}
	return nil, fs.ErrNotExist
}

func (r *logReader) begin(f *os.File) {
	if r.file != nil {
		r.file.Close()
	}
	r.file, r.in, r.part = f, bufio.NewReader(f), nil
}

func (r *logReader) close() { r.file.Close() }

// maxLogLine bounds what one line takes in memory.
const maxLogLine = 1 << 20

// next gives the next line, or io.EOF where there is none yet.
func (r *logReader) next() (string, error) {
	for {
		text, err := r.in.ReadSlice('\n')
		if len(r.part)+len(text) <= maxLogLine {
			r.part = append(r.part, text...)
		}
		switch {
		case err == nil:
			line := strings.TrimRight(string(r.part), "\r\n")
			r.part = nil
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case !errors.Is(err, io.EOF):
			return "", err
		default:
			more, err := r.advance()
			if err != nil {
				return "", err
			}
			if !more {
				return "", io.EOF
			}
		}
	}
}

// advance goes on to the file after the one that is read to its end, and reports
// whether there is one, or more of this.
func (r *logReader) advance() (bool, error) {
	own, err := r.file.Stat()
	if err != nil {
		return false, err
	}
	for n := range oldLogs + 1 {
		info, err := os.Stat(rotatedLog(r.path, n))
		if err != nil || !os.SameFile(own, info) {
			continue
		}
		if n > 0 {
			return r.follow(n, own)
		}
		at, err := r.file.Seek(0, io.SeekCurrent)
		if err != nil || info.Size() >= at {
			return false, err
		}
		_, err = r.file.Seek(0, io.SeekStart) // somebody has emptied it
		r.in.Reset(r.file)
		r.part = nil
		return true, err
	}
	next, err := os.Open(r.path) // somebody has deleted ours
	if err != nil {
		return false, nil // not there yet
	}
	r.begin(next)
	return true, nil
}

// follow goes from the nth file, which was put aside, to the one after it.
func (r *logReader) follow(n int, own fs.FileInfo) (bool, error) {
	// It may have grown between its end and its rotation.
	if at, err := r.file.Seek(0, io.SeekCurrent); err != nil {
		return false, err
	} else if now, err := r.file.Stat(); err != nil || now.Size() > at {
		return err == nil, err
	}
	next, err := os.Open(rotatedLog(r.path, n-1))
	if err != nil {
		return false, nil // in the middle of a rotation
	}
	still, err := os.Stat(rotatedLog(r.path, n))
	if err != nil || !os.SameFile(own, still) {
		next.Close()
		return false, nil // rotated meanwhile: look again
	}
	r.begin(next)
	return true, nil
}
