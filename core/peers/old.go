package peers

import (
	"cmp"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
)

// HostLabel is the id that a gateway of 0.2.20 and before announces: its host and
// port, if it is at the host of its URL. Whoever could choose any label would be
// addressed by it, and so get envelopes that fit another gateway, too.
func HostLabel(id, gatewayURL string) string {
	host, port, err := net.SplitHostPort(id)
	if err != nil || !strings.EqualFold(host, HostName(gatewayURL)) {
		return ""
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || len(id) > 100 {
		return ""
	}
	return id
}

// Dialled is the label that a gateway of 0.2.20 gives to the URL that it dials.
func Dialled(gatewayURL string) string {
	u, err := url.Parse(gatewayURL)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = strconv.Itoa(core.DefaultPort)
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// Version reads the beginning of a version such as "0.7.2".
func Version(text string) (major, minor int, ok bool) {
	a, rest, _ := strings.Cut(text, ".")
	b, _, _ := strings.Cut(rest, ".")
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	return major, minor, err1 == nil && err2 == nil
}

// Before reports whether a peer's card says a TypeScript version before major.minor.
func Before(p *core.Peer, major, minor int) bool {
	a, b, ok := Version(p.Version)
	return ok && !p.HasFeature(core.FeatureV2) && (a < major || a == major && b < minor)
}

// HearsOfMoves reports whether a peer's version follows us to another gateway URL when it
// is told: those before 0.4 know us by what was typed there.
func HearsOfMoves(p *core.Peer) bool { return p.V2 || !Before(p, 0, 4) }

// Label is how a peer calls itself.
func Label(p *core.Peer) string { return cmp.Or(p.Label, p.Key.ID()) }

// LabelsAt are the labels that we, at a gateway URL, may have with a peer. From 0.4 on that
// is the 32-character one alone: a shorter one fits whoever comes first in its file.
func LabelsAt(p *core.Peer, card core.Card, self core.PublicKey, ourURL string) []string {
	labels, label := []string{self.ID()}, cmp.Or(p.OurLabel, p.FormerLabel)
	if major, minor, ok := Version(card.Version); !slices.Contains(card.Capabilities.Features, core.FeatureV2) && (!ok || major == 0 && minor < 4) {
		labels = append(labels, self.ShortID())
		label = cmp.Or(label, Dialled(ourURL)) // it may have asked us, too
	}
	if label != "" {
		labels = append(labels, label)
	}
	return labels
}

// Rename takes over by which label a peer knows us, as it has said yes to it: a gateway of
// 0.2.20 by the host:port that was typed there, or, since we have asked it, by our id.
func Rename(p *core.Peer, label string, self core.PublicKey) {
	switch {
	case label == "" || label == self.ShortID():
	case label != self.ID():
		p.OurLabel, p.FormerLabel = label, ""
	case p.OurLabel != "":
		p.OurLabel, p.FormerLabel = "", p.OurLabel
	}
}
