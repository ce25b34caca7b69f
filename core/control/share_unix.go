//go:build unix

package control

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// Share lets the members of a group use a socket, too: mode 0660.
func Share(path, group string) error {
	g, err := user.LookupGroup(group)
	if err != nil {
		return fmt.Errorf("control: group %q: %w", group, err)
	}
	id, err := strconv.Atoi(g.Gid)
	if err != nil {
		return fmt.Errorf("control: group %q: %w", group, err)
	}
	if err := os.Lchown(path, -1, id); err != nil {
		return fmt.Errorf("control: give the socket to the group %s: %w", group, err)
	}
	return os.Chmod(path, 0o660)
}
