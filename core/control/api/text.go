package api

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

// maxLine is how many characters OneLine gives at the most.
const maxLine = 80

// OneLine is a payload in one line of a list: its text where it has one.
func OneLine(payload core.Raw) string {
	var p struct {
		Text        string `json:"text"`
		Message     string `json:"message"`
		Description string `json:"description"`
		Status      string `json:"status"`
		Topic       string `json:"topic"`
	}
	line := ""
	if json.Unmarshal(payload, &p) == nil {
		for _, s := range []string{p.Text, p.Message, p.Description, p.Status} {
			if s != "" {
				line = s
				break
			}
		}
		if p.Topic != "" && line != "" {
			line = p.Topic + ": " + line
		}
	}
	if line == "" {
		line = string(payload)
	}
	line = strings.Join(strings.Fields(line), " ")
	if r := []rune(line); len(r) > maxLine {
		line = string(r[:maxLine-1]) + "…"
	}
	return line
}

// Line is a grant in one line, with how much of it is used. What a peer has written in
// it is as it came.
func (g GrantView) Line() string {
	return grantLine(g.Grant, fmt.Sprintf("%d of ", g.Used), core.FormatBytes(g.UsedBytes)+" of ")
}

// GrantLine is a grant in one line, where nobody counts its use.
func GrantLine(g core.Grant) string { return grantLine(g, "", "") }

func grantLine(g core.Grant, used, usedBytes string) string {
	rate := core.DefaultRate
	if g.RateLimit != nil {
		rate = *g.RateLimit
	}
	line := g.Intent + "  " + used + rate.String()
	if g.ByteLimit != nil {
		line += "  " + usedBytes + g.ByteLimit.String()
	}
	if len(g.Topics) > 0 {
		line += "  topics " + strings.Join(g.Topics, ",")
	}
	if len(g.Personas) > 0 {
		line += "  agents " + strings.Join(g.Personas, ",")
	}
	if g.ExpiresAt != "" {
		line += "  until " + g.ExpiresAt
	}
	if !g.Enabled {
		line += "  (off)"
	}
	return line
}

// steps are the events of trust in words, as the operator tells them.
var steps = map[peering.Event]string{
	peering.Ask: "we asked it", peering.Asked: "it asked us", peering.AskedToo: "it asked us, too: both agree", peering.Approve: "we approved it", peering.ApprovedBy: "it approved us",
	peering.Reject: "we rejected it", peering.RejectedBy: "it rejected us", peering.Remove: "we ended the federation", peering.RemovedBy: "it ended the federation",
	peering.Doubted: "it, or somebody, said that it has ended the federation", peering.Yes: "when asked, it said that it has approved us", peering.No: "when asked, it said that it has not approved us",
	peering.Restored: "it wrote to us again", peering.Lost: "it asked again, and no longer has us approved", peering.Lapse: "an answer said that it no longer has us approved", peering.Expired: "nothing was heard for too long",
	"import": "imported from older files",
}

// StepLine is a step of a peer's history in words. Approving what is approved changes grants.
func StepLine(t core.Transition) string {
	e := peering.Event(t.Event)
	switch {
	case e == peering.Approve && t.From == core.Approved:
		return "we changed what it may do here"
	case e == peering.ApprovedBy && t.From == core.Approved:
		return "it approved us, or changed what we may do there"
	}
	return cmp.Or(steps[e], t.Event)
}
