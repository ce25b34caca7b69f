package brake_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/store/sqlite"
)

// BenchmarkRecount is what a start counts again of a day with 200,000 messages of 1,000 peers.
//
//	go test ./core/brake -run XXX -bench Recount -benchtime 3x
func BenchmarkRecount(b *testing.B) {
	const n, peers, age = 200_000, 1000, 20 * time.Hour
	store, err := sqlite.Open(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	c, began := &core.Change{}, time.Now().Add(-age)
	for i := range n {
		m := &core.InboxMessage{At: began.Add(age / n * time.Duration(i)), Status: core.InboxNew, Message: core.Message{Intent: core.IntentMessage, Nonce: core.Nonce(fmt.Sprint(i)),
			ConversationID: fmt.Sprint("c", i%5), Payload: core.Raw(`{"message":"` + strings.Repeat("some words ", 10) + `"}`)}}
		binary.BigEndian.PutUint32(m.Peer[:], uint32(i*7919%peers+1))
		m.ID = ulid.MustNew(ulid.Timestamp(m.At), ulid.DefaultEntropy()).String()
		if c.Inbox = append(c.Inbox, m); len(c.Inbox) == 5000 {
			if err := store.Commit(b.Context(), c); err != nil {
				b.Fatal(err)
			}
			c = &core.Change{}
		}
	}
	line := brake.Line{Peer: core.PublicKey{3: 1}, Intent: core.IntentMessage}
	used := func() int64 {
		var u syscall.Rusage
		if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
			return 0
		}
		return (u.Utime.Nano() + u.Stime.Nano()) / 1e6
	}
	b.ReportAllocs()
	before := used()
	for b.Loop() {
		counts := brake.New(brake.Options{Settings: func() brake.Settings { return brake.Settings{} }})
		if err := counts.Recount(b.Context(), store); err != nil || counts.Used(line).Messages != n/peers {
			b.Fatalf("Recount = %v, counted %+v, want %d messages", err, counts.Used(line), n/peers)
		}
	}
	b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ms/op")
}
