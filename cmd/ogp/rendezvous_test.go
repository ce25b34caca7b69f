package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opengatewayprotocol/ogp/core/rendezvous"
	"github.com/opengatewayprotocol/ogp/core/rendezvous/rendezvoustest"
)

// moreCommands are the scripts' commands around rendezvous, monitoring and other
// processes than daemons.
var moreCommands = map[string]func(*testscript.TestScript, bool, []string){
	"agentcall": agentCallCmd,
	"mcp":       mcpCmd,
	"spawn":     spawnCmd,
	"await":     awaitCmd,
	"hangup":    hangupCmd,
	"fetch":     fetchCmd,
	"capture":   captureCmd,
	"bend":      bendCmd,
	"serve":     serveCmd,
	"legacy":    legacyCmd,
	"brief":     briefCmd,
	"keypair":   keyPairCmd,
	"age":       ageCmd,
	"observed":  observedCmd,
	"leftover":  leftoverCmd,
}

// spawn <name> [NAME=value...] args...: runs ogp in the background. Its output is
// in <name>.out and <name>.log.
func spawnCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: spawn name [NAME=value...] args...")
	}
	spawn(ts, args[0], args[1:])
}

func spawn(ts *testscript.TestScript, name string, args []string) *process {
	s := sceneOf(ts)
	env := append([]string{}, s.env...)
	for len(args) > 0 && strings.Contains(args[0], "=") && !strings.HasPrefix(args[0], "-") {
		env, args = append(env, args[0]), args[1:]
	}
	path, err := lookPath(ts.Getenv("PATH"), "ogp")
	ts.Check(err)
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer out.Close()
	log, err := os.OpenFile(ts.MkAbs(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer log.Close()
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, ts.MkAbs("."), out, log
	ts.Check(cmd.Start())
	p := &process{cmd, make(chan struct{})}
	go func() { cmd.Wait(); close(p.done) }()
	s.daemons[name] = p
	return p
}

// await <file> <regexp>: waits until a file has the pattern.
func awaitCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await file regexp")
	}
	want := pattern(ts, args[1])
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile(ts.MkAbs(args[0])) // it may not be there yet
		if want.Match(text) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: no %q within %v, but:\n%s", args[0], args[1], patience, text)
		}
	}
}

// fetch [--until regexp] [--ca file] METHOD url [body]: sends a request. The
// status, the lines of headers worth knowing and the body of the answer are the
// output. With --until it asks again until they match.
func fetchCmd(ts *testscript.TestScript, neg bool, args []string) {
	var until *regexp.Regexp
	client := &http.Client{Timeout: 10 * time.Second}
	for len(args) > 1 && strings.HasPrefix(args[0], "--") {
		switch args[0] {
		case "--until":
			until = pattern(ts, args[1])
		case "--bearer":
			client.Transport = bearer(strings.TrimSpace(ts.ReadFile(args[1])))
		case "--ca":
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM([]byte(ts.ReadFile(args[1]))) {
				ts.Fatalf("%s has no certificate", args[1])
			}
			client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
		}
		args = args[2:]
	}
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: fetch [--until regexp] [--bearer file] [--ca file] METHOD url [body]")
	}
	body := strings.Join(args[2:], "")
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		text, err := fetch(client, args[0], args[1], body)
		if err != nil {
			text = err.Error()
		}
		if until == nil || until.MatchString(text) {
			fmt.Fprint(ts.Stdout(), text)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: no %q within %v, but:\n%s", args[1], until, patience, text)
		}
	}
}

// bearer is a token that goes along with each request.
type bearer string

func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	req.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(req)
}

func fetch(client *http.Client, method, url, body string) (string, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var out bytes.Buffer
	fmt.Fprintf(&out, "%d\n", resp.StatusCode)
	for _, name := range []string{"Retry-After", "Content-Type"} {
		if v := resp.Header.Get(name); v != "" {
			fmt.Fprintf(&out, "%s: %s\n", name, v)
		}
	}
	_, err = io.Copy(&out, resp.Body)
	return out.String() + "\n", err
}

// capture <variable> <regexp> [<text>]: keeps the part of a text (default: the last
// output) that the regexp's group matches.
func captureCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 2 {
		args = append(args, ts.ReadFile("stdout"))
	}
	if neg || len(args) != 3 {
		ts.Fatalf("usage: capture variable regexp [text]")
	}
	m := pattern(ts, args[1]).FindStringSubmatch(args[2])
	if len(m) != 2 {
		ts.Fatalf("%q has no %q", args[2], args[1])
	}
	ts.Setenv(args[0], m[1])
}

// bend <variable> <text>: keeps the text with another last character.
func bendCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || args[1] == "" {
		ts.Fatalf("usage: bend variable text")
	}
	head, last := args[1][:len(args[1])-1], "A"
	if strings.HasSuffix(args[1], last) {
		last = "B"
	}
	ts.Setenv(args[0], head+last)
}

// serve <name> [NAME=value...] flags...: runs "ogp rendezvous" as a process of its
// own on a free port of loopback, with the state directory $WORK/<name>, and waits
// until it answers. It sets $<name>_URL.
func serveCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: serve name [NAME=value...] flags...")
	}
	name, args := args[0], args[1:]
	var env []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		env, args = append(env, args[0]), args[1:]
	}
	address := ts.Getenv(name + "_ADDRESS")
	if address == "" {
		freePortCmd(ts, false, []string{name + "_PORT"})
		address = "127.0.0.1:" + ts.Getenv(name+"_PORT")
	}
	listen := append(env, "rendezvous", "--home", ts.MkAbs(name), "--listen", address)
	p := spawn(ts, name, append(listen, args...))
	ts.Setenv(name+"_ADDRESS", address)
	ts.Setenv(name+"_URL", "http://"+address)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if text, err := fetch(http.DefaultClient, "GET", "http://"+address+"/healthz", ""); err == nil && strings.HasPrefix(text, "200\n") {
			return
		}
		select {
		case <-p.done:
			ts.Fatalf("rendezvous %s has exited:\n%s", name, ts.ReadFile(name+".log"))
		default:
		}
		if time.Now().After(deadline) {
			ts.Fatalf("rendezvous %s does not answer within %v:\n%s", name, patience, ts.ReadFile(name+".log"))
		}
	}
}

// legacy <name>: starts a rendezvous of before 0.7. It sets $<name>_URL.
func legacyCmd(ts *testscript.TestScript, neg bool, args []string) {
	s := sceneOf(ts)
	server := httptest.NewServer(&rendezvoustest.Legacy{})
	s.closers = append(s.closers, closerFunc(server.Close))
	ts.Setenv(args[0]+"_URL", server.URL)
}

type closerFunc func()

func (f closerFunc) Close() error { f(); return nil }

// brief <name> <life>: starts a rendezvous whose records and codes live only so
// long, which no flag of the command can say. It sets $<name>_URL.
func briefCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: brief name life")
	}
	life, err := time.ParseDuration(args[1])
	ts.Check(err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		rendezvous.NewServer(rendezvous.ServerOptions{TTL: life, InviteTTL: life}).Serve(ctx, ln)
	}()
	s := sceneOf(ts)
	s.closers = append(s.closers, closerFunc(func() { stop(); <-done }))
	ts.Setenv(args[0]+"_URL", "http://"+ln.Addr().String())
}

// leftover [path]: some process names a path (default: this script's folder) on
// its command line; usually after "!".
func leftoverCmd(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(strings.Join(args, ""))
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		found := processesOf(ts, path)
		if neg == (len(found) == 0) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("processes of %s: %q (negated: %v)", path, found, neg)
		}
	}
}

// processesOf lists the command lines of other processes that hold a text.
func processesOf(ts *testscript.TestScript, text string) (found []string) {
	lists, err := filepath.Glob("/proc/[0-9]*/cmdline")
	ts.Check(err)
	if len(lists) == 0 { // no Linux
		out, err := exec.Command("ps", "-axo", "args").Output()
		ts.Check(err)
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, text) {
				found = append(found, line)
			}
		}
		return found
	}
	for _, file := range lists {
		line, err := os.ReadFile(file)
		if err == nil && bytes.Contains(line, []byte(text)) {
			found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return found
}
