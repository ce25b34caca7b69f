package soak

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
)

const (
	slowConns = 5000
	slowFiles = 8192 // of the gateway that holds them
	// keptMemory is what of the memory that slow bodies took may be there 30 s after them.
	keptMemory = 64 << 20
	giveBack   = 30 * time.Second
)

var longForm = regexp.MustCompile(`[a-z0-9]{6}(-[A-Z2-7]{4}){6}`)

// invite makes a code of the gateway's that approves by itself.
func (s *soak) invite(ctx context.Context) (rendezvous.Ref, error) {
	out, err := s.try(ctx, "federation", "invite", "--approve", "--intents", "message")
	if err != nil {
		return rendezvous.Ref{}, fmt.Errorf("%w\n%s", err, out)
	}
	return rendezvous.ParseRef(longForm.FindString(out))
}

// crowd fills the list of those who wait, while some whom we have invited ask, and speak.
func (s *soak) crowd(ctx context.Context) {
	ref, err := s.invite(ctx)
	if err != nil {
		s.t.Errorf("an invite: %v", err)
		return
	}
	var turned, through atomic.Int64
	defer func() {
		s.t.Logf("    %d strangers turned away, %d invited ones approved", turned.Load(), through.Load())
		if turned.Load() == 0 || through.Load() == 0 {
			s.t.Error("the list was never full, or nobody who was invited asked: it shows nothing")
		}
	}()
	ask := func(invited bool) (by *envelope.Sealer, status int, answer string) {
		by = &envelope.Sealer{Key: keys.Generate()}
		r := s.introduction(by)
		if invited {
			r.Invite = ref.Prove(s.self, by.Key.Public())
		}
		status, answer = s.post(s.gateway.near, core.PathRequest, must(by.SealRequest(s.self, r)))
		return by, status, answer
	}
	var last atomic.Int64
	s.flooded(ctx, func(int64) int {
		_, status, _ := ask(false)
		if status == http.StatusTooManyRequests {
			turned.Add(1)
		}
		now, before := time.Now().UnixMilli(), last.Load()
		if turned.Load() == 0 || now-before < 500 || !last.CompareAndSwap(before, now) {
			return status
		}
		by, asked, answer := ask(true)
		if asked == http.StatusOK {
			asked, answer = s.post(s.gateway.near, core.PathMessage, s.message(by, by, fmt.Sprintf("invited-%d", now), "hello"))
		}
		if asked == http.StatusOK {
			through.Add(1)
		} else if ctx.Err() == nil {
			s.t.Errorf("one whom we have invited gets %d %s", asked, answer)
		}
		return status
	})
}

// codes guesses invite codes from many addresses, while a right one is asked for.
func (s *soak) codes(ctx context.Context) {
	ref, err := s.invite(ctx)
	if err != nil {
		s.t.Errorf("an invite: %v", err)
		return
	}
	var refused, found atomic.Int64
	defer func() {
		s.t.Logf("    %d wrong codes refused, the right one found %d times", refused.Load(), found.Load())
		if refused.Load() == 0 || found.Load() == 0 {
			s.t.Error("no flood of wrong codes, or no right one asked for: it shows nothing")
		}
	}()
	s.flooded(ctx, func(i int64) int {
		status, _ := s.resolve("zzzzzz", fmt.Sprintf("198.18.%d.%d", i>>8&0xff, i&0xff))
		if status == http.StatusTooManyRequests {
			refused.Add(1)
		}
		if i%40 == 0 {
			switch right, answer := s.resolve(ref.Code, fmt.Sprintf("198.19.%d.%d", i>>8&0xff, i&0xff)); {
			case right == http.StatusOK:
				found.Add(1)
			default:
				s.t.Errorf("a right code gets %d %s", right, answer)
			}
		}
		return status
	})
}

// resolve asks the rendezvous for a code, as its proxy does for a client.
func (s *soak) resolve(code, from string) (int, string) {
	r, err := http.NewRequest(http.MethodGet, "http://"+s.rendezvous.near+"/invite/"+code, nil)
	if err != nil {
		return 0, err.Error()
	}
	r.Header.Set("X-Forwarded-For", from)
	resp, err := s.client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return resp.StatusCode, string(text)
}

// folded sends headers that go on in the next line, which are 400 everywhere.
func (s *soak) folded(i int64) int {
	heads := []string{"Content-Type: application/json\r\n extra: 1\r\n", "X-Forwarded-For: 1.2.3.4,\r\n\t5.6.7.8\r\n", "Content-Length: 1\r\n 0\r\n"}
	p := []*process{s.gateway, s.rendezvous}[i%2]
	c, err := net.DialTimeout("tcp", p.near, time.Second)
	if err != nil {
		return 0
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "POST /federation/message HTTP/1.1\r\nHost: a\r\n%sConnection: close\r\n\r\n", heads[int(i/2)%len(heads)])
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusServiceUnavailable {
		s.t.Errorf("%s answers a folded header with %d", p.name, resp.StatusCode)
	}
	return resp.StatusCode
}

// slow has thousands send the beginning of a body and no more, all at once, again and
// again.
func (s *soak) slow(ctx context.Context) {
	n := slowConns
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < slowConns+512 {
		n = int(limit.Cur) / 2
		s.t.Logf("    only %d descriptors for us: %d connections instead of %d", limit.Cur, n, slowConns)
	}
	before, most := s.gateway.rss(), 0
	for ctx.Err() == nil {
		round, stop := context.WithTimeout(ctx, 4*time.Second) // the gateway ends them after 5
		most = max(most, s.slowRound(round, n))
		stop()
	}
	s.t.Logf("    %d connections at once", most)
	if most < n*9/10 {
		s.t.Errorf("%d slow bodies at once, want %d: it shows less than it should", most, n)
	}
	s.before, s.slowEnded = before, time.Now()
}

// slowRound opens n connections, keeps them until ctx is done, and returns how many the
// gateway had open.
func (s *soak) slowRound(ctx context.Context, n int) (most int) {
	head := "POST /federation/message HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 65536\r\n\r\n" + strings.Repeat("{", 3000)
	conns := make([]net.Conn, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if c, err := net.DialTimeout("tcp", s.gateway.near, time.Second); err == nil {
					conns[i] = c
					io.WriteString(c, head)
					s.attempts.Add(1)
				}
				time.Sleep(5 * time.Millisecond) // these and the gateway share the machine's cores
			}
		})
	}
	wg.Wait()
	for ctx.Err() == nil {
		most = max(most, s.gateway.sockets())
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	for i, c := range conns {
		if c != nil {
			c.Close()
		}
		if i%100 == 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	return most
}

// sockets is how many the process has open.
func (p *process) sockets() (n int) {
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	all, _ := os.ReadDir(dir)
	for _, one := range all {
		if to, _ := os.Readlink(dir + "/" + one.Name()); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// isGivenBack waits until the memory that slow bodies took is the system's again.
func (s *soak) isGivenBack() {
	if s.slowEnded.IsZero() {
		return
	}
	for {
		rss, after := s.gateway.rss(), time.Since(s.slowEnded)
		if rss <= s.before+keptMemory {
			s.t.Logf("RSS %d MiB before the slow bodies, %d MiB %v after them", s.before>>20, rss>>20, after.Round(time.Second))
			return
		}
		if after > giveBack {
			s.t.Errorf("RSS %d MiB before the slow bodies, %d MiB %v after them, want at most %d", s.before>>20, rss>>20, after.Round(time.Second), (s.before+keptMemory)>>20)
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
}
