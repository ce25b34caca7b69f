package reader

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

// peers is the method "peers.page". A page of all, or of those of one state, costs what it
// shows. What else is asked for, it looks for among all of that state.
func (r *Reader) peers(_ context.Context, p api.PeersParams) (api.PeersPageView, error) {
	page := api.PeersPageView{Peers: []api.PeerView{}, States: map[string]int{}}
	after, err := placeOf(p.After)
	if err != nil {
		return page, err
	}
	for state, n := range r.Gateway.PeerStates() {
		page.States[string(state)] = n
		if p.Status == "" || state == p.Status {
			page.Total += n
		}
	}
	words, from := wordsOf(p.Search), after
	counts := p.Tag != "" || len(words) > 0 || p.Trouble // whom it shows has to be counted
	if counts {
		from, page.Total = peers.Place{}, 0
	}
	var last *core.Peer
	for peer := range r.Gateway.PeersFrom(from, p.Status) {
		if p.Tag != "" && !slices.Contains(peer.Tags, p.Tag) || p.Trouble && !r.Trouble(peer) || !isNamed(words, peer) {
			continue
		}
		if counts {
			page.Total++
		}
		switch {
		case peers.PlaceOf(peer).Compare(after) <= 0:
			continue
		case p.Limit <= 0 || len(page.Peers) < p.Limit:
			last = peer
			page.Peers = append(page.Peers, r.View(peer))
			continue
		case page.Next == "":
			page.Next = placeAt(last)
		}
		if !counts {
			break
		}
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

// placeAt writes where a peer stands in the list of all.
func placeAt(p *core.Peer) string {
	return strconv.FormatInt(p.RequestedAt.Unix(), 36) + "." + strconv.Itoa(p.RequestedAt.Nanosecond()) + "." + p.Key.String()
}

// placeOf reads what placeAt has written; nothing is before all.
func placeOf(text string) (at peers.Place, err error) {
	if text == "" {
		return at, nil
	}
	parts := strings.Split(text, ".")
	if len(parts) == 3 {
		seconds, err1 := strconv.ParseInt(parts[0], 36, 64)
		nanos, err2 := strconv.Atoi(parts[1])
		if err1 == nil && err2 == nil && at.Key.UnmarshalText([]byte(parts[2])) == nil {
			at.Asked = time.Unix(seconds, int64(nanos))
			return at, nil
		}
	}
	return peers.Place{}, core.Refuse(core.Malformed, "this is not a place in the list of peers; start with the first page")
}
