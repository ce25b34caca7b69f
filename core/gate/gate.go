// Package gate is the listener of every server of ours: it never ends for want of
// descriptors, and never holds more connections than it may.
//
// docs/threat-model.md#d1, #d2
package gate

import (
	"container/list"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/opengatewayprotocol/ogp/core/files"
)

const (
	// DefaultMaxConns is how many connections are open at the most, where the
	// descriptors allow as many.
	DefaultMaxConns = 64 << 10
	// leastReserve and mostReserve bound the descriptors that no connection from
	// outside gets: a quarter of all, within these.
	leastReserve, mostReserve = 128, 1024
	// leastPerAddress and mostPerAddress bound the connections of one address, in
	// IPv6 of one /64: an eighth of all, within these.
	leastPerAddress, mostPerAddress = 16, 512
	// leastLocal and mostLocal bound the connections of a listener for this machine
	// alone: an eighth of the reserve, within these.
	leastLocal, mostLocal = 16, 128
)

// Limit is how many connections a server for others takes: what the limit on open files
// leaves beside a reserve for the store, this machine's own listeners and our calls
// outward.
func Limit() int {
	return limit(int(files.Limit()))
}

func limit(most int) int {
	if most <= 0 {
		return DefaultMaxConns
	}
	return min(max(most-reserve(most), leastPerAddress), DefaultMaxConns)
}

// Local is how many connections a listener takes that is for this machine alone: each is
// served from the reserve, and none can use that up.
func Local() int {
	return local(int(files.Limit()))
}

func local(most int) int {
	if most <= 0 {
		return mostLocal
	}
	return min(max(reserve(most)/8, leastLocal), mostLocal)
}

func reserve(most int) int { return min(max(most/4, leastReserve), mostReserve) }

// Options are a Gate's settings. Max and Logger are needed.
type Options struct {
	Name   string // in the log; empty: none
	Max    int    // connections at a time
	Logger *slog.Logger
	// PerAddress bounds those of one address, in IPv6 of one /64. Zero means an eighth of
	// Max, 16 to 512. Loopback, Unix sockets and Proxies, behind which are many, have seven
	// eighths of Max together.
	PerAddress int
	Proxies    []netip.Prefix
}

// Gate is a listener that never ends for want of descriptors and never holds more
// connections than it may. When it is full it ends the connection that has been
// quiet for longest, one on which no whole request has come yet, the first or the
// next; where all are at work, and for an address that has too many, the new one is
// answered 503, or closed where that would take a TLS handshake.
//
// docs/threat-model.md#d1, #d2
type Gate struct {
	net.Listener
	logger     *slog.Logger
	max        int
	perAddress int
	shared     int // of loopback and trusted proxies, behind which are many, together
	proxies    []netip.Prefix

	mu        sync.Mutex // guards the rest
	open      map[*Conn]struct{}
	quiet     *list.List // of *Conn, the one that is quiet for longest first
	byAddress map[netip.Addr]int
	ofShared  int
	full      spell // as many are open as may be
	crowded   spell // an address, crowdedBy, has as many as it may
	crowdedBy netip.Addr
	peak      int // the most that were open since TakePeak

	spare *os.File // a descriptor for turning away with when there is none; of Accept alone
	short spell    // descriptors are; of Accept alone
}

// sayEvery is how often the log says at the most that the same spell has begun.
const sayEvery = time.Minute

// spell is a want that comes and goes, which the log names when it begins and when
// it is over: strangers can bring it about, so not more than once in a while. One
// that begins again too early is said when it lasts.
type spell struct {
	on   bool // said in the log, and not over yet
	said time.Time
}

// begin reports whether to say that it has begun.
func (s *spell) begin(now time.Time) bool {
	if s.on || !s.said.IsZero() && now.Sub(s.said) < sayEvery {
		return false
	}
	s.on, s.said = true, now
	return true
}

// end reports whether to say that it is over.
func (s *spell) end() bool {
	was := s.on
	s.on = false
	return was
}

// Conn is one connection of a Gate.
type Conn struct {
	net.Conn
	g    *Gate
	from netip.Addr // its address or /64; invalid: one of the shared

	// Guarded by Gate.mu.
	place *list.Element // in quiet; nil: it is not
	gone  bool
}

// New makes the gate of a listener.
func New(ln net.Listener, o Options) *Gate {
	g := &Gate{Listener: ln, logger: o.Logger, max: o.Max, perAddress: o.PerAddress, proxies: o.Proxies,
		open: map[*Conn]struct{}{}, quiet: list.New(), byAddress: map[netip.Addr]int{}}
	if o.Name != "" {
		g.logger = o.Logger.With("listener", o.Name)
	}
	if g.perAddress == 0 {
		g.perAddress = min(max(g.max/8, leastPerAddress), mostPerAddress)
	}
	g.shared = max(g.max-g.max/8, 1)
	g.spare, _ = os.Open(os.DevNull) // without it, what is too much is not turned away but waits
	files.Reserve()                  // for who must write a file nevertheless
	return g
}

// Accept is net.Listener's. It returns an error only where the listener is at its
// end.
func (g *Gate) Accept() (net.Conn, error) {
	const longest = time.Second
	wait := time.Millisecond
	for {
		c, err := g.accept()
		if err != nil {
			if !passes(err) {
				return nil, err
			}
			time.Sleep(wait)
			wait = min(2*wait, longest)
			continue
		}
		wait = time.Millisecond
		if c == nil {
			continue
		}
		if held := g.admit(c); held != nil {
			return held, nil
		}
		turnAway(c)
	}
}

// accept takes a connection. Where there is no descriptor for it, it closes the one
// that waits, with the help of the spare one, and returns nil.
func (g *Gate) accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	if err == nil {
		if g.short.end() {
			g.logger.Info("connections are accepted again")
		}
		return c, nil
	}
	if !isShortage(err) {
		return nil, err
	}
	if g.short.begin(time.Now()) {
		g.logger.Warn("no file descriptor is left: connections are turned away until one is free", "err", err)
	}
	if g.spare == nil {
		g.spare, _ = os.Open(os.DevNull)
		return nil, err
	}
	g.spare.Close()
	c, err = g.Listener.Accept()
	if g.spare, _ = os.Open(os.DevNull); g.spare != nil {
		return c, err // there are descriptors again
	}
	if err == nil {
		c.Close()
		g.spare, _ = os.Open(os.DevNull)
	}
	return nil, err
}

// passes reports whether an error of accept(2) says nothing of the listener: a want
// that passes, or a connection that ended before it was taken.
func passes(err error) bool {
	return isShortage(err) || errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.EINTR)
}

func isShortage(err error) bool {
	return files.Short(err) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// admit counts a connection in, or returns nil where it may not come in.
func (g *Gate) admit(inner net.Conn) *Conn {
	c := &Conn{Conn: inner, g: g, from: g.addressOf(inner)}
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.from.IsValid() && g.byAddress[c.from] >= g.perAddress {
		if g.crowded.begin(time.Now()) {
			g.crowdedBy = c.from
			g.logger.Warn("an address has reached its connection limit: its further connections are answered 503",
				"address", c.from.String(), "limit", g.perAddress)
		}
		return nil
	}
	shared := !c.from.IsValid() && g.ofShared >= g.shared
	if shared || len(g.open) >= g.max {
		if g.full.begin(time.Now()) {
			g.logger.Warn("the connection limit is reached: for each new connection, the one that is idle for longest is closed, or the new one is answered 503",
				"open", len(g.open), "limit", g.max, "shared", g.shared)
		}
		if !g.makeRoom(shared) {
			return nil
		}
	}
	g.open[c] = struct{}{}
	g.peak = max(g.peak, len(g.open))
	if c.from.IsValid() {
		g.byAddress[c.from]++
	} else {
		g.ofShared++
	}
	c.place = g.quiet.PushBack(c)
	return c
}

// looked is how many quiet connections makeRoom looks at.
const looked = 64

// makeRoom ends the connection that has been quiet for longest; ofShared: of those
// of the shared addresses. Called with mu held.
func (g *Gate) makeRoom(ofShared bool) bool {
	for e, n := g.quiet.Front(), 0; e != nil && n < looked; e, n = e.Next(), n+1 {
		if c := e.Value.(*Conn); !ofShared || !c.from.IsValid() {
			g.remove(c)
			go c.Conn.Close() // a TLS connection says goodbye, which can take a while
			return true
		}
	}
	return false
}

// remove counts a connection out. Called with mu held.
func (g *Gate) remove(c *Conn) {
	if c.gone {
		return
	}
	c.gone = true
	delete(g.open, c)
	g.leaveQuiet(c)
	if len(g.open) <= g.max/2 && g.full.end() {
		g.logger.Info("there is room for connections again", "open", len(g.open))
	}
	if !c.from.IsValid() {
		g.ofShared--
		return
	}
	g.byAddress[c.from]--
	if c.from == g.crowdedBy && g.byAddress[c.from] <= g.perAddress/2 && g.crowded.end() {
		g.logger.Info("the address has room for connections again", "address", c.from.String())
	}
	if g.byAddress[c.from] == 0 {
		delete(g.byAddress, c.from)
	}
}

func (g *Gate) leaveQuiet(c *Conn) {
	if c.place != nil {
		g.quiet.Remove(c.place)
		c.place = nil
	}
}

// addressOf is what a connection counts for; invalid for the shared ones.
func (g *Gate) addressOf(c net.Conn) netip.Addr {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	a := tcp.AddrPort().Addr().Unmap().WithZone("")
	if a.IsLoopback() || slices.ContainsFunc(g.proxies, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return netip.Addr{}
	}
	if a.Is6() {
		p, _ := a.Prefix(64) // of an IPv6 address there always is
		return p.Addr()
	}
	return a
}

// Open is how many connections are open.
func (g *Gate) Open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.open)
}

// TakePeak returns the most connections that were open since it was last called.
func (g *Gate) TakePeak() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	peak := g.peak
	g.peak = len(g.open)
	return peak
}

// CloseAll ends every connection.
func (g *Gate) CloseAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.open {
		go c.Conn.Close()
	}
}

// End gives the spare descriptor back, once nobody calls Accept any more.
func (g *Gate) End() {
	if g.spare != nil {
		g.spare.Close()
	}
}

// Close counts the connection out.
func (c *Conn) Close() error {
	c.g.mu.Lock()
	c.g.remove(c)
	c.g.mu.Unlock()
	return c.Conn.Close()
}

// Waits says whether the connection waits for a whole request. A new one does.
func (c *Conn) Waits(yes bool) {
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	switch {
	case !yes:
		c.g.leaveQuiet(c)
	case yes && c.place == nil && !c.gone:
		c.place = c.g.quiet.PushBack(c)
	}
}

var busy = []byte("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\n" +
	"Content-Length: 31\r\nRetry-After: 5\r\nConnection: close\r\n\r\n" + `{"error":"Service unavailable"}`)

// turnAway answers a connection that may not come in. The few bytes fit the buffer
// of a new socket, so that nobody waits for them to be read.
func turnAway(c net.Conn) {
	if _, isTLS := c.(*tls.Conn); !isTLS {
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.Write(busy)
	}
	_ = c.Close()
}
