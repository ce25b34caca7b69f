package console

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// anybody is the account of a code that counts whoever shows it.
const anybody = -1

// tables are where Linux lists the sockets of this machine, and whose each is. Other systems
// have no such files.
var tables = []string{"/proc/net/tcp", "/proc/net/tcp6"}

// account is whose a connection of this machine is. known is false where the system does not
// say it. What comes from elsewhere is nobody's: it is in none of the tables.
type account struct {
	uid   int
	known bool
}

// allowed reports whether what belongs to an account counts on a connection of another.
func (a account) allowed(b account) bool { return !a.known || !b.known || a.uid == b.uid }

type accountKey struct{}

// noting has the server look for the account of each connection, once, when it is asked for.
func noting(server *http.Server) {
	inner := server.ConnContext
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(inner(ctx, c), accountKey{}, sync.OnceValue(func() account { return owner(c.LocalAddr(), c.RemoteAddr()) }))
	}
}

// accountOf is the account of the connection of a request.
func accountOf(r *http.Request) account {
	if of, ok := r.Context().Value(accountKey{}).(func() account); ok {
		return of()
	}
	return account{}
}

// tries is how often a connection of this machine is looked for: the kernel writes its table
// while others come and go, and can leave one out.
const tries = 3

// saysWhose reports whether the system says whose a connection is.
func saysWhose() bool {
	return slices.ContainsFunc(tables, func(name string) bool {
		f, err := os.Open(name)
		if err == nil {
			f.Close()
		}
		return err == nil
	})
}

// owner is the account of who has connected, by the two ends of the connection.
func owner(local, remote net.Addr) account {
	server, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return account{}
	}
	client, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return account{}
	}
	client, server = unmapped(client), unmapped(server)
	port := fmt.Sprintf(":%04X ", client.Port())
	known := false
	for n := 0; n < 1 || n < tries && known && client.Addr().IsLoopback(); n++ {
		for _, name := range tables {
			f, err := os.Open(name)
			if err != nil {
				continue
			}
			known = true
			uid := anybody
			for lines := bufio.NewScanner(f); uid == anybody && lines.Scan(); {
				if line := lines.Text(); strings.Contains(line, port) {
					uid = ownerIn(line, client, server)
				}
			}
			f.Close()
			if uid != anybody {
				return account{uid, true}
			}
		}
	}
	return account{anybody, known}
}

// ownerIn is the account of the socket in a line of a table, if it is the one between two
// addresses; else anybody. A socket that its program has left is nobody's: it says 0.
//
// proc_net_tcp.txt of the kernel: sl local rem st queues tr:when retrnsmt uid timeout inode
func ownerIn(line string, from, to netip.AddrPort) int {
	f := strings.Fields(line)
	if len(f) < 10 || f[9] == "0" || addressIn(f[1]) != from || addressIn(f[2]) != to {
		return anybody
	}
	uid, err := strconv.Atoi(f[7])
	if err != nil {
		return anybody
	}
	return uid
}

// addressIn reads an address of a table: words of 32 bits in the byte order of the machine.
func addressIn(text string) (none netip.AddrPort) {
	words, port, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return none
	}
	var b []byte
	for word := range slices.Chunk([]byte(words), 8) {
		w, err := strconv.ParseUint(string(word), 16, 32)
		if err != nil {
			return none
		}
		b = binary.NativeEndian.AppendUint32(b, uint32(w))
	}
	ip, _ := netip.AddrFromSlice(b)
	return unmapped(netip.AddrPortFrom(ip, uint16(n)))
}

// unmapped is an address without the form of IPv6 that stands for one of IPv4.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
