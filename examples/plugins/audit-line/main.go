// Command audit-line writes one line for each message to the gateway's log and never has an
// opinion. It is a program without any SDK: JSON on standard input, JSON on standard output.
//
// It stays alive between calls (stdio = "lines" in its plugin.toml), and gets one line for
// each call.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

// input is what the line shows: who, what and how much, and none of what was said.
type input struct {
	Now  string `json:"now"`
	Peer struct {
		Alias       string `json:"alias"`
		Fingerprint string `json:"fingerprint"`
	} `json:"peer"`
	Message struct {
		Intent string `json:"intent"`
		Bytes  int64  `json:"textBytes"`
	} `json:"message"`
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 64<<10), 4<<20)
	out := bufio.NewWriter(os.Stdout)
	for in.Scan() {
		if len(in.Bytes()) == 0 {
			continue
		}
		var i input
		if err := json.Unmarshal(in.Bytes(), &i); err != nil {
			fmt.Fprintln(os.Stderr, "audit-line: no such input:", err)
			os.Exit(1)
		}
		reason := fmt.Sprintf("audit: %s from %s (%s), %d bytes", i.Message.Intent, i.Peer.Alias, i.Peer.Fingerprint, i.Message.Bytes)
		fmt.Fprintln(os.Stderr, i.Now, reason)
		answer, err := json.Marshal(map[string]string{"decision": "abstain", "reason": reason})
		if err != nil {
			fmt.Fprintln(os.Stderr, "audit-line:", err)
			os.Exit(1)
		}
		fmt.Fprintf(out, "%s\n", answer)
		if err := out.Flush(); err != nil {
			os.Exit(1)
		}
	}
}
