package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// AsksView is what a plugin asks for.
type AsksView struct {
	HTTP []HTTPAskView `json:"http"`
	KV   *KVAskView    `json:"kv,omitempty"`
	// Approves is the power to approve strangers, with at most AtMost; none: with at most
	// the gateway's default grants.
	Approves bool         `json:"approves"`
	AtMost   []core.Grant `json:"atMost,omitempty"`
	Replies  bool         `json:"replies"` // the power to answer peers' messages
}

// HTTPAskView is a URL that a plugin wants to reach.
type HTTPAskView struct {
	URL     string   `json:"url"`
	Private bool     `json:"private"`
	Secrets []string `json:"secrets,omitempty"`
	Reason  string   `json:"reason,omitempty"`
}

// KVAskView is a store of its own that a plugin wants.
type KVAskView struct {
	MaxBytes int64  `json:"maxBytes"`
	Reason   string `json:"reason,omitempty"`
}

// AsksOf is what a manifest asks for, as far as its plugin could use it.
func AsksOf(m *plugin.Manifest) AsksView {
	v := AsksView{HTTP: []HTTPAskView{}}
	for _, h := range m.HTTP {
		if !m.Pure() {
			v.HTTP = append(v.HTTP, HTTPAskView(h))
		}
	}
	asks := m.Asks()
	v.Approves, v.AtMost, v.Replies = asks.Approves, asks.AtMost, asks.Replies
	if m.KV != nil {
		v.KV = &KVAskView{m.KV.MaxBytes, m.KV.Reason}
	}
	return v
}

// AskLine is one thing that a plugin asks for.
type AskLine struct {
	Key   string // what AsksView.Pick calls it
	Words string // for people; the plugin's author has written some of them
}

// The keys of the powers over others.
const (
	AskApproves = "approves"
	AskReplies  = "replies"
	askKV       = "kv"
)

func askHTTP(i int) string { return fmt.Sprintf("http-%d", i) }

// Lines are what is asked, the powers over others first.
func (v AsksView) Lines() (out []AskLine) {
	if v.Approves {
		out = append(out, AskLine{AskApproves, "the power to approve strangers, with at most these grants: " + plugin.GrantWords(v.AtMost)})
	}
	if v.Replies {
		out = append(out, AskLine{AskReplies, "the power to answer peers' messages, in this gateway's name"})
	}
	because := func(reason string) string {
		if reason == "" {
			return ""
		}
		return ": " + reason
	}
	for i, h := range v.HTTP {
		line := "requests to " + h.URL
		if h.Private {
			line += ", also at private addresses"
		}
		if len(h.Secrets) > 0 {
			line += ", with the secret " + strings.Join(h.Secrets, ", ")
		}
		out = append(out, AskLine{askHTTP(i), line + because(h.Reason)})
	}
	if v.KV != nil {
		out = append(out, AskLine{askKV, fmt.Sprintf("a store of its own, %d bytes%s", v.KV.MaxBytes, because(v.KV.Reason))})
	}
	return out
}

// Pick are the grants of these keys, of what is asked and nothing else.
func (v AsksView) Pick(keys []string) (g plugin.Grants) {
	picked := func(key string) bool { return slices.Contains(keys, key) }
	if v.Approves && picked(AskApproves) {
		g.Approves, g.AtMost = true, v.AtMost
	}
	g.Replies = v.Replies && picked(AskReplies)
	for i, h := range v.HTTP {
		if picked(askHTTP(i)) {
			g.HTTP = append(g.HTTP, plugin.HTTPGrant{URL: h.URL, Private: h.Private, Secrets: h.Secrets})
		}
	}
	if v.KV != nil && picked(askKV) {
		g.KV = []string{"kv.*"}
	}
	return g
}
