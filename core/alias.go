package core

import (
	"net"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// LeastStart is how many characters of a fingerprint or key name a peer.
const LeastStart = 4

var (
	fingerprintForm = regexp.MustCompile(`(?i)^[a-z2-7]{4}(-[a-z2-7]{4}){4}$`)
	keyForm         = regexp.MustCompile(`^[0-9a-fA-F]{32,}$`)
)

// NotAlias says why a text cannot be anybody's alias, whoever the peers are, or is empty.
func NotAlias(alias string) string {
	switch {
	case strings.HasPrefix(alias, "-"), strings.ContainsFunc(alias, notInAlias):
		return "want up to 64 letters, digits and any of . _ - + @ : /"
	case fingerprintForm.MatchString(alias):
		return "it reads like a fingerprint"
	case keyForm.MatchString(alias), strings.HasPrefix(strings.ToLower(alias), SPKIPrefix[:16]):
		return "it reads like a key"
	case strings.Contains(alias, "://"):
		return "it reads like a URL"
	}
	if _, port, err := net.SplitHostPort(alias); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil {
			return "it reads like an address"
		}
	}
	return ""
}

// notInAlias is what a shell could take for itself, or an eye overlook: an alias is typed
// into commands, and is printed in those that we show.
func notInAlias(r rune) bool {
	if r < unicode.MaxASCII {
		return !strings.ContainsRune("._-+@:/", r) && !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z')
	}
	return !unicode.IsGraphic(r) || unicode.In(r, unicode.Zs, unicode.Pi, unicode.Pf)
}

// NamesKey reports whether a text could be the whole fingerprint, id or key of anybody.
func NamesKey(ref string) bool {
	return len(Squeezed(ref)) == 4*FingerprintGroups || keyForm.MatchString(ref)
}

// Named reports whether a text is the whole fingerprint, id or key of k, with or without
// dashes, in either case.
func (k PublicKey) Named(ref string) bool {
	lower, key := strings.ToLower(ref), k.String()
	return lower == key || lower == key[len(SPKIPrefix):] || lower == k.ID() || Squeezed(ref) == Squeezed(k.Fingerprint())
}

// Begins reports whether a text of so many characters or more is the beginning of the
// fingerprint or the key of k.
func (k PublicKey) Begins(ref string, least int) bool {
	lower, short, key := strings.ToLower(ref), Squeezed(ref), k.String()
	return len(lower) > len(SPKIPrefix) && strings.HasPrefix(key, lower) ||
		len(short) >= least && strings.HasPrefix(Squeezed(k.Fingerprint()), short) ||
		len(lower) >= least && strings.HasPrefix(key[len(SPKIPrefix):], lower)
}

// Squeezed is a fingerprint without its dashes, in lower case: the form in which two are
// compared.
func Squeezed(fingerprint string) string {
	return strings.ToLower(strings.ReplaceAll(fingerprint, "-", ""))
}
