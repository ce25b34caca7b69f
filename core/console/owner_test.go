package console

import (
	"encoding/binary"
	"html"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestW1CodesOfAnAccount: a code that stands among a browser's arguments counts for browsers of
// its own account alone, and another one's try does not spend it. docs/threat-model.md#w1
func TestW1CodesOfAnAccount(t *testing.T) {
	s, _, b := open(t)
	b.base = "http://" + must(t, s).Address
	show := func(uid int) (status int, again func() int) {
		v, err := s.Open(&uid)
		if err != nil || v.Bound != (runtime.GOOS == "linux") {
			t.Fatal(v, err)
		}
		again = func() int {
			r, _ := b.post("/open", url.Values{"code": {v.Code}})
			return r.StatusCode
		}
		return again(), again
	}
	if status, again := show(os.Getuid()); status != http.StatusSeeOther || again() != http.StatusForbidden {
		t.Errorf("our own account: %d", status)
	}
	status, again := show(os.Getuid() + 1)
	if runtime.GOOS == "linux" && status != http.StatusForbidden {
		t.Errorf("another account: %d", status)
	}
	before := tables
	t.Cleanup(func() { tables = before })
	tables = []string{"/nowhere"} // a system that does not say whose a connection is
	b.CloseIdleConnections()      // it is asked once of each
	if v, err := s.Open(new(int)); err != nil || v.Bound {
		t.Errorf("a code is said to be for an account, which nobody can tell: %v", err)
	}
	if status := again(); runtime.GOOS == "linux" && status != http.StatusSeeOther {
		t.Errorf("the code was spent by another account: %d", status)
	}
}

// TestOwnerIn reads lines as the kernel writes them.
func TestOwnerIn(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the lines are of a machine with the low byte first")
	}
	from, to := netip.MustParseAddrPort("127.0.0.1:54321"), netip.MustParseAddrPort("127.0.0.1:18791")
	for line, want := range map[string]int{
		"   1: 0100007F:D431 0100007F:4967 01 00000000:00000000 00:00000000 00000000  1000        0 777 1 0000000000000000 20 4 30 10 -1":                  1000,
		"   1: 0000000000000000FFFF00000100007F:D431 0000000000000000FFFF00000100007F:4967 01 00000000:00000000 00:00000000 00000000  1001        0 777 1": 1001,
		"   1: 0100007F:4967 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 777 1":                                                 anybody, // the other end
		"   1: 0100007F:D431 0100007F:4967 05 00000000:00000000 00:00000000 00000000     0        0 0 1":                                                   anybody, // its program has left
		"   1: 0100007F:D431 0200007F:4967 01 00000000:00000000 00:00000000 00000000  1000        0 777 1":                                                 anybody,
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode":                                                 anybody,
		"   1: 01:D431 0100007F:4967 01 0:0 0:0 0 1000 0 777":                                                                                              anybody,
		"": anybody,
	} {
		if got := ownerIn(line, from, to); got != want {
			t.Errorf("%q: %d, want %d", line, got, want)
		}
	}
	six, us := netip.MustParseAddrPort("[::1]:54321"), netip.MustParseAddrPort("[::1]:18791")
	if got := ownerIn("   1: 00000000000000000000000001000000:D431 00000000000000000000000001000000:4967 01 0:0 0:0 0 1002 0 777", six, us); got != 1002 {
		t.Errorf("IPv6: %d", got)
	}
}

// TestStreamEndsWithItsSession: what holds a stream hears nothing after twelve hours.
func TestStreamEndsWithItsSession(t *testing.T) {
	s, _, b := open(t)
	b.enter(s)
	now := time.Now().Add(sessionLife - 300*time.Millisecond)
	s.sessions.now = func() time.Time { return now }
	b.Timeout = 20 * time.Second
	r, text := b.get("/stream") // to its end
	if r.StatusCode != http.StatusOK || !strings.Contains(text, "event: happened") {
		t.Errorf("%d %s", r.StatusCode, text)
	}
}

// TestW1CookiesOfAnAccount: a cookie counts for the account alone that it was given to. A server
// of another one, on another port of the same host, is shown it. docs/threat-model.md#w1
func TestW1CookiesOfAnAccount(t *testing.T) {
	s, f, b := open(t)
	b.enter(s)
	if r, _ := b.get("/peers"); r.StatusCode != http.StatusOK {
		t.Fatalf("its own account: %d", r.StatusCode)
	}
	token := b.token()
	for _, x := range s.sessions.live {
		if runtime.GOOS == "linux" && x.by != (account{os.Getuid(), true}) {
			t.Errorf("the session is of %v", x.by)
		}
		x.by = account{os.Getuid() + 1, true}
	}
	if runtime.GOOS != "linux" {
		return
	}
	if r, text := b.get("/peers"); r.StatusCode != http.StatusUnauthorized || strings.Contains(text, "BENB") {
		t.Errorf("another account: %d", r.StatusCode)
	}
	if r, _ := b.post("/held/release", url.Values{"token": {token}, "id": {"x"}}); r.StatusCode != http.StatusUnauthorized || f.noted() != "" {
		t.Errorf("another account acts: %d, done: %s", r.StatusCode, f.noted())
	}
	before := tables
	t.Cleanup(func() { tables = before })
	tables = []string{"/nowhere"}
	b.CloseIdleConnections() // whose one is, is asked once
	if r, _ := b.get("/peers"); r.StatusCode != http.StatusOK {
		t.Errorf("where the system does not say whose it is: %d", r.StatusCode)
	}
}

// TestLoginLeadsOn: who shows a code comes to the page that was asked for, and to none elsewhere.
func TestLoginLeadsOn(t *testing.T) {
	s, _, b := open(t)
	b.base = "http://" + must(t, s).Address
	field := regexp.MustCompile(`name="to" value="([^"]*)"`)
	asked := func(method, path string, change func(*http.Request)) string {
		_, text := b.do(method, path, nil, change)
		if m := field.FindStringSubmatch(text); m != nil {
			return html.UnescapeString(m[1])
		}
		return ""
	}
	for path, want := range map[string]string{"/peers/ben?look=1": "/peers/ben?look=1", "/messages?box=in&q=%3Cb%3E": "/messages?box=in&q=%3Cb%3E", "/open": "", "/stream": ""} {
		if got := asked("GET", path, nil); got != want {
			t.Errorf("%s leads on to %q", path, got)
		}
	}
	if got := asked("POST", "/held/release", func(r *http.Request) { r.Header.Set("Referer", b.base+"/messages/ben") }); got != "/messages/ben" {
		t.Errorf("a form leads on to %q", got)
	}
	if _, text := b.do("GET", "/peers", nil, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }); !strings.Contains(text, `<a href="/peers">go on to the page</a>`) {
		t.Errorf("led from another page:\n%s", text)
	}
	for to, want := range map[string]string{"/peers/ben?look=1": "/peers/ben?look=1", "": "/", "//evil.example": "/", "http://evil.example/": "/", "/\\evil.example": "/", "peers": "/", "javascript:alert(1)": "/"} {
		r, _ := b.post("/open", url.Values{"code": {"WRONG"}, "to": {to}})
		if r.StatusCode != http.StatusForbidden {
			t.Fatalf("a wrong code: %d", r.StatusCode)
		}
		r, _ = b.post("/open", url.Values{"code": {must(t, s).Code}, "to": {to}})
		if got := r.Header.Get("Location"); r.StatusCode != http.StatusSeeOther || got != want {
			t.Errorf("%q leads to %q", to, got)
		}
	}
	if _, text := b.post("/open", url.Values{"code": {"WRONG"}, "to": {"/peers"}}); !strings.Contains(text, `name="to" value="/peers"`) {
		t.Error("a wrong code forgets the page that was asked for")
	}
}
