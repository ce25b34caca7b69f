package conformance

import (
	"context"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/scope"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
	"github.com/opengatewayprotocol/ogp/core/web"
)

var list = flag.Bool("list", false, "print every difference from the recorded answers as a line for expectations.json")

// expectation is one difference from a recorded answer, and the promise that
// explains it.
type expectation struct {
	Recording string `json:"recording"` // version
	Name      string `json:"name"`
	Recorded  int    `json:"recorded"` // status
	Ours      int    `json:"ours"`     // status
	Promise   string `json:"promise"`  // of docs/threat-model.md
	Why       string `json:"why"`
}

// given is what an exchange needs to find, beside the defaults of scene.
type given struct {
	Recording string                `json:"recording"`
	Names     []string              `json:"names"`             // of exchanges
	Peers     map[string]core.Trust `json:"peers,omitzero"`    // by name
	Grants    []core.Grant          `json:"grants,omitzero"`   // of the sender
	Levels    map[string]string     `json:"levels,omitzero"`   // of the gateway, by topic
	Intents   []string              `json:"intents,omitzero"`  // custom ones of the gateway
	Personas  []core.Persona        `json:"personas,omitzero"` // of the gateway
	After     []string              `json:"after,omitzero"`    // exchanges that come right before it
}

// silent is a wire on which nobody answers, but for the cards of gateways that
// are there to be checked.
type silent struct{ cards map[string]core.Card }

var errSilent = core.Refuse(core.Unreachable, "nobody is there")

func (s silent) Card(_ context.Context, url string, _ map[string]string) (core.Card, error) {
	if card, ok := s.cards[url]; ok {
		return card, nil
	}
	return core.Card{}, errSilent
}
func (silent) Ping(context.Context, string) (core.Pong, error) { return core.Pong{}, errSilent }
func (silent) Post(context.Context, string, string, []byte) (core.Answer, error) {
	return core.Answer{}, errSilent
}
func (silent) PostURL(context.Context, string, []byte) (core.Answer, error) {
	return core.Answer{}, errSilent
}
func (silent) PollReply(context.Context, string, core.Nonce) (core.Answer, error) {
	return core.Answer{}, errSilent
}

var (
	ports  = map[string]int{"alice": 19701, "bob": 19702, "carol": 19703, "mallory": 19799}
	people = []string{"alice", "bob", "carol"}
)

func urlOf(name string) string { return "http://127.0.0.1:" + strconv.Itoa(ports[name]) }

// isOld reports whether a version is of before 0.4.3, where every topic was open.
func isOld(version string) bool { return strings.HasPrefix(version, "0.2.") }

// scene is a gateway of ours in the place of a recorded one.
type scene struct {
	t   *testing.T
	r   *recording
	now time.Time
	url string
}

// set makes the gateway that answered an exchange: with its key and names, at the
// recorded time, with its peers as they must have stood.
func set(t *testing.T, r *recording, x exchange, g given) *scene {
	t.Helper()
	s := &scene{t: t, r: r, now: x.at}
	settings := ours.Defaults()
	settings.URL, settings.Port, settings.Intents, settings.Personas = urlOf(x.Server), ports[x.Server], g.Intents, g.Personas
	settings.Names = core.Names{DisplayName: strings.ToUpper(x.Server[:1]) + x.Server[1:], Email: x.Server + "@example.test"}
	settings.Levels.Default = scope.LevelOff
	if isOld(r.Version) {
		settings.Levels = scope.Levels{Default: scope.LevelSummary}
	}
	for topic, level := range g.Levels {
		settings.Levels.Topics[topic] = level
	}
	var card core.Card
	if x.Path == federation.PathCard {
		if err := json.Unmarshal([]byte(x.Response), &card); err != nil {
			t.Fatal(err)
		}
		settings.Names.DisplayName, settings.Personas = card.DisplayName, card.Agents
	}
	wire := silent{map[string]core.Card{}}
	store := memory.New()
	t.Cleanup(func() { store.Close() })
	if err := store.Commit(t.Context(), s.state(x, g)); err != nil {
		t.Fatal(err)
	}
	gw, err := gateway.New(t.Context(), gateway.Options{Signer: r.key(t, x.Server), Store: store, Transport: wire, Settings: settings,
		Version: "test", Now: func() time.Time { return s.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gw.Close)
	if card.PeerStatus != nil && card.PeerStatus.HealthState != nil { // they had been seen
		for _, p := range gw.Peers() {
			wire.cards[p.URL] = core.Card{PublicKey: p.Key.String()}
		}
		gw.CheckPeers(t.Context())
	}
	s.url = serve(t, federation.NewServer(federation.Options{Gateway: gw, Now: func() time.Time { return s.now }}))
	return s
}

// serve answers on a port of the loopback address until the test ends.
func serve(t *testing.T, app *web.App) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- app.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return "http://" + ln.Addr().String()
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}

// state is what the gateway remembers.
func (s *scene) state(x exchange, g given) *core.Change {
	change := &core.Change{}
	trusts := map[string]core.Trust{}
	for _, name := range people {
		trusts[name] = core.Approved
	}
	for _, by := range x.Signed {
		switch {
		case strings.HasPrefix(x.Path, federation.PathRequest):
			trusts[by.By] = core.Stranger
		case strings.HasPrefix(x.Path, federation.PathApprove) && strings.Contains(x.Body, `\"approved\":true`):
			trusts[by.By] = core.Requested
		}
	}
	for name, trust := range g.Peers {
		trusts[name] = trust
	}
	for name, trust := range trusts {
		if _, known := ports[name]; !known || name == x.Server || trust == core.Stranger {
			continue
		}
		p := &core.Peer{Key: s.r.key(s.t, name).Public(), Trust: trust, URL: urlOf(name), Since: s.now, RequestedAt: s.now}
		if trust == core.Approved {
			p.ApprovedAt = s.now
			p.Granted = &core.Bundle{Version: core.BundleVersion, Scopes: g.Grants}
			if g.Grants == nil {
				p.Granted.Scopes = append(ours.DefaultGrants(), projectGrants()...)
			}
		}
		if s.r.Version == "0.2.20" {
			p.Label = "127.0.0.1:" + strconv.Itoa(ports[name])
		}
		change.Peers = append(change.Peers, p)
	}
	if nonce, ok := strings.CutPrefix(x.Path, federation.PathReply); ok {
		bob := s.r.key(s.t, "bob").Public()
		change.Outbox = append(change.Outbox, &core.OutboxItem{ID: "01", Peer: bob, Kind: core.OutMessage, State: core.OutSent,
			Nonce: core.Nonce(nonce), Created: s.now, GiveUp: s.now, Message: &core.Message{Nonce: core.Nonce(nonce)}})
		if reply := recordedReply(x); reply != nil {
			change.Replies = append(change.Replies, &core.StoredReply{Nonce: core.Nonce(nonce), Peer: bob, Reply: *reply, At: s.now, Expires: s.now.Add(time.Hour)})
		}
	}
	return change
}

func projectGrants() (out []core.Grant) {
	for _, intent := range []string{"project.join", "project.contribute", "project.query", "project.status"} {
		out = append(out, core.Grant{Intent: intent, Enabled: true})
	}
	return out
}

// recordedReply is the reply that a poll was answered with.
func recordedReply(x exchange) *core.Reply {
	var answer struct {
		Reply *core.Reply `json:"reply"`
	}
	if x.Method != http.MethodGet || json.Unmarshal([]byte(x.Response), &answer) != nil {
		return nil
	}
	return answer.Reply
}

// send plays an exchange's request and returns the answer.
func (s *scene) send(x exchange) (status int, header http.Header, body []byte) {
	s.t.Helper()
	s.now = x.at
	req, err := newRequest(s.t.Context(), x.Method, s.url+x.Path, x.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	for name, value := range x.Headers {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatalf("%s: %v", x.Name, err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, body
}

func readTable(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into, json.RejectUnknownMembers(true)); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// TestReplay plays every recorded exchange to a gateway of ours in the recorded
// one's place. Its answer is the recorded one, or expectations.json names the
// promise that makes it another.
func TestReplay(t *testing.T) {
	var table struct {
		About        string        `json:"about"`
		Expectations []expectation `json:"expectations"`
	}
	var stage struct {
		About string  `json:"about"`
		Given []given `json:"given"`
	}
	readTable(t, "expectations.json", &table)
	readTable(t, "given.json", &stage)
	used, found := make([]bool, len(table.Expectations)), make([]int, len(stage.Given))
	recorded, played := 0, 0
	for _, r := range recordings(t) {
		byName := map[string]exchange{}
		for _, x := range r.Exchanges {
			if _, twice := byName[x.Name]; twice {
				t.Fatalf("%s: two exchanges %q", r.Version, x.Name)
			}
			byName[x.Name] = x
		}
		for _, x := range r.Exchanges {
			recorded++
			t.Run(r.Version+"/"+x.Name, func(t *testing.T) {
				played++
				var g given
				for i, candidate := range stage.Given {
					if candidate.Recording == r.Version && slices.Contains(candidate.Names, x.Name) {
						g = candidate
						found[i]++
					}
				}
				s := set(t, r, x, g)
				for _, name := range g.After {
					before, ok := byName[name]
					if !ok {
						t.Fatalf("given.json: no exchange %q", name)
					}
					_, _, first := s.send(before)
					if before.Body == x.Body { // docs/threat-model.md#l6
						if _, _, again := s.send(x); string(again) != string(first) {
							t.Errorf("the same bytes again: %s, want the same answer %s", again, first)
						}
					}
				}
				status, _, body := s.send(x)
				difference := differs([]byte(x.Response), body)
				if status == x.Status && difference == "" {
					return
				}
				for i, e := range table.Expectations {
					if e.Recording == r.Version && e.Name == x.Name {
						used[i] = true
						if e.Recorded != x.Status || e.Ours != status {
							t.Errorf("%d %s, was %d; expectations.json says %d, was %d", status, body, x.Status, e.Ours, e.Recorded)
						}
						return
					}
				}
				if *list {
					line, err := json.Marshal(expectation{r.Version, x.Name, x.Status, status, "", difference + " | " + string(body)})
					if err != nil {
						t.Fatal(err)
					}
					t.Logf("LIST %s", line)
					return
				}
				t.Errorf("%d %s\nwas %d %s\n%s; no promise in expectations.json explains it", status, body, x.Status, x.Response, difference)
			})
		}
	}
	if recorded < 300 {
		t.Errorf("%d exchanges, want all that were recorded", recorded)
	}
	if played < recorded {
		return // some were chosen by -run: the tables are for all
	}
	for i, e := range table.Expectations {
		if !used[i] {
			t.Errorf("expectations.json: %s %q is not needed: the answers are the same", e.Recording, e.Name)
		}
		if !promises[e.Promise] || e.Why == "" {
			t.Errorf("expectations.json: %s %q names no promise, or no reason: %q", e.Recording, e.Name, e.Promise)
		}
	}
	for i, g := range stage.Given {
		if found[i] != len(g.Names) {
			t.Errorf("given.json: %d of %q found in %s", found[i], g.Names, g.Recording)
		}
	}
}

// promises are those that may explain a difference.
var promises = map[string]bool{"K1": true, "K2": true, "K3": true, "L1": true, "L2": true, "L3": true, "L4": true, "L5": true, "L6": true, "L7": true,
	"T1": true, "T2": true, "T3": true, "T4": true, "T5": true, "T7": true, "T8": true, "T9": true, "T10": true, "T11": true, "T12": true, "T13": true, "R1": true, "R2": true, "N2": true, "N3": true}
