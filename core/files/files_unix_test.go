//go:build unix

package files_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/files"
)

// A file is still replaced when all descriptors but the one in reserve are used up, and
// again when that was needed and there are some by then.
func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	few := was
	few.Cur = 128
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
	})
	if got := files.Limit(); got != 128 {
		t.Errorf("Limit = %d, want 128", got)
	}
	files.Reserve()
	for range 2 {
		var open []*os.File
		for {
			f, err := os.Open(os.DevNull)
			if err != nil {
				if !files.Short(err) {
					t.Fatal(err)
				}
				break
			}
			open = append(open, f)
		}
		if _, err := os.Open(os.DevNull); err == nil {
			t.Fatal("there is a descriptor left: the test shows nothing")
		}
		if err := atomicfile.WriteFile(path, []byte("kept")); err != nil {
			t.Errorf("at the limit: %v", err)
		}
		for _, f := range open {
			f.Close()
		}
		if err := atomicfile.WriteFile(path, []byte("and so is another")); err != nil {
			t.Fatal(err)
		}
	}
}
