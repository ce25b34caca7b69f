//go:build !windows

package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"

	"github.com/opengatewayprotocol/ogp/core/files"
)

type pending struct {
	p    *renameio.PendingFile
	path string
}

// New opens a file for writing that will have mode 0600 at path.
func New(path string) (*File, error) {
	p, err := files.Open(func() (*renameio.PendingFile, error) {
		return renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
	})
	if err != nil {
		return nil, Named(err, path)
	}
	return &File{p.File, pending{p, path}}, nil
}

// Replace puts what was written in the place of the file, on disk.
func (f *File) Replace() error { return Named(f.p.CloseAtomicallyReplace(), f.path) }

// Cleanup removes what was written if it has not replaced anything.
func (f *File) Cleanup() error { return f.p.Cleanup() }

// keepOwner gives a file the owner and the group of another.
func keepOwner(f *os.File, was fs.FileInfo) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	have, ok1 := now.Sys().(*syscall.Stat_t)
	want, ok2 := was.Sys().(*syscall.Stat_t)
	if !ok1 || !ok2 || have.Uid == want.Uid && have.Gid == want.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}
