// Package certs puts TLS on the public listener: with a certificate in files, which are
// read again when they change, or with one that it fetches and renews by ACME.
package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/files"
)

// fileStamp is how a file looks from outside.
type fileStamp struct {
	size int64
	mod  time.Time
}

// Options say which certificate.
type Options struct {
	TLS    config.TLS
	Dir    string // where fetched certificates are kept
	Port   int    // that we listen on
	Logger *slog.Logger
}

// Listen wraps the public listener in TLS if the configuration says so. What it
// fetches is renewed until ctx is done. It fails where tls.cert and tls.key cannot be
// used.
func Listen(ctx context.Context, ln net.Listener, o Options) (net.Listener, error) {
	c := o.TLS
	switch {
	case c.Cert != "":
		pair := &certFile{cert: c.Cert, key: c.Key}
		if _, err := pair.get(nil); err != nil {
			return nil, &core.Error{Kind: core.Malformed, Public: "tls.cert and tls.key cannot be used", Err: err,
				Hint: "both are PEM files, of the same key pair, that this user can read"}
		}
		return tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get, NextProtos: []string{"http/1.1"}}), nil
	case c.Domain != "":
		return o.acme(ctx, ln)
	}
	return ln, nil
}

// acme fetches and renews a certificate in the background. The challenge is
// answered on our own listener (RFC 8737), so that nothing else needs a port.
func (o Options) acme(ctx context.Context, ln net.Listener) (net.Listener, error) {
	var magic *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return magic, nil },
		Logger:           zap.NewNop(),
	})
	magic = certmagic.New(cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: o.Dir},
		Logger:  zap.NewNop(),
		OnEvent: func(_ context.Context, event string, data map[string]any) error {
			switch event {
			case "cert_obtained":
				o.Logger.Info("certificate obtained", "domain", data["identifier"])
			case "cert_failed":
				o.Logger.Error("certificate not obtained", "domain", data["identifier"], "err", data["error"])
			}
			return nil
		},
	})
	magic.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(magic, certmagic.ACMEIssuer{
		CA: cmp.Or(o.TLS.CA, certmagic.LetsEncryptProductionCA), Email: o.TLS.Email, Agreed: true, Logger: zap.NewNop(),
		DisableHTTPChallenge: true, // we have no port 80
		AltTLSALPNPort:       o.Port,
	})}
	if err := magic.ManageAsync(ctx, []string{o.TLS.Domain}); err != nil {
		cache.Stop()
		return nil, fmt.Errorf("tls.domain: %w", err)
	}
	context.AfterFunc(ctx, cache.Stop)
	t := magic.TLSConfig()
	t.NextProtos = []string{"http/1.1", "acme-tls/1"} // the server speaks no HTTP/2
	return tls.NewListener(ln, t), nil
}

// certFile is a certificate in files, read again when they change.
type certFile struct {
	cert, key string

	mu     sync.Mutex // guards the rest
	loaded *tls.Certificate
	stamp  [2]fileStamp
	looked time.Time
}

// maxPEM bounds a file of certificates or keys, in bytes.
const maxPEM = 1 << 20

// Load reads a certificate and its key.
func Load(cert, key string) (tls.Certificate, error) {
	certPEM, err := files.ReadText(cert, maxPEM)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := files.ReadText(key, maxPEM)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

// lookAgainAfter is how long files are not looked at again.
const lookAgainAfter = 10 * time.Second

func (c *certFile) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded != nil && time.Since(c.looked) < lookAgainAfter {
		return c.loaded, nil
	}
	c.looked = time.Now()
	var stamp [2]fileStamp
	for i, path := range []string{c.cert, c.key} {
		if info, err := os.Stat(path); err == nil {
			stamp[i] = fileStamp{info.Size(), info.ModTime()}
		}
	}
	if c.loaded != nil && stamp == c.stamp {
		return c.loaded, nil
	}
	pair, err := Load(c.cert, c.key)
	if err != nil {
		if c.loaded != nil { // half written: the one before is still good
			return c.loaded, nil
		}
		return nil, err
	}
	c.loaded, c.stamp = &pair, stamp
	return c.loaded, nil
}
