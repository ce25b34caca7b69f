package valkey

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/valkey-io/valkey-go"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
	"github.com/opengatewayprotocol/ogp/core/rendezvous/rendezvoustest"
)

// raw does a command of somebody else's.
func (s *Store) raw(t testing.TB, words ...string) string {
	t.Helper()
	var text string
	if err := s.link.do(t.Context(), func(ctx context.Context, c valkey.Client) error {
		answer, err := c.Do(ctx, c.B().Arbitrary(words...).Build()).ToMessage()
		if err != nil && !valkey.IsValkeyNil(err) {
			return err
		}
		text, _ = answer.ToString()
		return nil
	}); err != nil {
		t.Fatalf("%.80q: %v", words, err)
	}
	return text
}

// Whoever writes to the engine can make a record vanish, and cannot make a server hand
// on what its key has not signed. The gateway's next registration puts it right.
func TestV1HostileStore(t *testing.T) {
	engines(t, func(t *testing.T, at string) {
		s, log := open(t, at, rendezvous.ServerOptions{})
		other := registration(keys.Generate(), time.Now())
		if _, err := s.Put(t.Context(), other, time.Now()); err != nil {
			t.Fatal(err)
		}
		edit := func(from, to string) func(string) []string {
			return func(v string) []string {
				if !strings.Contains(v, from) {
					panic(fmt.Sprintf("no %q in %q", from, v))
				}
				return []string{"SET", strings.Replace(v, from, to, 1)}
			}
		}
		number := func(field int, to string) func(string) []string {
			return func(v string) []string {
				line, tail, _ := strings.Cut(v, "\n")
				f := strings.Split(line, " ")
				f[field] = to
				return []string{"SET", strings.Join(f, " ") + "\n" + tail}
			}
		}
		for name, forge := range map[string]func(value string) []string{
			"another URL":         edit("https://gw.example", "https://evil.example"),
			"another port":        number(7, "1"),
			"another time":        number(3, "1795291963880"),
			"a life it has not":   number(6, "86400000"),
			"a life without end":  number(6, "99999999999999"),
			"seen in a year":      number(5, "9795291963880"),
			"newest in a year":    number(3, "9795291963880"),
			"a negative number":   number(5, "-1"),
			"a number too long":   number(5, strings.Repeat("9", 400)),
			"a port too big":      number(7, "65536"),
			"an unknown form":     number(1, "4"),
			"an unknown state":    number(2, "7"),
			"half an address":     number(8, "00"),
			"no address":          number(8, strings.Repeat("zz", 16)),
			"times that are none": number(9, "x"),
			"a line too much":     edit("\n", "\n\n"),
			"no line":             edit("\n", " "),
			"another version":     number(0, "2"),
			"no signature":        func(v string) []string { return []string{"SET", v[:strings.Index(v, "\n")+1]} },
			"a signature of zeros": func(v string) []string {
				n := strings.Index(v, "\n") + 1
				return []string{"SET", v[:n] + strings.Repeat("\x00", 64) + v[n+64:]}
			},
			"the record of another": func(string) []string { return []string{"SET", s.raw(t, "GET", s.record(other.Key))} },
			"a URL that is none": func(v string) []string {
				n := strings.Index(v, "\n") + 1
				return []string{"SET", strings.Replace(v[:n], "1 2 ", "1 0 ", 1) + "javascript:alert(1)"}
			},
			"a URL with a line": func(v string) []string {
				n := strings.Index(v, "\n") + 1
				return []string{"SET", strings.Replace(v[:n], "1 2 ", "1 0 ", 1) + "https://gw.example/\r\n\x1b[31m"}
			},
			"nothing":                func(string) []string { return []string{"SET", ""} },
			"noise":                  func(string) []string { return []string{"SET", "\x00\xff\n\xfe" + rand.Text()} },
			"16 MiB":                 func(v string) []string { return []string{"SET", v + strings.Repeat("x", 16<<20)} },
			"16 MiB before the line": func(v string) []string { return []string{"SET", strings.Repeat("1", 16<<20) + v} },
			"a list":                 func(string) []string { return []string{"RPUSH", "x"} },
			"a hash":                 func(string) []string { return []string{"HSET", "x", "y"} },
		} {
			t.Run(name, func(t *testing.T) {
				k := keys.Generate()
				r := registration(k, time.Now())
				if _, err := s.Put(t.Context(), r, time.Now()); err != nil {
					t.Fatal(err)
				}
				words := forge(s.raw(t, "GET", s.record(r.Key)))
				s.raw(t, "DEL", s.record(r.Key))
				s.raw(t, append([]string{words[0], s.record(r.Key)}, words[1:]...)...)
				if got, err := s.Get(t.Context(), r.Key, time.Now()); err == nil {
					t.Errorf("it is handed on: %+v", got)
				} else if !errors.Is(err, core.NotFound) {
					t.Errorf("Get = %v, want core.NotFound", err)
				}
				again := registration(k, time.Now().Add(time.Second))
				if _, err := s.Put(t.Context(), again, time.Now()); err != nil {
					if name == "another time" && errors.Is(err, core.Conflict) {
						return // no time that nobody can have signed: it waits until that is past
					}
					t.Errorf("its next registration: %v", err)
				}
				if _, err := s.Get(t.Context(), r.Key, time.Now()); err != nil {
					t.Errorf("Get after its next registration = %v", err)
				}
			})
		}
		if text := log.String(); strings.Count(text, "none of ours") != 1 || strings.Contains(text, "\x1b") {
			t.Errorf("the log says, once a minute:\n%s", text)
		}
	})
}

// What is of another type where several share a name is said, and nothing is
// acknowledged.
func TestHostileNames(t *testing.T) {
	engines(t, func(t *testing.T, at string) {
		s, log := open(t, at, rendezvous.ServerOptions{})
		for _, test := range []struct {
			name  string
			words []string
			heals bool
		}{
			{"hold far ahead", []string{"SET", s.holdName(), "99999999999999"}, true},
			{"hold that is none", []string{"SET", s.holdName(), "x"}, true},
			{"hold that is a list", []string{"RPUSH", s.holdName(), "x"}, true},
			{"a budget far ahead", []string{"SET", s.name("budget:posts:") + network(netip.MustParseAddr("203.0.113.9")), "99999999999999"}, true},
			{"a budget that is a list", []string{"RPUSH", s.name("budget:posts:") + network(netip.MustParseAddr("203.0.113.9")), "x"}, true},
			{"counters that are none", []string{"HSET", s.counters(), "renewed", "x"}, false},
			{"records that are a list", []string{"RPUSH", s.brief(), "x"}, false},
		} {
			t.Run(test.name, func(t *testing.T) {
				s.raw(t, "DEL", test.words[1])
				s.raw(t, test.words...)
				err := s.Admit(t.Context(), rendezvous.BudgetPosts, netip.MustParseAddr("203.0.113.9"), time.Now())
				k := keys.Generate()
				for i := range 2 {
					_, perr := s.Put(t.Context(), registration(k, time.Now().Add(time.Duration(i)*time.Millisecond)), time.Now())
					err = errors.Join(err, perr)
				}
				if test.heals && err != nil || !test.heals && !errors.Is(err, core.Unavailable) {
					t.Errorf("%v; want it to heal: %v", err, test.heals)
				}
				s.raw(t, "DEL", test.words[1])
			})
		}
		if text := log.String(); strings.Count(text, "the store refuses") != 1 {
			t.Errorf("the log says, once a minute:\n%s", text)
		}
	})
}

// A code that somebody else has written is not handed on.
func TestV4HostileCodes(t *testing.T) {
	engines(t, func(t *testing.T, at string) {
		s, _ := open(t, at, rendezvous.ServerOptions{})
		from, now := netip.MustParseAddr("203.0.113.1"), time.Now()
		add := func() string {
			r := registration(keys.Generate(), now)
			code, err := s.AddCode(t.Context(), rendezvous.Code{Key: r.Key, Addr: from, Port: 1, Created: now.UnixMilli(), Expires: now.Add(time.Minute).UnixMilli()}, time.Time{}, now)
			if err != nil {
				t.Fatal(err)
			}
			return code
		}
		good := add()
		if _, err := s.Resolve(t.Context(), good, from, true, now); err != nil {
			t.Fatal(err)
		}
		for name, words := range map[string][]string{
			"no JSON":              {"HSET", "value", "{"},
			"no key":               {"HSET", "value", `{"pubkey":"x","addr":"203.0.113.1","port":1}`},
			"a URL that is none":   {"HSET", "value", fmt.Sprintf(`{"pubkey":"%s","addr":"203.0.113.1","port":1,"publicUrl":"javascript:1"}`, keys.Generate().Public())},
			"a record of nobody's": {"HSET", "value", fmt.Sprintf(`{"pubkey":"%s","addr":"203.0.113.1","port":1,"verified":true,"record":{"payloadStr":"{}","signature":"%s"}}`, keys.Generate().Public(), strings.Repeat("00", 64))},
			"a port too big":       {"HSET", "value", fmt.Sprintf(`{"pubkey":"%s","addr":"203.0.113.1","port":99999}`, keys.Generate().Public())},
			"16 MiB":               {"HSET", "value", strings.Repeat("x", 16<<20)},
			"uses that are none":   {"HSET", "used", "x"},
			"no end":               {"HDEL", "expires"},
			"another type":         {"RPUSH", "x"},
		} {
			code := add()
			if words[0] == "RPUSH" {
				s.raw(t, "DEL", s.code(code))
			}
			s.raw(t, append([]string{words[0], s.code(code)}, words[1:]...)...)
			if c, err := s.Resolve(t.Context(), code, netip.MustParseAddr("127.0.0.1"), true, now); !errors.Is(err, core.NotFound) {
				t.Errorf("%s: Resolve = %+v, %v; want core.NotFound", name, c, err)
			}
		}
		for _, text := range []string{"", "*", "a b", "zzzzzz\r\nFLUSHALL", strings.Repeat("x", 4000), "../codes"} {
			if _, err := s.Resolve(t.Context(), text, netip.MustParseAddr("127.0.0.1"), true, now); !errors.Is(err, core.NotFound) {
				t.Errorf("Resolve(%.20q) = %v, want core.NotFound", text, err)
			}
		}
	})
}

// What the engine says, an operator understands.
func TestTroubles(t *testing.T) {
	engine := miniredis.RunT(t)
	engine.RequireAuth("s3cr3t")
	for _, test := range []struct{ url, text, hint string }{
		{"valkey://" + engine.Addr(), "it wants a password", "valkey://user:password@host:6379/0"},
		{"valkey://:other@" + engine.Addr(), "password is wrong", "valkey://user:password@host:6379/0"},
	} {
		a, err := ParseURL(test.url)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(t.Context(), Options{At: a})
		var e *core.Error
		if !errors.As(err, &e) || !strings.Contains(e.Public, test.text) || !strings.Contains(e.Hint, test.hint) || strings.Contains(e.Error(), "other") {
			t.Errorf("Open(%s) = %v (%+v), want %q and the hint %q", test.url, err, e, test.text, test.hint)
		}
	}
	engine.RequireAuth("")
	s, log := open(t, "valkey://"+engine.Addr(), rendezvous.ServerOptions{})
	for said, want := range map[string]string{
		"READONLY You can't write against a read only replica.":                    "name the primary",
		"ERR DB index is out of range":                                             "number of a database",
		"ERR unknown command 'EVALSHA', with args beginning with:":                 "Redis from 6.0",
		"OOM command not allowed when used memory > 'maxmemory'.":                  "maxmemory",
		"MISCONF Valkey is configured to save RDB snapshots, but it's unable to":   "disk is full",
		"LOADING Valkey is loading the dataset in memory":                          "still reading",
		"MOVED 3999 127.0.0.1:6381":                                                "cluster",
		"NOPERM this user has no permissions to run the 'evalsha' command":         "ACL SETUSER",
		"WRONGTYPE Operation against a key holding the wrong kind of value":        "prefix",
		"ERR Error running script: user_script:3: -OOM command not allowed when u": "maxmemory",
	} {
		tr := troubleOf(valkeyError(t, engine, s, said))
		if !strings.Contains(tr.text+" "+tr.hint, want) {
			t.Errorf("%s: %q, hint %q; want %q", said, tr.text, tr.hint, want)
		}
	}
	engine.SetError("OOM command not allowed when used memory > 'maxmemory'.")
	if _, err := s.Put(t.Context(), registration(keys.Generate(), time.Now()), time.Now()); err == nil || !strings.Contains(err.Error(), "full") || !errors.Is(err, core.Unavailable) {
		t.Errorf("Put into a full engine = %v", err)
	}
	engine.SetError("READONLY You can't write against a read only replica.")
	if _, err := s.Put(t.Context(), registration(keys.Generate(), time.Now()), time.Now()); !errors.Is(err, core.Unavailable) {
		t.Errorf("Put into a replica = %v", err)
	}
	engine.SetError("")
	eventually(t, "it has found the primary again", 60*time.Second, func() bool {
		_, err := s.Put(t.Context(), registration(keys.Generate(), time.Now()), time.Now())
		return err == nil
	})
	if text := log.String(); !strings.Contains(text, "replica, which takes no registrations") || !strings.Contains(text, "the store is full") {
		t.Errorf("the log says:\n%s", text)
	}
}

// valkeyError is an engine's error as the library has it.
func valkeyError(t *testing.T, engine *miniredis.Miniredis, s *Store, said string) error {
	t.Helper()
	engine.SetError(said)
	defer engine.SetError("")
	c, err := valkey.NewClient(valkey.ClientOption{InitAddress: []string{"127.0.0.1:1"}, ForceSingleClient: true})
	if err == nil {
		c.Close()
		t.Fatal("somebody listens on port 1")
	}
	return (*s.link.client.Load()).Do(t.Context(), (*s.link.client.Load()).B().Ping().Build()).Error()
}

// certificate is a key pair for 127.0.0.1 that signs itself, and its file.
func certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}, file
}

func TestTLS(t *testing.T) {
	pair, ca := certificate(t)
	engine, err := miniredis.RunTLS(&tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	s, _ := open(t, "valkeys://"+engine.Addr()+"/0?ca="+ca, rendezvous.ServerOptions{})
	if _, err := s.Counts(t.Context(), time.Now()); err != nil {
		t.Errorf("Counts = %v", err)
	}
	_, port, _ := net.SplitHostPort(engine.Addr())
	// No mistake that could not pass: the server starts, and the log has the hint.
	for _, url := range []string{"valkeys://" + miniredis.RunT(t).Addr() + "?ca=" + ca, "valkey://" + engine.Addr()} {
		if _, log := open(t, url, rendezvous.ServerOptions{}); !strings.Contains(log.String(), "TLS") {
			t.Errorf("%s: the log says:\n%s", url, log)
		}
	}
	for _, test := range []struct{ url, text string }{
		{"rediss://" + engine.Addr(), "its certificate is not valid"},
		{"rediss://localhost:" + port + "?ca=" + ca, "its certificate is not valid"},
	} {
		a, err := ParseURL(test.url)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := Open(t.Context(), Options{At: a}); err == nil || !strings.Contains(err.Error(), test.text) {
			t.Errorf("Open(%s) = %v, want %q", test.url, err, test.text)
			if s != nil {
				s.Close()
			}
		}
	}
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{
		"valkey://h":                  "valkey://h:6379/0",
		"redis://h:1/3":               "valkey://h:1/3",
		"rediss://u:p%40x@h:1/0":      "valkeys://h:1/0",
		"VALKEYS://[::1]:7/":          "valkeys://[::1]:7/0",
		"valkey://[::1]":              "valkey://[::1]:6379/0",
		" valkey://h?prefix=x: \n":    "valkey://h:6379/0",
		"http://h":                    "! valkey://",
		"h:6379":                      "! valkey://",
		"valkey:///0":                 "! no host",
		"valkey://h/x":                "! number of a database",
		"valkey://h/-1":               "! number of a database",
		"valkey://h?ca=/x":            "! TLS",
		"valkey://h?timeout=1":        "! unknown parameter",
		"valkeys://h?ca=/nowhere/x":   "! no such file",
		"valkeys://h?cert=/nowhere/x": "! cert and key",
		"valkey://u:s3c%zzret@h":      "! percent-encoded",
		"valkey://u:s3cret@h:port":    "! no URL",
	} {
		a, err := ParseURL(text)
		got := a.String()
		if err != nil {
			got = "! " + err.Error()
		}
		if part, fails := strings.CutPrefix(want, "! "); fails && (err == nil || !strings.Contains(got, part)) || !fails && got != want {
			t.Errorf("ParseURL(%q) = %s, want %s", text, got, want)
		}
		if strings.Contains(got, "s3c") || strings.Contains(fmt.Sprintf("%v %+v", a, err), "p@x") {
			t.Errorf("ParseURL(%q) shows the password: %s", text, got)
		}
	}
}

// Real engines under real trouble: killed, full, replicas.
func TestEngineTroubles(t *testing.T) {
	t.Run("killed and restarted empty", func(t *testing.T) {
		engine := rendezvoustest.NewEngine(t)
		s, _ := open(t, "valkey://"+engine.Addr(), rendezvous.ServerOptions{})
		k := keys.Generate()
		if _, err := s.Put(t.Context(), registration(k, time.Now()), time.Now()); err != nil {
			t.Fatal(err)
		}
		engine.Kill()
		if _, err := s.Get(t.Context(), k.Public(), time.Now()); !errors.Is(err, core.Unavailable) && !errors.Is(err, core.NotFound) {
			eventually(t, "it is away", 60*time.Second, func() bool {
				_, err := s.Get(t.Context(), k.Public(), time.Now())
				return errors.Is(err, core.Unavailable)
			})
		}
		if err := engine.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the next registration is taken", 60*time.Second, func() bool {
			_, err := s.Put(t.Context(), registration(k, time.Now()), time.Now())
			return err == nil
		})
		if _, err := s.Get(t.Context(), k.Public(), time.Now()); err != nil {
			t.Errorf("Get = %v", err)
		}
	})
	t.Run("killed and restarted with what it has saved", func(t *testing.T) {
		engine := rendezvoustest.NewEngine(t, "--appendonly", "yes", "--appendfsync", "always")
		s, _ := open(t, "valkey://"+engine.Addr(), rendezvous.ServerOptions{})
		var taken []core.PublicKey
		for range 50 {
			k := keys.Generate()
			if _, err := s.Put(t.Context(), registration(k, time.Now()), time.Now()); err != nil {
				t.Fatal(err)
			}
			taken = append(taken, k.Public())
		}
		engine.Kill()
		if err := engine.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is back", 60*time.Second, func() bool { _, err := s.Counts(t.Context(), time.Now()); return err == nil })
		for _, k := range taken {
			if _, err := s.Get(t.Context(), k, time.Now()); err != nil {
				t.Errorf("Get of what was acknowledged = %v", err)
			}
		}
	})
	t.Run("full", func(t *testing.T) {
		engine := rendezvoustest.NewEngine(t, "--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
		s, log := open(t, "valkey://"+engine.Addr(), rendezvous.ServerOptions{MaxPerAddress: 1 << 20})
		var full error
		var first core.PublicKey
		k := keys.Generate()
		for i := 0; i < 20_000 && full == nil; i++ {
			r := some(i, time.Now())
			if i == 0 {
				r = registration(k, time.Now())
			}
			if _, full = s.Put(t.Context(), r, time.Now()); full == nil && i == 0 {
				first = r.Key
			}
		}
		if !errors.Is(full, core.Unavailable) || !strings.Contains(full.Error(), "full") || !strings.Contains(log.String(), "maxmemory") {
			t.Errorf("Put = %v, and the log says:\n%s", full, log)
		}
		if _, err := s.Get(t.Context(), first, time.Now()); err != nil {
			t.Errorf("Get while it is full = %v", err)
		}
		for range 10 {
			if err := s.Admit(t.Context(), rendezvous.BudgetReads, netip.MustParseAddr("203.0.113.77"), time.Now()); err != nil {
				t.Errorf("Admit while it is full = %v", err)
			}
		}
		if _, err := s.Resolve(t.Context(), "a3f7k2", netip.MustParseAddr("203.0.113.77"), true, time.Now()); !errors.Is(err, core.NotFound) {
			t.Errorf("Resolve while it is full = %v", err)
		}
		if err := s.Drop(t.Context(), first, netip.MustParseAddr("203.0.113.1"), time.Now().Add(time.Second), time.Now()); err != nil {
			t.Errorf("Drop while it is full = %v", err)
		}
	})
	t.Run("evicts", func(t *testing.T) {
		engine := rendezvoustest.NewEngine(t, "--maxmemory", "4mb", "--maxmemory-policy", "allkeys-random")
		s, log := open(t, "valkey://"+engine.Addr(), rendezvous.ServerOptions{MaxPerAddress: 1 << 20})
		if !strings.Contains(log.String(), "noeviction") {
			t.Errorf("no warning of maxmemory-policy:\n%s", log)
		}
		for range 8_000 { // whatever goes, nothing breaks
			if _, err := s.Put(t.Context(), some(int(time.Now().UnixNano()&0xffffff), time.Now()), time.Now()); err != nil && !errors.Is(err, core.Conflict) && !errors.Is(err, core.Unavailable) {
				t.Fatal(err)
			}
		}
		if err := s.Expire(t.Context(), time.Now()); err != nil {
			t.Error(err)
		}
	})
	t.Run("forgets", func(t *testing.T) {
		for _, rights := range []string{"-@all", "+@all"} {
			engine := rendezvoustest.NewEngine(t, "--appendonly", "yes")
			admin, err := valkey.NewClient(valkey.ClientOption{InitAddress: []string{engine.Addr()}, ForceSingleClient: true})
			if err != nil {
				t.Fatal(err)
			}
			defer admin.Close()
			for _, user := range [][]string{{"rv", "on", ">pw", "~*", "&*", "+@all"}, {"default", ">other", "~*", "&*", rights}} {
				if err := admin.Do(t.Context(), admin.B().Arbitrary(append([]string{"ACL", "SETUSER"}, user...)...).Build()).Error(); err != nil {
					t.Fatal(err)
				}
			}
			s, log := open(t, "valkey://rv:pw@"+engine.Addr(), rendezvous.ServerOptions{})
			if said := strings.Contains(log.String(), "loses all that it has kept"); said != (rights == "-@all") {
				t.Errorf("with the rights %s of the user default the log says:\n%s", rights, log)
			}
			if _, err := s.Put(t.Context(), registration(keys.Generate(), time.Now()), time.Now()); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("a replica", func(t *testing.T) {
		primary := rendezvoustest.NewEngine(t)
		replica := rendezvoustest.NewEngine(t, "--replicaof", "127.0.0.1", fmt.Sprint(primary.Port))
		s, log := open(t, "valkey://"+replica.Addr(), rendezvous.ServerOptions{})
		if _, err := s.Put(t.Context(), registration(keys.Generate(), time.Now()), time.Now()); !errors.Is(err, core.Unavailable) {
			t.Errorf("Put = %v, want core.Unavailable", err)
		}
		if !strings.Contains(log.String(), "name the primary") {
			t.Errorf("the log says:\n%s", log)
		}
		promote, err := valkey.NewClient(valkey.ClientOption{InitAddress: []string{replica.Addr()}, ForceSingleClient: true})
		if err != nil {
			t.Fatal(err)
		}
		defer promote.Close()
		if err := promote.Do(t.Context(), promote.B().Arbitrary("REPLICAOF", "NO", "ONE").Build()).Error(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it serves once it is the primary", 60*time.Second, func() bool {
			_, err := s.Put(t.Context(), registration(keys.Generate(), time.Now()), time.Now())
			return err == nil
		})
	})
	t.Run("a lookup is kept until the record changes", func(t *testing.T) {
		at := "valkey://" + rendezvoustest.NewEngine(t).Addr()
		a, _ := open(t, at, rendezvous.ServerOptions{})
		b, _ := open(t, at, rendezvous.ServerOptions{})
		k := keys.Generate()
		if _, err := a.Put(t.Context(), registration(k, time.Now()), time.Now()); err != nil {
			t.Fatal(err)
		}
		asked := func() string {
			for line := range strings.Lines(a.raw(t, "INFO", "commandstats")) {
				if calls, ok := strings.CutPrefix(line, "cmdstat_getrange:calls="); ok {
					calls, _, _ = strings.Cut(calls, ",")
					return calls
				}
			}
			return "0"
		}
		look := func() error { _, err := b.Get(t.Context(), k.Public(), time.Now()); return err }
		if err := look(); err != nil {
			t.Fatal(err)
		}
		before := asked()
		for range 100 {
			if err := look(); err != nil {
				t.Fatal(err)
			}
		}
		if after := asked(); after != before {
			t.Errorf("100 more lookups have asked the engine: %s reads, then %s", before, after)
		}
		if err := a.Drop(t.Context(), k.Public(), netip.MustParseAddr("203.0.113.1"), time.Now().Add(time.Second), time.Now()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		eventually(t, "the other server knows", 60*time.Second, func() bool { return errors.Is(look(), core.NotFound) })
		t.Logf("the other server knows after %v", time.Since(began))
	})
	t.Run("hangs", func(t *testing.T) {
		engine := rendezvoustest.NewEngine(t)
		s, log := open(t, "valkey://"+engine.Addr(), rendezvous.ServerOptions{})
		s.raw(t, "CLIENT", "PAUSE", "4000", "ALL")
		began := time.Now()
		if _, err := s.Put(t.Context(), registration(keys.Generate(), time.Now()), time.Now()); !errors.Is(err, core.Unavailable) || time.Since(began) > 5*callTimeout {
			t.Errorf("Put = %v after %v, want core.Unavailable after %v", err, time.Since(began), callTimeout)
		}
		eventually(t, "it is back", 60*time.Second, func() bool { _, err := s.Counts(t.Context(), time.Now()); return err == nil })
		if !strings.Contains(log.String(), "it does not answer") {
			t.Errorf("the log says:\n%s", log)
		}
	})
}
