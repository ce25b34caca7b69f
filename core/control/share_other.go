//go:build !unix

package control

import "errors"

// Share is for systems with groups of accounts.
func Share(string, string) error {
	return errors.New("control: a socket cannot be shared with a group on this system")
}
