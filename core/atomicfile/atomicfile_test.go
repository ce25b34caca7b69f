package atomicfile

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, want := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Fatalf("ReadFile = %q, %v; want %q", got, err, want)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, want 0600", info.Mode())
	}
}

func TestCleanupLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := WriteFile(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	f, err := New(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("half of the n")); err != nil {
		t.Fatal(err)
	}
	if err := f.Cleanup(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != "old" {
		t.Errorf("ReadFile = %q, %v; want the old content", got, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("directory holds %v, %v; want the file alone", left, err)
	}
}

// An error names the file that was to be written, and no temporary one.
func TestErrorsNameTheFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "folder", "full"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "a", "config.toml"), filepath.Join(dir, "nowhere", "config.toml"), filepath.Join(dir, "folder")} {
		err := WriteFile(path, []byte("x"))
		if err == nil || !strings.Contains(err.Error(), " "+path+": ") || strings.Contains(err.Error(), "/.") {
			t.Errorf("WriteFile(%q) = %v, want an error that names it", path, err)
		}
	}
}

// An edited file keeps what it was: its mode, its owner, and the link that leads to it.
func TestEditKeepsTheFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no modes and owners of this kind")
	}
	dir := t.TempDir()
	path, link := filepath.Join(dir, "f"), filepath.Join(dir, "link")
	if err := Edit(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("a new file: %v, %v; want mode 0600", info, err)
	}
	if err := os.Symlink("f", link); err != nil {
		t.Fatal(err)
	}
	owner, chowned := 0, os.Chown(path, 4711, 4712) == nil // only root may
	if chowned {
		owner = 4711
	}
	for _, mode := range []os.FileMode{0o400, 0o444, 0o640} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		want := mode.String()
		if err := Edit(link, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if target, err := os.Readlink(link); err != nil || target != "f" {
			t.Errorf("the link is %q, %v; want one to f", target, err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("mode = %v, %v; want %v", info.Mode(), err, mode)
		}
		if chowned && ownerOf(info) != owner {
			t.Errorf("owner = %d, want %d", ownerOf(info), owner)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("ReadFile = %q, %v; want %q", got, err, want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("directory holds %v, %v; want the file and the link", left, err)
	}
}
