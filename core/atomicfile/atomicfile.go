// Package atomicfile replaces a file at once or not at all: whoever reads it
// finds the old content or the new, also after a power loss.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
)

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

// Write writes more of the file.
func (f *File) Write(data []byte) (int, error) {
	n, err := f.File.Write(data)
	return n, Named(err, f.path)
}

// Named is an error of the system that names this path, and not the temporary file
// beside it, which means nothing to whoever reads it. Other errors come back as they are.
func Named(err error, path string) error {
	var at *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &at):
		return &fs.PathError{Op: at.Op, Path: path, Err: at.Err}
	case errors.As(err, &link):
		return &fs.PathError{Op: "replace", Path: path, Err: link.Err}
	}
	return err
}
