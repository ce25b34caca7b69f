package signer_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/signer"
)

// text is what an envelope of k's consists of.
func text(k core.PublicKey) []byte { return textAt(k, time.Now()) }

func textAt(k core.PublicKey, at time.Time) []byte {
	return []byte("\xffogp/v2/message\x00" + `{"ctx":"ogp/v2/message","iss":"` + k.String() + `","timestamp":"` + core.FormatTime(at) + `"}`)
}

// folder is a folder of our own whose paths fit a socket.
func folder(t testing.TB) string {
	dir, err := os.MkdirTemp("", "signer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve runs a signer until stop is called.
func serve(t testing.TB, path string, k keys.Private) (stop func()) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- (&signer.Server{Key: k}).Serve(ctx, ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func open(t testing.TB, path string) *signer.Remote {
	t.Helper()
	r, err := signer.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func holds(t testing.TB, k core.PublicKey, text []byte, signature string) {
	t.Helper()
	sig, err := keys.ParseSignature(signature)
	if err != nil || !keys.Verify(k, text, sig) {
		t.Errorf("%q does not hold: %v", signature, err)
	}
}

func TestSignerSigns(t *testing.T) {
	k, path := keys.Generate(), filepath.Join(folder(t), "s")
	serve(t, path, k)
	r := open(t, path)
	if r.Public() != k.Public() {
		t.Fatalf("Public = %v, want %v", r.Public(), k.Public())
	}
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			text := text(k.Public())
			got, err := r.Sign(text)
			if err != nil {
				t.Error(err)
				return
			}
			holds(t, k.Public(), text, got)
		})
	}
	wg.Wait()
	if got, err := r.Derive(signer.HopMarks); err != nil || got != k.Derive(signer.HopMarks) {
		t.Errorf("Derive = %x, %v, want what the key itself derives", got, err)
	}
	if _, err := r.Derive("other"); err == nil || !strings.Contains(err.Error(), "it refuses") {
		t.Errorf("Derive for another purpose = %v, want it refused", err)
	}
	if err := r.Check(); err != nil {
		t.Errorf("Check = %v", err)
	}
}

// TestK5SignsEnvelopesAlone: whoever has the socket gets no signature for anything else.
func TestK5SignsEnvelopesAlone(t *testing.T) {
	k, path := keys.Generate(), filepath.Join(folder(t), "s")
	serve(t, path, k)
	r := open(t, path)
	other := keys.Generate().Public()
	for what, text := range map[string][]byte{
		"nothing":              nil,
		"a text":               []byte("hello"),
		"a number":             []byte("1"),
		"a commit":             []byte("tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"),
		"an SSH signature":     []byte("SSHSIG\x00\x00\x00\x00"),
		"an empty object":      []byte(`{}`),
		"an object":            []byte(`{"a":1}`),
		"no JSON":              []byte(`{"intent":`),
		"two shapes":           []byte(`{"intent":"x","success":true}`),
		"two shapes in legacy": []byte(`{"ctx":"ogp/v2/message","iss":"` + k.Public().String() + `"}`),
		"a token":              []byte("eyJhbGciOiJFZERTQSJ9.e30"),
		"another removal":      []byte(`{"peerId":"` + other.ID() + `","timestamp":"2026-01-01T00:00:00Z"}`),
		"another sender":       text(other),
		"another purpose":      []byte("\xffogp/v2/other\x00" + `{"ctx":"ogp/v2/other","iss":"` + k.Public().String() + `"}`),
		"another protocol":     []byte("\xffssh/message\x00" + `{"ctx":"ssh/message","iss":"` + k.Public().String() + `"}`),
		"two purposes":         []byte("\xffogp/v2/message\x00" + `{"ctx":"ogp/v2/reply","iss":"` + k.Public().String() + `"}`),
		"no end":               []byte("\xffogp/v2/message"),
		"a longer check":       []byte("\xffogp/signer/check\x00" + strings.Repeat("a", 33)),
		"of later":             textAt(k.Public(), time.Now().Add(6*time.Minute)),
		"of no time":           []byte("\xffogp/v2/message\x00" + `{"ctx":"ogp/v2/message","iss":"` + k.Public().String() + `"}`),
		"of later in legacy":   []byte(`{"intent":"message","nonce":"n","timestamp":"` + core.FormatTime(time.Now().Add(6*time.Minute)) + `"}`),
		"of no time in legacy": []byte(`{"intent":"message","nonce":"n"}`),
		"a later registration": []byte(`{"pubkey":"` + k.Public().String() + `","port":1,"timestamp":"2099-01-01T00:00:00.000Z"}`),
	} {
		if got, err := r.Sign(text); err == nil || !strings.Contains(err.Error(), "it refuses") {
			t.Errorf("%s: Sign = %q, %v, want it refused", what, got, err)
		}
	}
	if err := r.Check(); err != nil { // and it goes on
		t.Errorf("then: %v", err)
	}
}

// TestSignerSignsWhatASealerSeals: all that a gateway sends, and tells a rendezvous.
func TestSignerSignsWhatASealerSeals(t *testing.T) {
	k, path := keys.Generate(), filepath.Join(folder(t), "s")
	serve(t, path, k)
	r, aud := open(t, path), keys.Generate().Public()
	no := false
	self := k.Public().String()
	for _, v2 := range []bool{false, true} {
		s := &envelope.Sealer{Key: r, V2Only: v2}
		for what, seal := range map[string]func() ([]byte, error){
			"request": func() ([]byte, error) {
				return s.SealRequest(aud, core.Request{Peer: core.PeerCard{ID: k.Public().ID(), PublicKey: self, GatewayURL: "https://a.example"}})
			},
			"approval": func() ([]byte, error) { return s.SealApproval(aud, core.Approval{FromPublicKey: self}) },
			"rejection": func() ([]byte, error) {
				return s.SealApproval(aud, core.Approval{FromPublicKey: self, Approved: &no})
			},
			"removal": func() ([]byte, error) { return s.SealRemoval(aud) },
			"message": func() ([]byte, error) {
				return s.SealMessage(aud, core.Message{Intent: "message", From: k.Public().ID(), Nonce: "n", Payload: core.Raw(`{"peer":1,"ctx":2}`)})
			},
			"reply": func() ([]byte, error) { return s.SealReply(aud, core.Reply{Nonce: "n", Success: true}) },
			"identity": func() ([]byte, error) {
				return s.SealIdentity(aud, core.Identity{ID: k.Public().ID(), DisplayName: "A", HumanName: "H", PublicKey: self})
			},
			"status": func() ([]byte, error) { return s.SealStatus(aud, "n", true) },
		} {
			if _, err := seal(); err != nil {
				t.Errorf("%s (v2 alone: %v) = %v", what, v2, err)
			}
		}
		for _, purpose := range []string{envelope.PurposeRegister, envelope.PurposeInvite, envelope.PurposeDeregister, envelope.PurposeList, envelope.PurposeRevoke} {
			if _, err := s.SealHints(envelope.Hints{Purpose: purpose, Port: 1, PublicURL: "https://a.example", Token: "a3f7k2", Legacy: !v2}, time.Now()); err != nil {
				t.Errorf("%s = %v", purpose, err)
			}
		}
	}
}

// TestSignerRestarts: connections that ended are made anew, and a signer that is away is
// said to be, with what to do.
func TestSignerRestarts(t *testing.T) {
	k, path := keys.Generate(), filepath.Join(folder(t), "s")
	stop := serve(t, path, k)
	r := open(t, path)
	if _, err := r.Sign(text(k.Public())); err != nil {
		t.Fatal(err)
	}
	stop()
	serve(t, path, k)
	if _, err := r.Sign(text(k.Public())); err != nil {
		t.Fatalf("after a restart = %v", err)
	}
}

func TestSignerAway(t *testing.T) {
	k, path := keys.Generate(), filepath.Join(folder(t), "s")
	if _, err := signer.Open(path, nil); !errors.Is(err, core.Unavailable) || !strings.Contains(err.Error(), "no such socket") {
		t.Errorf("Open without a signer = %v, want Unavailable", err)
	}
	stop := serve(t, path, k)
	r := open(t, path)
	stop()
	_, err := r.Sign(text(k.Public()))
	var e *core.Error
	if !errors.As(err, &e) || e.Kind != core.Unavailable || e.RetryAfter == 0 || e.Hint == "" {
		t.Errorf("Sign = %v, want Unavailable with a hint and a time", err)
	}
	if r.Health() == nil {
		t.Error("Health = nil while nobody signs")
	}
	began := time.Now()
	if _, err := r.Sign(text(k.Public())); err == nil || time.Since(began) > 1500*time.Millisecond {
		t.Errorf("the next = %v after %v, want a quick no", err, time.Since(began))
	}
	serve(t, path, k)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		_, err := r.Sign(text(k.Public()))
		if err == nil && r.Health() == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("when it is back: %v, Health %v", err, r.Health())
		}
	}
}

// pretend is a signer that answers as it is told.
func pretend(t *testing.T, path string, answer func(net.Conn)) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); answer(c) }()
		}
	}()
}

// TestK5LyingSigner: what does not hold is not used.
func TestK5LyingSigner(t *testing.T) {
	mine, its := keys.Generate(), keys.Generate()
	yes := func(c net.Conn, data []byte) {
		_, _ = c.Write(append([]byte{'Y', 0, 0, 0, byte(len(data))}, data...))
	}
	for what, test := range map[string]struct {
		answer func(net.Conn)
		want   string
	}{
		"signs with another key": {func(c net.Conn) {
			sig, _ := hex.DecodeString(its.Signature(text(mine.Public())))
			yes(c, sig)
		}, "does not hold"},
		"signs another text": {func(c net.Conn) {
			sig, _ := hex.DecodeString(mine.Signature([]byte("other")))
			yes(c, sig)
		}, "does not hold"},
		"too short":     {func(c net.Conn) { yes(c, []byte("short")) }, "does not hold"},
		"endless":       {func(c net.Conn) { _, _ = c.Write([]byte{'Y', 0xff, 0xff, 0xff, 0xff}) }, "longer than"},
		"other words":   {func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n")) }, "longer than"},
		"ends":          {func(net.Conn) {}, "ended the connection"},
		"says nothing":  {func(c net.Conn) { buf := make([]byte, 1); _, _ = c.Read(buf); time.Sleep(4 * time.Second) }, "no answer within"},
		"refuses":       {func(c net.Conn) { _, _ = c.Write([]byte("N\x00\x00\x00\x06\x1bno\n\n!")) }, "it refuses: no  !"},
		"unknown words": {func(c net.Conn) { _, _ = c.Write([]byte{'Z', 0, 0, 0, 0}) }, "does not speak"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(folder(t), "s")
			pretend(t, path, func(c net.Conn) {
				fmt.Fprintf(c, "ogp-signer/1 %s\n", mine.Public())
				buf := make([]byte, 5+len(text(mine.Public())))
				for n := 0; n < len(buf); {
					m, err := c.Read(buf[n:])
					if err != nil {
						return
					}
					n += m
				}
				test.answer(c)
			})
			r := open(t, path)
			got, err := r.Sign(text(mine.Public()))
			if !errors.Is(err, core.Unavailable) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Sign = %q, %v, want Unavailable with %q", got, err, test.want)
			}
		})
	}
}

// TestSignerOfAnotherKey: the key is fixed with the first connection.
func TestSignerOfAnotherKey(t *testing.T) {
	k, path := keys.Generate(), filepath.Join(folder(t), "s")
	stop := serve(t, path, k)
	r := open(t, path)
	stop()
	serve(t, path, keys.Generate())
	if _, err := r.Sign(text(k.Public())); !errors.Is(err, core.Unavailable) || !strings.Contains(err.Error(), "another key") {
		t.Errorf("Sign = %v, want Unavailable: another key", err)
	}
	if r.Public() != k.Public() {
		t.Error("our key has changed")
	}
}

func TestSignerVersions(t *testing.T) {
	for greeting, want := range map[string]string{
		"ogp-signer/2 " + keys.Generate().Public().String() + "\n": "another version",
		"SSH-2.0-OpenSSH_9.6\r\n":                                  "does not speak",
		strings.Repeat("a", 4096):                                  "does not speak",
		"ogp-signer/1 00\n":                                        "public key",
	} {
		path := filepath.Join(folder(t), "s")
		pretend(t, path, func(c net.Conn) { fmt.Fprint(c, greeting); time.Sleep(100 * time.Millisecond) })
		if _, err := signer.Open(path, nil); !errors.Is(err, core.Unavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: Open = %v, want %q", greeting, err, want)
		}
	}
}

// TestK5SocketsPlace: where anybody may put a socket, nothing of ours is shown to it.
func TestK5SocketsPlace(t *testing.T) {
	if os.PathSeparator != '/' {
		t.Skip("file modes say nothing here")
	}
	dir := folder(t)
	serve(t, filepath.Join(dir, "s"), keys.Generate())
	if err := os.Chmod(dir, 0o1777); err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Open(filepath.Join(dir, "s"), nil); !errors.Is(err, core.Forbidden) {
		t.Errorf("Open = %v, want Forbidden", err)
	}
	for address, ok := range map[string]bool{"unix:/run/s": true, "unix:s": false, "/run/s": false, "tcp:1": false, "": false, "unix:": false} {
		if _, err := signer.Path(address); (err == nil) != ok {
			t.Errorf("Path(%q) = %v, want ok %v", address, err, ok)
		}
	}
}

// TestSignerIsBounded: a length is no allocation, and what is not ended is closed.
func TestSignerIsBounded(t *testing.T) {
	path := filepath.Join(folder(t), "s")
	serve(t, path, keys.Generate())
	ask := func(b string) string {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Write([]byte(b)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 512)
		n := 0
		for {
			m, err := c.Read(buf[n:])
			n += m
			if err != nil || n == len(buf) {
				return string(buf[:n])
			}
		}
	}
	if got := ask("S\xff\xff\xff\xff"); !strings.Contains(got, "longer than it may be") {
		t.Errorf("a text without an end is answered %q", got)
	}
	if got := ask("X\x00\x00\x00\x00"); !strings.Contains(got, "not a question") {
		t.Errorf("an unknown question is answered %q", got)
	}
	var all []net.Conn
	for range 80 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all = append(all, c)
	}
	kept, end := 0, time.Now().Add(3*time.Second)
	for _, c := range all {
		_ = c.SetDeadline(end)
		if n, _ := c.Read(make([]byte, 16)); n > 0 {
			kept++
		}
	}
	if kept == 0 || kept > 64 {
		t.Errorf("%d connections at once, want at most 64", kept)
	}
}

func BenchmarkSign(b *testing.B) {
	k, path := keys.Generate(), filepath.Join(folder(b), "s")
	serve(b, path, k)
	for what, s := range map[string]core.Signer{"file": k, "signer": open(b, path)} {
		b.Run(what, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Sign(text(k.Public())); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
