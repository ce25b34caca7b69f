package gate

import (
	"context"
	"net"
	"net/http"
)

// connKey is where the context of a request has its connection.
type connKey struct{}

// Watch has a server of net/http say which connections of its gate wait for their next
// request. Its handlers say with Works when one does no more.
func Watch(server *http.Server) {
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	server.ConnState = func(c net.Conn, state http.ConnState) {
		if held, ok := c.(*Conn); ok && state == http.StateIdle {
			held.Waits(true)
		}
	}
}

// Works says that a request has come that is worth a connection: no other takes its place
// until it is answered. ctx is the request's, of a server that Watch has seen.
func Works(ctx context.Context) {
	if held, ok := ctx.Value(connKey{}).(*Conn); ok {
		held.Waits(false)
	}
}
