package sqlite

import (
	"context"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// Dump calls f with all replies, all of Meta and all of KV.
func (s *Store) Dump(ctx context.Context, f func(*core.Change) error) error {
	var all core.Change
	err := s.search(ctx, `SELECT data FROM replies ORDER BY seq`, nil, func(row scanner) error {
		r, err := decodeRow[core.StoredReply](row)
		all.Replies = append(all.Replies, r)
		return err
	})
	if err == nil {
		all.Meta = map[string]string{}
		err = s.search(ctx, `SELECT key, value FROM meta WHERE key <> ?`, []any{lookedKey}, func(row scanner) error {
			var key, value string
			err := row.Scan(&key, &value)
			all.Meta[key] = value
			return err
		})
	}
	if err == nil {
		err = s.search(ctx, `SELECT plugin, key, value FROM kv`, nil, func(row scanner) error {
			kv := core.KVPut{}
			err := row.Scan(&kv.Plugin, &kv.Key, &kv.Value)
			if kv.Value == nil {
				kv.Value = []byte{}
			}
			all.KV = append(all.KV, kv)
			return err
		})
	}
	if err != nil {
		return s.wrap("read", err)
	}
	return rows.InPieces(all, f)
}
