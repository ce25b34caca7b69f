// Package files knows how many descriptors this process may have, and keeps one in
// reserve for what must be written when all are used up.
package files

import (
	"errors"
	"os"
	"sync"
	"syscall"
)

// reserve is a descriptor that is open for nothing but to be given up. There is one for
// the process, as there is one table of descriptors.
var reserve struct {
	mu     sync.Mutex // guards the rest
	wanted bool
	file   *os.File
}

// Reserve keeps a descriptor in reserve from now on. Where it cannot, it tries again after
// the next Open.
func Reserve() {
	reserve.mu.Lock()
	reserve.wanted = true
	reserve.mu.Unlock()
	refill()
}

func refill() {
	reserve.mu.Lock()
	defer reserve.mu.Unlock()
	if reserve.wanted && reserve.file == nil {
		reserve.file, _ = os.Open(os.DevNull)
	}
}

// Open calls open, which opens a file. When it fails for want of descriptors, it has the
// one in reserve, if there is one; the next call that goes well reserves another. Safe for
// concurrent use.
func Open[F any](open func() (F, error)) (F, error) {
	f, err := open()
	if err == nil {
		refill()
	}
	if err == nil || !Short(err) {
		return f, err
	}
	reserve.mu.Lock()
	defer reserve.mu.Unlock()
	if reserve.file == nil {
		return f, err
	}
	reserve.file.Close()
	reserve.file = nil
	return open()
}

// Short reports whether an error says that there is no descriptor left, for this process
// or on this machine.
func Short(err error) bool { return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) }
