package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/daemon"
)

// A file that cannot be edited line by line is left alone, and the line is told.
func TestInitLeavesAloneWhatItCannotEdit(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const text = "display_name = 'A'\n[rendezvous]\nenabled = false\nurls = ['https://r.example']\n"
	s.write(daemon.ConfigFile, text, 0o600)
	if code, _, errs := s.run("init", "--yes", "--gateway-url", "https://a.example/?q"); code != cli.Usage || !strings.Contains(errs, "--gateway-url") {
		t.Errorf("exit status %d, %s", code, errs)
	}
	if got, _ := os.ReadFile(filepath.Join(s.dir, daemon.ConfigFile)); string(got) != text {
		t.Errorf("the file has\n%s", got)
	}
	s.must("init", "--yes", "--rendezvous")
	want := strings.Replace(text, "enabled = false", "enabled = true", 1)
	if got, _ := os.ReadFile(filepath.Join(s.dir, daemon.ConfigFile)); string(got) != want {
		t.Errorf("the file has\n%s", got)
	}
	if entries, _ := filepath.Glob(filepath.Join(s.dir, ".try-*")); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
	if _, _, _, err := config.Load(config.Options{Home: s.dir, Env: s.env}); err != nil {
		t.Error(err)
	}
}
