package pages

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestDrop: the program's own pages count as ours no more, and it runs on.
func TestDrop(t *testing.T) {
	mapped := func() (kib int) {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "RssFile:")
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			t.Fatal(err)
		}
		return kib
	}
	before := mapped()
	Drop()
	if after := mapped(); after > before*3/4 {
		t.Errorf("%d KiB of the program's file are mapped, %d before", after, before)
	}
}
