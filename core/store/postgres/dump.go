package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
)

// dumpPiece is how many rows a piece of Dump has.
const dumpPiece = 500

// Dump calls f with all replies, all of Meta and all of KV.
func (s *Store) Dump(ctx context.Context, f func(*core.Change) error) error {
	c, n := &core.Change{}, 0
	flush := func(more int) error {
		if n += more; n == 0 || more > 0 && n < dumpPiece {
			return nil
		}
		piece := c
		c, n = &core.Change{}, 0
		return f(piece)
	}
	replies, err := listOf(ctx, &s.reader, "replies", decoded[core.StoredReply], `SELECT data FROM replies ORDER BY nonce, peer, ours`)
	if err != nil {
		return err
	}
	for _, r := range replies {
		c.Replies = append(c.Replies, r)
		if err := flush(1); err != nil {
			return err
		}
	}
	meta, err := listOf(ctx, &s.reader, "meta", func(row pgx.Rows) (pair [2][]byte, err error) {
		err = row.Scan(&pair[0], &pair[1])
		return pair, err
	}, `SELECT key, value FROM meta WHERE key <> $1`, []byte(schemaKey))
	if err != nil {
		return err
	}
	c.Meta = map[string]string{}
	for _, pair := range meta {
		c.Meta[string(pair[0])] = string(pair[1])
	}
	values, err := listOf(ctx, &s.reader, "values", func(row pgx.Rows) (kv core.KVPut, err error) {
		var plugin, key []byte
		kv.Value = []byte{}
		err = row.Scan(&plugin, &key, &kv.Value)
		kv.Plugin, kv.Key = string(plugin), string(key)
		return kv, err
	}, `SELECT plugin, key, value FROM kv`)
	if err != nil {
		return err
	}
	for _, kv := range values {
		c.KV = append(c.KV, kv)
		if err := flush(1); err != nil {
			return err
		}
	}
	n++ // for Meta
	return flush(0)
}
