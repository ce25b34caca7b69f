package console

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
)

// named is a listener whose certificate has a name.
type named struct {
	net.Listener
	name string
}

// Listen opens the console's listener at host:port, with TLS where cert and key name PEM
// files. serves reports whether the certificate names a host; it is nil without TLS.
func Listen(address, cert, key string) (ln net.Listener, serves func(host string) bool, err error) {
	var pair tls.Certificate
	if cert != "" {
		if pair, err = tls.LoadX509KeyPair(cert, key); err != nil {
			return nil, nil, &core.Error{Kind: core.Malformed, Public: "console.cert and console.key cannot be used", Err: err,
				Hint: "both are PEM files, of the same key pair, that this user can read"}
		}
	}
	if ln, err = net.Listen("tcp", address); err != nil {
		return nil, nil, &core.Error{Kind: core.Unavailable, Public: "console.listen: cannot listen on " + address, Err: err, Hint: "set console.listen to another port, or to 127.0.0.1:0 for any that is free"}
	}
	if cert == "" {
		return ln, nil, nil
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		ln.Close()
		return nil, nil, &core.Error{Kind: core.Malformed, Public: "console.cert cannot be read", Err: err}
	}
	ln = tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
	return named{ln, nameIn(leaf)}, func(host string) bool { return leaf.VerifyHostname(host) == nil }, nil
}

// nameIn is the first name of a certificate that stands for one host; empty: it has none.
func nameIn(leaf *x509.Certificate) string {
	for _, name := range leaf.DNSNames {
		if !strings.Contains(name, "*") {
			return name
		}
	}
	if len(leaf.IPAddresses) > 0 {
		return leaf.IPAddresses[0].String()
	}
	return ""
}
