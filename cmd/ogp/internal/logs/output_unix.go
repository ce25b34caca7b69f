//go:build unix

package logs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// closeBeforeRename says whether an open file keeps its name.
const closeBeforeRename = false

// useAsOutput makes a file the process's standard output and error.
func useAsOutput(f *os.File) error {
	for _, fd := range []int{1, 2} {
		if err := unix.Dup2(int(f.Fd()), fd); err != nil {
			return fmt.Errorf("standard output to %s: %w", f.Name(), err)
		}
	}
	return nil
}
