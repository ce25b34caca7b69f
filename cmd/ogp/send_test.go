package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
)

// TestT6RepliesAreHarmless prints replies of every form with the nasty text in
// them.
func TestT6RepliesAreHarmless(t *testing.T) {
	quoted, err := json.Marshal(nasty)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]core.Reply{
		"text":   {Success: true, Data: core.Raw(`{"text":` + string(quoted) + `}`)},
		"string": {Success: true, Data: core.Raw(quoted)},
		"object": {Success: true, Data: core.Raw(`{` + string(quoted) + `:[` + string(quoted) + `]}`)},
		"error":  {Error: nasty},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			a := &cli.App{Out: &out}
			printReply(a, &core.StoredReply{Reply: r})
			if i := strings.IndexFunc(out.String(), dangerous); i >= 0 || !strings.Contains(out.String(), "Bob") {
				t.Errorf("printed %q, want the text without what a terminal acts on", out.String())
			}
		})
	}
}
