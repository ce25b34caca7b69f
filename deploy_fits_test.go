package ogp_test

import (
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/opengatewayprotocol/ogp/core/config"
)

// composed is what of a Compose file has to fit together.
type composed struct {
	Services map[string]struct {
		Build, Image string
		Environment  map[string]string
		Secrets      []string
		Volumes      []string
		Ports        []string
		Networks     map[string]struct {
			Address netip.Addr `yaml:"ipv4_address"`
		}
	}
	Secrets  map[string]struct{ File string }
	Volumes  map[string]any
	Networks map[string]struct {
		IPAM struct {
			Config []struct {
				Subnet netip.Prefix
				Range  netip.Prefix `yaml:"ip_range"`
			}
		}
	}
}

func readDeploy(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// imageEnv is the environment that our image has by itself.
func imageEnv(t *testing.T) []string {
	t.Helper()
	block := regexp.MustCompile(`(?m)^ENV ((?:.*\\\n)*.*)$`).FindStringSubmatch(readDeploy(t, "Dockerfile"))
	if block == nil {
		t.Fatal("the Dockerfile has no ENV")
	}
	return strings.Fields(strings.ReplaceAll(block[1], "\\\n", " "))
}

// loaded is the configuration that the program makes of an environment in the image.
func loaded(t *testing.T, env []string) *config.Config {
	t.Helper()
	c, _, warnings, err := config.Load(config.Options{Home: t.TempDir(), Env: append(imageEnv(t), env...), Strict: true})
	if err != nil || len(warnings) > 0 {
		t.Fatalf("the program does not take this environment: %v, %v", err, warnings)
	}
	return c
}

// TestComposeFits: what the Compose file says of the nodes, nginx and the database is one and
// the same, and what the program takes.
func TestComposeFits(t *testing.T) {
	const dir = "deploy/cluster"
	var f composed
	if err := yaml.Unmarshal([]byte(readDeploy(t, dir+"/compose.yaml")), &f); err != nil {
		t.Fatal(err)
	}
	nginx := readDeploy(t, dir+"/nginx.conf")
	network := f.Networks["default"].IPAM.Config[0]
	database := f.Services["database"].Environment
	var upstream []string
	for name, s := range f.Services {
		for _, v := range s.Volumes {
			if from, _, _ := strings.Cut(v, ":"); strings.HasPrefix(from, "./") {
				readDeploy(t, filepath.Join(dir, from))
			} else if _, ok := f.Volumes[from]; !ok {
				t.Errorf("%s: no volume %s is declared", name, from)
			}
		}
		if s.Image != "ogp" {
			continue
		}
		if readDeploy(t, filepath.Join(dir, s.Build, "Dockerfile")); !slices.Contains(s.Volumes, name+":/var/lib/ogp") {
			t.Errorf("%s: its state has no volume of its own: %v", name, s.Volumes)
		}
		var env []string
		for k, v := range s.Environment {
			env = append(env, k+"="+v)
		}
		c := loaded(t, env)
		at := s.Networks["default"].Address
		upstream = append(upstream, netip.AddrPortFrom(at, uint16(c.DaemonPort)).String())
		if !network.Subnet.Contains(at) || network.Range.Contains(at) {
			t.Errorf("%s: %v is not in %v, or may be another's: %v", name, at, network.Subnet, network.Range)
		}
		if !slices.Contains(c.Network.TrustedProxies, network.Subnet) {
			t.Errorf("%s: nginx is none of its trusted proxies, %v", name, c.Network.TrustedProxies)
		}
		if secret := strings.TrimPrefix(c.Key.PassphraseFile, "/run/secrets/"); !slices.Contains(s.Secrets, secret) || f.Secrets[secret].File == "" {
			t.Errorf("%s: no secret is at %s", name, c.Key.PassphraseFile)
		}
		at2, err := url.Parse(s.Environment["OGP_STORE"])
		if err != nil {
			t.Fatal(err)
		}
		password, _ := at2.User.Password()
		if at2.Hostname() != "database" || at2.User.Username() != database["POSTGRES_USER"] || password != database["POSTGRES_PASSWORD"] || at2.Path != "/"+database["POSTGRES_DB"] {
			t.Errorf("%s: its store is not the database that is here", name)
		}
		if !strings.Contains(nginx, "client_max_body_size "+strconv.Itoa(c.Limits.BodyBytes>>10)+"k;") {
			t.Errorf("nginx does not let %d bytes through, which a gateway takes", c.Limits.BodyBytes)
		}
		own, err := url.Parse(c.GatewayURL)
		if err != nil || !strings.Contains(nginx, "listen "+own.Port()+";") || !slices.Contains(f.Services["nginx"].Ports, own.Host+":"+own.Port()) {
			t.Errorf("%s: nothing listens at its gateway URL %s: %v", name, c.GatewayURL, f.Services["nginx"].Ports)
		}
	}
	var served []string
	for _, m := range regexp.MustCompile(`(?m)^\s*server (\S+:\d+) `).FindAllStringSubmatch(nginx, -1) {
		served = append(served, m[1])
	}
	slices.Sort(upstream)
	if slices.Sort(served); len(upstream) != 3 || !slices.Equal(upstream, served) {
		t.Errorf("nginx hands on to %v, and the nodes are at %v", served, upstream)
	}
}

// object is what of a Kubernetes object has to fit together.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Selector     yaml.Node
		MinAvailable int `yaml:"minAvailable"`
		Ports        []struct {
			TargetPort int `yaml:"targetPort"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				SecurityContext struct {
					User int `yaml:"runAsUser"`
				} `yaml:"securityContext"`
				Containers []container
				Volumes    []struct{ Name string }
			}
		}
	}
}

type container struct {
	Args []string
	Env  []struct {
		Name, Value string
		ValueFrom   struct {
			SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
		} `yaml:"valueFrom"`
	}
	Ports []struct {
		ContainerPort int `yaml:"containerPort"`
	}
	Startup, Liveness, Readiness probe
	VolumeMounts                 []struct {
		Name string
		Path string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type probe struct{ Exec struct{ Command []string } }

// UnmarshalYAML reads the probes by their own names.
func (c *container) UnmarshalYAML(n *yaml.Node) error {
	type plain container
	var probes struct {
		Startup   probe `yaml:"startupProbe"`
		Liveness  probe `yaml:"livenessProbe"`
		Readiness probe `yaml:"readinessProbe"`
	}
	if err := n.Decode(&probes); err != nil {
		return err
	}
	err := n.Decode((*plain)(c))
	c.Startup, c.Liveness, c.Readiness = probes.Startup, probes.Liveness, probes.Readiness
	return err
}

// TestKubernetesFits: names, ports, probes, users and variables of the Kubernetes objects are
// one another's, the image's and the program's.
func TestKubernetesFits(t *testing.T) {
	text := readDeploy(t, "deploy/kubernetes/ogp.yaml")
	objects := map[string]object{}
	for _, part := range strings.Split(text, "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(part), &o); err != nil {
			t.Fatal(err)
		}
		objects[o.Kind] = o
	}
	pod := objects["Deployment"].Spec.Template
	for _, kind := range []string{"Service", "PodDisruptionBudget", "Deployment"} {
		labels := map[string]string{}
		if n := objects[kind].Spec.Selector; kind == "Service" {
			_ = n.Decode(&labels)
		} else {
			match := struct {
				Labels map[string]string `yaml:"matchLabels"`
			}{}
			_ = n.Decode(&match)
			labels = match.Labels
		}
		if len(labels) == 0 {
			t.Errorf("the %s selects nothing", kind)
		}
		for k, v := range labels {
			if pod.Metadata.Labels[k] != v {
				t.Errorf("the %s selects %s=%s, which the pods do not have: %v", kind, k, v, pod.Metadata.Labels)
			}
		}
	}
	c := pod.Spec.Containers[0]
	var env []string
	for _, e := range c.Env {
		if ref := e.ValueFrom.SecretKeyRef; ref.Name != "" {
			made := regexp.MustCompile(`create secret generic ` + ref.Name + ` (?:.*\\\n.*)*--from-literal=` + ref.Key + `=`)
			if e.Value = "postgres://ogp:password@db.example.org/ogp"; !made.MatchString(text) {
				t.Errorf("nothing says how the secret %s gets %s", ref.Name, ref.Key)
			}
		}
		env = append(env, e.Name+"="+e.Value)
	}
	conf := loaded(t, env)
	if port := conf.DaemonPort; c.Ports[0].ContainerPort != port || objects["Service"].Spec.Ports[0].TargetPort != port {
		t.Errorf("the program listens on %d, the container names %v and the Service %v", port, c.Ports, objects["Service"].Spec.Ports)
	}
	for path, probes := range map[string][]probe{"/healthz": {c.Startup, c.Liveness}, "/readyz": {c.Readiness}} {
		for _, p := range probes {
			if got := p.Exec.Command; len(got) == 0 || got[0] != "wget" || got[len(got)-1] != "http://"+conf.Metrics.Listen+path {
				t.Errorf("a probe is %q, want wget of %s at %s", got, path, conf.Metrics.Listen)
			}
		}
	}
	if user := "USER " + strconv.Itoa(pod.Spec.SecurityContext.User) + ":"; !strings.Contains(readDeploy(t, "Dockerfile"), user) {
		t.Errorf("the image does not run as %s", user)
	}
	home := ""
	for _, e := range env {
		home, _ = strings.CutPrefix(e, "OGP_HOME=")
		if home != e {
			break
		}
	}
	mount := c.VolumeMounts[0]
	if !strings.HasPrefix(home, mount.Path+"/") || pod.Spec.Volumes[0].Name != mount.Name {
		t.Errorf("its state %q is in no volume: %+v", home, c.VolumeMounts)
	}
	replicas := regexp.MustCompile(`kubectl scale deployment/` + objects["Deployment"].Metadata.Name + ` --replicas=(\d)`).FindStringSubmatch(text)
	if replicas == nil || objects["PodDisruptionBudget"].Spec.MinAvailable >= int(replicas[1][0]-'0') {
		t.Errorf("of %v pods, %d are always there: none can be drained", replicas, objects["PodDisruptionBudget"].Spec.MinAvailable)
	}
}

// TestDeployCommands: the commands of ours that deploy/ names are in the program.
func TestDeployCommands(t *testing.T) {
	manual := readDeploy(t, "docs/cli.md")
	for _, file := range []string{"deploy/cluster/compose.yaml", "deploy/kubernetes/ogp.yaml"} {
		found := regexp.MustCompile(`(?:one|--) ogp ((?:[a-z]+ ?)+)(--[a-z]+)?`).FindAllStringSubmatch(readDeploy(t, file), -1)
		if len(found) == 0 {
			t.Errorf("%s names no command", file)
		}
		for _, m := range found {
			_, section, ok := strings.Cut(manual, "ogp "+strings.TrimSpace(m[1])+"\n")
			if section, _, _ = strings.Cut(section, "\n## "); !ok || !strings.Contains(section, m[2]) {
				t.Errorf("%s: there is no \"ogp %s%s\"", file, m[1], m[2])
			}
		}
	}
}
