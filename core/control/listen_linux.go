package control

import (
	"context"
	"net"
	"os"
	"syscall"
)

// listenPrivate opens the socket, which is its owner's alone from its first
// moment: Linux makes the file with the mode that the socket has when it is
// bound (unix(7)). A umask would do for all files that the process makes at the
// same time.
func listenPrivate(path string) (net.Listener, error) {
	private := func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); e != nil {
			return e
		}
		return err
	}
	ln, err := (&net.ListenConfig{Control: private}).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	return ln, os.Chmod(path, 0o600)
}
