//go:build !windows

package service

import (
	"context"
	"os"
	"os/user"
	"strconv"

	"github.com/opengatewayprotocol/ogp/core/config"
)

// Managed runs the daemon as the system's service manager wants it, which outside
// of Windows is as any other process.
func Managed(ctx context.Context, run func(context.Context) error) error { return run(ctx) }

// Restart is what restarts a daemon that launchd runs, in words; empty: it does not.
func Restart(env []string) string {
	switch {
	case config.Getenv(env, "XPC_SERVICE_NAME") != launchdLabel:
		return ""
	case os.Getuid() == 0:
		return `"ogp service stop --system", then "ogp service start --system"`
	}
	return `"ogp service stop", then "ogp service start"`
}

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
