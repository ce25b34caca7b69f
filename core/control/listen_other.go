//go:build !unix

package control

import (
	"io/fs"
	"net"
)

// listenPrivate opens the socket. Its directory is the owner's alone.
func listenPrivate(path string) (net.Listener, error) { return net.Listen("unix", path) }

// ours is for systems whose files have no owner's number.
func ours(fs.FileInfo) bool { return true }
