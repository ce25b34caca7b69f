// Package ports gives tests addresses that nobody takes from them: one at which nobody
// listens, and ports for what listens later or again.
package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
)

// Nobody is an address of loopback, host and port, that refuses connections until the
// test ends. A port whose listener was closed would not do: the system gives it to the
// next who asks for any.
func Nobody(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	// The end that calls has a port that is bound, and does not listen.
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	caller, err := d.DialContext(t.Context(), "tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { caller.Close() })
	called, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { called.Close() })
	return caller.LocalAddr().String()
}

// Free is a port of loopback for the test alone, to listen on later, and again after
// that. No system gives it to those who ask for any.
func Free(t testing.TB) int {
	t.Helper()
	port, release, err := Hold()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return port
}

// The ports that Hold gives. Linux gives those from 32768 on to whoever asks for any,
// and others from 49152 on.
const first, last = 20000, 31999

var next atomic.Int64

func init() { next.Store(rand.Int64N(last - first + 1)) }

// Hold is Free for those who have no testing.TB. The port is theirs until they release it.
func Hold() (port int, release func(), err error) {
	for range last - first + 1 {
		port = first + int(next.Add(1)%(last-first+1))
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		// The same port of UDP tells the other processes that ask here.
		var mark net.PacketConn
		if mark, err = net.ListenPacket("udp4", address); err != nil {
			continue
		}
		if err = listens(address, ":"+strconv.Itoa(port)); err == nil {
			return port, func() { mark.Close() }, nil
		}
		mark.Close()
	}
	return 0, nil, fmt.Errorf("ports: none is free from %d to %d: %w", first, last, err)
}

// listens tells whether one can listen at each of the addresses.
func listens(addresses ...string) error {
	for _, a := range addresses {
		ln, err := net.Listen("tcp", a)
		if err != nil {
			return err
		}
		ln.Close()
	}
	return nil
}
