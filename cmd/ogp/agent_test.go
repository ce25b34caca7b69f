package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opengatewayprotocol/ogp/core/control"
)

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

// mcp <name> <tool> [arguments] [flags...]: runs "ogp mcp" for a daemon, calls one tool,
// and writes its text; it fails when the tool does.
func mcpCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: mcp name tool [arguments] [flags...]")
	}
	params := &sdk.CallToolParams{Name: args[1], Arguments: jsontext.Value("{}")}
	var flags []string
	if len(args) > 2 {
		params.Arguments, flags = jsontext.Value(args[2]), args[3:]
	}
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	path, err := lookPath(ts.Getenv("PATH"), "ogp")
	ts.Check(err)
	cmd := exec.Command(path, append([]string{"mcp", "--home", ts.MkAbs(args[0])}, flags...)...)
	cmd.Env = sceneOf(ts).env
	client, err := sdk.NewClient(&sdk.Implementation{Name: "script", Version: "1"}, nil).Connect(ctx, &sdk.CommandTransport{Command: cmd}, nil)
	ts.Check(err)
	defer client.Close()
	res, err := client.CallTool(ctx, params)
	if err == nil && res.IsError {
		err = errors.New(res.Content[0].(*sdk.TextContent).Text)
	}
	if (err != nil) != neg {
		ts.Fatalf("mcp %s: %v", strings.Join(args, " "), err)
	}
	if err != nil {
		fmt.Fprintln(ts.Stdout(), err)
		return
	}
	fmt.Fprintln(ts.Stdout(), res.Content[0].(*sdk.TextContent).Text)
}
