package rendezvous

import (
	"crypto/rand"
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

const (
	groupChars = 4
	pinChars   = 3 * groupChars // 60 bits of the key's fingerprint
	secretLen  = 3 * groupChars // 60 bits

	linkScheme = "ogp"
	linkHost   = "invite"
)

// Secret is what an invite that approves by itself shares with whoever accepts:
// 12 base32 characters, 60 bits. It travels in the long form and the link, and
// never to a rendezvous. Empty: none.
//
// docs/rendezvous.md#pre-approval
type Secret string

// NewSecret draws a secret.
func NewSecret() Secret { return Secret(rand.Text()[:secretLen]) }

// Ref is an invite as one person hands it to another: a short code, a long one
// that pins the key, or a link that has everything.
type Ref struct {
	Code       string         // 6 characters a-z0-9; never empty
	Pin        string         // 12 base32 characters of the key's fingerprint; empty in the short form
	Secret     Secret         // empty: the invite does not approve by itself
	Key        core.PublicKey // of the inviter; only a link has it
	URL        string         // of the inviter's gateway; a link may have it
	Rendezvous string         // where the code is from; a link may have it
	Expires    time.Time      // a link may have it
}

// errRef never repeats the text, which may hold a secret.
var errRef = core.Refuse(core.Malformed, "this is not an invite: want a code like a3f7k2, its long form a3f7k2-XXXX-XXXX-XXXX, or an ogp://invite/ link")

// ParseRef reads an invite in any of its forms. Codes may be in any case, with
// spaces or without dashes. It returns an error of kind Malformed for anything
// else; the text is never repeated in it.
//
// docs/rendezvous.md#invite-forms
func ParseRef(text string) (Ref, error) {
	text = strings.TrimSpace(text)
	if len(text) > 2048 {
		return Ref{}, errRef
	}
	if head, _, ok := strings.Cut(text, ":"); ok && strings.EqualFold(head, linkScheme) {
		return parseLink(text)
	}
	return parseCode(text)
}

func parseCode(text string) (Ref, error) {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.Is(unicode.Pd, r) { // chat programs turn dashes into their like
			return -1
		}
		return r
	}, text)
	if len(text) < codeChars {
		return Ref{}, errRef
	}
	ref := Ref{Code: strings.ToLower(text[:codeChars])}
	rest := strings.ToUpper(text[codeChars:])
	switch len(rest) {
	case 0:
	case pinChars:
		ref.Pin = rest
	case pinChars + secretLen:
		ref.Pin, ref.Secret = rest[:pinChars], Secret(rest[pinChars:])
	default:
		return Ref{}, errRef
	}
	if !isCode(ref.Code) || !isBase32(rest) {
		return Ref{}, errRef
	}
	return ref, nil
}

func isCode(s string) bool {
	return len(s) == codeChars && strings.Trim(s, codeAlphabet) == ""
}

func isBase32(s string) bool {
	return strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// parseLink reads ogp://invite/<code>?k=<key>&u=<url>&r=<rendezvous>&e=<expires>&s=<secret>.
func parseLink(text string) (Ref, error) {
	u, err := url.Parse(text)
	if err != nil || !strings.EqualFold(u.Host, linkHost) || u.User != nil {
		return Ref{}, errRef
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Ref{}, errRef
	}
	ref := Ref{
		Code: strings.ToLower(strings.Trim(u.Path, "/")), Secret: Secret(strings.ToUpper(q.Get("s"))),
		URL: q.Get("u"), Rendezvous: q.Get("r"),
	}
	if !isCode(ref.Code) || !isBase32(string(ref.Secret)) || ref.Secret != "" && len(ref.Secret) != secretLen {
		return Ref{}, errRef
	}
	if ref.Key, err = keys.Parse(q.Get("k")); err != nil {
		return Ref{}, errRef
	}
	ref.Pin = pinOf(ref.Key)
	for _, address := range []string{ref.URL, ref.Rendezvous} {
		if checkPublicURL(address) != nil {
			return Ref{}, errRef
		}
	}
	if e := q.Get("e"); e != "" {
		at, err := strconv.ParseInt(e, 10, 64)
		if err != nil {
			return Ref{}, errRef
		}
		ref.Expires = time.Unix(at, 0)
	}
	return ref, nil
}

// pinOf is the first three groups of a key's fingerprint, without dashes.
func pinOf(k core.PublicKey) string {
	return strings.ReplaceAll(k.Fingerprint(), "-", "")[:pinChars]
}

// Check returns nil if k is the key that the invite pins, or if it pins none, and
// an error of kind Conflict for any other. Call it before anything is stored or
// sent.
//
// docs/threat-model.md#t2, #v4
func (r Ref) Check(k core.PublicKey) error {
	if r.Pin != "" && r.Pin != pinOf(k) || !r.Key.IsZero() && r.Key != k {
		return &core.Error{
			Kind:   core.Conflict,
			Public: "the key that answers is not the key that the invite is for: somebody may be posing as your peer",
			Hint:   "nothing was stored or sent; ask your peer for a new invite over a way you trust",
		}
	}
	return nil
}

// Short is the 6-character code.
func (r Ref) Short() string { return r.Code }

// Long is the code with the pin and, where there is one, the secret, in groups of
// four. Without a pin it is the code.
func (r Ref) Long() string {
	long := r.Code
	for rest := r.Pin + string(r.Secret); len(rest) >= groupChars; rest = rest[groupChars:] {
		long += "-" + rest[:groupChars]
	}
	return long
}

// Link carries the whole key and what else is known; empty without a key.
func (r Ref) Link() string {
	if r.Key.IsZero() {
		return ""
	}
	q := url.Values{"k": {base64.RawURLEncoding.EncodeToString(r.Key[:])}}
	for name, value := range map[string]string{"u": r.URL, "r": r.Rendezvous, "s": string(r.Secret)} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if !r.Expires.IsZero() {
		q.Set("e", strconv.FormatInt(r.Expires.Unix(), 10))
	}
	return linkScheme + "://" + linkHost + "/" + r.Code + "?" + q.Encode()
}
