// Package logpipe writes a log without ever waiting for whoever reads it. Standard
// error can be a pipe to a program that has stopped reading; a gateway must not stop
// with it. What finds no room is dropped and counted, and said once there is room.
package logpipe

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// maxWaitingBytes bounds what waits to be written.
const maxWaitingBytes = 1 << 20

// Writer is an io.Writer for whole lines. Safe for concurrent use.
type Writer struct {
	out  io.Writer
	now  func() time.Time
	wake chan struct{}
	done chan struct{} // closed when all is written after Close

	mu      sync.Mutex // guards the rest
	waiting []byte
	dropped int // lines
	closed  bool
}

// New returns a writer that passes lines on to out, in a goroutine that ends with
// Close.
func New(out io.Writer) *Writer {
	w := &Writer{out: out, now: time.Now, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

// Write takes a line. It never waits and never fails.
func (w *Writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	if len(w.waiting)+len(line) > maxWaitingBytes || w.closed {
		w.dropped++
	} else {
		w.waiting = append(w.waiting, line...)
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return len(line), nil
}

func (w *Writer) run() {
	defer close(w.done)
	var spare []byte
	for range w.wake {
		for {
			w.mu.Lock()
			batch, dropped, closed := w.waiting, w.dropped, w.closed
			w.waiting, w.dropped = spare[:0], 0
			w.mu.Unlock()
			if len(batch) == 0 && dropped == 0 {
				if closed {
					return
				}
				spare = batch
				break
			}
			_, _ = w.out.Write(batch) // nobody is left to tell
			if dropped > 0 {
				fmt.Fprintf(w.out, "time=%s level=WARN msg=\"log lines dropped, as nobody read them\" count=%d\n", w.now().Format(time.RFC3339), dropped)
			}
			spare = batch
		}
	}
}

// Close waits until what was taken is written, but not for longer than a second: the
// reader may have stopped. Later lines are dropped.
func (w *Writer) Close() error {
	w.mu.Lock()
	again := w.closed
	w.closed = true
	w.mu.Unlock()
	if !again {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	select {
	case <-w.done:
	case <-time.After(time.Second):
	}
	return nil
}
