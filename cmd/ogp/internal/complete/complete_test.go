package complete

import (
	"slices"
	"testing"

	"github.com/spf13/cobra"
)

func TestArgumentNames(t *testing.T) {
	for use, want := range map[string][]string{
		"list": nil, "show <peer>": {"peer"}, "send <peer> <intent> [payload]": {"peer", "intent", "payload"},
		"accept <code or link>": {"code or link"}, "broken <": nil,
	} {
		if got := argumentNames(&cobra.Command{Use: use}); !slices.Equal(got, want) {
			t.Errorf("argumentNames(%q) = %q, want %q", use, got, want)
		}
	}
}
