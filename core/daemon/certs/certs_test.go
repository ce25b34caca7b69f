package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func writeKeyPair(certFile, keyFile, name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}

// TestARenewedCertificateIsPickedUp changes the files under a certFile: whole
// pairs count, from the next look on, and a half-written one keeps the one before.
func TestARenewedCertificateIsPickedUp(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	renew := func(name string) {
		if err := writeKeyPair(cert, key, name); err != nil {
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
