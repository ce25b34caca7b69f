package main

import (
	"strings"

	"github.com/opengatewayprotocol/ogp/sdk"
)

// kept is how far a message is: with a task at work, or answered. An answer is kept for as
// long as its event may come again.
type kept struct {
	task   string
	since  int64 // when it began, in milliseconds
	reply  sdk.Value
	tokens int64
}

const prefix = "event/"

func (k kept) keep(event string) error {
	o := new(sdk.Object).TextIf("task", k.task).Int("since", k.since).Int("tokens", k.tokens)
	if k.reply.Exists() {
		o.Value("reply", k.reply)
	}
	err := sdk.KVSet(prefix+event, o.JSON())
	if ce, ok := err.(*sdk.CallError); ok && ce.Code == sdk.CallLimit && makeRoom(event) {
		err = sdk.KVSet(prefix+event, o.JSON())
	}
	return err
}

func recall(event string) (k kept, err error) {
	text, ok, err := sdk.KVGet(prefix + event)
	if err != nil || !ok {
		return k, err
	}
	v, err := sdk.Parse(text)
	return kept{v.Get("task").Text(), v.Get("since").Int(), v.Get("reply"), v.Get("tokens").Int()}, err
}

func forget(event string) { _ = sdk.KVDelete(prefix + event) }

// lives is for how long a gateway may tell of an event, in milliseconds: it gives up after
// 3 days, if nothing else is set.
const lives = 8 * 24 * 3600 * 1000

// sweep forgets what is older than any event that may still come.
func sweep(event string) {
	keys, _ := sdk.KVList(prefix)
	for _, key := range keys {
		if made(strings.TrimPrefix(key, prefix))+lives >= made(event) {
			return // they are sorted by time
		}
		_ = sdk.KVDelete(key)
	}
}

// makeRoom forgets the oldest tenth, but never what is asked for now.
func makeRoom(event string) bool {
	keys, _ := sdk.KVList(prefix)
	n := 0
	for _, key := range keys[:(len(keys)+9)/10] {
		if key != prefix+event && sdk.KVDelete(key) == nil {
			n++
		}
	}
	return n > 0
}

// made is when an event happened, in milliseconds: the first ten characters of its ULID.
func made(event string) (ms int64) {
	if len(event) < 10 {
		return 0
	}
	for i := range 10 {
		ms = ms<<5 | int64(max(0, strings.IndexByte("0123456789ABCDEFGHJKMNPQRSTVWXYZ", event[i])))
	}
	return ms
}
