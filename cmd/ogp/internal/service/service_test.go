package service

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the units in testdata anew")

// golden compares a text with a file, or writes it there.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what the program makes; go test ./cmd/ogp/internal/service -update writes it anew. It makes:\n%s", path, got)
	}
}

var specs = map[string]spec{
	"user":   {Program: "/usr/local/bin/ogp", Home: "/home/ada/.ogp"},
	"odd":    {Program: `/opt/a "b" $c/ogp`, Home: `/home/ada/100% mine`, Config: "/etc/ogp/config.toml"},
	"long":   {Program: "/usr/local/bin/ogp", Home: "/home/ada/" + strings.Repeat("0123456789", 10)},
	"system": {Program: "/usr/local/bin/ogp", Home: systemHome, System: true},
	"run-as": {Program: "/usr/local/bin/ogp", Home: "/srv/ogp", System: true, RunAs: "ada", LowPort: true},
}

func TestServiceTexts(t *testing.T) {
	t.Setenv("TMPDIR", "/tmp")
	dir := "testdata"
	for name, spec := range specs {
		golden(t, filepath.Join(dir, name+".service"), systemdUnit(spec))
	}
	plist := launchdPlist(specs["run-as"])
	golden(t, filepath.Join(dir, "run-as.plist"), plist)
	for _, text := range []string{plist, launchdPlist(spec{Program: "/a&b/<ogp>", Home: "/h"})} {
		for dec := xml.NewDecoder(strings.NewReader(text)); ; {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("the plist is no XML: %v\n%s", err, text)
			}
		}
	}
	if got, want := textFor("windows", specs["user"]), `"/usr/local/bin/ogp" "start" "--home" "/home/ada/.ogp" "--log-to-file"`+"\n"; got != want {
		t.Errorf("on Windows: %s, want %s", got, want)
	}
}

// TestUnitsAreHardened holds what a unit must say, and the one thing that it must
// not: plugins are compiled to machine code.
func TestUnitsAreHardened(t *testing.T) {
	for name, spec := range specs {
		unit := systemdUnit(spec)
		for _, want := range []string{"Type=notify", "WatchdogSec=60", "Restart=on-failure", "NoNewPrivileges=yes", "ProtectSystem=strict",
			"RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX", "SystemCallFilter=@system-service", "MemoryDenyWriteExecute=no"} {
			if !strings.Contains(unit, "\n"+want+"\n") {
				t.Errorf("%s: no %s in:\n%s", name, want, unit)
			}
		}
		if writes := strings.Contains(unit, "\nReadWritePaths="); writes == (name == "system") {
			t.Errorf("%s: the state directory is not writable as it should:\n%s", name, unit)
		}
	}
}

// TestUnitsAreWhatSystemdReads asks systemd itself, where it is installed.
func TestUnitsAreWhatSystemdReads(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed here")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, spec := range specs {
		spec.Program = self // it must be there
		path := filepath.Join(t.TempDir(), "ogp.service")
		if err := os.WriteFile(path, []byte(systemdUnit(spec)), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput()
		if err != nil || strings.Contains(string(out), "ogp.service") {
			t.Errorf("%s: systemd-analyze verify: %v\n%s%s", name, err, out, systemdUnit(spec))
		}
	}
}
