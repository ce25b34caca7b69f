package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
)

// mostLeases bounds the leases that Nodes reads.
const mostLeases = 1000

// Beat says that this node is there, and what it says of itself. Nodes that were not heard
// of for an hour are forgotten. Where it cannot be said, Health says so. It returns what time
// it is in the database.
func (s *Store) Beat(ctx context.Context, key core.PublicKey, data string) (now time.Time, err error) {
	if err := s.open(ctx); err != nil {
		return now, err
	}
	limited, cancel := context.WithTimeout(ctx, beatTime)
	defer cancel()
	var least int
	err = s.pool.QueryRow(limited, `WITH gone AS (DELETE FROM nodes WHERE seen < now() - interval '1 hour')
		INSERT INTO nodes (id, key, started, seen, data, schema) VALUES ($1, $2, now(), now(), $3, $4)
		ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, data = excluded.data RETURNING (SELECT least FROM head), clock_timestamp()`, s.node, key[:], data, s.knows).Scan(&least, &now)
	if err == nil && least > s.knows {
		err = s.tooOld(core.Unavailable, least)
	}
	if err = s.wrap("say that this node is there", unavailable(err)); ctx.Err() == nil && err != nil {
		s.writer.Feel(err) // before a message finds it out
		s.queue.Poke()     // the writer looks when that is over
	}
	return now, err
}

// Nodes reads all nodes, with the leases that they have.
func (s *Store) Nodes(ctx context.Context) ([]core.NodeRecord, error) {
	leases := map[string][]string{}
	_, err := listOf(ctx, &s.reader, "leases", func(row pgx.Rows) (struct{}, error) {
		var name, holder string
		err := row.Scan(&name, &holder)
		leases[holder] = append(leases[holder], name)
		return struct{}{}, err
	}, `SELECT name, holder FROM leases WHERE until >= now() ORDER BY name LIMIT $1`, mostLeases)
	if err != nil {
		return nil, err
	}
	return listOf(ctx, &s.reader, "nodes", func(row pgx.Rows) (core.NodeRecord, error) {
		var n core.NodeRecord
		var key []byte
		var ago float64
		if err := row.Scan(&n.ID, &key, &n.Started, &n.Seen, &ago, &n.Data); err != nil {
			return n, err
		}
		n.Key, n.Ago, n.Leases = core.PublicKey(key), time.Duration(ago*float64(time.Second)), leases[n.ID]
		return n, nil
	}, `SELECT id, key, started, seen, extract(epoch FROM now() - seen)::float8, data FROM nodes ORDER BY started, id`)
}

// Leave says that this node is gone.
func (s *Store) Leave(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	_, err := s.pool.Exec(ctx, `DELETE FROM nodes WHERE id = $1`, s.node)
	return s.wrap("say that this node is gone", err)
}
