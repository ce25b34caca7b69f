package memory

import (
	"bytes"
	"context"
	"maps"

	"github.com/opengatewayprotocol/ogp/core"
)

// Dump calls f with all replies, all of Meta and all of KV.
func (s *Store) Dump(ctx context.Context, f func(*core.Change) error) error {
	unlock, err := s.open(ctx)
	if err != nil {
		return err
	}
	c := &core.Change{Meta: maps.Clone(s.meta)}
	for _, r := range s.replies {
		c.Replies = append(c.Replies, cloneStoredReply(r))
	}
	for k, v := range s.kv {
		c.KV = append(c.KV, core.KVPut{Plugin: k.plugin, Key: k.key, Value: bytes.Clone(v)})
	}
	unlock()
	return f(c)
}
