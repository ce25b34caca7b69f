package certs

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core/coretest"
)

// TestARenewedCertificateIsPickedUp changes the files under a certFile: whole
// pairs count, from the next look on, and a half-written one keeps the one before.
func TestARenewedCertificateIsPickedUp(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	renew := func(name string) {
		if err := coretest.WriteKeyPair(cert, key, name); err != nil {
			t.Fatal(err)
		}
	}
	pair := &certFile{cert: cert, key: key}
	serves := func(step, want string) {
		t.Helper()
		got, err := pair.get(nil)
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		leaf, err := x509.ParseCertificate(got.Certificate[0])
		if err != nil || leaf.Subject.CommonName != want {
			t.Errorf("%s: %v, %v; want %s", step, leaf.Subject, err, want)
		}
	}
	if _, err := pair.get(nil); err == nil {
		t.Error("no files: nil, want an error")
	}
	renew("one")
	serves("the first", "one")
	renew("a renewed one") // other sizes: times may be coarse
	serves("looked at a moment ago", "one")
	later := func() { pair.looked = time.Time{} } // lookAgainAfter has passed
	later()
	serves("renewed", "a renewed one")
	later()
	if err := os.WriteFile(cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	serves("half written", "a renewed one")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	later()
	serves("half gone", "a renewed one")
	renew("once more")
	later()
	serves("whole again", "once more")
}
