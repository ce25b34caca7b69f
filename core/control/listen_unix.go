//go:build unix && !linux

package control

import (
	"net"
	"os"
	"syscall"
)

// listenPrivate opens the socket under a umask that leaves it to its owner from
// its first moment.
func listenPrivate(path string) (net.Listener, error) {
	old := syscall.Umask(0o177)
	ln, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, err
	}
	return ln, os.Chmod(path, 0o600)
}
