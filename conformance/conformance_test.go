package conformance

import (
	"context"
	"encoding/xml"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// ourGateway serves a gateway of ours that knows nobody.
func ourGateway(t *testing.T) (url string, gw *gateway.Gateway) {
	t.Helper()
	store := memory.New()
	t.Cleanup(func() { store.Close() })
	gw, err := gateway.New(t.Context(), gateway.Options{Signer: keys.Generate(), Settings: ours.Defaults(), Store: store, Transport: silent{}, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gw.Close)
	return serve(t, federation.NewServer(federation.Options{Gateway: gw})), gw
}

// TestRunOurs: our gateway passes every case, twice, and is left as it was.
func TestRunOurs(t *testing.T) {
	url, gw := ourGateway(t)
	for range 2 {
		report, err := Run(t.Context(), url+"/", Options{Level: Hardened})
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Results) != len(Cases()) || !report.OK || report.URL != url || report.Gateway != "test" {
			t.Errorf("%d results of %q at %s, ok %v; want all %d", len(report.Results), report.Gateway, report.URL, report.OK, len(Cases()))
		}
		for _, r := range report.Results {
			if !r.OK {
				t.Errorf("%s (%s): %s", r.Name, r.Promise, r.Problem)
			}
		}
	}
	if peers := gw.Peers(); len(peers) != 0 {
		t.Errorf("the run has left %d peers behind", len(peers))
	}
}

// TestRunFinds: a gateway that says yes to everything, one that answers with
// pages, and nobody at all fail every case but those that ask for just that.
func TestRunFinds(t *testing.T) {
	for what, handler := range map[string]http.HandlerFunc{
		"yes to everything": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write([]byte(`{}`))
		},
		"an error page": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadRequest) },
	} {
		server := httptest.NewServer(handler)
		report, err := Run(t.Context(), server.URL, Options{})
		server.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range report.Results {
			if r.OK && r.Name != "HEAD of the card" {
				t.Errorf("%s: %q passed", what, r.Name)
			}
			if !r.OK && r.Problem == "" {
				t.Errorf("%s: %q failed without a word", what, r.Name)
			}
		}
		if failed := len(report.Failures(true)) + len(report.Failures(false)); failed < len(Cases())-1 || report.OK {
			t.Errorf("%s: %d of %d failed", what, failed, len(Cases()))
		}
		report, err = Run(t.Context(), server.URL, Options{Only: "ping"}) // closed by now
		if err != nil || report.OK || len(report.Results) != 1 {
			t.Errorf("nobody there: %+v, %v; want one failure", report, err)
		}
	}
}

func TestRunErrors(t *testing.T) {
	for _, url := range []string{"", "x", "ftp://example.test", "http://\x00"} {
		if _, err := Run(t.Context(), url, Options{}); err == nil {
			t.Errorf("Run(%q) = nil, want an error", url)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, "http://127.0.0.1:1", Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Run with a context that is done = %v, want Canceled", err)
	}
}

// TestCases: the file is read, every case says why, and no envelope in it would be
// taken for good.
func TestCases(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Cases() {
		if !slices.Contains(Levels, c.Level) {
			t.Errorf("case %q: level %q", c.Name, c.Level)
		}
		if c.Name == "" || c.Why == "" || c.Promise != "field" && !promises[c.Promise] || seen[c.Name] || len(c.Status) == 0 {
			t.Errorf("case %q: want a name of its own, a reason and a promise, have %q, %q", c.Name, c.Why, c.Promise)
		}
		seen[c.Name] = true
		for _, status := range c.Status {
			if c.Method == http.MethodPost && status < 400 {
				t.Errorf("case %q sends an envelope that is taken", c.Name)
			}
		}
	}
}

func TestFill(t *testing.T) {
	r := runner{public: spkiPrefix + strings.Repeat("ab", 32), key: make([]byte, 64)}
	for text, want := range map[string]string{
		"${key}":              r.public,
		"${id}/${short}":      r.public[:32] + "/" + r.public[:16],
		"${repeat:3}":         "xxx",
		"${other} ${now-x} $": "${other} ${now-x} $",
		"{}":                  "{}",
	} {
		if got := r.fill(text); got != want {
			t.Errorf("fill(%q) = %q, want %q", text, got, want)
		}
	}
	if got := r.fill(`${signature:{"id":"${id}"}}`); got != r.sign(`{"id":"`+r.public[:32]+`"}`) {
		t.Errorf("fill(signature) = %q", got)
	}
}

// TestRunEras: the versions in the field get their due: 0.7 speaks the protocol and
// is told what it lets through; one before it holds to the specification; none
// keeps anything of a run.
func TestRunEras(t *testing.T) {
	for _, era := range coretest.Eras {
		t.Run(string(era), func(t *testing.T) {
			t.Parallel() // most of it waits with a body that is too large
			old := coretest.Legacy(t, era)
			report, err := Run(t.Context(), old.URL, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if report.Gateway != string(era) {
				t.Errorf("the gateway is %q", report.Gateway)
			}
			for _, s := range report.Scores {
				good := map[Level]bool{Seeds: era != coretest.H, Field: era.Signed()}[s.Level]
				if (s.Failed == 0) != good || s.Advice == "" {
					t.Errorf("%s: %+v, want no failure: %v", s.Level, s, good)
				}
				if s.Level == Field && (s.Skipped > 0) == era.Signed() {
					t.Errorf("%s: %d cases were kept back", s.Level, s.Skipped)
				}
			}
			if report.OK != era.Signed() {
				t.Errorf("ok %v; failures %+v", report.OK, report.Failures(true))
			}
			if strict, err := Run(t.Context(), old.URL, Options{Level: Hardened}); err != nil || strict.OK {
				t.Errorf("at the level hardened: ok %v, %v", strict.OK, err)
			}
			if kept := old.Peers(); len(kept) != 0 {
				t.Errorf("the run has left %+v behind", kept)
			}
		})
	}
}

// TestJUnit: the report is XML that says the same, whatever a gateway answers.
func TestJUnit(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte("{\"error\":\"\x1b]0;x\x07 <&> ]]> \xff\"}"))
	}))
	defer server.Close()
	report, err := Run(t.Context(), server.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := report.WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	var read struct {
		Suites []struct {
			Name     string `xml:"name,attr"`
			Failures int    `xml:"failures,attr"`
			Cases    []struct {
				Failure *struct{} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(b.String()), &read); err != nil {
		t.Fatal(err)
	}
	for i, s := range report.Scores {
		failures := 0
		for _, c := range read.Suites[i].Cases {
			if c.Failure != nil {
				failures++
			}
		}
		want := s.Failed
		if !s.Counts {
			want = 0
		}
		if failures != want || read.Suites[i].Failures != want || read.Suites[i].Name != string(s.Level) {
			t.Errorf("suite %+v: %d failures, want %d", read.Suites[i].Name, failures, want)
		}
	}
}
