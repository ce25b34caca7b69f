package ogp_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDeploy: what deploy/ sets are settings of ours, at our ports.
func TestDeploy(t *testing.T) {
	example, err := os.ReadFile("config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	known, table := map[string]bool{"OGP_HOME": true, "OGP_KEY_PASSPHRASE": true}, ""
	for _, line := range strings.Split(string(example), "\n") {
		if m := regexp.MustCompile(`^#?\[([a-z0-9_.]+)\]$`).FindStringSubmatch(line); m != nil {
			table = m[1] + "."
		} else if m := regexp.MustCompile(`^#?([a-z0-9_]+) = `).FindStringSubmatch(line); m != nil {
			known["OGP_"+strings.ToUpper(strings.ReplaceAll(table+m[1], ".", "_"))] = true
		}
	}
	for file, wants := range map[string][]string{
		"deploy/cluster/compose.yaml": {"OGP_STORE", "OGP_KEY_PASSPHRASE_FILE", "18790", "172.30.54.11}", "172.30.54.12}", "172.30.54.13}"},
		"deploy/cluster/nginx.conf":   {"172.30.54.11:18790", "172.30.54.12:18790", "172.30.54.13:18790 max_fails=0", "listen 18790"},
		"deploy/kubernetes/ogp.yaml":  {"kind: Deployment", "kind: PodDisruptionBudget", "containerPort: 18790", "9290/readyz", "9290/healthz", `maxSurge: "100%"`},
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %s", file, want)
			}
		}
		if strings.Contains(string(text), "\t") {
			t.Errorf("%s has a tab", file)
		}
		// The image has two programs, and no shell.
		for _, run := range regexp.MustCompile(`exec (?:-T )?(?:one|deployment/ogp --) (\w+)|exec: \{command: \[(\w+)`).FindAllStringSubmatch(string(text), -1) {
			if program := run[1] + run[2]; program != "ogp" && program != "wget" {
				t.Errorf("%s runs %s, which the image does not have", file, program)
			}
		}
		for _, name := range regexp.MustCompile(`OGP_[A-Z0-9_]+`).FindAllString(string(text), -1) {
			if !known[name] {
				t.Errorf("%s: %s is no setting", file, name)
			}
		}
	}
}
