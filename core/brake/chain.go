package brake

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// maxHops is how many marks a message carries.
const maxHops = 8

// maxSeen is how often a gateway takes a message that has its own mark: once is an answer,
// as agents of older gateways answer by messages.
const maxSeen = 2

const (
	markNonce = 8
	markBytes = 16 // a nonce, and the beginning of its HMAC
)

// mark makes a mark that only the holder of the key knows for its own, and that is another
// each time.
func (b *Brake) mark() string {
	var m [markBytes]byte
	_, _ = rand.Read(m[:markNonce]) // never fails
	copy(m[markNonce:], b.sum(m[:markNonce]))
	return base64.RawURLEncoding.EncodeToString(m[:])
}

func (b *Brake) sum(nonce []byte) []byte {
	h := hmac.New(sha256.New, b.o.Key[:])
	h.Write(nonce)
	return h.Sum(nil)[:markBytes-markNonce]
}

func (b *Brake) own(mark string) bool {
	m, err := base64.RawURLEncoding.DecodeString(mark)
	return err == nil && len(m) == markBytes && hmac.Equal(m[markNonce:], b.sum(m[:markNonce]))
}

// chain splits the marks of a message, of which no more than one too many are looked at.
func chain(hops string) []string {
	if hops == "" {
		return nil
	}
	return strings.SplitN(hops, ".", maxHops+1)
}

// Loops says why a chain of marks ends here: "loop" or "depth", or "" where it does not.
func (b *Brake) Loops(hops string) string {
	if b == nil || hops == "" {
		return ""
	}
	marks, seen := chain(hops), 0
	for _, m := range marks {
		if b.own(m) {
			seen++
		}
	}
	switch {
	case seen >= maxSeen:
		return "loop"
	case len(marks) >= maxHops:
		return "depth"
	}
	return ""
}

// after is a chain with our mark at its end.
func (b *Brake) after(hops string) string {
	if hops == "" {
		return b.mark()
	}
	marks := chain(hops)
	return strings.Join(append(marks[:min(len(marks), maxHops-1)], b.mark()), ".")
}
