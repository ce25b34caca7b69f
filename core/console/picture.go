package console

import (
	"fmt"
	"html/template"
	"math"
	"net/http"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/history"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// The picture shows so many peers: the busiest, and those with trouble.
const (
	drawn        = 36
	drawnTrouble = 12
)

// picture is the federation: us in the middle, peers around.
type picture struct {
	Peers []api.BusyView
	Left  int // approved peers that it leaves out
	Us    string
}

// picture finds whom to draw: those with trouble, then the busiest, then any that are
// approved.
func (s *Server) picture(r *http.Request) (p picture, err error) {
	ctx, c := r.Context(), s.o.Caller
	past, err := api.History.Call(ctx, c, history.Params{Step: 120, Hours: 1, Peers: 2 * drawn})
	if err != nil {
		return p, err
	}
	trouble, err := api.PeersPage.Call(ctx, c, api.PeersParams{Trouble: true, Status: core.Approved, Limit: drawnTrouble})
	if err != nil {
		return p, err
	}
	others, err := api.PeersPage.Call(ctx, c, api.PeersParams{Status: core.Approved, Limit: drawn})
	if err != nil {
		return p, err
	}
	busy := map[string]history.Traffic{}
	for _, b := range past.Busiest {
		busy[b.Peer.Fingerprint] = b.Traffic
	}
	seen := map[string]bool{}
	add := func(v api.PeerView) {
		if v.State == core.Approved && !seen[v.Fingerprint] && len(p.Peers) < drawn {
			seen[v.Fingerprint] = true
			p.Peers = append(p.Peers, api.BusyView{Peer: v, Traffic: busy[v.Fingerprint]})
		}
	}
	for _, v := range trouble.Peers {
		add(v)
	}
	for _, b := range past.Busiest {
		add(b.Peer)
	}
	for _, v := range others.Peers {
		add(v)
	}
	p.Left = max(others.Total-len(p.Peers), 0)
	if me, err := api.Whoami.Call(ctx, c, api.None{}); err == nil {
		p.Us = me.DisplayName
	}
	return p, nil
}

// wide is how wide a line is for so many messages.
func wide(n int) float64 {
	if n == 0 {
		return 0
	}
	return math.Min(1.5+1.5*math.Log10(float64(n)), 9)
}

// looks is the class of a peer's colours.
func looks(v api.PeerView) string {
	switch {
	case v.Paused != nil:
		return "warn"
	case v.Health.Word == "down":
		return "bad"
	case v.InTrouble() || strings.HasPrefix(v.Health.Word, "degraded"):
		return "warn"
	case v.Health.Word == "established":
		return "good"
	}
	return "soft"
}

// short cuts a name for the picture.
func short(name string) string { return cut(name, 14) }

func cut(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// plainly is a text that draws nothing but itself: an SVG has no box for another's words.
func plainly(s string) string {
	return template.HTMLEscapeString(strings.Map(func(r rune) rune {
		if text.Acts(r) {
			return '·'
		}
		return r
	}, text.Marked(s)))
}

// SVG draws the picture.
func (p picture) SVG() template.HTML {
	const w, h, cx, cy = 760.0, 460.0, 380.0, 230.0
	var lines, marks strings.Builder
	for i, b := range p.Peers {
		a := 2*math.Pi*float64(i)/float64(max(len(p.Peers), 1)) - math.Pi/2
		ring := 1.0
		if len(p.Peers) > 16 && i%2 == 1 {
			ring = .68
		}
		x, y := cx+math.Cos(a)*300*ring, cy+math.Sin(a)*190*ring
		nx, ny := -math.Sin(a)*5, math.Cos(a)*5
		fmt.Fprintf(&lines, `<line class="tie" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, cx, cy, x, y)
		for _, way := range []struct {
			class string
			n     int
			side  float64
		}{{"in", b.In, 1}, {"out", b.Out, -1}} {
			if way.n > 0 {
				fmt.Fprintf(&lines, `<line class="%s" stroke-width="%.1f" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, way.class, wide(way.n), cx+nx*way.side, cy+ny*way.side, x+nx*way.side, y+ny*way.side)
			}
		}
		name := y + 23
		if y < cy { // away from its line
			name = y - 14
		}
		word := b.Peer.Health.Word
		if b.Peer.Paused != nil {
			word = "paused"
		}
		fmt.Fprintf(&marks, `<a href="/peers/%s"><title>%s: %s; %d came, %d went within 24 hours</title><circle class="%s" cx="%.1f" cy="%.1f" r="9"/><text x="%.1f" y="%.1f" text-anchor="middle">%s</text></a>`,
			template.URLQueryEscaper(b.Peer.Fingerprint), plainly(b.Peer.Handle()), plainly(word), b.In, b.Out, looks(b.Peer), x, y, x, name, plainly(short(b.Peer.Handle())))
	}
	return template.HTML(fmt.Sprintf(`<svg class="picture" viewBox="0 0 %.0f %.0f" role="group" aria-label="the federation; the same as a list below">%s<circle class="us-node" cx="%.0f" cy="%.0f" r="16"/><text class="us-name" x="%.0f" y="%.0f" text-anchor="middle">%s</text>%s</svg>`,
		w, h, lines.String(), cx, cy, cx, cy+34, plainly(short(p.Us)), marks.String()))
}
