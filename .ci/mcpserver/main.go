// Command mcpserver serves the tools of "ogp mcp" over HTTP on loopback, as the protocol's
// conformance suite cannot speak over standard input and output. It is a client of an
// agent's socket, as "ogp mcp" is.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/mcp"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: mcpserver <agent.sock> sessions|stateless")
		os.Exit(2)
	}
	server := mcp.New(mcp.Options{Agent: control.Dial(os.Args[1]), Version: "conformance"})
	handler := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server },
		&sdk.StreamableHTTPOptions{Stateless: os.Args[2] == "stateless"}) // revisions from 2026-07-28 on have no sessions
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		fmt.Println("http://" + ln.Addr().String())
		err = http.Serve(ln, handler)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
