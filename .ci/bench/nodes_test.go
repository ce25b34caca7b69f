package bench

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/store/postgres"
	"github.com/opengatewayprotocol/ogp/core/store/sqlite"
)

// nodesPeers are the peers of each case of TestNodes, and nodesSenders how many write at once,
// with how many messages each time.
const nodesPeers = 1000

var nodesSenders = []struct{ senders, messages int }{{1, 600}, {32, 4000}, {256, 8000}}

// TestNodes prints what one, two and three daemons on one PostgreSQL accept, beside one on
// SQLite, in turns within one run: the CPU of the daemons, of the database and of the driver for
// each message, beside ed25519.Verify, and how many cores all of them had. It judges nothing.
//
//	OGP_BENCH_RUNS  rounds; 3
func TestNodes(t *testing.T) {
	program, database := os.Getenv("OGP_BENCH_OGP"), os.Getenv("OGP_TEST_POSTGRES")
	if program == "" || database == "" {
		t.Skip("OGP_BENCH_OGP names no program, or OGP_TEST_POSTGRES no database: .ci/bench-nodes has both")
	}
	found := map[string][]shares{}
	for range number("OGP_BENCH_RUNS", 3) {
		for nodes := range 4 {
			t.Run(nodesName(nodes), func(t *testing.T) { // what it has started ends with it
				b := startNodes(t, program, database, nodes)
				for _, load := range nodesSenders {
					name := fmt.Sprintf("%s, senders %d", b.name, load.senders)
					found[name] = append(found[name], b.measure(t, load.senders, load.messages))
				}
			})
		}
	}
	for _, load := range nodesSenders {
		for nodes := range 4 {
			name := fmt.Sprintf("%s, senders %d", nodesName(nodes), load.senders)
			all := found[name]
			if len(all) == 0 { // -run names another case
				continue
			}
			slices.SortFunc(all, func(a, b shares) int { return int(1000 * (a.ratio() - b.ratio())) })
			best, mid := all[0], all[len(all)/2]
			t.Logf("%-24s %5.0f/s  daemons %4.0f us (%4.0f)  database %4.0f us (%4.0f)  ratio %5.2f + %5.2f (%5.2f + %5.2f)  driver %4.0f us  cores %.1f  p50 %6.2f ms  p99 %6.1f ms  a commit: %5.1f messages, %4.1f ms  RSS %d MiB",
				name, mid.rate, mid.cpu, best.cpu, mid.database, best.database, mid.cpu/mid.verify, mid.database/mid.verify, best.cpu/best.verify, best.database/best.verify,
				mid.driver, (mid.cpu+mid.database+mid.driver)*mid.rate/1e6, mid.p50, mid.p99, mid.batch, mid.commit, mid.rss>>20)
		}
	}
}

func nodesName(nodes int) string {
	switch nodes {
	case 0:
		return "SQLite"
	case 1:
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", nodes)
}

// shares is a result with who has used what, for each message.
type shares struct {
	result
	database, driver float64 // us of CPU
	batch            float64 // messages in a commit of a daemon
	commit           float64 // ms that one takes
}

func (s shares) ratio() float64 { return (s.cpu + s.database) / s.verify }

// several are the daemons of one case, and their database.
type several struct {
	*gateway
	name    string
	metrics []string
	server  int // the process that started the database's others; 0: there is none
	next    int // of the messages
}

// startNodes starts so many daemons on a database of their own; 0: one on SQLite.
func startNodes(t *testing.T, program, server string, nodes int) *several {
	s := &several{gateway: newGateway(256), name: nodesName(nodes)}
	home := newHome(t)
	if _, err := keys.Create(filepath.Join(home, "key.json"), nil); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(home, "key.json"))
	if err != nil {
		t.Fatal(err)
	}
	config := ""
	var store core.Store
	if nodes == 0 {
		store, err = sqlite.Open(t.Context(), home)
	} else {
		var address string
		address, s.server = newDatabase(t, server)
		config = fmt.Sprintf("store = %q\n", address)
		store, err = postgres.Open(t.Context(), address)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.makePeers(t, store, nodesPeers)
	config += "[delivery]\nnotifiers = [\"log\"]\n"
	for i := range max(1, nodes) {
		if i > 0 {
			home = newHome(t)
			if err := os.WriteFile(filepath.Join(home, "key.json"), key, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		listen := fmt.Sprintf("127.0.0.1:%d", ports.Free(t))
		s.metrics = append(s.metrics, "http://"+listen)
		s.launch(t, program, home, config+fmt.Sprintf("[metrics]\nlisten = %q\n", listen))
	}
	for _, one := range s.metrics {
		for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			resp, err := s.client.Get(one + "/readyz")
			if err == nil {
				resp.Body.Close()
			}
			if err == nil && resp.StatusCode == http.StatusOK {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("a node is not ready: %v\n%s", err, s.tail())
			}
		}
	}
	return s
}

// newDatabase makes a database for one case, and finds the process of its server.
func newDatabase(t *testing.T, server string) (address string, pid int) {
	conn, err := pgx.Connect(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var fsync string
	var backend int
	if err := conn.QueryRow(t.Context(), "SELECT current_setting('fsync'), pg_backend_pid()").Scan(&fsync, &backend); err != nil {
		t.Fatal(err)
	}
	if fsync != "on" {
		t.Fatal("the database has fsync = off: what it says here would be of no use; .ci/bench-nodes switches it on")
	}
	name := "bench_" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	_, _, pid = cpuOf(t, backend)
	return u.String(), pid
}

// databaseCPU is what all processes of the server have used, those that have ended, too.
func (s *several) databaseCPU(t *testing.T) (all time.Duration) {
	if s.server == 0 {
		return 0
	}
	own, ended, _ := cpuOf(t, s.server)
	all = own + ended
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", s.server))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range strings.Fields(string(list)) {
		pid, _ := strconv.Atoi(field)
		if _, err := os.Stat("/proc/" + field); err == nil {
			own, _, _ := cpuOf(t, pid)
			all += own
		}
	}
	return all
}

// commits are the changes that the daemons have kept, in how many transactions, and how long
// those took together.
func (s *several) commits(t *testing.T) (transactions, seconds float64) {
	for _, one := range s.metrics {
		resp, err := s.client.Get(one + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			n, _ := strconv.ParseFloat(value, 64)
			switch name {
			case "ogp_store_batches_total":
				transactions += n
			case "ogp_store_commit_seconds_total":
				seconds += n
			}
		}
	}
	return transactions, seconds
}

// measure has so many senders write at once.
func (s *several) measure(t *testing.T, senders, messages int) (r shares) {
	seal := func(n int) [][]byte {
		bodies := make([][]byte, n)
		for i := range bodies {
			bodies[i] = s.message(t, s.next)
			s.next++
		}
		return bodies
	}
	s.send(t, senders, seal(max(messages/5, senders)))
	bodies := seal(messages)
	time.Sleep(2 * core.LazyWait)
	driver := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	r.verify = costOfVerify(t)
	transactions, seconds := s.commits(t)
	daemons, database, own, began := s.cpu(t), s.databaseCPU(t), driver(), time.Now()
	times := s.send(t, senders, bodies)
	r.rate, own = float64(messages)/time.Since(began).Seconds(), driver()-own
	more, longer := s.commits(t)
	time.Sleep(2 * core.LazyWait) // what was told is written down
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(messages) }
	r.cpu, r.database, r.driver = each(s.cpu(t)-daemons), each(s.databaseCPU(t)-database), each(own)
	r.batch, r.commit = float64(messages)/(more-transactions), 1000*(longer-seconds)/(more-transactions)
	r.verify = (r.verify + costOfVerify(t)) / 2
	slices.Sort(times)
	r.p50, r.p99 = float64(times[len(times)/2])/1e6, float64(times[len(times)*99/100])/1e6
	r.rss = s.rss()
	return r
}
