//go:build unix

package keys

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestK4FolderBelowAnOpenOne: who may write in a folder above can put another state
// directory in the place of ours.
func TestK4FolderBelowAnOpenOne(t *testing.T) {
	if !modesCount {
		t.Skip("modes say nothing here")
	}
	open := filepath.Join(t.TempDir(), "open")
	state := filepath.Join(open, "home", "state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(state, "key.json")
	if err := checkFolder(path); err != nil {
		t.Fatalf("below closed folders: %v, want nil", err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	err := checkFolder(path)
	if err == nil || !strings.Contains(err.Error(), "chmod o-w "+open) {
		t.Errorf("below a folder that all may write in: %v, want the fix", err)
	}
	if err := os.Chmod(open, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := checkFolder(path); err != nil {
		t.Errorf("below one with the sticky bit: %v, want nil", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(state, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if checkFolder(filepath.Join(link, "key.json")) == nil {
		t.Error("a link hides the open folder")
	}
	// Nor may the link itself lie where all may point it elsewhere, or one that it leads to.
	private := t.TempDir()
	for _, link := range [][2]string{{filepath.Join(open, "ours"), private}, {filepath.Join(private, "far"), filepath.Join(open, "ours")}} {
		if err := os.Symlink(link[1], link[0]); err != nil {
			t.Fatal(err)
		}
		if err := checkFolder(filepath.Join(link[0], "key.json")); err == nil || !strings.Contains(err.Error(), "chmod o-w "+open) {
			t.Errorf("by the link %s: %v, want the fix", link[0], err)
		}
	}
}

type owned struct{ uid uint32 }

func (owned) Name() string       { return "" }
func (owned) Size() int64        { return 0 }
func (owned) Mode() fs.FileMode  { return fs.ModeDir | 0o700 }
func (owned) ModTime() time.Time { return time.Time{} }
func (owned) IsDir() bool        { return true }
func (o owned) Sys() any         { return &syscall.Stat_t{Uid: o.uid} }

func TestK4FolderOfAnotherUser(t *testing.T) {
	me := uint32(os.Geteuid())
	for uid, want := range map[uint32]bool{0: false, me: false, me + 4711: true} {
		if _, got := isForeign(owned{uid}); got != want {
			t.Errorf("isForeign of user %d = %v, want %v", uid, got, want)
		}
	}
}
