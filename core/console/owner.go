package console

import (
	"bufio"
	"encoding/binary"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// anybody is the account of a code that counts whoever shows it.
const anybody = -1

// tables are where Linux lists the sockets of this machine, and whose each is. Other systems
// have no such files.
var tables = []string{"/proc/net/tcp", "/proc/net/tcp6"}

// owner is the account of this machine that a request comes from. known is false where the
// system does not say it. From elsewhere comes what none of the tables has: it is nobody's.
func owner(r *http.Request) (uid int, known bool) {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return 0, false
	}
	server, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return 0, false
	}
	client, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return 0, false
	}
	for _, name := range tables {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		known = true
		lines := bufio.NewScanner(f)
		for uid = anybody; uid == anybody && lines.Scan(); {
			uid = ownerIn(lines.Text(), unmapped(client), unmapped(server))
		}
		f.Close()
		if uid != anybody {
			return uid, true
		}
	}
	return anybody, known
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
