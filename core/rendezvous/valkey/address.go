package valkey

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/opengatewayprotocol/ogp/core/files"
)

// Address is where an engine is and how it is spoken to. It never shows its password.
type Address struct {
	host, user, password string // host with its port
	database             int
	tls                  *tls.Config // nil: none
	prefix               string      // of every name in the engine
}

// String is the address without user and password.
func (a Address) String() string {
	scheme := "valkey"
	if a.tls != nil {
		scheme = "valkeys"
	}
	return fmt.Sprintf("%s://%s/%d", scheme, a.host, a.database)
}

// DefaultPrefix begins every name in the engine.
const DefaultPrefix = "ogp:rv:"

// ParseURL reads valkey://user:password@host:6379/0, also as redis://, and with TLS as
// valkeys:// or rediss://. Parameters: ca, the file of the authority that has signed the
// engine's certificate (else the system's); cert and key, the files of ours; prefix, what
// names in the engine begin with. No error repeats the text, which may hold a password.
func ParseURL(text string) (Address, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil {
		return Address{}, errors.New("this is no URL: a password in it is percent-encoded")
	}
	a := Address{host: u.Host, prefix: DefaultPrefix}
	switch strings.ToLower(u.Scheme) {
	case "valkey", "redis":
	case "valkeys", "rediss":
		a.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
	default:
		return Address{}, errors.New("want valkey:// or redis://, and with TLS valkeys:// or rediss://")
	}
	if u.Hostname() == "" {
		return Address{}, errors.New("no host: want valkey://host:6379/0")
	}
	if u.Port() == "" {
		a.host = net.JoinHostPort(u.Hostname(), "6379")
	}
	if u.User != nil {
		a.user = u.User.Username()
		a.password, _ = u.User.Password()
	}
	if number := strings.Trim(u.Path, "/"); number != "" {
		if a.database, err = strconv.Atoi(number); err != nil || a.database < 0 {
			return Address{}, errors.New("the path is the number of a database, such as /0")
		}
	}
	return a, a.parameters(u.Query())
}

func (a *Address) parameters(q url.Values) error {
	for name := range q {
		switch name {
		case "prefix":
			a.prefix = q.Get(name)
		case "ca", "cert", "key":
			if a.tls == nil {
				return fmt.Errorf("%s is for TLS: want valkeys:// or rediss://", name)
			}
		default:
			return fmt.Errorf("unknown parameter %q: there are ca, cert, key and prefix", name)
		}
	}
	if file := q.Get("ca"); file != "" {
		pem, err := files.ReadText(file, 1<<20)
		if err != nil {
			return fmt.Errorf("ca: %w", err)
		}
		a.tls.RootCAs = x509.NewCertPool()
		if !a.tls.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("ca: %s has no certificate in PEM", file)
		}
	}
	if q.Has("cert") || q.Has("key") {
		pair, err := tls.LoadX509KeyPair(q.Get("cert"), q.Get("key"))
		if err != nil {
			return fmt.Errorf("cert and key: %w", err)
		}
		a.tls.Certificates = []tls.Certificate{pair}
	}
	return nil
}
