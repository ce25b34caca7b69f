package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// friends are the commands that play a gateway of an old version, as coretest has them.
//
//	friend <name> <version> [state directory]   starts one, with the key that lies there
//	old <name> request <URL>       asks; the answer's status and body are the output
//	old <name> approve|remove <key>
//	old <name> send <key> <text>
//	old <name> is <key> <status>   waits until it has a key so
//	old <name> got <text>          waits for a message
//	old <name> heartbeat <URL>     sends what it signs for every friend every five minutes to one URL, as a hostile friend could
//	old <name> sleep|wake          answers nobody, or again
func friends(t *testing.T) map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"friend": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) < 2 || len(args) > 3 {
				ts.Fatalf("usage: friend name version [state directory]")
			}
			l := coretest.Legacy(t, coretest.Era(args[1]))
			if len(args) == 3 {
				k, err := keys.Load(filepath.Join(ts.MkAbs(args[2]), "key.json"), nil)
				ts.Check(err)
				l.Key = k
			}
			sceneOf(ts).friends[args[0]] = l
			k := l.Key.Public()
			for suffix, v := range map[string]string{"URL": l.URL, "FP": k.Fingerprint(), "KEY": k.String()} {
				ts.Setenv(args[0]+"_"+suffix, v)
			}
		},
		"old": oldCmd,
	}
}

func oldCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: old name what [arguments]")
	}
	l := sceneOf(ts).friends[args[0]]
	if l == nil {
		ts.Fatalf("no friend %q", args[0])
	}
	arg := func(i int) string {
		if len(args) <= i+1 {
			ts.Fatalf("old %s: too few arguments", args[1])
		}
		return args[i+1]
	}
	key := func() core.PublicKey {
		k, err := keys.Parse(arg(1))
		ts.Check(err)
		return k
	}
	show := func(a core.Answer) { fmt.Fprintf(ts.Stdout(), "%d %s\n", a.Status, a.Body) }
	until := func(what string, f func() bool) {
		for end := time.Now().Add(patience); !f(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				ts.Fatalf("old %s: %s", args[0], what)
			}
		}
	}
	switch args[1] {
	case "request":
		show(l.Request(arg(1)))
	case "approve":
		show(l.Approve(key()))
	case "remove":
		_, a := l.Remove(key())
		show(a)
	case "send":
		_, a := l.Send(key(), core.IntentMessage, fmt.Sprintf(`{"text":%q}`, arg(2)), false)
		show(a)
	case "is":
		k, want := key(), arg(2)
		until("it has "+l.Peer(k).Status+", want "+want, func() bool { return l.Peer(k).Status == want })
	case "got":
		until("no message with "+arg(1), func() bool {
			for _, m := range l.Messages() {
				if strings.Contains(string(m.Payload), arg(1)) {
					return true
				}
			}
			return false
		})
	case "heartbeat":
		resp, err := http.Post(arg(1)+federation.PathRemoved, "application/json", strings.NewReader(l.RemovalBody()))
		ts.Check(err)
		resp.Body.Close()
		fmt.Fprintln(ts.Stdout(), resp.StatusCode)
	case "sleep":
		l.Sleep()
	case "wake":
		l.Wake()
	default:
		ts.Fatalf("old %s: unknown", args[1])
	}
}
