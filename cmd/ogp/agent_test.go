package main

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opengatewayprotocol/ogp/core/control"
)

func init() { moreCommands["agentcall"] = agentCallCmd }

// agentcall <name> <method> [params]: calls a method on the agent's socket of a daemon,
// and writes its answer, or fails with what it said.
func agentCallCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: agentcall name method [params]")
	}
	params := jsontext.Value("{}")
	if len(args) > 2 {
		params = jsontext.Value(args[2])
	}
	var answer jsontext.Value
	err := control.Dial(control.AgentPath(ts.MkAbs(args[0]))).Call(context.Background(), args[1], params, &answer)
	if (err != nil) != neg {
		ts.Fatalf("agentcall %s %s: %v %s", args[0], args[1], err, answer)
	}
	if err != nil {
		fmt.Fprintf(ts.Stderr(), "%v\n", err)
	}
	fmt.Fprintf(ts.Stdout(), "%s\n", answer)
}
