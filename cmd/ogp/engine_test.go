package main

import (
	"strconv"

	"github.com/alicebob/miniredis/v2"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opengatewayprotocol/ogp/core/rendezvous/rendezvoustest"
)

func init() { moreCommands["engine"] = engineCmd }

// engine is a Valkey or a Redis, or its double in this process where there is none. Each
// keeps nothing over Kill and Start.
type engine interface {
	Start() error
	Kill()
	Addr() string
}

// double is the engine's.
type double struct{ *miniredis.Miniredis }

func (d double) Start() error { return d.Restart() }
func (d double) Kill()        { d.FlushAll(); d.Close() }

// engineCmd: "engine start" runs a Valkey or a Redis that keeps nothing, the double without
// OGP_TEST_VALKEY, and sets $STORE; after "engine kill" it comes back at the same port.
func engineCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || args[0] != "start" && args[0] != "kill" {
		ts.Fatalf("usage: engine start|kill")
	}
	s := sceneOf(ts)
	switch {
	case args[0] == "kill":
		s.engine.Kill()
		return
	case s.engine != nil:
		ts.Check(s.engine.Start())
		return
	case rendezvoustest.HasEngine():
		e, err := rendezvoustest.RunEngine(ts.MkAbs("."), freePort(ts))
		ts.Check(err)
		s.engine = e
	default:
		e := miniredis.NewMiniRedis()
		ts.Check(e.StartAddr("127.0.0.1:" + strconv.Itoa(freePort(ts))))
		s.engine = double{e}
	}
	s.closers = append(s.closers, closerFunc(func() { s.engine.Kill() }))
	ts.Setenv("STORE", "valkey://"+s.engine.Addr()+"/0")
}
