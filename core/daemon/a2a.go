package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/a2a"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/web"
)

// maxToken bounds the token's file, in bytes.
const maxToken = 4 << 10

// A2AToken is the token that A2A clients show to the gateway of a state directory. It is
// made where there is none, or where a new one is wanted; the old one then counts no more,
// also for a gateway that runs.
func A2AToken(dir string, renew bool) (string, error) {
	token, err := readA2AToken(dir)
	if err == nil && !renew || err != nil && !errors.Is(err, fs.ErrNotExist) && !renew {
		return token, err
	}
	if _, err := os.Stat(dir); err != nil {
		e := core.Refusef(core.NotFound, "there is no gateway in %s", dir)
		e.Hint = `"ogp init" or "ogp start" makes one`
		return "", e
	}
	token = rand.Text() + rand.Text() // 256 bits
	return token, atomicfile.WriteFile(filepath.Join(dir, A2ATokenFile), []byte(token+"\n"))
}

// readA2AToken reads the token. One that others can read is none.
func readA2AToken(dir string) (string, error) {
	path := filepath.Join(dir, A2ATokenFile)
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		e := core.Refusef(core.Conflict, "%s can be read by others (mode %04o)", path, info.Mode().Perm())
		e.Hint = `"ogp a2a token --new" makes another that only you can read`
		return "", e
	}
	text, err := files.ReadText(path, maxToken)
	token := strings.TrimSpace(string(text))
	if err == nil && token == "" {
		err = fmt.Errorf("%s is empty: %w", path, fs.ErrNotExist)
	}
	return token, err
}

// listenA2A opens the listener for A2A clients, if one is configured.
func (d *Daemon) listenA2A() error {
	address := d.config().A2A.Listen
	if address == "" {
		return nil
	}
	var err error
	if d.agents, err = net.Listen("tcp", address); err != nil {
		return &core.Error{Kind: core.Unavailable, Public: "a2a.listen: cannot listen on " + address, Err: err, Hint: "set a2a.listen to another port, or to nothing"}
	}
	return nil
}

// serveA2A answers A2A clients.
func (d *Daemon) serveA2A(ctx context.Context) error {
	if d.agents == nil {
		return nil
	}
	d.log.Info("peers are A2A agents", "listen", d.agents.Addr().String())
	server := a2a.New(a2a.Options{Role: d.role, Token: func() (string, error) { return readA2AToken(d.dir) },
		OwnHost: web.OwnHost(d.config().A2A.Listen), Version: d.o.Version, Logger: d.log})
	return server.Serve(ctx, d.agents)
}
