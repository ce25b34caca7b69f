package rendezvous

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
)

const day = 24 * time.Hour

// A record lives as long as it asks for and the server grants, and no other does.
func TestMaxAge(t *testing.T) {
	hints := func(seconds int) envelope.Hints {
		return envelope.Hints{Purpose: envelope.PurposeRegister, Port: 18790, PublicURL: "https://gw.example", MaxAge: seconds}
	}
	for _, test := range []struct {
		name    string
		offered time.Duration
		asked   int
		ttl     int // seconds
	}{
		{"not offered", 0, 86_400, 90},
		{"not asked for", day, 0, 90},
		{"both", day, 86_400, 86_400},
		{"less is asked for", day, 3_600, 3_600},
		{"less is offered", time.Hour, 86_400, 3_600},
		{"less than the ordinary", day, 30, 90},
		{"more is offered than may be", 48 * time.Hour, 86_400, 86_400},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, ServerOptions{MaxAge: test.offered})
			k := key(t, 1)
			got := r.send(t, "POST", "/register", "203.0.113.1", r.text(k, hints(test.asked), 0))
			r.want(t, got, 200, fmt.Sprintf(`"ttl":%d,`, test.ttl))
			interval := 30.0
			if test.ttl > 90 {
				interval = float64(test.ttl) / 4
			}
			if at, _ := got.members["reannounceAfter"].(float64); at < interval*0.9 || at > interval*1.1+1 {
				t.Errorf("reannounceAfter %v, want about %v", at, interval)
			}
			offer, _ := got.members["maxAge"].(float64)
			if want := min(test.offered, day); offer != want.Seconds() || (got.members["maxAge"] != nil) != (want > 0) {
				t.Errorf("maxAge %v, want %v", got.members["maxAge"], want)
			}
			looked := r.lookup(t, k.Public())
			r.want(t, looked, 200, fmt.Sprintf(`"ttl":%d}`, test.ttl))
			if asked := fmt.Sprintf(`\"maxAge\":%d`, test.asked); strings.Contains(looked.body, asked) != (test.asked > 0) {
				t.Errorf("%s, want the text as it was signed", looked.body)
			}
			r.clock.add(time.Duration(test.ttl) * time.Second)
			r.Tick(t.Context(), r.clock.now())
			r.want(t, r.lookup(t, k.Public()), 200, `"ttl":0`)
			if r.memory != nil {
				r.memory.registry.check(t)
			}
			r.clock.add(time.Millisecond)
			r.want(t, r.lookup(t, k.Public()), 404, "expired")
			r.clock.add(time.Second)
			r.Tick(t.Context(), r.clock.now())
			if got := r.peers(t); got != 0.0 {
				t.Errorf("peers = %v, want 0", got)
			}
			if c, err := r.store.Counts(t.Context(), r.clock.now()); err != nil || c.Live != 0 || c.Brief != 0 {
				t.Errorf("%+v, %v; want none live", c, err)
			}
		})
	}
	t.Run("bounds", func(t *testing.T) {
		r := newRig(t, ServerOptions{MaxAge: day})
		for _, asked := range []int{-1, 86_401, 1 << 40} {
			r.want(t, r.send(t, "POST", "/register", "", r.text(key(t, 1), hints(asked), 0)), 400, "maxAge must be a number (1-86400)")
		}
		text := fmt.Sprintf(`{"ctx":"ogp/v2/register","pubkey":"%s","port":1,"maxAge":"1d","timestamp":"%s"}`, key(t, 1).Public(), core.FormatTime(r.clock.now()))
		body := fmt.Sprintf(`{"v2":{"payloadStr":%s,"signature":"%s"}}`, appendString(nil, text), signV2(key(t, 1), envelope.PurposeRegister, text))
		r.want(t, r.send(t, "POST", "/register", "", body), 400, "payloadStr")
	})
	t.Run("only what is signed can ask", func(t *testing.T) {
		r := newRig(t, ServerOptions{MaxAge: day})
		k := key(t, 1)
		r.want(t, r.send(t, "POST", "/register", "", fmt.Sprintf(`{"pubkey":"%s","port":1,"timestamp":%d,"maxAge":86400}`, k.Public(), r.clock.now().UnixMilli())), 200, `"ttl":90`)
		r.want(t, r.send(t, "POST", "/register", "", signedAs07(k, fmt.Sprintf(`{"pubkey":"%s","port":1,"maxAge":86400,"timestamp":"%s"}`, k.Public(), core.FormatTime(r.clock.now())))), 200, `"ttl":90`)
		beside := strings.Replace(r.text(k, hints(0), time.Second), `"port":18790`, `"maxAge":86400,"port":18790`, 1)
		if !strings.Contains(beside, "86400") {
			t.Fatal(beside)
		}
		got := r.send(t, "POST", "/register", "", beside)
		r.want(t, got, 400, "maxAge differs from payloadStr")
	})
}

// Records of a day are no sign of an outage when nobody renews them.
func TestMaxAgeIsNoOutage(t *testing.T) {
	r := newRig(t, ServerOptions{MaxAge: day, PreserveFrom: 10})
	for i := range byte(20) {
		h := envelope.Hints{Purpose: envelope.PurposeRegister, Port: 1, PublicURL: "https://gw.example", MaxAge: 86_400}
		r.want(t, r.send(t, "POST", "/register", "203.0.113.1", r.text(key(t, i+1), h, 0)), 200, `"ttl":86400`)
	}
	for range 20 {
		r.clock.add(30 * time.Second)
		r.Tick(t.Context(), r.clock.now())
	}
	if c, err := r.store.Counts(t.Context(), r.clock.now()); err != nil || c.Live != 20 || c.Brief != 0 || c.HoldUntil.After(r.clock.now()) {
		t.Errorf("%+v, %v; want 20 live, none of them brief, and no hold", c, err)
	}
}

func TestMaxAgeSnapshot(t *testing.T) {
	c := newClock()
	m := newMemory(ServerOptions{}.Limits(), c.now())
	r := Registration{Key: benchKey(1), Addr: trustLoopback[0].Addr(), Port: 1, PublicURL: "https://gw.example", Signed: true, SentAt: c.now(), MaxAge: day}
	r.Record.PayloadStr, r.Record.Signature = r.Text(), strings.Repeat("5a", 64)
	if _, err := m.Put(t.Context(), r, c.now()); err != nil {
		t.Fatal(err)
	}
	if f, extra := compress(r); f != formOurs || extra != r.PublicURL {
		t.Errorf("compress = %v %q, want our form", f, extra)
	}
	var file bytes.Buffer
	if err := m.writeSnapshot(&file); err != nil {
		t.Fatal(err)
	}
	whole := file.Bytes()
	c.add(3 * time.Hour)
	again := newMemory(ServerOptions{}.Limits(), c.now())
	if err := again.readSnapshot(bytes.NewReader(whole), c.now()); err != nil {
		t.Fatal(err)
	}
	got, err := again.Get(t.Context(), r.Key, c.now())
	if err != nil || got.ttl != 21*time.Hour || string(got.appendText(nil)) != r.Text() {
		t.Errorf("%v left of %s, %v; want 21 hours of %s", got.ttl, got.appendText(nil), err, r.Text())
	}
	again.registry.check(t)
	if again.registry.long.Load() != 1 {
		t.Error("it is not counted as long")
	}
}

// A client of ours asks where it is offered, with the life it was offered, and only
// when it has signed where it is.
func TestClientMaxAge(t *testing.T) {
	for _, test := range []struct {
		name, publicURL, answer string
		asks                    bool
		wait                    time.Duration
	}{
		{"offered", "https://gw.example", `{"ok":true,"ttl":86400,"reannounceAfter":21600,"maxAge":86400}`, true, 6 * time.Hour},
		{"an hour is offered", "https://gw.example", `{"ok":true,"ttl":3600,"reannounceAfter":900,"maxAge":3600}`, true, 15 * time.Minute},
		{"offered and not granted", "https://gw.example", `{"ok":true,"ttl":90,"reannounceAfter":30,"maxAge":86400}`, true, 30 * time.Second},
		{"no public URL", "", `{"ok":true,"ttl":90,"reannounceAfter":30,"maxAge":86400}`, false, 30 * time.Second},
		{"not offered", "https://gw.example", `{"ok":true,"ttl":90,"reannounceAfter":30}`, false, 30 * time.Second},
		{"a server of before 0.7", "https://gw.example", `{"ok":true,"yourIp":"203.0.113.1"}`, false, 30 * time.Second},
		{"granted and not offered", "https://gw.example", `{"ok":true,"ttl":86400,"reannounceAfter":21600}`, false, time.Hour},
		{"more than may be", "https://gw.example", `{"ok":true,"ttl":9999999999,"reannounceAfter":9999999999,"maxAge":9999999999}`, true, 7*time.Hour + 12*time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &steered{answer: func(int, *http.Request) (*http.Response, error) { return answering(200, "", test.answer) }}
			synctest.Test(t, func(t *testing.T) {
				c := NewClient(ClientOptions{URLs: []string{"https://r.example"}, Key: key(t, 1), Port: func() int { return 1 },
					PublicURL: func() string { return test.publicURL }, HTTP: &http.Client{Transport: s}, Stranger: &http.Client{Transport: s}})
				ctx, cancel := context.WithTimeout(t.Context(), 8*test.wait)
				defer cancel()
				if err := c.Run(ctx); err != nil {
					t.Error(err)
				}
			})
			if strings.Contains(s.bodies[0], "maxAge") {
				t.Errorf("the first registration asks before anything is offered: %s", s.bodies[0])
			}
			for i, body := range s.bodies[1 : len(s.bodies)-1] { // the last is the deregistration
				if strings.Contains(body, `\"maxAge\":`) != test.asks {
					t.Fatalf("%s, want it to ask: %v", body, test.asks)
				}
				if i == 0 {
					continue
				}
				if gap := s.calls[i+1].Sub(s.calls[i]); gap < test.wait*8/10 || gap > test.wait*12/10 {
					t.Errorf("gap %d is %v, want %v within a fifth", i, gap, test.wait)
				}
			}
			if len(s.bodies) < 5 {
				t.Errorf("%d calls, want some", len(s.bodies))
			}
		})
	}
}

// Whoever has a day's record and moves says so within half a minute.
func TestClientMaxAgeMoves(t *testing.T) {
	var url atomic.Value
	url.Store("https://old.example")
	s := &steered{}
	s.answer = func(n int, _ *http.Request) (*http.Response, error) {
		if strings.Contains(s.bodies[n-1], "maxAge") {
			return answering(200, "", `{"ok":true,"ttl":86400,"reannounceAfter":21600,"maxAge":86400}`)
		}
		return answering(200, "", `{"ok":true,"ttl":90,"reannounceAfter":30,"maxAge":86400}`)
	}
	var moved time.Time
	synctest.Test(t, func(t *testing.T) {
		c := NewClient(ClientOptions{URLs: []string{"https://r.example"}, Key: key(t, 1), Port: func() int { return 1 },
			PublicURL: func() string { return url.Load().(string) }, HTTP: &http.Client{Transport: s}, Stranger: &http.Client{Transport: s}})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		time.AfterFunc(time.Hour+10*time.Second, func() { moved = time.Now(); url.Store("https://new.example") })
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	// Two for a start, one for the move, and the deregistration.
	if len(s.calls) != 4 || !strings.Contains(s.bodies[2], "https://new.example") {
		t.Fatalf("%d calls: %s", len(s.calls), s.bodies)
	}
	if took := s.calls[2].Sub(moved); took > lookAgain {
		t.Errorf("it says so after %v, want %v at the most", took, lookAgain)
	}
}

// A looked-up record may be as old as its gateway has signed, and no older.
func TestV1SignedLife(t *testing.T) {
	r := newRig(t, ServerOptions{MaxAge: day})
	k := key(t, 1)
	c := newTestClient(t, key(t, 2), r.clock.now, r.url)
	register := func(maxAge int) {
		h := envelope.Hints{Purpose: envelope.PurposeRegister, Port: 1, PublicURL: "https://gw.example", MaxAge: maxAge}
		r.want(t, r.send(t, "POST", "/register", "203.0.113.1", r.text(k, h, 0)), 200, "ok")
	}
	register(86_400)
	r.clock.add(day - time.Minute)
	if got, err := c.Lookup(t.Context(), k.Public()); err != nil || !got.Verified || got.URL != "https://gw.example" {
		t.Errorf("Lookup = %+v, %v; want it, as it was signed for a day", got, err)
	}
	register(3600)
	old := r.lookup(t, k.Public()).body
	lying := newTestClient(t, key(t, 2), r.clock.now, lying(t, old))
	r.clock.add(time.Hour + maxRecordAge)
	if _, err := lying.Lookup(t.Context(), k.Public()); err != nil {
		t.Errorf("Lookup = %v within the signed hour and the margin", err)
	}
	r.clock.add(time.Second)
	if _, err := lying.Lookup(t.Context(), k.Public()); !isKind(err, core.Stale) {
		t.Errorf("Lookup = %v, want core.Stale: it was signed for an hour", err)
	}
}
