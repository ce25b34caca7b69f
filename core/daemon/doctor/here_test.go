package doctor

import (
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// What is counted no further than it takes is not shown as all there is.
func TestDoctorSaysAtLeast(t *testing.T) {
	for n, want := range map[int]string{core.ManyWait - 1: "19999 notices waiting", core.ManyWait: "at least 20000 notices waiting"} {
		r := api.Report{}
		d := Doctor{Depths: func() (core.Depths, error) { return core.Depths{Deliveries: n}, nil }}
		d.Queues(t.Context(), &r)
		if len(r) != 1 || !strings.Contains(r[0].Text, want) {
			t.Errorf("%d notices: %+v, want %q", n, r, want)
		}
	}
}

// Not in parallel: the machine's limits are the same for all.
func TestDoctorNamesFullDisksAndTables(t *testing.T) {
	disk, files := diskFreeOf, descriptorsOf
	defer func() { diskFreeOf, descriptorsOf = disk, files }()
	for _, c := range []struct {
		free        uint64
		used, most  uint64
		disk, table string
	}{
		{50 << 20, 990, 1000, api.CheckFail, api.CheckFail},
		{500 << 20, 850, 1000, api.CheckWarn, api.CheckWarn},
		{50 << 30, 10, 256, api.CheckOK, api.CheckWarn},
		{50 << 30, 10, 1024, api.CheckOK, api.CheckOK},
	} {
		diskFreeOf = func(string) (uint64, uint64, bool) { return c.free, 100 << 30, true }
		descriptorsOf = func() (uint64, uint64, bool) { return c.used, c.most, true }
		r := api.Report{}
		d := Doctor{Dir: "/state"}
		d.Disk(t.Context(), &r)
		d.Descriptors(t.Context(), &r)
		if len(r) != 2 || r[0].State != c.disk || r[1].State != c.table {
			t.Errorf("%d bytes, %d of %d files: %+v, want %s and %s", c.free, c.used, c.most, r, c.disk, c.table)
			continue
		}
		for _, one := range r {
			if (one.State == api.CheckOK) != (one.Fix == "") {
				t.Errorf("%s is %s, fix %q", one.Name, one.State, one.Fix)
			}
		}
	}
}
