//go:build unix

package openclaw

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
)

// process is a program in a process group of its own, whose output goes to a file.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has exited
}

// launch starts a program. Its group is written down, so that the script around this test
// can end it whatever happens to the test.
func launch(ctx context.Context, t *testing.T, name, log string, env []string, command ...string) *process {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := &process{name: name, cmd: exec.Command(command[0], command[1:]...), log: log, done: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = env, out, out, filepath.Dir(log)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	note, err := os.OpenFile(os.Getenv("OGP_E2E_GROUPS"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		fmt.Fprintln(note, p.cmd.Process.Pid)
		note.Close()
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	stopped := context.AfterFunc(ctx, p.kill)
	t.Cleanup(func() { stopped(); p.kill() })
	return p
}

// kill ends the process and its children at once, and waits until it is gone.
func (p *process) kill() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// tail is the end of what it has printed.
func (p *process) tail() string {
	text, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

const (
	// startLimit is how long OpenClaw may take to be ready: up to 56 s were seen on a busy
	// machine.
	startLimit   = 150 * time.Second
	hooksToken   = "e2e-hooks-token-fedcba9876543210"
	gatewayToken = "e2e-gateway-token-0123456789abcdef"
	mainSession  = "agent:main:main" // the agent's own conversation
)

// openclaw is a real OpenClaw gateway with a home of its own.
type openclaw struct {
	channels bool // it has channels: A2A
	dir      string
	port     int
	node     string
	program  string
	process  *process
}

func newOpenClaw(t *testing.T, dir, modelURL string) *openclaw {
	t.Helper()
	install := os.Getenv("OGP_E2E_INSTALL")
	nodes, err := filepath.Glob(filepath.Join(install, "node_modules", "node-*-*", "bin", "node"))
	if err != nil || len(nodes) != 1 {
		t.Fatalf("no node in %s: run .ci/openclaw-e2e", install)
	}
	c := &openclaw{dir: filepath.Join(dir, "openclaw"), port: ports.Free(t), node: nodes[0],
		program: filepath.Join(install, "node_modules", "openclaw", "openclaw.mjs")}
	if err := os.MkdirAll(filepath.Join(c.dir, "workspace"), 0o700); err != nil {
		t.Fatal(err)
	}
	conf := map[string]any{
		"gateway": map[string]any{"mode": "local", "port": c.port, "bind": "loopback",
			"auth": map[string]any{"mode": "token", "token": gatewayToken}},
		"hooks": map[string]any{"enabled": false, "token": hooksToken, "path": "/hooks"},
		"models": map[string]any{"mode": "replace", "catalogRefresh": map[string]any{"enabled": false},
			"providers": map[string]any{"lab": map[string]any{"api": "openai-completions", "baseUrl": modelURL + "/v1", "apiKey": "none",
				"models": []any{map[string]any{"id": "echo", "name": "Echo", "reasoning": false, "input": []string{"text"},
					"cost":          map[string]any{"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
					"contextWindow": 128000, "maxTokens": 4096}}}}},
		"agents":    map[string]any{"defaults": map[string]any{"model": map[string]any{"primary": "lab/echo"}, "workspace": filepath.Join(c.dir, "workspace")}},
		"tools":     map[string]any{"toolSearch": false}, // a mock model does not look for tools
		"update":    map[string]any{"checkOnStart": false},
		"discovery": map[string]any{"mdns": map[string]any{"mode": "off"}},
		"logging":   map[string]any{"file": filepath.Join(c.dir, "gateway.jsonl")},
	}
	c.write(t, conf)
	return c
}

func (c *openclaw) write(t *testing.T, conf map[string]any) {
	t.Helper()
	text, err := json.MarshalIndent(conf, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.config()+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.config()+".new", c.config()); err != nil {
		t.Fatal(err)
	}
}

// hooks changes its webhooks' settings, as a human does while it runs.
func (c *openclaw) hooks(t *testing.T, hooks map[string]any) {
	t.Helper()
	c.change(t, "hooks", hooks)
}

func (c *openclaw) change(t *testing.T, section string, to map[string]any) {
	t.Helper()
	text, err := os.ReadFile(c.config())
	if err != nil {
		t.Fatal(err)
	}
	var conf map[string]any
	if err := json.Unmarshal(text, &conf); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	conf[section] = to
	c.write(t, conf)
}

// answers lets its A2A channel take our messages.
func (c *openclaw) answers(t *testing.T, token string) {
	t.Helper()
	c.channels = true
	c.change(t, "channels", map[string]any{"a2a": map[string]any{"enabled": true, "peers": map[string]any{"ogp": map[string]any{"token": token}}}})
}

// asks is the status that its webhooks give to a token, for a call that starts nothing.
func (c *openclaw) asks(ctx context.Context, t *testing.T, token string) int {
	t.Helper()
	status, _ := c.post(ctx, t, "/hooks/agent", token, "{}")
	return status
}

// count is how often the messages of a session contain a text.
func (c *openclaw) count(ctx context.Context, t *testing.T, session, what string) int {
	t.Helper()
	status, text := c.post(ctx, t, "/tools/invoke", gatewayToken, fmt.Sprintf(`{"tool":"sessions_history","args":{"sessionKey":%q}}`, session))
	if status != http.StatusOK {
		t.Fatalf("the history of %s: %d %s", session, status, text)
	}
	// A tool's result is given as text and once more as details.
	var said struct {
		Result struct {
			Details struct {
				Messages []json.RawMessage `json:"messages"`
			} `json:"details"`
		} `json:"result"`
	}
	if err := json.Unmarshal([]byte(text), &said); err != nil {
		t.Fatalf("the history of %s: %v: %s", session, err, text)
	}
	n := 0
	for _, m := range said.Result.Details.Messages {
		if bytes.Contains(m, []byte(what)) {
			n++
		}
	}
	return n
}

func (c *openclaw) post(ctx context.Context, t *testing.T, path, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "POST", c.url()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

func (c *openclaw) config() string { return filepath.Join(c.dir, "openclaw.json") }

func (c *openclaw) url() string { return "http://127.0.0.1:" + strconv.Itoa(c.port) }

// start runs it until it is ready. A start may fail once, as some do on a busy machine with
// a fresh state; the next one with the same state then works.
func (c *openclaw) start(ctx context.Context, t *testing.T) {
	t.Helper()
	env := []string{"HOME=" + c.dir, "TMPDIR=" + c.dir, "LANG=C.UTF-8", "PATH=" + filepath.Dir(c.node) + ":/usr/local/bin:/usr/bin:/bin",
		"OPENCLAW_STATE_DIR=" + c.dir, "OPENCLAW_CONFIG_PATH=" + c.config(), "OPENCLAW_DISABLE_BONJOUR=1",
		"OPENCLAW_NO_AUTO_UPDATE=1", "OPENCLAW_OFFLINE=1", "OPENCLAW_NO_RESPAWN=1", "OPENCLAW_EXEC_SHELL_SNAPSHOT=0"}
	if !c.channels {
		env = append(env, "OPENCLAW_SKIP_CHANNELS=1")
	}
	var err error
	for try := 1; try <= 2; try++ {
		began := time.Now()
		c.process = launch(ctx, t, "openclaw", filepath.Join(c.dir, "openclaw.log"), env,
			c.node, c.program, "gateway", "run", "--port", strconv.Itoa(c.port))
		if err = c.ready(ctx); err == nil {
			t.Logf("OpenClaw is ready after %v (pid %d, try %d)", time.Since(began).Round(100*time.Millisecond), c.process.cmd.Process.Pid, try)
			return
		}
		t.Logf("OpenClaw did not start: %v", err)
		c.process.kill()
	}
	t.Fatalf("OpenClaw did not start: %v\n%s", err, c.process.tail())
}

func (c *openclaw) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, "GET", c.url()+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", ctx.Err())
		case <-c.process.done:
			return errors.New("it exited")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// gateway is an ogp daemon with a home of its own.
type gateway struct {
	name    string
	dir     string
	port    int
	env     []string
	process *process
}

func newGateway(t *testing.T, dir, name string, settings ...string) *gateway {
	t.Helper()
	g := &gateway{name: name, dir: filepath.Join(dir, name), port: ports.Free(t)}
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	g.env = append([]string{"HOME=" + g.dir, "OGP_HOME=" + filepath.Join(g.dir, "state"), "PATH=/usr/bin:/bin", "LANG=C.UTF-8",
		"OGP_NETWORK_ALLOW_PRIVATE=127.0.0.0/8", "OGP_LISTEN=127.0.0.1", "OGP_DAEMON_PORT=" + strconv.Itoa(g.port),
		"OGP_DISPLAY_NAME=" + name, "OGP_GATEWAY_URL=" + g.url()}, settings...)
	return g
}

func (g *gateway) url() string { return "http://127.0.0.1:" + strconv.Itoa(g.port) }

// start runs the daemon until it answers.
func (g *gateway) start(ctx context.Context, t *testing.T) {
	t.Helper()
	g.process = launch(ctx, t, g.name, filepath.Join(g.dir, "daemon.log"), g.env, os.Getenv("OGP_E2E_BINARY"), "start")
	until(ctx, t, g.name+" answers", func() bool {
		if !g.process.running() {
			t.Fatalf("%s exited:\n%s", g.name, g.process.tail())
		}
		return exec.CommandContext(ctx, g.process.cmd.Path, "--home", filepath.Join(g.dir, "state"), "status").Run() == nil
	})
}

// run runs a command against the daemon and returns what it printed.
func (g *gateway) run(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, os.Getenv("OGP_E2E_BINARY"), args...)
	cmd.Env = g.env
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: ogp %s: %v\n%s%s\nits log ends\n%s", g.name, strings.Join(args, " "), err, out.String(), said.String(), g.process.tail())
	}
	t.Logf("%s$ ogp %s\n%s", g.name, strings.Join(args, " "), strings.TrimSpace(out.String()+said.String()))
	return strings.TrimSpace(out.String())
}

// output is what a command prints, on whichever stream.
func (g *gateway) output(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, os.Getenv("OGP_E2E_BINARY"), args...)
	cmd.Env = g.env
	out, _ := cmd.CombinedOutput() // a gateway with something wrong has an exit status
	return string(out)
}

// waiting is how many notices have not been delivered.
func (g *gateway) waiting(ctx context.Context, t *testing.T) int {
	t.Helper()
	cmd := exec.CommandContext(ctx, os.Getenv("OGP_E2E_BINARY"), "status", "--json")
	cmd.Env = g.env
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: ogp status: %v", g.name, err)
	}
	var status struct {
		Queues struct{ Deliveries, DeadDeliveries *int } `json:"queues"`
	}
	if err := json.Unmarshal(out, &status); err != nil || status.Queues.Deliveries == nil || status.Queues.DeadDeliveries == nil {
		t.Fatalf("%s: ogp status --json has no queues (%v):\n%s", g.name, err, out)
	}
	if *status.Queues.DeadDeliveries > 0 {
		t.Fatalf("%s gave up on %d notices:\n%s", g.name, *status.Queues.DeadDeliveries, g.process.tail())
	}
	return *status.Queues.Deliveries
}

// patience is how long something may take that must come: on a busy machine OpenClaw needs a
// minute to take up a change of its file, and as long for a turn.
const patience = 3 * time.Minute

func until(ctx context.Context, t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if ctx.Err() != nil {
			t.Fatal(ctx.Err())
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
