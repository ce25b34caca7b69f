package files_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/files"
)

func TestReadText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for in, want := range map[string]string{"\xEF\xBB\xBFsekrit\n": "sekrit\n", "plain": "plain", "": "", "\xEF\xBB\xBF": "", "a\xEF\xBB\xBF": "a\xEF\xBB\xBF"} {
		if err := os.WriteFile(path, []byte(in), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := files.ReadText(path, 10); err != nil || string(got) != want {
			t.Errorf("ReadText of %q = %q, %v; want %q", in, got, err, want)
		}
	}
	if err := os.WriteFile(path, make([]byte, 11), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := files.ReadText(path, 10); err == nil {
		t.Error("ReadText takes 11 bytes, want at most 10")
	}
}

// notTexts are the files of this repository that read a file by other means, and why.
var notTexts = map[string]string{
	"core/hooks/load.go":                    "a module",
	"core/plugin/compile/cache.go":          "our own sums",
	"core/daemon/reload.go":                 "for a digest",
	"cmd/ogp/internal/licenses/gen/main.go": "files of modules, when the list is made",
	"core/daemon/service/service_unix.go":   "the system's",
	"cmd/ogp/internal/notify/notify.go":     "the same bytes, to put back",
	"cmd/ogp/internal/notify/use.go":        "the same bytes, to compare",
	"cmd/ogp/internal/demo/demo.go":         "a number that we wrote",
	"cmd/ogp/internal/page/page.go":         "the system's",
	"core/pages/pages_linux.go":             "the system's",
}

// Whoever reads a text that people write skips a byte order mark.
func TestTextsAreReadHere(t *testing.T) {
	root := filepath.Join("..", "..")
	for name := range notTexts {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Errorf("a line in notTexts names what is not there: %v", err)
		}
	}
	for _, dir := range []string{"core", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			name := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
			if strings.Contains(string(text), "os.ReadFile(") && notTexts[name] == "" && !strings.Contains(name, "test/") {
				t.Errorf("%s calls os.ReadFile, want files.ReadText or a line in notTexts", name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A large file is read one byte past the bound, which tells the caller that there is more, and an error names the
// file once.
func TestReadBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.wasm")
	if err := os.WriteFile(name, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	for most, want := range map[int64]string{3: "1234", 5: "12345", 9: "12345"} {
		if got, err := files.ReadBounded(name, most); string(got) != want || err != nil {
			t.Errorf("at most %d: %q, %v, want %q", most, got, err, want)
		}
	}
	gone := name + ".gone"
	if _, err := files.ReadBounded(gone, 9); !errors.Is(err, fs.ErrNotExist) || strings.Count(err.Error(), gone) != 1 || strings.Contains(err.Error(), "open ") {
		t.Errorf("no file: %v", err)
	}
}
