// Package pages keeps what the program's own file takes of memory small.
package pages

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Drop lets go of the program's own pages: at a start the kernel maps nearly all of
// them around those few that are used, and they count as ours from then on. What is used
// again is mapped again, from the page cache. Only a mapping of which no page differs from
// the file is dropped: a linker that fills in addresses at the start (-buildmode=pie, cgo)
// leaves such pages, read-only by now, and they would be lost.
func Drop() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	var start, end uint64 // of the mapping that the lines are about; 0, 0: not to be dropped
	for line := range strings.Lines(string(smaps)) {
		f := strings.Fields(line) // address, permissions, offset, device, inode, path: proc_pid_smaps(5)
		from, to, isRange := strings.Cut(f[0], "-")
		switch {
		case isRange:
			start, end = 0, 0
			if len(f) == 6 && f[5] == program && f[1][1] != 'w' {
				start, _ = strconv.ParseUint(from, 16, 64)
				end, _ = strconv.ParseUint(to, 16, 64)
			}
		case f[0] == "Anonymous:" && f[1] != "0":
			start, end = 0, 0
		case f[0] == "Swap:" && f[1] == "0" && start < end: // which comes later
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
		}
	}
}
