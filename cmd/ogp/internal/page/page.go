// Package page leads a browser to the console of the running gateway.
package page

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// Command is "ogp console".
func Command(a *cli.App) *cobra.Command {
	var end, stay bool
	cmd := &cobra.Command{
		Use: "console", Short: "Open the gateway's page in a browser", Args: cobra.NoArgs,
		Long: `Open a page on this machine that shows what waits for you, who the peers are, what is
said, and what a policy would change. The link works once, within a minute; the browser
stays signed in for 12 hours, or until the gateway stops. No port is open before you
run this.

  ogp console`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if end {
				if _, err := api.Console.Call(cmd.Context(), a, api.ConsoleParams{End: true}); err != nil {
					return err
				}
				if !a.JSON {
					fmt.Fprintln(a.Out, "The console is closed, and every browser is signed out.")
				}
				return nil
			}
			return open(cmd.Context(), a, stay)
		},
	}
	cmd.Flags().BoolVar(&end, "end", false, "close the console, and sign every browser out")
	cmd.Flags().BoolVar(&stay, "no-browser", false, "print the link, and open nothing")
	return cmd
}

// opening is a console that waits for a browser.
type opening struct {
	*cli.App
	view       api.ConsoleView
	host, port string
	link       string
	loopback   bool // it listens on this machine alone
}

// find makes the link, with a name of the certificate where it is for other machines. On
// loopback it prefers the name that this console alone has, as cookies of "127.0.0.1" are shown
// to every server there; not all systems know such names.
func (o *opening) find(ctx context.Context) {
	o.host, o.port, _ = net.SplitHostPort(o.view.Address) // the daemon's own address
	o.loopback = net.ParseIP(o.host).IsLoopback()
	name, scheme := o.host, "https"
	switch {
	case o.view.TLS && !o.loopback:
		name = cmp.Or(o.view.Host, o.host)
	case !o.view.TLS:
		scheme = "http"
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if found, err := net.DefaultResolver.LookupIP(ctx, "ip", o.view.Host); err == nil && len(found) > 0 && found[0].IsLoopback() && o.loopback {
			name = o.view.Host
		}
	}
	link := url.URL{Scheme: scheme, Host: net.JoinHostPort(name, o.port), Path: "/open", Fragment: o.view.Code}
	o.link = link.String()
}

// open shows the way in: in a browser, or as a link. What is handed to a browser stands among
// its arguments, where other accounts of this machine can read it: that code is for ours, and
// where the gateway cannot tell accounts apart, the link is printed.
//
// docs/threat-model.md#w1
func open(ctx context.Context, a *cli.App, stay bool) error {
	o := opening{App: a}
	far := cmp.Or(config.Getenv(o.Env, "SSH_CONNECTION"), config.Getenv(o.Env, "SSH_TTY")) != ""
	if !a.JSON && !far && !stay && o.hasDisplay() {
		if err := o.ask(ctx, ours()); err != nil {
			return err
		}
		if (o.view.Bound || !othersRead()) && browse(o.link) == nil {
			fmt.Fprintf(o.Out, "Opened %s in your browser.\nThe link works once, until %s.\n", o.link, o.view.Expires.Local().Format(time.TimeOnly))
			return nil
		}
	}
	if err := o.ask(ctx, nil); err != nil {
		return err
	}
	switch {
	case o.JSON:
		o.WriteJSON(struct {
			api.ConsoleView `json:",inline"`
			Link            string `json:"link"`
		}{o.view, o.link})
		return nil
	case far && o.loopback:
		fmt.Fprintf(o.Out, "On the machine with the browser, first:\n\n  ssh -N -L %s:%s %s\n\nthen open:\n\n", o.port, o.view.Address, o.machine())
	case o.loopback:
		fmt.Fprint(o.Out, "Open in a browser on this machine:\n\n")
	default:
		fmt.Fprint(o.Out, "Open in a browser:\n\n")
	}
	fmt.Fprintf(o.Out, "  %s\n\nThe link works once, until %s.\n", o.link, o.view.Expires.Local().Format(time.TimeOnly))
	return nil
}

// ask has the gateway give out a code, for the browsers of an account or for any.
func (o *opening) ask(ctx context.Context, uid *int) (err error) {
	if o.view, err = api.Console.Call(ctx, o.App, api.ConsoleParams{UID: uid}); err == nil {
		o.find(ctx)
	}
	return err
}

// ours is the account that our browser runs as; nil where that is not known: on Windows, and
// on Linux within Windows, whose browser is one of Windows.
func ours() *int {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease") // no other system has it
	if uid := os.Getuid(); uid >= 0 && !strings.Contains(strings.ToLower(string(kernel)), "microsoft") {
		return &uid
	}
	return nil
}

// machine is what ssh may know this machine as.
func (o *opening) machine() string {
	var from, fromPort, host, port string
	n, _ := fmt.Sscan(config.Getenv(o.Env, "SSH_CONNECTION"), &from, &fromPort, &host, &port)
	name := cmp.Or(config.Getenv(o.Env, "USER"), "you") + "@"
	if n != 4 {
		return name + "this-machine"
	}
	if port != "22" {
		return "-p " + port + " " + name + host
	}
	return name + host
}

// hasDisplay reports whether there is something to show a browser on.
func (o *opening) hasDisplay() bool {
	switch runtime.GOOS {
	case "windows", "darwin":
		return true
	}
	return cmp.Or(config.Getenv(o.Env, "DISPLAY"), config.Getenv(o.Env, "WAYLAND_DISPLAY")) != ""
}

// othersRead reports whether other accounts of this machine can read what browse hands over.
func othersRead() bool { return runtime.GOOS != "windows" && runtime.GOOS != "darwin" }

// browse hands a link to the system's browser. On macOS it goes through a pipe, and is
// nobody's argument.
func browse(link string) error {
	cmd := exec.Command("xdg-open", link)
	switch runtime.GOOS {
	case "windows":
		cmd = exec.Command("rundll32", "url.dll,FileProtocolHandler", link)
	case "darwin":
		cmd = exec.Command("osascript")
		cmd.Stdin = strings.NewReader("open location " + strconv.Quote(link))
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience): // it is the browser itself, and stays
		return nil
	}
}

// patience is how long a browser may take to say that it cannot be opened.
const patience = 2 * time.Second
