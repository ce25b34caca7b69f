package main

import (
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opengatewayprotocol/ogp/core/coretest"
)

// keypair <cert file> <key file> <name>: makes a certificate of loopback that
// signs itself.
func keyPairCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: keypair cert key name")
	}
	ts.Check(coretest.WriteKeyPair(ts.MkAbs(args[0]), ts.MkAbs(args[1]), args[2]))
}
