//go:build unix

package openclaw

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// relay stands between ogp and OpenClaw. It passes everything on, and it can keep an
// answer back, so that ogp can be killed between what OpenClaw did and what ogp knows.
type relay struct {
	server *httptest.Server
	to     string // OpenClaw

	mu     sync.Mutex // guards the rest
	hold   chan post  // gets the next answer that holds holds, which then never reaches ogp
	holds  string
	lost   chan post // gets the next answers, as many as losing says, of which ogp sees none
	losing int
	seen   []post
}

// post is one request that OpenClaw answered.
type post struct {
	path, key string
	status    int
	runID     string
}

func (p post) String() string {
	return fmt.Sprintf("%s key %s: %d run %s", p.path, p.key, p.status, p.runID)
}

func newRelay(t *testing.T, to string) *relay {
	r := &relay{to: to}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

func (r *relay) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	// What was sent goes on also when the sender has gone: OpenClaw has it by then.
	body, err := io.ReadAll(in.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	out, err := http.NewRequest(in.Method, r.to+in.URL.Path, bytes.NewReader(body))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	for _, name := range []string{"Authorization", "Content-Type", "Idempotency-Key"} {
		if v := in.Header.Get(name); v != "" {
			out.Header.Set(name, v)
		}
	}
	resp, err := http.DefaultClient.Do(out)
	if err != nil {
		panic(http.ErrAbortHandler) // down behind the relay is down before it
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	p := post{path: in.URL.Path, key: in.Header.Get("Idempotency-Key"), status: resp.StatusCode}
	var said struct {
		RunID string `json:"runId"`
	}
	if json.Unmarshal(answer, &said) == nil {
		p.runID = said.RunID
	}
	r.mu.Lock()
	r.seen = append(r.seen, p)
	var hold chan post
	if r.hold != nil && bytes.Contains(answer, []byte(r.holds)) {
		hold, r.hold = r.hold, nil
	}
	var lost chan post
	if r.losing > 0 {
		r.losing--
		lost = r.lost
	}
	r.mu.Unlock()
	if lost != nil {
		lost <- p
		panic(http.ErrAbortHandler)
	}
	if hold != nil {
		hold <- p
		<-in.Context().Done() // until the sender has gone
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	if after := resp.Header.Get("Retry-After"); after != "" {
		w.Header().Set("Retry-After", after)
	}
	w.WriteHeader(resp.StatusCode)
	w.Write(answer)
}

// swallow keeps the next answer back. The channel gets what it was.
func (r *relay) swallow() <-chan post { return r.swallowThat("") }

// swallowThat keeps the next answer back that holds a text.
func (r *relay) swallowThat(holds string) <-chan post {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold, r.holds = make(chan post, 1), holds
	return r.hold
}

// lose loses the next n answers. The channel gets what they were.
func (r *relay) lose(n int) <-chan post {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost, r.losing = make(chan post, n), n
	return r.lost
}

// posts are those with a key, of which OpenClaw took them.
func (r *relay) posts(key string) []post {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []post
	for _, p := range r.seen {
		if p.key == key {
			out = append(out, p)
		}
	}
	return out
}
