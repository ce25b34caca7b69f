package plugin

import (
	"bytes"
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

// errEnded ends a kept-alive program that waits for its next line.
var errEnded = errors.New("plugin: ended by the host")

// once runs a program from start to end: stdin is the input, stdout the answer.
func (in *instance) once() (status int32, err error) {
	in.stdin = in.input
	err = in.mod.ExportedFunction("_start").CallWithStack(in.ctx, nil)
	var x *exit
	if errors.As(err, &x) {
		err = nil
		if x.code != 0 {
			in.output = append(in.output[:0], in.stderr.b...)
			in.stderr.reset()
			return int32(min(x.code, 1<<30)), nil
		}
	}
	if err != nil {
		return 0, err
	}
	return in.printed(in.stdout), nil
}

// printed takes what a program printed as its output. Nothing means: not mine.
func (in *instance) printed(out []byte) (status int32) {
	in.output = append(in.output[:0], bytes.TrimSpace(out)...)
	if len(in.output) == 0 {
		return StatusNotMine
	}
	return 0
}

// lines is a program that stays alive: it reads one line for each call and prints one. Its guest runs in a
// goroutine of its own and waits inside of fd_read between calls.
type lines struct {
	work   chan []byte
	parked chan struct{} // the guest waits for its next line
	quit   chan struct{}
	done   chan struct{} // closed when the guest has ended, after err is set
	err    error
	owing  bool // a line was read and none printed since; the guest's goroutine alone uses it
}

// live starts the program and waits until it reads its first line.
func (in *instance) live() error {
	l := &lines{
		work: make(chan []byte), parked: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	in.lines = l
	go func() {
		defer close(l.done)
		l.err = in.mod.ExportedFunction("_start").CallWithStack(in.ctx, nil)
	}()
	select {
	case <-l.parked:
		return nil
	case <-l.done:
		if l.err == nil {
			return errors.New("ended before it read a line")
		}
		return l.err
	}
}

// next waits for the next line, in the guest's goroutine.
func (l *lines) next(in *instance) bool {
	if l.owing && bytes.IndexByte(in.stdout, '\n') < 0 {
		stop(BadAnswer, "reads on without having printed a line (is standard output flushed?)")
	}
	l.parked <- struct{}{}
	select {
	case in.stdin = <-l.work:
		l.owing = true
		return true
	case <-l.quit:
		return false
	}
}

// end stops the program and waits for it. No call may be running.
func (l *lines) end() {
	close(l.quit)
	<-l.done
}

// line makes one call of a kept-alive program.
func (in *instance) line() (status int32, err error) {
	l := in.lines
	input := append(bytes.Clone(in.input), '\n')
	if bytes.IndexByte(in.input, '\n') >= 0 {
		v := jsontext.Value(bytes.Clone(in.input))
		if err := v.Compact(); err != nil {
			return 0, in.error(Failed, "an input that is not JSON")
		}
		input = append(v, '\n')
	}
	select {
	case l.work <- input:
	case <-l.done:
	}
	ended := false
	select {
	case <-l.parked:
	case <-l.done:
		ended = true
		in.calls = in.v.limits.MaxCalls // not again
		var x *exit
		if l.err != nil && !(errors.As(l.err, &x) && x.code == 0) {
			return 0, l.err
		}
	}
	line, _, whole := bytes.Cut(in.stdout, []byte("\n"))
	if !whole && !ended || ended && len(line) == 0 {
		return 0, in.error(Trap, "ended without an answer")
	}
	return in.printed(line), nil
}
