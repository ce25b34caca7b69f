package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/files"
)

// Certificates is where fetched Certificates are kept, in the state directory.
const Certificates = "Certificates"

// fileStamp is how a file looks from outside.
type fileStamp struct {
	size int64
	mod  time.Time
}

// secured wraps the public listener in TLS if the configuration says so.
func (d *Daemon) secured(ctx context.Context, ln net.Listener) (net.Listener, error) {
	c := d.config().TLS
	switch {
	case c.Cert != "":
		pair := &certFile{cert: c.Cert, key: c.Key}
		if _, err := pair.get(nil); err != nil {
			e := &core.Error{Kind: core.Malformed, Public: "tls.cert and tls.key cannot be used", Err: err}
			e.Hint = "both are PEM files, of the same key pair, that this user can read"
			return nil, e
		}
		return tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get, NextProtos: []string{"http/1.1"}}), nil
	case c.Domain != "":
		return d.acme(ctx, ln, c)
	}
	return ln, nil
}

// acme fetches and renews a certificate in the background. The challenge is
// answered on our own listener (RFC 8737), so that nothing else needs a port.
func (d *Daemon) acme(ctx context.Context, ln net.Listener, c config.TLS) (net.Listener, error) {
	var magic *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return magic, nil },
		Logger:           zap.NewNop(),
	})
	magic = certmagic.New(cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: filepath.Join(d.dir, Certificates)},
		Logger:  zap.NewNop(),
		OnEvent: func(_ context.Context, event string, data map[string]any) error {
			switch event {
			case "cert_obtained":
				d.log.Info("certificate obtained", "domain", data["identifier"])
			case "cert_failed":
				d.log.Error("certificate not obtained", "domain", data["identifier"], "err", data["error"])
			}
			return nil
		},
	})
	ca := c.CA
	if ca == "" {
		ca = certmagic.LetsEncryptProductionCA
	}
	magic.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(magic, certmagic.ACMEIssuer{
		CA: ca, Email: c.Email, Agreed: true, Logger: zap.NewNop(),
		DisableHTTPChallenge: true, // we have no port 80
		AltTLSALPNPort:       d.port(),
	})}
	if err := magic.ManageAsync(ctx, []string{c.Domain}); err != nil {
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

// loadPair reads a certificate and its key.
func loadPair(cert, key string) (tls.Certificate, error) {
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
	pair, err := loadPair(c.cert, c.key)
	if err != nil {
		if c.loaded != nil { // half written: the one before is still good
			return c.loaded, nil
		}
		return nil, err
	}
	c.loaded, c.stamp = &pair, stamp
	return c.loaded, nil
}
