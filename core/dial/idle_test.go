package dial

import "testing"

// What is kept for reuse stays within the descriptors that no connection from outside gets:
// 64 at least.
func TestIdleConns(t *testing.T) {
	for most, want := range map[int64]int{0: mostIdle, 64: 4, 256: 16, 1024: 64, 4096: mostIdle, 1 << 20: mostIdle} {
		if got := idleConns(most); got != want {
			t.Errorf("with %d descriptors %d connections are kept for reuse, want %d", most, got, want)
		}
	}
}
