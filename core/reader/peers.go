package reader

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

// stateOf is a peer's state for a list: one whose request waits is pending, whatever it
// was before.
func stateOf(p *core.Peer) core.Trust {
	if peering.StateOf(p).Waits() {
		return core.Pending
	}
	return p.Trust
}

// peers is the method "peers.page". It looks at every peer in memory, and shows those of
// the page.
func (r *Reader) peers(_ context.Context, p api.PeersParams) (api.PeersPageView, error) {
	page := api.PeersPageView{Peers: []api.PeerView{}, States: map[string]int{}}
	after, err := placeOf(p.After)
	if err != nil {
		return page, err
	}
	words := wordsOf(p.Search)
	var last *core.Peer
	for _, peer := range r.Gateway.Peers() {
		state := stateOf(peer)
		page.States[string(state)]++
		if p.Status != "" && state != p.Status || p.Tag != "" && !slices.Contains(peer.Tags, p.Tag) || !isNamed(words, peer) {
			continue
		}
		var v api.PeerView
		if p.Trouble {
			if v = r.View(peer); !v.InTrouble() {
				continue
			}
		}
		page.Total++
		if !after.isBefore(peer) {
			continue
		}
		if p.Limit > 0 && len(page.Peers) >= p.Limit {
			if page.Next == "" {
				page.Next = placeAt(last)
			}
			continue
		}
		if last = peer; !p.Trouble {
			v = r.View(peer)
		}
		page.Peers = append(page.Peers, v)
	}
	return page, nil
}

// isNamed reports whether a peer has all words in what it is called, by us or by itself,
// or in where it is.
func isNamed(words []string, p *core.Peer) bool {
	if len(words) == 0 {
		return true
	}
	n := p.Names
	texts := append([]string{p.Alias, p.Key.Fingerprint(), p.Key.String(), p.URL, n.DisplayName, n.AgentName, n.HumanName, n.Organization, n.Email}, p.Tags...)
	return holds(words, texts...)
}

// place is where a peer stands in the list of all.
type place struct {
	asked time.Time
	key   []byte // nil: before all
}

func placeAt(p *core.Peer) string {
	return strconv.FormatInt(p.RequestedAt.Unix(), 36) + "." + strconv.Itoa(p.RequestedAt.Nanosecond()) + "." + p.Key.String()
}

func placeOf(text string) (at place, err error) {
	if text == "" {
		return at, nil
	}
	parts := strings.Split(text, ".")
	if len(parts) == 3 {
		seconds, err1 := strconv.ParseInt(parts[0], 36, 64)
		nanos, err2 := strconv.Atoi(parts[1])
		var k core.PublicKey
		if err1 == nil && err2 == nil && k.UnmarshalText([]byte(parts[2])) == nil {
			return place{time.Unix(seconds, int64(nanos)), k[:]}, nil
		}
	}
	return at, core.Refuse(core.Malformed, "this is not a place in the list of peers; start with the first page")
}

func (at place) isBefore(p *core.Peer) bool {
	return at.key == nil || cmp.Or(at.asked.Compare(p.RequestedAt), bytes.Compare(at.key, p.Key[:])) < 0
}
