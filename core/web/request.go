package web

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// Body returns a copy of the request's body as it came, which the server's limit
// bounds. An empty body and a body whose Content-Type is not application/json
// read as `{}`, as in the field; so a web page's form reaches no handler.
func Body(c *fiber.Ctx) []byte {
	mediaType, _, _ := bytes.Cut(c.Request().Header.ContentType(), []byte(";"))
	body := c.BodyRaw() // a copy, as every App is Immutable
	if len(body) == 0 || !bytes.EqualFold(bytes.TrimSpace(mediaType), []byte("application/json")) {
		return []byte("{}")
	}
	return body
}

// maxHops bounds how far a chain of trusted proxies is followed.
const maxHops = 32

// ClientIP returns who asks: the connection's address or, behind trusted
// proxies, the right-most address of X-Forwarded-For that is none of them. An
// IPv4 address in IPv6 form is unmapped. A hop that is no address is nobody, and
// nobody is 0.0.0.0, which has the limits of any one address. So is a hop that is
// loopback: that is exempt from limits where a connection comes from it, and nobody may
// claim it. Over a Unix socket there is none: the zero Addr.
//
// docs/threat-model.md#n4
func ClientIP(c *fiber.Ctx) netip.Addr {
	tcp, ok := c.Context().RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	a := appOf(c)
	if a == nil || !a.trusted(addr) {
		return addr
	}
	var hops []string
	claimed := false
	for _, line := range c.Request().Header.PeekAll(fiber.HeaderXForwardedFor) {
		hops = append(hops, strings.Split(string(line), ",")...)
	}
	for i := 0; i < maxHops && len(hops) > 0 && a.trusted(addr); i++ {
		hop, ok := parseHop(hops[len(hops)-1])
		if !ok {
			return netip.IPv4Unspecified()
		}
		addr, hops, claimed = hop, hops[:len(hops)-1], true
	}
	if claimed && addr.IsLoopback() {
		return netip.IPv4Unspecified()
	}
	return addr
}

func (a *App) trusted(addr netip.Addr) bool {
	return slices.ContainsFunc(a.opts.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// parseHop reads an address with or without a port.
func parseHop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	if inner, ok := strings.CutPrefix(text, "["); ok {
		if text, ok = strings.CutSuffix(inner, "]"); !ok {
			return netip.Addr{}, false
		}
	}
	addr, err := netip.ParseAddr(text)
	return addr.Unmap().WithZone(""), err == nil
}
