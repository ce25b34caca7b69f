package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// pagedPeers answers with some peers on each page.
type pagedPeers struct{ pages []int }

func (c pagedPeers) Call(_ context.Context, _ string, params, result any) error {
	p, page, n := params.(api.PeersParams), result.(*api.PeersPageView), 0
	if p.Limit <= 0 || p.Status != core.Approved {
		return fmt.Errorf("asked for %+v, want pages of approved peers", p)
	}
	if p.After != "" {
		_, _ = fmt.Sscan(p.After, &n)
	}
	page.Peers = make([]api.PeerView, c.pages[n])
	if n+1 < len(c.pages) {
		page.Next = fmt.Sprint(n + 1)
	}
	return nil
}

// TestPeersOfAllPages: a list goes on to the last page.
func TestPeersOfAllPages(t *testing.T) {
	var got []int
	for page, err := range peerPages(t.Context(), pagedPeers{[]int{3, 0, 2}}, api.PeersParams{Status: core.Approved}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, len(page))
	}
	if fmt.Sprint(got) != "[3 0 2]" {
		t.Errorf("pages of %v peers, want [3 0 2]", got)
	}
}
