package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// TestMain makes this test binary also the program: the scripts run it as "ogp".
func TestMain(m *testing.M) {
	plugin.CompileChildMain()
	_ = flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))) // scripts wait more than they compute
	testscript.Main(m, map[string]func(){"ogp": main})
}

// patience is how long a script waits for what must come. It is no promise about
// speed: a machine under load needs it.
const patience = 60 * time.Second

// TestScripts runs every script of testdata/script against real daemons, in
// parallel. The slow half steps aside under -short.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	commands := map[string]func(*testscript.TestScript, bool, []string){
		"exits":    exitsCmd,
		"poll":     pollCmd,
		"daemon":   daemonCmd,
		"signal":   signalCmd,
		"gone":     goneCmd,
		"event":    eventCmd,
		"json":     jsonCmd,
		"jsonset":  jsonSetCmd,
		"freeport": freePortCmd,
		"occupy":   occupyCmd,
		"mode":     modeCmd,
		"harmless": harmlessCmd,
		"stranger": strangerCmd,
		"message":  envelopeCmd,
	}
	maps.Copy(commands, moreCommands)
	maps.Copy(commands, friends(t))
	testscript.Run(t, testscript.Params{
		Files:              scripts,
		RequireUniqueNames: true,
		Setup:              prepare,
		Cmds:               commands,
	})
}

// scene is what one script has running.
type scene struct {
	env       []string
	daemons   map[string]*process
	strangers map[string]*stranger
	friends   map[string]*coretest.LegacyGateway
	closers   []io.Closer
	engine    engine // of "engine start"; else nil
}

type sceneKey struct{}

func sceneOf(ts *testscript.TestScript) *scene { return ts.Value(sceneKey{}).(*scene) }

func prepare(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	env.Setenv("HOME", home)
	env.Setenv("OGP_NETWORK_ALLOW_PRIVATE", "127.0.0.0/8")
	env.Setenv("OGP_OUTBOX_FIRST_RETRY", "100ms")
	env.Setenv("TZ", "UTC")
	examples, err := filepath.Abs(filepath.Join("..", "..", "examples", "plugins"))
	if err != nil {
		return err
	}
	env.Setenv("EXAMPLES", examples)
	s := &scene{env: env.Vars, daemons: map[string]*process{}, strangers: map[string]*stranger{}, friends: map[string]*coretest.LegacyGateway{}}
	env.Values[sceneKey{}] = s
	env.Defer(func() {
		for _, p := range s.daemons {
			p.cmd.Process.Kill()
			<-p.done
		}
		for _, c := range s.closers {
			c.Close()
		}
	})
	return nil
}

// exits <status> args...: runs ogp, which must exit with this status.
func exitsCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits status args...")
	}
	if got := status(ts.Exec("ogp", args[1:]...)); strconv.Itoa(got) != args[0] {
		ts.Fatalf("ogp %s: exit status %d, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

func status(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// poll <regexp> args...: runs ogp until its output has the pattern.
func pollCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: poll regexp args...")
	}
	want := pattern(ts, args[0])
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := ts.Exec("ogp", args[1:]...)
		if err == nil && want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("ogp %s: no %q within %v", strings.Join(args[1:], " "), args[0], patience)
		}
	}
}

func pattern(ts *testscript.TestScript, s string) *regexp.Regexp {
	re, err := regexp.Compile("(?ms)" + s)
	ts.Check(err)
	return re
}

// process is a daemon in the foreground of a process of its own.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has exited
}

// daemon <name> [NAME=value...] flags...: runs "ogp start" in the state directory
// $WORK/<name> and waits until it answers. Its output is in <name>.out and
// <name>.log. It listens on loopback, on a free port unless the flags say which,
// and calls itself by its name. It sets $<name>_URL, _PORT, _FP, _ID, _KEY and _PID.
func daemonCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: daemon name [NAME=value...] flags...")
	}
	s, name := sceneOf(ts), args[0]
	env := append([]string{}, s.env...)
	args = args[1:]
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		env, args = append(env, args[0]), args[1:]
	}
	home := ts.MkAbs(name)
	if !strings.Contains(strings.Join(args, " "), "--daemon-port") {
		args = append(args, "--daemon-port", "0")
	}
	path, err := lookPath(ts.Getenv("PATH"), "ogp")
	ts.Check(err)
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer out.Close()
	log, err := os.OpenFile(ts.MkAbs(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer log.Close()
	cmd := exec.Command(path, append([]string{"start", "--home", home, "--listen", "127.0.0.1", "--display-name", name}, args...)...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, ts.MkAbs("."), out, log
	ts.Check(cmd.Start())
	p := &process{cmd, make(chan struct{})}
	go func() { cmd.Wait(); close(p.done) }()
	s.daemons[name] = p
	v := awaitStatus(ts, home, p, name)
	_, port, err := net.SplitHostPort(v.Listen)
	ts.Check(err)
	for suffix, value := range map[string]string{"URL": v.GatewayURL, "PORT": port, "FP": v.Fingerprint,
		"KEY": v.PublicKey.String(), "ID": v.PublicKey.ID(), "PID": strconv.Itoa(v.PID)} {
		ts.Setenv(strings.TrimPrefix(filepath.Base(name), ".")+"_"+suffix, value)
	}
}

// awaitStatus waits until a daemon answers and its plugins are loaded, or could not be.
func awaitStatus(ts *testscript.TestScript, home string, p *process, name string) api.StatusView {
	client := control.Dial(control.Path(home))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		var v api.StatusView
		if client.Call(ctx, "status", nil, &v) == nil && v.PID == p.cmd.Process.Pid &&
			!slices.ContainsFunc(v.Plugins, func(n api.PluginState) bool { return n.State == "loading" }) {
			return v
		}
		select {
		case <-p.done:
			ts.Fatalf("daemon %s has exited with %d:\n%s", name, p.cmd.ProcessState.ExitCode(), ts.ReadFile(name+".log"))
		case <-ctx.Done():
			ts.Fatalf("daemon %s does not answer within %v:\n%s", name, patience, ts.ReadFile(name+".log"))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func lookPath(path, name string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		if file := filepath.Join(dir, name); isExecutable(file) {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

func (s *scene) process(ts *testscript.TestScript, name string) *process {
	p := s.daemons[name]
	if p == nil {
		ts.Fatalf("no daemon %q", name)
	}
	return p
}

// signal KILL|INT|TERM <name>: signals a daemon and waits until it has gone.
func signalCmd(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"KILL": os.Kill, "INT": os.Interrupt, "TERM": syscall.SIGTERM}
	if neg || len(args) != 2 || signals[args[0]] == nil {
		ts.Fatalf("usage: signal KILL|INT|TERM name")
	}
	p := sceneOf(ts).process(ts, args[1])
	ts.Check(p.cmd.Process.Signal(signals[args[0]]))
	p.wait(ts, args[1])
}

func (p *process) wait(ts *testscript.TestScript, name string) {
	select {
	case <-p.done:
	case <-time.After(patience):
		ts.Fatalf("daemon %s still runs after %v", name, patience)
	}
}

// gone <name> [status]: waits until a daemon has gone, with this exit status.
func goneCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: gone name [status]")
	}
	p := sceneOf(ts).process(ts, args[0])
	p.wait(ts, args[0])
	if got := p.cmd.ProcessState.ExitCode(); len(args) == 2 && strconv.Itoa(got) != args[1] {
		ts.Fatalf("daemon %s: exit status %d, want %s", args[0], got, args[1])
	}
}

// event <name> <regexp>: waits for an event of a daemon, kept or to come.
func eventCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: event name regexp")
	}
	want, found := pattern(ts, args[1]), errors.New("found")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var seen bytes.Buffer
	daemon := control.Dial(control.Path(ts.MkAbs(args[0])))
	err := api.Events.Follow(ctx, daemon, api.EventParams{After: "0"}, func(v api.EventView) error {
		line, err := json.Marshal(v)
		if err != nil {
			return err
		}
		fmt.Fprintf(&seen, "%s\n", line)
		if want.Match(line) {
			return found
		}
		return nil
	})
	if !errors.Is(err, found) {
		ts.Fatalf("daemon %s has no event %q (%v), but:\n%s", args[0], args[1], err, seen.String())
	}
	fmt.Fprint(ts.Stdout(), seen.String())
}

// member walks a path such as peers.0.state through a JSON text, and renders what
// it finds: a string as it is, anything else as JSON.
func member(text []byte, path string) (string, error) {
	v := jsontext.Value(bytes.TrimSpace(text))
	if !v.IsValid() {
		return "", fmt.Errorf("this is no single JSON value: %.200q", text)
	}
	for _, name := range strings.Split(path, ".") {
		switch {
		case path == "":
		case v.Kind() == '[':
			var list []jsontext.Value
			if err := json.Unmarshal(v, &list); err != nil {
				return "", err
			}
			if name == "len" {
				v = jsontext.Value(strconv.Itoa(len(list)))
				continue
			}
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(list) {
				return "", fmt.Errorf("%s: no element %q of %d", path, name, len(list))
			}
			v = list[i]
		default:
			var object map[string]jsontext.Value
			if err := json.Unmarshal(v, &object); err != nil {
				return "", err
			}
			if object[name] == nil {
				return "", fmt.Errorf("%s: no member %q", path, name)
			}
			v = object[name]
		}
	}
	var s string
	if json.Unmarshal(v, &s) == nil && v.Kind() == '"' {
		return s, nil
	}
	_ = v.Compact()
	return string(v), nil
}

// json <path> [<regexp>]: the last output is one JSON value and nothing else, its
// member is there (or, after "!", is not) and is wholly matched.
func jsonCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: json path [regexp]")
	}
	got, err := member([]byte(ts.ReadFile("stdout")), args[0])
	if neg && len(args) == 1 {
		if err == nil {
			ts.Fatalf("%s is %s, want none", args[0], got)
		}
		return
	}
	ts.Check(err)
	if len(args) == 2 && pattern(ts, "^(?:"+args[1]+")$").MatchString(got) == neg {
		ts.Fatalf("%s is %s, want %s (negated: %v)", args[0], got, args[1], neg)
	}
}

// jsonset <variable> <path>: keeps a member of the last output.
func jsonSetCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: jsonset variable path")
	}
	got, err := member([]byte(ts.ReadFile("stdout")), args[1])
	ts.Check(err)
	ts.Setenv(args[0], got)
}

// freeport <variable>...: finds free ports, for this script until it ends.
func freePortCmd(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		ts.Setenv(name, strconv.Itoa(freePort(ts)))
	}
}

func freePort(ts *testscript.TestScript) int {
	port, release, err := ports.Hold()
	ts.Check(err)
	s := sceneOf(ts)
	s.closers = append(s.closers, closerFunc(release))
	return port
}

// occupy <variable>: holds a port until the script ends.
func occupyCmd(ts *testscript.TestScript, neg bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	s := sceneOf(ts)
	s.closers = append(s.closers, ln)
	ts.Setenv(args[0], strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))
}

// mode <octal> <file>...: the files have this mode.
func modeCmd(ts *testscript.TestScript, neg bool, args []string) {
	for _, file := range args[1:] {
		info, err := os.Stat(ts.MkAbs(file))
		ts.Check(err)
		if got := fmt.Sprintf("%04o", info.Mode().Perm()); (got != args[0]) != neg {
			ts.Fatalf("%s has mode %s, want %s (negated: %v)", file, got, args[0], neg)
		}
	}
}

// harmless [<bytes>]: the last output has nothing that a terminal acts on, and is
// not longer than so many bytes (default 64 KiB).
func harmlessCmd(ts *testscript.TestScript, neg bool, args []string) {
	most := 64 << 10
	if len(args) == 1 {
		n, err := strconv.Atoi(args[0])
		ts.Check(err)
		most = n
	}
	for _, stream := range []string{"stdout", "stderr"} {
		text := ts.ReadFile(stream)
		if len(text) > most {
			ts.Fatalf("%s has %d bytes, want at most %d", stream, len(text), most)
		}
		if i := strings.IndexFunc(text, dangerous); i >= 0 {
			ts.Fatalf("%s has %q, which a terminal acts on", stream, text[i:min(i+40, len(text))])
		}
	}
}

// dangerous reports whether a terminal does more with a character than show it.
func dangerous(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp))
}
