//go:build unix

package keys

import (
	"io/fs"
	"os"
	"syscall"
)

// isForeign reports whether a folder belongs to somebody who is neither us nor root,
// and whose it is.
func isForeign(info fs.FileInfo) (uid int, foreign bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	uid = int(s.Uid)
	return uid, uid != 0 && uid != os.Geteuid()
}
