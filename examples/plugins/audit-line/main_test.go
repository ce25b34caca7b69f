package main

import (
	"io"
	"os"
	"testing"
)

func TestOneLineForEachLine(t *testing.T) {
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	got, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	oldIn, oldOut := os.Stdin, os.Stdout
	os.Stdin, os.Stdout = in, out
	defer func() { os.Stdin, os.Stdout = oldIn, oldOut }()
	line, err := os.ReadFile("cases/message.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Write(append(append(line, '\n'), line...)); err != nil {
		t.Fatal(err)
	}
	feed.Close()
	main()
	out.Close()
	text, err := io.ReadAll(got)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"decision":"abstain","reason":"audit: message from bob (K5QX-3ZVA), 120 bytes"}` + "\n"
	if string(text) != want+want {
		t.Errorf("answers = %swant twice %s", text, want)
	}
}
