package slack

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTake: the program runs anew once, as the same process and with its own arguments, and
// all its threads have the slack.
func TestTake(t *testing.T) {
	const asked = "OGP_TEST_SLACK"
	if os.Getenv(asked) != "" {
		Take()
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			if text, err := os.ReadFile("/proc/" + task.Name() + "/timerslack_ns"); err == nil {
				t.Logf("slack %s", text)
			}
		}
		t.Logf("pid %d", os.Getpid())
		return
	}
	if now, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || now != usual {
		t.Skipf("the slack is %d here: %v", now, err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestTake$", "-test.v")
	cmd.Env = append(os.Environ(), asked+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said := string(out)
	if strings.Count(said, "=== RUN") != 2 || strings.Count(said, "pid ") != 1 {
		t.Errorf("it has not run anew once:\n%s", said)
	}
	if strings.Contains(said, "slack 50000\n") || !strings.Contains(said, "slack 250000\n") {
		t.Errorf("not all threads have the slack:\n%s", said)
	}
}
