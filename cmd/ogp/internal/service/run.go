//go:build !windows

package service

import (
	"context"
	"os"
	"os/user"
	"strconv"
)

// Managed runs the daemon as the system's service manager wants it, which outside
// of Windows is as any other process.
func Managed(ctx context.Context, run func(context.Context) error) error { return run(ctx) }

// giveTo makes a user the owner of a directory.
func giveTo(path, name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}
