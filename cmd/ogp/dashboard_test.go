package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const dashboardFile = "../../deploy/grafana/ogp.json"

// TestDashboard holds every query of the Grafana dashboard against what a real gateway and
// a real rendezvous serve under /metrics: each metric is there, and has each label that the
// query or its legend names.
func TestDashboard(t *testing.T) {
	queries := append(dashboardQueries(t), alertQueries(t)...)
	gateway, rendezvous := observed(t)
	var problems []string
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		served := scrape(t, gateway)
		for name, labels := range scrape(t, rendezvous) {
			served.add(name, slices.Collect(maps.Keys(labels)))
		}
		problems = nil
		for _, q := range queries {
			for _, problem := range served.lacks(q) {
				problems = append(problems, fmt.Sprintf("%s: %s\n\t%s", q.panel, problem, q.expr))
			}
		}
		if len(problems) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// TestDashboardQueries shows that the reader of queries sees metrics and labels, and that
// what is not served is found out.
func TestDashboardQueries(t *testing.T) {
	served := families{}
	served.add("ogp_peers", []string{"state"})
	served.add("ogp_envelopes_total", []string{"kind", "result"})
	for expr, want := range map[string]string{
		`sum(ogp_peers{state="approved",instance=~"$instance"})`:                            "",
		`sum by (result) (rate(ogp_envelopes_total{kind!="ogp_none{}"}[$__rate_interval]))`: "",
		`count(ogp_peers == 0) or vector(0)`:                                                "",
		`max(ogp_peers) by (state) / on (instance) group_left sum(ogp_peers offset 5m)`:     "",
		`sum(ogp_friends)`:                              "no metric ogp_friends",
		`sum by (colour) (ogp_peers)`:                   "no label colour on ogp_peers",
		`ogp_peers{mood="good"}`:                        "no label mood on ogp_peers",
		`rate(ogp_envelopes_total[5m]) / ogp_nothing`:   "no metric ogp_nothing",
		`suum(ogp_peers)`:                               "no function suum",
		`sum(up{job="ogp"} * 1e3)`:                      "no metric up",
		`sum by (state) (rate(ogp_envelopes_total[5m])`: "no label state on ogp_envelopes_total",
	} {
		got := served.lacks(dashboardQuery{expr: expr})
		if want == "" && len(got) > 0 || want != "" && !slices.Contains(got, want) {
			t.Errorf("%s\n\tlacks %q, want %q", expr, got, want)
		}
	}
	if got := served.lacks(dashboardQuery{expr: "ogp_peers", legend: "{{verdict}}"}); len(got) != 1 {
		t.Errorf("a legend with a label that is not there: %q, want one problem", got)
	}
}

// dashboardQuery is one query of a panel or of a variable of the dashboard.
type dashboardQuery struct{ panel, expr, legend string }

func dashboardQueries(t *testing.T) []dashboardQuery {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(dashboardFile))
	if err != nil {
		t.Fatal(err)
	}
	type panel struct {
		ID      int    `json:"id"`
		Type    string `json:"type"`
		Title   string `json:"title"`
		Targets []struct {
			Expr   string `json:"expr"`
			Legend string `json:"legendFormat"`
		} `json:"targets"`
		Panels []jsontext.Value `json:"panels"`
	}
	var dashboard struct {
		Panels     []panel `json:"panels"`
		Templating struct {
			List []struct {
				Name       string `json:"name"`
				Type       string `json:"type"`
				Definition string `json:"definition"`
			} `json:"list"`
		} `json:"templating"`
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	var out []dashboardQuery
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q has the id %d of another", p.Title, p.ID)
		}
		ids[p.ID] = true
		switch {
		case len(p.Panels) > 0:
			t.Errorf("row %q hides panels, whose queries this test does not read", p.Title)
		case p.Type != "row" && len(p.Targets) == 0:
			t.Errorf("panel %q has no query", p.Title)
		}
		for _, target := range p.Targets {
			out = append(out, dashboardQuery{p.Title, target.Expr, target.Legend})
		}
	}
	for _, v := range dashboard.Templating.List {
		if v.Type == "query" {
			metric, ok := strings.CutPrefix(v.Definition, "label_values(")
			metric, rest, comma := strings.Cut(metric, ",")
			if !ok || !comma {
				t.Errorf("variable %s: %s is no label_values(metric, label)", v.Name, v.Definition)
			}
			out = append(out, dashboardQuery{"variable " + v.Name, metric, "{{" + strings.Trim(rest, " )") + "}}"})
		}
	}
	if len(out) < 30 {
		t.Fatalf("%d queries in %s, want at least 30", len(out), dashboardFile)
	}
	return out
}

// alertQueries are those of the alert rules. A label of a summary has to be there, too.
func alertQueries(t *testing.T) (out []dashboardQuery) {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash("../../deploy/prometheus/ogp.rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	alert := regexp.MustCompile(`(?m)^      - alert: (\w+)\n        expr: (.+)\n(?:        for: \w+\n)?        labels: .*\n        annotations: \{summary: "(.*)"\}$`)
	for _, m := range alert.FindAllStringSubmatch(string(text), -1) {
		summary := regexp.MustCompile(`\{\{ \$labels\.(\w+) \}\}`).ReplaceAllString(m[3], "{{$1}}")
		out = append(out, dashboardQuery{"alert " + m[1], m[2], strings.ReplaceAll(summary, "{{ $value }}", "")})
	}
	if n := strings.Count(string(text), "- alert:"); len(out) != n || n < 10 {
		t.Fatalf("%d of %d alerts are read", len(out), n)
	}
	return out
}

// families are the names of metrics with the labels that they have.
type families map[string]map[string]bool

func (f families) add(name string, labels []string) {
	if f[name] == nil {
		f[name] = map[string]bool{}
	}
	for _, l := range labels {
		f[name][l] = true
	}
}

var (
	sampleLine   = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? \S+$`)
	labelName    = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"`)
	promString   = regexp.MustCompile(`"(\\.|[^"\\])*"`)
	promSelector = regexp.MustCompile(`\{[^}]*\}`)
	promRange    = regexp.MustCompile(`\[[^\]]*\]|\boffset\s+\S+`)
	promGrouping = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\b\s*(\([^)]*\))?`)
	promWord     = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*(\s*\()?`)
	promNumber   = regexp.MustCompile(`\b[0-9][0-9.eE]*\b`)
	legendLabel  = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)
)

// promFunctions are those of PromQL that the dashboard uses.
var promFunctions = []string{"sum", "max", "min", "count", "rate", "increase", "vector", "time", "clamp_min", "absent", "max_over_time"}

// addedByPrometheus are the labels that Prometheus adds to all that it scrapes.
var addedByPrometheus = []string{"instance", "job"}

// lacks says what a query needs and is not there. Each label has to be on each metric of
// the query, which is more than PromQL asks and what a panel is easier to read for.
func (f families) lacks(q dashboardQuery) []string {
	var metrics, labels, problems []string
	expr := q.expr
	for _, m := range labelName.FindAllStringSubmatch(stringless(expr), -1) {
		labels = append(labels, m[1])
	}
	expr = promString.ReplaceAllString(expr, `""`)
	expr = promRange.ReplaceAllString(promSelector.ReplaceAllString(expr, " "), " ")
	for _, m := range promGrouping.FindAllStringSubmatch(expr, -1) {
		for _, l := range strings.Split(strings.Trim(m[2], "()"), ",") {
			if l = strings.TrimSpace(l); l != "" {
				labels = append(labels, l)
			}
		}
	}
	for _, m := range legendLabel.FindAllStringSubmatch(q.legend, -1) {
		labels = append(labels, m[1])
	}
	expr = promNumber.ReplaceAllString(promGrouping.ReplaceAllString(expr, " "), " ")
	for _, w := range promWord.FindAllString(expr, -1) {
		name := strings.TrimRight(w, " (")
		switch {
		case slices.Contains([]string{"and", "or", "unless", "bool"}, name):
		case strings.HasSuffix(w, "("):
			if !slices.Contains(promFunctions, name) {
				problems = append(problems, "no function "+name)
			}
		default:
			metrics = append(metrics, name)
		}
	}
	if len(metrics) == 0 {
		problems = append(problems, "no metric at all")
	}
	for _, m := range metrics {
		if f[m] == nil {
			problems = append(problems, "no metric "+m)
			continue
		}
		for _, l := range labels {
			if !f[m][l] && !slices.Contains(addedByPrometheus, l) {
				problems = append(problems, "no label "+l+" on "+m)
			}
		}
	}
	return problems
}

// stringless empties the strings of an expression.
func stringless(expr string) string { return promString.ReplaceAllString(expr, `""`) }

// observed runs a rendezvous and a gateway with one of everything that the metrics tell of,
// and returns where they are read.
func observed(t *testing.T) (gateway, rendezvous string) {
	t.Helper()
	port := func() string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		return ln.Addr().String()
	}
	dir, err := os.MkdirTemp("", "ogp") // short, for the control socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	public, gateway, door, rendezvous := port(), port(), port(), port()
	run := func(env []string, args ...string) {
		path, err := exec.LookPath("ogp")
		if err != nil {
			t.Fatal(err)
		}
		log, err := os.Create(filepath.Join(dir, args[0]+".log"))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		cmd := exec.Command(path, args...)
		cmd.Env = append([]string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "SystemRoot=" + os.Getenv("SystemRoot"), "OGP_HOME=" + filepath.Join(dir, args[0])}, env...)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
			if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
				t.Logf("ogp %s:\n%s", strings.Join(args, " "), text)
			}
		})
	}
	run(nil, "rendezvous", "--listen", door, "--metrics-listen", rendezvous)
	run([]string{"OGP_METRICS_LISTEN=" + gateway, "OGP_LISTEN=127.0.0.1", "OGP_DAEMON_PORT=" + public[strings.LastIndex(public, ":")+1:],
		"OGP_NETWORK_ALLOW_PRIVATE=127.0.0.0/8", "OGP_RENDEZVOUS_ENABLED=true", "OGP_RENDEZVOUS_URL=http://" + door,
		"OGP_OPENCLAW_URL=http://" + public, "OGP_OPENCLAW_HOOKS_TOKEN=a-token-for-the-test"}, "start")
	// A message and a registration that are refused, so that there is one of each to count.
	eventually(t, func(ctx context.Context) error { return postRubbish(ctx, "http://"+public+"/federation/message") })
	eventually(t, func(ctx context.Context) error { return postRubbish(ctx, "http://"+door+"/register") })
	return "http://" + gateway + "/metrics", "http://" + rendezvous + "/metrics"
}

func eventually(t *testing.T, do func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := do(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func postRubbish(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{"no":"message"}`))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// scrape reads what is served, by name.
func scrape(t *testing.T, url string) families {
	t.Helper()
	var text []byte
	eventually(t, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, resp.Status)
		}
		text, err = io.ReadAll(resp.Body)
		return err
	})
	out := families{}
	for _, line := range strings.Split(string(text), "\n") {
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			continue // a comment
		}
		var labels []string
		for _, l := range labelName.FindAllStringSubmatch(stringless(m[2]), -1) {
			labels = append(labels, l[1])
		}
		out.add(m[1], labels)
	}
	if runtime.GOOS != "linux" { // elsewhere the library knows less about the process
		for _, name := range []string{"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "process_max_fds"} {
			out.add(name, nil)
		}
	}
	return out
}
