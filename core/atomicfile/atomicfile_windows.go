package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
)

// pending is a temporary file: renameio does not support Windows, where a rename
// replaces the target (MoveFileEx).
type pending struct {
	path string
	done *bool
}

// New opens a file for writing that will be at path.
func New(path string) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path))
	if err != nil {
		return nil, Named(err, path)
	}
	return &File{f, pending{path, new(bool)}}, nil
}

// Replace puts what was written in the place of the file, on disk.
func (f *File) Replace() error {
	if err := f.Sync(); err != nil {
		return Named(err, f.path)
	}
	if err := f.Close(); err != nil {
		return Named(err, f.path)
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		return Named(err, f.path)
	}
	*f.done = true
	return nil
}

// Cleanup removes what was written if it has not replaced anything.
func (f *File) Cleanup() error {
	if *f.done {
		return nil
	}
	f.Close()
	return os.Remove(f.Name())
}

// keepOwner does nothing: a new file has the access list of its directory.
func keepOwner(*os.File, fs.FileInfo) error { return nil }
