package logs

import (
	"os"

	"golang.org/x/sys/windows"
)

// closeBeforeRename says whether an open file keeps its name.
const closeBeforeRename = true

// useAsOutput makes a file the process's standard output and error, where the
// runtime looks for it when it panics, and lets go of those before.
func useAsOutput(f *os.File) error {
	for _, id := range []uint32{windows.STD_OUTPUT_HANDLE, windows.STD_ERROR_HANDLE} {
		if err := windows.SetStdHandle(id, windows.Handle(f.Fd())); err != nil {
			return err
		}
	}
	for _, old := range []*os.File{os.Stdout, os.Stderr} {
		old.Close() // after the first time it is closed already
	}
	return nil
}
