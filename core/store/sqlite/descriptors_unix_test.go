//go:build unix

package sqlite

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// withoutDescriptors runs f while this process has none left, and can get none.
func withoutDescriptors(t *testing.T, f func()) {
	t.Helper()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	low := was
	low.Cur = 128
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	var hogs []*os.File
	defer func() {
		for _, h := range hogs {
			h.Close()
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
	}()
	for {
		h, err := os.Open(os.DevNull)
		if errors.Is(err, syscall.EMFILE) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		hogs = append(hogs, h)
	}
	f()
}

// TestD1StoreWithoutDescriptors: what the store needs, it has open from the start. It
// keeps changes, reads with all its readers at once, and empties its log.
func TestD1StoreWithoutDescriptors(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	withoutDescriptors(t, func() {
		mustCommit(t, s, 0, 20)
		var wg sync.WaitGroup
		for range 4 * readers {
			wg.Go(func() {
				for range 10 {
					_, err1 := s.Depths(t.Context(), 0)
					_, err2 := s.Inbox(t.Context(), core.InboxFilter{Limit: 5})
					_, err3 := s.Receipt(t.Context(), accept(3).Receipt.Peer, accept(3).Receipt.Nonce)
					if err := errors.Join(err1, err2, err3); err != nil {
						t.Errorf("reading without a descriptor: %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		pragma(t, s, "wal_checkpoint(TRUNCATE)")
		mustCommit(t, s, 20, 40)
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir)
	for n := range 40 {
		if !holds(t, s, n) {
			t.Fatalf("change %d is lost", n)
		}
	}
}
