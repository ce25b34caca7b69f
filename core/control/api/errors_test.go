package api_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// What stands in the way of a file is named, with what to do about it.
func TestErrorOfAFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, err := range map[string]error{
		"move " + file + " away": fmt.Errorf("cache: %w", &os.PathError{Op: "open", Path: filepath.Join(file, "a", "b"), Err: syscall.ENOTDIR}),
		"move " + dir + " away":  &os.PathError{Op: "read", Path: dir, Err: syscall.EISDIR},
		"ls -ld " + dir + " ":    &os.PathError{Op: "open", Path: file, Err: os.ErrPermission},
	} {
		if got := api.ErrorOf(err).Hint; !strings.Contains(got, want) {
			t.Errorf("%v: hint %q, want %q", err, got, want)
		}
	}
	if got := api.ErrorOf(os.ErrNotExist).Hint; got != "" {
		t.Errorf("hint %q", got)
	}
}
