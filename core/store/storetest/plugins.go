package storetest

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

func meta(t *testing.T, s core.Store) {
	commit(t, s, &core.Change{Meta: map[string]string{"a": "1", "empty": ""}}, &core.Change{Meta: map[string]string{"a": "2", "b": "3"}})
	for k, want := range map[string]string{"a": "2", "b": "3", "empty": ""} {
		equal(t, must(s.Meta(t.Context(), k))(t), want)
	}
}

func kv(t *testing.T, s core.Store) {
	ctx := t.Context()
	puts := func(plugin string, keys ...string) (c core.Change) {
		for _, k := range keys {
			c.KV = append(c.KV, core.KVPut{Plugin: plugin, Key: k, Value: []byte(plugin + k)})
		}
		return c
	}
	one := puts("p", "a", "a/", "a/1", "a/2", "a0", "b", "", "a/\xff", "\xff\xff", "%", "a%", "_")
	two := puts("q", "a/1", "z")
	commit(t, s, &one, &two)
	equal(t, must(s.KV(ctx, "p", "a/1"))(t), []byte("pa/1"))
	equal(t, must(s.KV(ctx, "q", "a/1"))(t), []byte("qa/1"))
	equal(t, must(s.KV(ctx, "p", ""))(t), []byte("p"))
	_, err := s.KV(ctx, "q", "b")
	refused(t, err, core.NotFound)
	equal(t, must(s.KVList(ctx, "p", "a/"))(t), map[string]int{"a/": 3, "a/1": 4, "a/2": 4, "a/\xff": 4})
	equal(t, must(s.KVList(ctx, "p", "\xff"))(t), map[string]int{"\xff\xff": 3})
	equal(t, must(s.KVList(ctx, "p", "%"))(t), map[string]int{"%": 2})
	equal(t, must(s.KVList(ctx, "q", ""))(t), map[string]int{"a/1": 4, "z": 2})
	equal(t, must(s.KVList(ctx, "nobody", ""))(t), map[string]int{})
	if all := must(s.KVList(ctx, "p", ""))(t); len(all) != 12 {
		t.Errorf("%d keys, want 12", len(all))
	}
	commit(t, s, &core.Change{KV: []core.KVPut{{Plugin: "p", Key: "a", Value: []byte("new")}, {Plugin: "p", Key: "b"}, {Plugin: "p", Key: "a/1", Value: []byte{}}}})
	equal(t, must(s.KV(ctx, "p", "a"))(t), []byte("new"))
	_, err = s.KV(ctx, "p", "b")
	refused(t, err, core.NotFound)
	if v := must(s.KV(ctx, "p", "a/1"))(t); v == nil || len(v) != 0 {
		t.Errorf("KV = %#v, want an empty value", v)
	}
	// The last write of a change holds.
	commit(t, s, &core.Change{KV: []core.KVPut{{Plugin: "p", Key: "c", Value: []byte("1")}, {Plugin: "p", Key: "c"}, {Plugin: "p", Key: "c", Value: []byte("2")}}})
	equal(t, must(s.KV(ctx, "p", "c"))(t), []byte("2"))
}
