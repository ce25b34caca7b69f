package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/opengatewayprotocol/ogp/core"
)

// child tells a copy of this test binary what to do instead of the tests.
const child = "OGP_STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	var err error
	switch what, arg, _ := strings.Cut(os.Getenv(child), " "); what {
	case "":
		goleak.VerifyTestMain(m) // whoever starts a goroutine waits for it
	case "commit":
		from, dir, _ := strings.Cut(arg, " ")
		err = commitForEver(from, dir)
	case "tell":
		err = tellForEver(arg)
	case "open":
		err = openAndSay(arg)
	case "limit":
		err = commitBeyondLimit(arg)
	default:
		err = errors.New("unknown: " + what)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func startChild(t *testing.T, what string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), child+"="+what)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, bufio.NewScanner(out)
}

const committers = 8

// commitForEver prints the number of each change once Commit has returned.
func commitForEver(from, dir string) error {
	first, err := strconv.Atoi(from)
	if err != nil {
		return err
	}
	s, err := Open(context.Background(), dir)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for w := range committers {
		wg.Go(func() {
			for n := first + w; ; n += committers {
				if err := s.Commit(context.Background(), accept(n)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				os.Stdout.WriteString(strconv.Itoa(n) + "\n") // one write, unbuffered
			}
		})
	}
	wg.Wait()
	return errors.New("no commit is left")
}

// openAndSay says when it begins to open a store.
func openAndSay(dir string) error {
	os.Stdout.WriteString("opening\n")
	s, err := Open(context.Background(), dir)
	if err != nil {
		return err
	}
	os.Stdout.WriteString("open\n")
	return s.Close()
}

// TestS1KilledMigrating kills ogp while it brings a store up to date, at any moment.
func TestS1KilledMigrating(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a program many times over, which takes minutes with the race detector in it")
	}
	v := &messy{s: openTest(t, t.TempDir())}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 4 {
		v.add(t, rnd, 700)
	}
	older(t, v.s, 3)
	old, err := os.ReadFile(v.s.path())
	if err != nil {
		t.Fatal(err)
	}
	half := 0
	for round := range 6 {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, file), old, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd, lines := startChild(t, "open "+dir)
		if !lines.Scan() {
			t.Fatal("the child does not begin")
		}
		time.Sleep(time.Duration(round*3) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() {
			half++
		}
		_ = cmd.Wait()
		v.s = openTest(t, dir)
		v.checkAll(t)
		if err := errors.Join(v.s.Check(t.Context()), v.s.Close()); err != nil {
			t.Error(err)
		}
	}
	if half == 0 {
		t.Error("each child was done before it was killed")
	}
}

func TestS1Killed(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a program many times over, which takes minutes with the race detector in it")
	}
	dir := t.TempDir()
	acknowledged := map[int]bool{}
	next := 0
	for round := range 5 {
		cmd, lines := startChild(t, fmt.Sprintf("commit %d %s", next, dir))
		for seen := 0; lines.Scan(); seen++ {
			if seen == 100*(round+1) {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatal(err)
			}
			acknowledged[n] = true
			next = max(next, n+1)
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("child ended with %v, want it killed", err)
		}

		s := openTest(t, dir) // the lock died with the child
		for n := range next + 2*committers {
			if kept := holds(t, s, n); acknowledged[n] && !kept {
				t.Errorf("round %d: change %d was acknowledged and is lost", round, n)
			}
		}
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
		next += 2 * committers // what was kept and not acknowledged has these numbers
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acknowledged) < 1500 {
		t.Errorf("%d changes were acknowledged, want 1500 and more", len(acknowledged))
	}
}

// tellForEver accepts messages and tells of them, and prints each step: "k" when a
// message is kept, "s" before it is noted as told, "t" when that is noted.
func tellForEver(dir string) error {
	ctx := context.Background()
	s, err := Open(ctx, dir)
	if err != nil {
		return err
	}
	if err := s.Lost(); err != nil {
		return err
	}
	say := func(what, id string) { os.Stdout.WriteString(what + " " + id + "\n") }
	failed := make(chan error, 8)
	for w := range 4 {
		go func() {
			for n := int(time.Now().UnixNano()/1000)*8 + w; ; n += 8 {
				c := accept(n)
				if err := s.Commit(ctx, c); err != nil {
					failed <- err
					return
				}
				say("k", c.Inbox[0].ID)
			}
		}()
	}
	go func() {
		for {
			due, err := s.DueDeliveries(ctx, "openclaw", time.Now(), 16)
			if err != nil {
				failed <- err
				return
			}
			if len(due) > 3 && rand.N(4) == 0 { // some fail, and wait
				d := *due[1]
				d.Attempts, d.Next, d.Error = 1, time.Now(), "timeout"
				if err := s.Commit(ctx, &core.Change{Deliveries: []*core.Delivery{&d}}); err != nil {
					failed <- err
					return
				}
				continue
			}
			for _, d := range due {
				say("s", d.EventID)
			}
			if err := s.Commit(ctx, &core.Change{Lazy: true, Delivered: due}); err != nil {
				failed <- err
				return
			}
			for _, d := range due {
				say("t", d.EventID)
			}
		}
	}()
	return <-failed
}

// TestS1KilledWhileTelling kills a store at random points, as often as
// OGP_TEST_KILLS says: what was acknowledged is kept, what was noted as told is not
// told again, and all else is still to be told.
func TestS1KilledWhileTelling(t *testing.T) {
	kills := 5
	if n, err := strconv.Atoi(os.Getenv("OGP_TEST_KILLS")); err == nil {
		kills = n
	}
	dir := t.TempDir()
	steps := map[string]map[string]bool{"k": {}, "s": {}, "t": {}}
	acknowledged := 0
	for round := range kills {
		clear(steps["k"]) // only what this round has kept; the rest was looked at
		cmd, lines := startChild(t, "tell "+dir)
		first := true
		for lines.Scan() {
			if first {
				first = false
				time.AfterFunc(rand.N(150*time.Millisecond), func() { cmd.Process.Kill() })
			}
			what, id, _ := strings.Cut(lines.Text(), " ")
			steps[what][id] = true
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("round %d: child ended with %v, want it killed", round, err)
		}
		s := openTest(t, dir)
		if err := s.Lost(); err != nil {
			t.Errorf("round %d: Lost = %v, want nil", round, err)
		}
		due := map[string]bool{}
		all, err := s.Deliveries(t.Context(), core.DeliveryFilter{Limit: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			due[d.EventID] = true
			if steps["t"][d.EventID] {
				t.Errorf("round %d: %s was noted as told and is to be told again", round, d.EventID)
			}
		}
		for id := range steps["k"] {
			acknowledged++
			if _, err := s.InboxMessage(t.Context(), id); err != nil {
				t.Errorf("round %d: %s was acknowledged and is lost: %v", round, id, err)
			}
			if !due[id] && !steps["s"][id] {
				t.Errorf("round %d: %s was never told and is not to be told", round, id)
			}
		}
		if round%20 == 0 || round == kills-1 {
			if err := s.Check(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if acknowledged < 10*kills {
		t.Errorf("%d changes were acknowledged, want more", acknowledged)
	}
	t.Logf("%d kills, %d acknowledged, %d told", kills, acknowledged, len(steps["t"]))
}

// commitBeyondLimit makes the kernel refuse writes behind the log's present end.
func commitBeyondLimit(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := Open(context.Background(), dir)
	if err != nil {
		return err
	}
	if err := s.Commit(context.Background(), accept(0)); err != nil {
		return err
	}
	log, err := os.Stat(filepath.Join(dir, file+"-wal"))
	if err != nil {
		return err
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(log.Size()) + 5000, Max: was.Max}); err != nil {
		return err
	}
	err = s.Commit(context.Background(), accept(1))
	var e *core.Error
	if !errors.As(err, &e) || e.Kind != core.Unavailable || e.Err == nil {
		return fmt.Errorf("Commit = %v, want Unavailable and its cause", err)
	}
	fmt.Println(err)
	if _, err := s.InboxMessage(context.Background(), accept(1).Inbox[0].ID); !errors.Is(err, core.NotFound) {
		return fmt.Errorf("InboxMessage of what failed = %v, want NotFound", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	if err := s.Commit(context.Background(), accept(2)); err != nil {
		return fmt.Errorf("Commit once writing works again = %w", err)
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func TestS1WriteError(t *testing.T) {
	dir := t.TempDir()
	cmd, lines := startChild(t, "limit "+dir)
	for lines.Scan() {
		t.Log(lines.Text())
	}
	if err := cmd.Wait(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("child ended with %v, want it to have come to its end", err)
	}
	s := openTest(t, dir)
	for n, kept := range []bool{true, false, true} {
		if got := holds(t, s, n); got != kept {
			t.Errorf("change %d is kept: %v, want %v", n, got, kept)
		}
	}
}
