package dial

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/opengatewayprotocol/ogp/core"
)

// The kinds of failure, beside core's own. BadURL, Blocked, Redirected and TooLong
// will not change by trying again; the others may.
const (
	// BadURL is a URL that is not sent to: another scheme, a user name, no host.
	BadURL core.Kind = "bad url"
	// Blocked is an address that the guard does not let through.
	Blocked core.Kind = "blocked address"
	// DNS is a name that has no address, or whose servers did not say.
	DNS core.Kind = "dns"
	// NobodyListens is a host where nobody listens on the port.
	NobodyListens core.Kind = "connection refused"
	// NoRoute is a host or network without a way to it.
	NoRoute core.Kind = "no route"
	// TLS is a certificate that does not hold, or a server that speaks no TLS.
	TLS core.Kind = "tls"
	// Timeout is an exchange that took longer than it may.
	Timeout core.Kind = "timeout"
	// Redirected is a redirect that is not followed.
	Redirected core.Kind = "redirected"
	// TooLong is an answer with more bytes than are read.
	TooLong core.Kind = "answer too long"
	// Canceled is a context that the caller ended.
	Canceled core.Kind = "canceled"
	// Broken is a connection that ended early, or an answer that is not HTTP.
	Broken core.Kind = "broken"
)

// Error is why an exchange failed. errors.Is finds its Kind, and errors.As what
// it wraps.
type Error struct {
	Kind core.Kind
	// Origin is the scheme, host and port. The path stays out of errors.
	Origin string
	// Addr is the address that was blocked; invalid for other kinds.
	Addr netip.Addr
	// Allow is the range that would let a blocked address through when the
	// operator adds it to network.allow_private. It is invalid where that would
	// be no good advice.
	Allow netip.Prefix
	// Detail is the fact, where Err does not tell it.
	Detail string
	// After is the status of an answer that ended too early, and who gave it; empty where
	// there was none.
	After string
	// Err is the cause, or nil.
	Err error
}

// Error tells the kind, the origin and the fact. People read it: of a peer, say.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(string(e.Kind))
	switch {
	case e.Origin != "" && e.Kind == NobodyListens:
		b.WriteString(": nothing listens at " + e.Origin)
	case e.Origin != "":
		b.WriteString(": " + e.Origin)
	}
	switch {
	case e.Addr.IsValid() && e.Detail != "":
		fmt.Fprintf(&b, ": %s, %s", e.Addr, e.Detail)
	case e.Addr.IsValid():
		fmt.Fprintf(&b, ": %s is not a public address", e.Addr)
	case e.Detail != "":
		b.WriteString(": " + e.Detail)
	default:
		if fact := inWords(e.Kind, e.Err); fact != "" {
			b.WriteString(": " + fact)
		}
	}
	b.WriteString(e.after())
	return b.String()
}

func (e *Error) after() string {
	if e.After == "" {
		return ""
	}
	return ", after " + e.After
}

// Words says why an exchange failed, for people who have not read this package.
func (e *Error) Words() string { return e.words() + e.after() }

func (e *Error) words() string {
	fact := cmp.Or(e.Detail, inWords(e.Kind, e.Err))
	with := func(words string) string {
		if fact == "" {
			return words
		}
		return words + ": " + fact
	}
	switch {
	case e.Kind == NobodyListens:
		return "nothing listens there (connection refused)"
	case e.Kind == Timeout:
		return "timed out"
	case e.Kind == DNS:
		return with("its name cannot be looked up")
	case e.Kind == NoRoute:
		return with("there is no route to it")
	case e.Kind == TLS:
		return with("its TLS cannot be trusted")
	case e.Kind == Broken:
		return with("the connection broke")
	case e.Kind == Blocked && e.Addr.IsValid() && e.Detail == "":
		return fmt.Sprintf("%s is not a public address", e.Addr)
	case e.Kind == Blocked && e.Addr.IsValid():
		return fmt.Sprintf("%s, %s", e.Addr, e.Detail)
	}
	return with(string(e.Kind))
}

// Words says why any exchange failed, also one that this package has not made. Its URL is
// not in it.
func Words(err error) string { return classify("", err).Words() }

// Fact is what the system says of a listener or a connection, without the layers that only
// programmers know.
func Fact(err error) string { return inWords(Broken, factOf(err)) }

// Classify is why any exchange failed, also one that this package has not made, without
// its URL.
func Classify(err error) *Error { return classify("", err) }

// inWords is what a cause says beside its kind, without the layers that only programmers
// know. It may be empty.
func inWords(kind core.Kind, err error) string {
	var (
		op     *net.OpError
		name   *net.DNSError
		addr   *net.AddrError
		verify *tls.CertificateVerificationError
	)
	switch {
	case err == nil, kind == NobodyListens, kind == Timeout, kind == Canceled:
		return ""
	case errors.As(err, &name):
		return name.Err
	case errors.As(err, &addr):
		return addr.Err
	case errors.As(err, &verify):
		err = verify.Err
	case errors.As(err, &op):
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		err = call.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the connection ended before the answer did"
	}
	said := err.Error()
	for _, layer := range []string{"net/http: ", "http: ", "remote error: ", "tls: ", "x509: "} {
		said = strings.TrimPrefix(said, layer)
	}
	return said
}

// Hint says what the operator can do, or nothing.
func (e *Error) Hint() string {
	var unknown x509.UnknownAuthorityError
	if e.Kind == TLS && errors.As(e.Err, &unknown) {
		return "if that is a certificate of an authority of your own, name its file in SSL_CERT_FILE where the daemon is started: it takes the place of the system's list, so put both into one file"
	}
	if e.Kind == Redirected {
		return "if the gateway is at that address, use that URL, and its operator must set gateway_url to it; if it is a login page, something in front of the gateway asks for a login"
	}
	if e.Kind != Blocked || !e.Allow.IsValid() {
		return ""
	}
	return fmt.Sprintf("to reach it, add %q to allow_private under [network] in config.toml, or set OGP_NETWORK_ALLOW_PRIVATE=%s", e.Allow, e.Allow)
}

// Is reports whether target is the error's Kind.
func (e *Error) Is(target error) bool { return target == e.Kind }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func tooLong(origin string, maxBytes int64) *Error {
	return &Error{Kind: TooLong, Origin: origin, Detail: fmt.Sprintf("more than %d bytes", maxBytes)}
}

var errNoPermittedAnswered = errors.New("none of the permitted addresses answered")

func isBlocked(err error) bool { return errors.Is(err, Blocked) }

// classify turns what net/http says into an *Error.
func classify(origin string, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		if e.Origin != "" {
			return e
		}
		named := *e
		named.Origin = origin
		return &named
	}
	return &Error{Kind: kindOf(err), Origin: origin, Err: factOf(err)}
}

func kindOf(err error) core.Kind {
	var (
		timeout interface{ Timeout() bool }
		dns     *net.DNSError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	case errors.As(err, &dns):
		return DNS
	case errors.Is(err, syscall.ECONNREFUSED):
		return NobodyListens
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH),
		errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, errNoPermittedAnswered):
		return NoRoute
	case isTLS(err):
		return TLS
	}
	return Broken
}

func isTLS(err error) bool {
	var (
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
		alert  tls.AlertError
		host   x509.HostnameError
	)
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.As(err, &host) || errors.Is(err, http.ErrSchemeMismatch) ||
		strings.Contains(err.Error(), "tls: ") // most of crypto/tls's errors have no type
}

// factOf strips the layers that repeat the URL, path and all.
func factOf(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	return err
}
