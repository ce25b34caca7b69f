// Package atomicfile replaces a file at once or not at all: whoever reads it
// finds the old content or the new, also after a power loss.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// Edit replaces what a file holds and leaves the rest as it is: a symbolic link leads to
// the same file, which keeps its mode and its owner. What the file forbids its owner does
// not count, as nothing is written into it; what the directory forbids does. An owner that
// cannot be kept is an error, since the file's readers could not read the new one. A file
// that is not there is made with mode 0600.
func Edit(path string, data []byte) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	was, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return WriteFile(path, data)
	}
	if err != nil {
		return err
	}
	f, err := New(path)
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := keepOwner(f.File, was); err != nil {
		return fmt.Errorf("keep its owner: %w", err)
	}
	if err := f.Chmod(was.Mode().Perm()); err != nil {
		return err
	}
	return f.Replace()
}
