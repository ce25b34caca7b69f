//go:build unix

package daemon

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
