package cli

import (
	"encoding/base64"
	"encoding/hex"
	"net"
	"net/url"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/files"
)

// maxStdin bounds what is read from standard input: a message is at most 64 KiB.
const maxStdin = 1 << 20

// Argument is a text from the command line; "-" is standard input, without its last
// line end.
func (a *App) Argument(text string) (string, error) {
	if text != "-" {
		return text, nil
	}
	if a.Interactive() {
		return "", Usagef(`"-" reads standard input: pipe something in`)
	}
	all, err := files.ReadTextOf(a.In, "standard input", maxStdin)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(all), "\n"), "\r"), nil
}

// wrapping is what mail, chat programs and copying leave around a pasted word.
const wrapping = " \t\r\n\u00a0\u200b\ufeff<>\"'`“”‘’«»(),;."

// GatewayURL takes a gateway's URL as people paste it: with the card's path, without
// a scheme, or with quotes and spaces around it.
func GatewayURL(text string) (string, error) {
	text = strings.Trim(text, wrapping)
	if text == "" {
		return "", Usagef("want a gateway URL such as https://ogp.example.org")
	}
	if !strings.Contains(text, "://") {
		host, _, _ := strings.Cut(text, "/")
		name, _, err := net.SplitHostPort(host)
		if err != nil {
			name = host
		}
		if ip := net.ParseIP(strings.Trim(name, "[]")); name == "localhost" || ip != nil {
			text = "http://" + text
		} else if strings.Contains(name, ".") && !strings.Contains(name, "@") {
			text = "https://" + text
		}
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || !strings.EqualFold(u.Scheme, "http") && !strings.EqualFold(u.Scheme, "https") {
		return "", Usagef("%q is not a gateway URL: want one such as https://ogp.example.org", text)
	}
	u.RawQuery, u.Fragment = "", ""
	return strings.TrimRight(strings.TrimSuffix(strings.TrimRight(u.String(), "/"), "/.well-known/ogp"), "/"), nil
}

// PublicKey takes an Ed25519 key as people paste it, as PEM, or as SPKI or raw bytes
// in hex, base64 or base64url with any white space, and gives it as SPKI in hex.
func PublicKey(text string) (string, error) {
	bytes := decodeKey(text)
	switch {
	case len(bytes) == 32:
		return core.SPKIPrefix + hex.EncodeToString(bytes), nil
	case len(bytes) == 44 && hex.EncodeToString(bytes[:12]) == core.SPKIPrefix:
		return hex.EncodeToString(bytes), nil
	}
	return "", Usagef("this is not an Ed25519 public key: want PEM, or its 32 bytes or SPKI in hex or base64, as the command ogp whoami prints it there")
}

// pemBegin begins a public key in PEM. RFC 7468 §13
const pemBegin = "-----BEGIN PUBLIC KEY-----"

func decodeKey(text string) []byte {
	text = strings.TrimSpace(text)
	if inner, ok := strings.CutPrefix(text, pemBegin); ok { // its line ends may be lost
		text, _, _ = strings.Cut(inner, "-----END")
	}
	text = strings.Join(strings.Fields(strings.Trim(text, wrapping)), "")
	if b, err := hex.DecodeString(strings.ReplaceAll(text, ":", "")); err == nil {
		return b
	}
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return b
}

// Invite takes a code or a link as people paste it, maybe in a sentence's command.
func Invite(words []string) string {
	text := strings.Join(words, " ")
	if _, after, ok := strings.Cut(text, "federation accept "); ok {
		text = after
	}
	text = strings.NewReplacer("\u2010", "-", "\u2011", "-", "\u2012", "-", "\u2013", "-", "\u2014", "-", "\u00ad", "", "\u200b", "", "\ufeff", "").Replace(text)
	return strings.Trim(strings.Join(strings.Fields(text), ""), wrapping)
}
