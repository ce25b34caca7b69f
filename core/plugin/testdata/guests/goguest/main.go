// A guest in Go, built as a reactor. By its input's first letters it answers, panics, exits, allocates or keeps
// a goroutine busy.
package main

import (
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

//go:wasmimport ogp_v1 read
func read(dst unsafe.Pointer)

//go:wasmimport ogp_v1 write
func write(src unsafe.Pointer, n uint32)

var (
	calls int
	kept  [][]byte
)

//go:wasmexport ogp_notify
func notify(n int32) int32 { return policy(n) }

//go:wasmexport ogp_policy
func policy(n int32) int32 {
	in := make([]byte, n+1)
	read(unsafe.Pointer(&in[0]))
	calls++
	switch text := string(in[:n]); {
	case strings.Contains(text, `"panic"`):
		panic("boom")
	case strings.Contains(text, `"nil"`):
		var p *int
		*p = 1
	case strings.Contains(text, `"exit"`):
		syscall.Exit(3)
	case strings.Contains(text, `"eat"`):
		for {
			kept = append(kept, make([]byte, 1<<20))
		}
	case strings.Contains(text, `"sleep"`):
		time.Sleep(time.Hour)
	case strings.Contains(text, `"year"`):
		out := `{"year":"` + strconv.Itoa(time.Now().UTC().Year()) + `"}`
		write(unsafe.Pointer(unsafe.StringData(out)), uint32(len(out)))
		return 0
	}
	out := `{"decision":"allow"}`
	write(unsafe.Pointer(unsafe.StringData(out)), uint32(len(out)))
	return 0
}

func main() {}
