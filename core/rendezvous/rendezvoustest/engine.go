package rendezvoustest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
)

// EngineVariable names the program that Engine runs: redis-server or valkey-server.
const EngineVariable = "OGP_TEST_VALKEY"

// HasEngine reports whether there is a Valkey or a Redis to test with.
func HasEngine() bool { return os.Getenv(EngineVariable) != "" }

// Engine is a Valkey or a Redis of a test's own, on loopback.
type Engine struct {
	Port int
	dir  string
	args []string
	cmd  *exec.Cmd
}

// NewEngine starts one with more arguments than that it keeps nothing, and ends it with
// the test. Without a program to run the test is not run, and says so.
func NewEngine(t testing.TB, args ...string) *Engine {
	t.Helper()
	if !HasEngine() {
		t.Skip("NOT RUN: " + EngineVariable + " names no redis-server or valkey-server")
	}
	e, err := RunEngine(t.TempDir(), ports.Free(t), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Kill)
	return e
}

// RunEngine starts one in a folder, on a port of the caller's. Kill it.
func RunEngine(dir string, port int, args ...string) (*Engine, error) {
	e := &Engine{Port: port, dir: dir, args: args}
	return e, e.Start()
}

// Addr is its host and port.
func (e *Engine) Addr() string { return "127.0.0.1:" + strconv.Itoa(e.Port) }

// Start runs it again, with what it has saved, and waits until it answers.
func (e *Engine) Start() error {
	log, err := os.Create(filepath.Join(e.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	args := append([]string{"--port", strconv.Itoa(e.Port), "--bind", "127.0.0.1", "--save", "", "--dir", e.dir}, e.args...)
	e.cmd = exec.Command(os.Getenv(EngineVariable), args...)
	e.cmd.Stdout, e.cmd.Stderr = log, log
	if err := e.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", e.Addr(), time.Second)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			e.Kill()
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s does not answer: %w\n%s", e.cmd, err, text)
		}
	}
}

// Kill ends it at once, as a crash does.
func (e *Engine) Kill() {
	if e.cmd != nil {
		e.cmd.Process.Kill()
		e.cmd.Wait()
		e.cmd = nil
	}
}
