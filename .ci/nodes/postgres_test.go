package nodes

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
)

// database is a PostgreSQL of the test's own.
type database struct {
	bin, data, url string
	port           int
	as             []string // runs a command as somebody who is not root
}

func newDatabase(t *testing.T) *database {
	t.Helper()
	d := &database{bin: os.Getenv("OGP_NODES_PG_BIN"), port: ports.Free(t)}
	dir, err := os.MkdirTemp("", "ogp-pg-")
	if err != nil {
		t.Fatal(err)
	}
	d.data = filepath.Join(dir, "db")
	if os.Getuid() == 0 { // PostgreSQL does not run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		if err := os.Chown(dir, uid, -1); err != nil {
			t.Fatal(err)
		}
		d.as = []string{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"}
	}
	d.run(t, "initdb", "-D", d.data, "-U", "postgres", "-A", "trust")
	d.start(t)
	t.Cleanup(func() {
		d.run(t, "pg_ctl", "-D", d.data, "-m", "immediate", "stop")
		os.RemoveAll(dir)
	})
	d.url = fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", d.port)
	return d
}

func (d *database) start(t *testing.T) {
	t.Helper()
	d.run(t, "pg_ctl", "-D", d.data, "-w", "-l", filepath.Join(filepath.Dir(d.data), "log"),
		"-o", fmt.Sprintf("-c listen_addresses=127.0.0.1 -c port=%d -c unix_socket_directories= -c fsync=off", d.port), "start")
}

// restart stops the database as an operator ("fast") or a crash ("immediate") does, and
// starts it again.
func (d *database) restart(t *testing.T, how string) {
	t.Helper()
	d.run(t, "pg_ctl", "-D", d.data, "-m", how, "stop")
	d.start(t)
}

func (d *database) run(t *testing.T, program string, args ...string) {
	t.Helper()
	line := append(append([]string{}, d.as...), filepath.Join(d.bin, program))
	cmd := exec.Command(line[0], append(line[1:], args...)...)
	cmd.Dir = "/"
	if program == "initdb" { // pg_ctl leaves a server behind that would keep our pipes open
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
		return
	}
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(filepath.Join(filepath.Dir(d.data), "log"))
		t.Errorf("%s %v: %v\n%s", program, args, err, text)
	}
}
