//go:build unix

package service

import "testing"

func TestUnitOfACgroup(t *testing.T) {
	for _, x := range []struct{ cgroup, want string }{
		{"0::/system.slice/ogp.service\n", "-u ogp.service"},
		{"0::/user.slice/user-1000.slice/user@1000.service/app.slice/ogp.service\n", "--user -u ogp.service"},
		{"0::/user.slice/user-1000.slice/session-2.scope\n", ""},
		{"0::/\n", ""}, {"", ""},
	} {
		if got := unitOf(x.cgroup); got != x.want {
			t.Errorf("unitOf(%q) = %q, want %q", x.cgroup, got, x.want)
		}
	}
}

func TestRestart(t *testing.T) {
	for _, x := range []struct {
		managed bool
		unit    string
		pid     int
		want    string
	}{
		{false, "", 17, "by hand"},
		{false, "--user -u gnome-terminal.service", 17, "by hand"}, // where it was typed
		{true, "--user -u ogp.service", 17, "systemctl --user restart ogp.service"},
		{true, "-u ogp.service", 17, "sudo systemctl restart ogp.service"},
		{true, "", 17, "restart its service"},
		{false, "", 1, "restart its container"},
	} {
		if got := Restart("by hand", x.managed, x.unit, x.pid); got != x.want {
			t.Errorf("Restart(%v, %q, %d) = %q, want %q", x.managed, x.unit, x.pid, got, x.want)
		}
	}
}
