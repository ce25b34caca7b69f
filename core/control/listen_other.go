//go:build !unix

package control

import "net"

// listenPrivate opens the socket. Its directory is the owner's alone.
func listenPrivate(path string) (net.Listener, error) { return net.Listen("unix", path) }
