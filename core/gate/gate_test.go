package gate

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/files"
)

// The listener for others and all five for this machine, full at the same time, leave
// descriptors for the store and our calls outward.
func TestD1ConnectionsFollowTheDescriptors(t *testing.T) {
	const listeners, own = 5, 40
	for _, most := range []int{256, 512, 1024, 4096, 8192, 65536, 1 << 20} {
		if left := most - limit(most) - listeners*local(most); left < own || limit(most) > DefaultMaxConns || limit(most) < most/4 && most < DefaultMaxConns {
			t.Errorf("of %d descriptors %d are for others and %d for each listener of this machine: %d are left", most, limit(most), local(most), left)
		}
	}
	if most := int(files.Limit()); Limit() != limit(most) || Local() != local(most) {
		t.Errorf("Limit, Local = %d, %d, want %d, %d", Limit(), Local(), limit(most), local(most))
	}
}

// from is a connection that claims to come from an address.
type from struct {
	net.Conn
	addr netip.AddrPort
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(f.addr) }

func TestD2ConnectionsByAddress(t *testing.T) {
	g := New(nil, Options{Max: 100, PerAddress: 3, Logger: slog.New(slog.DiscardHandler),
		Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	defer g.End()
	connect := func(addr string) *Conn {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		return g.admit(from{a, netip.AddrPortFrom(netip.MustParseAddr(addr), 1)})
	}
	for i := range 3 {
		if connect("203.0.113.1") == nil || connect(fmt.Sprintf("2001:db8::%d", i)) == nil {
			t.Fatalf("connection %d of 3 refused", i+1)
		}
	}
	if connect("203.0.113.1") != nil || connect("::ffff:203.0.113.1") != nil {
		t.Error("a fourth connection of an address is taken")
	}
	if connect("2001:db8::ffff:1") != nil {
		t.Error("a fourth connection of a /64 is taken")
	}
	other := connect("203.0.113.2")
	if other == nil || connect("2001:db8:0:1::1") == nil {
		t.Error("another address pays for the first")
	}
	for range 20 { // behind these are many
		if connect("127.0.0.1") == nil || connect("::1") == nil || connect("192.0.2.9") == nil {
			t.Fatal("loopback or a trusted proxy counts as one address")
		}
	}
	other.Close()
	other.Close()
	if n := g.byAddress[other.from]; n != 0 {
		t.Errorf("%d connections counted after the last has ended, want 0", n)
	}
	// All of loopback together leaves room for others.
	for range 100 {
		if c := connect("127.0.0.1"); c != nil {
			c.Waits(false)
		}
	}
	if g.ofShared > 88 {
		t.Errorf("loopback and proxies have %d of 100 connections, want at most 88", g.ofShared)
	}
	if connect("203.0.113.7") == nil {
		t.Error("loopback keeps others out")
	}
}

// What is over the limit is said once when it begins and once when it is over, also
// where connections that say nothing make room for others without a 503; and whoever
// brings it about again and again is not heard each time.
func TestD1FullIsSaidOnce(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "203.0.113.%d"} {
		log := &strings.Builder{}
		g := New(nil, Options{Max: 32, Logger: slog.New(slog.NewTextHandler(log, nil))})
		defer g.End()
		said := func(begun, over int) {
			t.Helper()
			if n, m := strings.Count(log.String(), "the connection limit is reached"), strings.Count(log.String(), "room for connections again"); n != begun || m != over {
				t.Errorf("%s: said %d times that it is full and %d times that it is over, want %d and %d: %s", addr, n, m, begun, over, log)
			}
		}
		fill := func(n int) (open []*Conn) {
			for i := range n {
				name := addr
				if strings.Contains(addr, "%") {
					name = fmt.Sprintf(addr, i)
				}
				a, b := net.Pipe()
				t.Cleanup(func() { a.Close(); b.Close() })
				if c := g.admit(from{a, netip.AddrPortFrom(netip.MustParseAddr(name), 1)}); c != nil {
					open = append(open, c)
				}
			}
			return open
		}
		empty := func(open []*Conn) {
			for _, c := range open {
				c.Close()
			}
		}
		open := fill(20)
		said(0, 0)
		open = append(open, fill(100)...)
		said(1, 0)
		empty(open)
		said(1, 1)
		for range 10 {
			empty(fill(100))
		}
		said(1, 1)
		g.full.said = g.full.said.Add(-sayEvery)
		open = fill(100)
		said(2, 1)
		empty(open)
		said(2, 2)
	}
}

// An address that has too many connections is named once.
func TestD2CrowdedAddressIsSaidOnce(t *testing.T) {
	log := &strings.Builder{}
	g := New(nil, Options{Max: 100, PerAddress: 4, Logger: slog.New(slog.NewTextHandler(log, nil))})
	defer g.End()
	for range 3 {
		var open []*Conn
		for range 20 {
			a, b := net.Pipe()
			t.Cleanup(func() { a.Close(); b.Close() })
			if c := g.admit(from{a, netip.MustParseAddrPort("203.0.113.1:1")}); c != nil {
				open = append(open, c)
			}
		}
		for _, c := range open {
			c.Close()
		}
	}
	if n, m := strings.Count(log.String(), "an address has reached its connection limit"), strings.Count(log.String(), "the address has room"); n != 1 || m != 1 {
		t.Errorf("said %d and %d times, want once each: %s", n, m, log)
	}
}
