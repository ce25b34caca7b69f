package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// crashed copies what is on disk of a store at work, as a killed process leaves it.
func crashed(t *testing.T, s *Store) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{file, file + "-wal", recordFile} {
		data, err := os.ReadFile(filepath.Join(s.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestS1LossIsNamed damages a log in every way and expects the start to say how many
// acknowledged changes are gone, and nothing when none is.
func TestS1LossIsNamed(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine after the other: the race detector makes it slow and sees nothing")
	}
	const changes = 400
	s := openTest(t, t.TempDir())
	mustCommit(t, s, 0, changes)
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string)
	}{
		{"none", func(*testing.T, string) {}},
		{"a bit in the log", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, file+"-wal"), func(b []byte) []byte { b[20*4120] ^= 4; return b })
		}},
		{"the log's head", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, file+"-wal"), func(b []byte) []byte { b[9] ^= 1; return b })
		}},
		{"the log cut short", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, file+"-wal"), func(b []byte) []byte { return b[:20*4120] })
		}},
		{"the log taken away", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, file+"-wal")); err != nil {
				t.Fatal(err)
			}
		}},
		{"one slot of the count cut short", func(t *testing.T, dir string) { // an interrupted write
			edit(t, filepath.Join(dir, recordFile), func(b []byte) []byte { copy(b[slotBytes*(changes%2):], "torn"); return b })
		}},
		{"the count taken away", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, recordFile)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := crashed(t, s)
			c.damage(t, dir)
			again, err := Open(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			kept := 0
			for n := range changes {
				if holds(t, again, n) {
					kept++
				}
			}
			if damaged := c.name != "none" && !strings.Contains(c.name, "count"); damaged == (kept == changes) {
				t.Errorf("%d of %d are kept, which is not what the damage was for", kept, changes)
			}
			lost, e := changes-kept, (*core.Error)(nil)
			switch err := again.Lost(); {
			case lost == 0 && err != nil:
				t.Errorf("Lost = %v, want nil, as all %d are there", err, kept)
			case lost > 0 && (!errors.As(err, &e) || !strings.Contains(e.Error(), fmt.Sprintf("%d of %d ", lost, changes)) || !strings.Contains(e.Hint, "restore")):
				t.Errorf("Lost = %v, want it to name %d of %d and what to do", err, lost, changes)
			}
			t.Logf("%d lost: %v", lost, again.Lost())
			// It is told once, and the count goes on.
			mustCommit(t, again, 1000, 1010)
			again.Close()
			again = openTest(t, dir)
			if err := again.Lost(); err != nil {
				t.Errorf("Lost = %v after it was told, want nil", err)
			}
		})
	}
	t.Run("another store", func(t *testing.T) {
		other := openTest(t, t.TempDir())
		mustCommit(t, other, 0, changes)
		dir := crashed(t, s)
		data, err := os.ReadFile(filepath.Join(crashed(t, other), recordFile))
		if err != nil {
			t.Fatal(err)
		}
		edit(t, filepath.Join(dir, recordFile), func([]byte) []byte { return data })
		if err := openTest(t, dir).Lost(); err == nil {
			t.Error("Lost = nil for a store that is not the one that was counted")
		}
	})
}

func edit(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(data), 0o600); err != nil {
		t.Fatal(err)
	}
}
