// Package atomicfile replaces a file at once or not at all: whoever reads it
// finds the old content or the new, also after a power loss.
package atomicfile

import "os"

// File is a file that is being written beside the one that it will replace. Call
// Replace when all is written, and Cleanup in any case.
type File struct {
	*os.File
	pending
}

// WriteFile replaces the file at path by data, with mode 0600.
func WriteFile(path string, data []byte) error {
	f, err := New(path)
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Replace()
}
