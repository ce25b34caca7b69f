package main

import (
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// hangup <name>: sends SIGHUP to a daemon, which goes on.
func hangupCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hangup name")
	}
	ts.Check(sceneOf(ts).process(ts, args[0]).cmd.Process.Signal(syscall.SIGHUP))
}
