//go:build unix

package plugin

import (
	"context"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// withMemory has a guest's memory reserved once at its most and opened page by page: growing copies nothing, and
// closing gives everything back at once instead of to the garbage collector. free is for the case that the
// instance does not come to be; otherwise closing it frees its memory.
func withMemory(ctx context.Context) (_ context.Context, free func()) {
	var m experimental.LinearMemory
	ctx = experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(func(_, most uint64) experimental.LinearMemory {
		m = reserve(most)
		return m
	}))
	return ctx, func() {
		if m != nil {
			m.Free()
		}
	}
}

// mapping is one guest's memory.
type mapping struct {
	all  []byte // reserved
	open uint64 // bytes of it that can be used, in whole pages
}

func reserve(most uint64) experimental.LinearMemory {
	all, err := unix.Mmap(-1, 0, int(max(most, 1)), unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil { // out of address space: Go's heap serves as well
		return &slab{}
	}
	return &mapping{all: all}
}

// Reallocate gives the first size bytes, or nil where the system has none left.
func (m *mapping) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	if size > m.open {
		if err := unix.Mprotect(m.all[m.open:size], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return nil
		}
		m.open = size
	}
	return m.all[:size:size]
}

// Free gives the memory back. The instance is closed: nothing may look at it any more.
func (m *mapping) Free() {
	if m.all != nil {
		_ = unix.Munmap(m.all)
		m.all = nil
	}
}

// slab is a memory in Go's heap.
type slab struct{ b []byte }

func (s *slab) Reallocate(size uint64) []byte {
	if grown := int(size) - len(s.b); grown > 0 {
		s.b = append(s.b, make([]byte, grown)...)
	}
	return s.b[:size]
}

func (s *slab) Free() { s.b = nil }
