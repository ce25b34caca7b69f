package web

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

const (
	// freeBodyBytes is what a body may take without being counted: nearly all do.
	freeBodyBytes = 4 << 10
	// DefaultBodyMemory bounds what all bodies that are longer take together while
	// they are read.
	DefaultBodyMemory = 32 << 20
)

// bodies reads the bodies of requests. A body takes as much memory as has come of
// it, whatever its head announces, and all of them together are bounded.
//
// docs/threat-model.md#d6
type bodies struct {
	most   int64 // of all together, beyond freeBodyBytes each
	taken  atomic.Int64
	pooled sync.Pool // of *[]byte
}

var (
	errTooLong = errors.New("body too long")
	errBusy    = errors.New("too many bodies at a time")
)

// read reads a body of at most max bytes. The caller gives buf back with free.
func (b *bodies) read(r io.Reader, max int) (buf *[]byte, err error) {
	buf, _ = b.pooled.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
		*buf = make([]byte, 0, 1<<10)
	}
	for {
		body := *buf
		if len(body) == cap(body) {
			if cap(body) > max {
				return buf, errTooLong
			}
			size := min(4*cap(body), max+1)
			if extra := counted(size) - counted(cap(body)); extra > 0 && b.taken.Add(extra) > b.most {
				b.taken.Add(-extra)
				return buf, errBusy
			}
			body = append(make([]byte, 0, size), body...)
		}
		n, err := r.Read(body[len(body):cap(body)])
		*buf = body[:len(body)+n]
		switch {
		case len(*buf) > max:
			return buf, errTooLong
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return buf, err
		}
	}
}

// free gives a buffer back. Long ones are not kept: few bodies need them.
func (b *bodies) free(buf *[]byte) {
	b.taken.Add(-counted(cap(*buf)))
	if cap(*buf) <= freeBodyBytes {
		*buf = (*buf)[:0]
		b.pooled.Put(buf)
	}
}

func counted(size int) int64 {
	if size <= freeBodyBytes {
		return 0
	}
	return int64(size)
}

// announced is what a head says of its body's length; 0 where it says nothing, or
// nothing that can be read.
func announced(h *fasthttp.RequestHeader) int {
	for raw := h.RawHeaders(); len(raw) > 0; {
		var line []byte
		line, raw, _ = bytes.Cut(raw, []byte("\n"))
		if hasName(line, "content-length") {
			n, _ := strconv.Atoi(string(bytes.TrimSpace(line[len("content-length:"):])))
			return n
		}
	}
	return 0
}

// isTimeout reports whether a client was too slow.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
