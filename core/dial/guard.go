package dial

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"code.dny.dev/ssrf"
)

// The ssrf library denies every range of IANA's two registries of special
// purpose: what is not 2000::/3 (so NAT64, unique local, link-local, multicast,
// IPv4-mapped), Teredo and 6to4 within it, and the IPv4 ranges. These are not in
// the registries.
var (
	deniedV4 = []netip.Prefix{
		netip.MustParsePrefix("168.63.129.16/32"), // Azure's WireServer: metadata at a public address
	}
	deniedV6 = []netip.Prefix{
		netip.MustParsePrefix("3ffe::/16"), // 6bone, returned (RFC 3701)
	}
)

// metadata are the addresses where clouds give out credentials. They stay closed
// unless the operator names them: an allowed range that is no wider than what stands
// here. Our hints never invite to that.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("192.0.0.192/32"),
	netip.MustParsePrefix("fd00:ec2::254/128"),
	netip.MustParsePrefix("fd20:ce::254/128"),
}

// private are the ranges that Options.Private opens: this machine and the networks
// behind one's own door (RFC 1918, RFC 4193, RFC 6598).
var private = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fc00::/7"),
}

// guard judges addresses. It is safe for concurrent use.
type guard struct {
	allow    []netip.Prefix
	guardian *ssrf.Guardian
}

func newGuard(allow []netip.Prefix) *guard {
	g := &guard{}
	var v4, v6 []netip.Prefix
	for _, p := range allow {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		p = p.Masked()
		g.allow = append(g.allow, p)
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	g.guardian = ssrf.New(
		ssrf.WithAnyPort(), // gateways listen where they like
		ssrf.WithAllowedV4Prefixes(v4...),
		ssrf.WithAllowedV6Prefixes(v6...),
		ssrf.WithDeniedV4Prefixes(deniedV4...),
		ssrf.WithDeniedV6Prefixes(deniedV6...),
	)
	return g
}

// check judges a socket that is about to connect.
func (g *guard) check(network, address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || (network != "tcp4" && network != "tcp6") {
		return &Error{Kind: Blocked, Detail: fmt.Sprintf("%s over %s", address, network)}
	}
	return g.checkAddr(ap.Addr())
}

func (g *guard) checkAddr(a netip.Addr) error {
	// A prefix contains no address with a zone, and an IPv4-mapped address
	// reaches the IPv4 one.
	a = a.WithZone("").Unmap()
	err := g.guardian.SafeAddr(a)
	switch m := metadataOf(a); {
	case err != nil:
	case isISATAP(a) && !g.allowed(a):
		err = errISATAP
	case m.IsValid() && !g.named(m, a):
		err = errMetadata
	}
	if err != nil {
		return &Error{Kind: Blocked, Addr: a, Allow: hintFor(a), Err: err}
	}
	return nil
}

func (g *guard) allowed(a netip.Addr) bool {
	return slices.ContainsFunc(g.allow, func(p netip.Prefix) bool { return p.Contains(a) })
}

// named reports whether the operator has opened an address of a metadata range by
// that range or a part of it, and not by a wider one that happens to hold it.
func (g *guard) named(m netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(g.allow, func(p netip.Prefix) bool { return p.Bits() >= m.Bits() && p.Contains(a) })
}

// metadataOf is the range of metadata addresses that an address is of; invalid for
// other addresses.
func metadataOf(a netip.Addr) netip.Prefix {
	for _, p := range metadata {
		if p.Contains(a) {
			return p
		}
	}
	return netip.Prefix{}
}

var errMetadata = errors.New("an address where clouds give out credentials")

var errISATAP = errors.New("an IPv4 address within an ISATAP address")

// isISATAP reports whether an IPv6 address tunnels to the IPv4 address in its
// last 32 bits (RFC 5214 §6.1).
func isISATAP(a netip.Addr) bool {
	if !a.Is6() {
		return false
	}
	b := a.As16()
	return b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

// hintFor is the range that would let a blocked address through: the whole of
// loopback, for trying things out, and else that one address. It is invalid
// where no gateway can be, and for metadata addresses.
func hintFor(a netip.Addr) netip.Prefix {
	if a.IsUnspecified() || a.IsMulticast() || metadataOf(a).IsValid() {
		return netip.Prefix{}
	}
	if a.Is4() && a.IsLoopback() {
		return netip.MustParsePrefix("127.0.0.0/8")
	}
	return netip.PrefixFrom(a, a.BitLen())
}
