package settings_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/settings"
)

// A check is made each time, also where the file says already what is to be written: a
// backend that worked yesterday may be gone.
func TestWriteChecksWhatIsThereAlready(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(path, []byte("display_name = \"Ada\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := settings.Parse("display_name", "Ada")
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	calls := 0
	err = settings.Write([]string{}, dir, path, []settings.Setting{s}, func(string) error { calls++; return gone })
	if calls != 1 || !errors.Is(err, gone) {
		t.Errorf("Write = %v after %d checks, want the check's error", err, calls)
	}
}

// Two edits at once lose nothing of each other.
func TestEditsTakeTurns(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	keys := []string{"display_name", "email", "human_name", "agent_name", "organization"}
	var wg sync.WaitGroup
	for _, key := range keys {
		wg.Go(func() {
			s, err := settings.Parse(key, "x@y.example")
			if err == nil {
				err = settings.Write([]string{}, dir, path, []settings.Setting{s})
			}
			if err != nil {
				t.Errorf("%s: %v", key, err)
			}
		})
	}
	wg.Wait()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if !strings.Contains(string(text), key+" = \"x@y.example\"\n") {
			t.Errorf("%s is lost", key)
		}
	}
}
