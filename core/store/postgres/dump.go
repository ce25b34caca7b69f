package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// Dump calls f with all replies, all of Meta and all of KV.
func (s *Store) Dump(ctx context.Context, f func(*core.Change) error) (err error) {
	all := core.Change{Meta: map[string]string{}}
	all.Replies, err = listOf(ctx, &s.reader, "replies", decoded[core.StoredReply], `SELECT data FROM replies ORDER BY nonce, peer, ours`)
	if err != nil {
		return err
	}
	_, err = listOf(ctx, &s.reader, "meta", func(row pgx.Rows) (_ struct{}, err error) {
		var key, value []byte
		err = row.Scan(&key, &value)
		all.Meta[string(key)] = string(value)
		return struct{}{}, err
	}, `SELECT key, value FROM meta WHERE key <> $1`, []byte(schemaKey))
	if err != nil {
		return err
	}
	all.KV, err = listOf(ctx, &s.reader, "values", func(row pgx.Rows) (kv core.KVPut, err error) {
		var plugin, key []byte
		kv.Value = []byte{}
		err = row.Scan(&plugin, &key, &kv.Value)
		kv.Plugin, kv.Key = string(plugin), string(key)
		return kv, err
	}, `SELECT plugin, key, value FROM kv`)
	if err != nil {
		return err
	}
	return rows.InPieces(all, f)
}
