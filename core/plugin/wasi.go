package plugin

import (
	"crypto/rand"
	"encoding/binary"
	"math"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// wasiModule is WASI preview 1, as far as a guest without files, environment and sockets can use it: standard
// streams, its arguments, a clock where it may have one, sleep, randomness and exit. It is written here, and not
// taken from wazero, so that there is no file system code to reach at all, and so that every function counts
// its work and looks at the deadline.
const wasiModule = "wasi_snapshot_preview1"

// WASI errno values.
const (
	wasiOK     = 0
	wasiBadF   = 8
	wasiInval  = 28
	wasiNoSys  = 52
	wasiSPipe  = 70
	maxIOVs    = 1024
	maxPolls   = 256
	charDevice = 2 // file type
)

// fakeStart is when the clock of a guest without a clock begins.
var fakeStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// wasiFuncs are the functions of WASI preview 1, with their types.
var wasiFuncs = map[string]hostFunc{
	"args_get":                {"ii:i", counted(argsGet)},
	"args_sizes_get":          {"ii:i", counted(argsSizesGet)},
	"clock_res_get":           {"ii:i", counted(clockResGet)},
	"clock_time_get":          {"iIi:i", counted(clockTimeGet)},
	"environ_get":             {"ii:i", answer(wasiOK)},
	"environ_sizes_get":       {"ii:i", counted(environSizesGet)},
	"fd_advise":               {"iIIi:i", answer(wasiBadF)},
	"fd_allocate":             {"iII:i", answer(wasiBadF)},
	"fd_close":                {"i:i", stream(func(*instance, api.Module, []uint64) int { return wasiOK })},
	"fd_datasync":             {"i:i", answer(wasiBadF)},
	"fd_fdstat_get":           {"ii:i", stream(fdstatGet)},
	"fd_fdstat_set_flags":     {"ii:i", stream(func(*instance, api.Module, []uint64) int { return wasiOK })},
	"fd_fdstat_set_rights":    {"iII:i", answer(wasiBadF)},
	"fd_filestat_get":         {"ii:i", stream(filestatGet)},
	"fd_filestat_set_size":    {"iI:i", answer(wasiBadF)},
	"fd_filestat_set_times":   {"iIIi:i", answer(wasiBadF)},
	"fd_pread":                {"iiiIi:i", answer(wasiBadF)},
	"fd_prestat_dir_name":     {"iii:i", answer(wasiBadF)},
	"fd_prestat_get":          {"ii:i", answer(wasiBadF)},
	"fd_pwrite":               {"iiiIi:i", answer(wasiBadF)},
	"fd_read":                 {"iiii:i", fdRead},
	"fd_readdir":              {"iiiIi:i", answer(wasiBadF)},
	"fd_renumber":             {"ii:i", answer(wasiBadF)},
	"fd_seek":                 {"iIii:i", stream(func(*instance, api.Module, []uint64) int { return wasiSPipe })},
	"fd_sync":                 {"i:i", answer(wasiBadF)},
	"fd_tell":                 {"ii:i", stream(func(*instance, api.Module, []uint64) int { return wasiSPipe })},
	"fd_write":                {"iiii:i", fdWrite},
	"path_create_directory":   {"iii:i", answer(wasiBadF)},
	"path_filestat_get":       {"iiiii:i", answer(wasiBadF)},
	"path_filestat_set_times": {"iiiiIIi:i", answer(wasiBadF)},
	"path_link":               {"iiiiiii:i", answer(wasiBadF)},
	"path_open":               {"iiiiiIIii:i", answer(wasiBadF)},
	"path_readlink":           {"iiiiii:i", answer(wasiBadF)},
	"path_remove_directory":   {"iii:i", answer(wasiBadF)},
	"path_rename":             {"iiiiii:i", answer(wasiBadF)},
	"path_symlink":            {"iiiii:i", answer(wasiBadF)},
	"path_unlink_file":        {"iii:i", answer(wasiBadF)},
	"poll_oneoff":             {"iiii:i", pollOneoff},
	"proc_exit":               {"i:", procExit},
	"proc_raise":              {"i:i", answer(wasiNoSys)},
	"random_get":              {"ii:i", randomGet},
	"sched_yield":             {":i", answer(wasiOK)},
	"sock_accept":             {"iii:i", answer(wasiBadF)},
	"sock_recv":               {"iiiiii:i", answer(wasiBadF)},
	"sock_send":               {"iiiii:i", answer(wasiBadF)},
	"sock_shutdown":           {"ii:i", answer(wasiBadF)},
}

// counted is a function whose work is the same whatever it is asked. f gives its errno.
func counted(f func(*instance, api.Module, []uint64) int) func(*instance, api.Module, []uint64) {
	return func(in *instance, mod api.Module, s []uint64) {
		in.enter(mod, 0)
		s[0] = uint64(f(in, mod, s))
	}
}

// answer is a function that always answers the same.
func answer(errno int) func(*instance, api.Module, []uint64) {
	return counted(func(*instance, api.Module, []uint64) int { return errno })
}

// stream is a function on a file descriptor, of which there are three.
func stream(f func(*instance, api.Module, []uint64) int) func(*instance, api.Module, []uint64) {
	return counted(func(in *instance, mod api.Module, s []uint64) int {
		if uint32(s[0]) > 2 {
			return wasiBadF
		}
		return f(in, mod, s)
	})
}

func put32(mod api.Module, what string, ptr uint32, v uint32) {
	binary.LittleEndian.PutUint32(view(mod, what, ptr, 4), v)
}

func put64(mod api.Module, what string, ptr uint32, v uint64) {
	binary.LittleEndian.PutUint64(view(mod, what, ptr, 8), v)
}

// args are what a program finds in its arguments: its name and the hook.
func (in *instance) args() []string {
	if in.v.kind.once {
		return []string{"plugin", string(in.hook)}
	}
	return []string{"plugin"}
}

func argsSizesGet(in *instance, mod api.Module, s []uint64) int {
	size := 0
	for _, a := range in.args() {
		size += len(a) + 1
	}
	put32(mod, "args_sizes_get", uint32(s[0]), uint32(len(in.args())))
	put32(mod, "args_sizes_get", uint32(s[1]), uint32(size))
	return wasiOK
}

func argsGet(in *instance, mod api.Module, s []uint64) int {
	argv, buf := uint32(s[0]), uint32(s[1])
	for _, a := range in.args() {
		put32(mod, "args_get", argv, buf)
		copy(view(mod, "args_get", buf, uint32(len(a))+1), a+"\x00")
		argv, buf = argv+4, buf+uint32(len(a))+1
	}
	return wasiOK
}

func environSizesGet(_ *instance, mod api.Module, s []uint64) int {
	put32(mod, "environ_sizes_get", uint32(s[0]), 0)
	put32(mod, "environ_sizes_get", uint32(s[1]), 0)
	return wasiOK
}

func clockResGet(_ *instance, mod api.Module, s []uint64) int {
	put64(mod, "clock_res_get", uint32(s[1]), uint64(time.Microsecond))
	return wasiOK
}

// tell reads one of the guest's clocks in nanoseconds: 0 is the wall's, any other one only goes forward.
func (in *instance) tell(id uint32) int64 {
	switch {
	case !in.clock():
		in.fake += time.Microsecond // so that a loop that waits for time to pass ends
		return fakeStart.UnixNano() + int64(in.fake)
	case id == 0:
		return time.Now().UnixNano()
	}
	return int64(time.Since(in.v.loaded)) + 1
}

func clockTimeGet(in *instance, mod api.Module, s []uint64) int {
	put64(mod, "clock_time_get", uint32(s[2]), uint64(in.tell(uint32(s[0]))))
	return wasiOK
}

func fdstatGet(_ *instance, mod api.Module, s []uint64) int {
	b := view(mod, "fd_fdstat_get", uint32(s[1]), 24)
	clear(b)
	b[0] = charDevice
	binary.LittleEndian.PutUint64(b[8:], 1<<1|1<<6) // rights: fd_read, fd_write
	return wasiOK
}

func filestatGet(_ *instance, mod api.Module, s []uint64) int {
	b := view(mod, "fd_filestat_get", uint32(s[1]), 64)
	clear(b)
	b[16] = charDevice
	return wasiOK
}

func fdWrite(in *instance, mod api.Module, s []uint64) {
	fd, iovs, n := uint32(s[0]), uint32(s[1]), uint32(s[2])
	in.enter(mod, int(min(n, maxIOVs))*8)
	if fd != 1 && fd != 2 {
		s[0] = wasiBadF
		return
	}
	if n > maxIOVs {
		s[0] = wasiInval
		return
	}
	written := 0
	for i := range n {
		iov := view(mod, "fd_write", iovs+8*i, 8)
		b := view(mod, "fd_write", binary.LittleEndian.Uint32(iov), binary.LittleEndian.Uint32(iov[4:]))
		in.spend(mod, int64(len(b))/64)
		if fd == 2 {
			in.stderr.write(b)
			in.v.log.stream("stderr", in.hook, b)
		} else {
			in.writeStdout(b)
		}
		written += len(b)
	}
	put32(mod, "fd_write", uint32(s[3]), uint32(min(written, math.MaxUint32)))
	s[0] = wasiOK
}

func (in *instance) writeStdout(b []byte) {
	if !in.v.kind.prints {
		in.v.log.stream("stdout", in.hook, b)
		return
	}
	if len(in.stdout)+len(b) > maxOutput {
		stop(Limit, "an output of more than %d bytes", maxOutput)
	}
	in.stdout = append(in.stdout, b...)
}

func fdRead(in *instance, mod api.Module, s []uint64) {
	fd, iovs, n := uint32(s[0]), uint32(s[1]), uint32(s[2])
	in.enter(mod, int(min(n, maxIOVs))*8)
	if fd != 0 {
		s[0] = wasiBadF
		return
	}
	if n > maxIOVs {
		s[0] = wasiInval
		return
	}
	if in.lines != nil && len(in.stdin) == 0 && !in.lines.next(in) {
		panic(errEnded)
	}
	read := 0
	for i := range n {
		iov := view(mod, "fd_read", iovs+8*i, 8)
		dst := view(mod, "fd_read", binary.LittleEndian.Uint32(iov), binary.LittleEndian.Uint32(iov[4:]))
		k := copy(dst, in.stdin)
		in.stdin = in.stdin[k:]
		read += k
		in.spend(mod, int64(k)/64)
		if k < len(dst) {
			break
		}
	}
	put32(mod, "fd_read", uint32(s[3]), uint32(read))
	s[0] = wasiOK
}

func randomGet(in *instance, mod api.Module, s []uint64) {
	in.enter(mod, 0)
	b := view(mod, "random_get", uint32(s[0]), uint32(s[1]))
	for len(b) > 0 { // some 0.4 ns a byte: in pieces, so that the deadline holds
		n := min(len(b), 4096)
		rand.Read(b[:n])
		in.spend(mod, int64(n)/2)
		b = b[n:]
	}
	s[0] = wasiOK
}

func procExit(in *instance, mod api.Module, s []uint64) { panic(&exit{uint32(s[0])}) }

// pollOneoff waits for the first of some clocks; streams are always ready.
func pollOneoff(in *instance, mod api.Module, s []uint64) {
	subs, out, n := uint32(s[0]), uint32(s[1]), uint32(s[2])
	in.enter(mod, int(min(n, maxPolls))*80)
	if n == 0 || n > maxPolls {
		s[0] = wasiInval
		return
	}
	sub := func(i uint32) []byte { return view(mod, "poll_oneoff", subs+48*i, 48) }
	wait, ready := int64(math.MaxInt64), false
	left := func(b []byte) int64 { // until a clock's time
		d := int64(min(binary.LittleEndian.Uint64(b[24:]), math.MaxInt64))
		if b[40]&1 != 0 { // absolute
			d -= in.tell(binary.LittleEndian.Uint32(b[16:]))
		}
		return max(d, 0)
	}
	var due [maxPolls]int64
	for i := range n {
		if b := sub(i); b[8] == 0 {
			due[i] = left(b)
			wait = min(wait, due[i])
		} else {
			ready = true
		}
	}
	if ready {
		wait = 0
	}
	in.sleep(time.Duration(wait))
	events := uint32(0)
	for i := range n {
		b := sub(i)
		if b[8] == 0 && due[i] > wait {
			continue
		}
		ev := view(mod, "poll_oneoff", out+32*events, 32)
		user, kind := binary.LittleEndian.Uint64(b), b[8]
		clear(ev)
		binary.LittleEndian.PutUint64(ev, user)
		ev[10] = kind
		events++
	}
	put32(mod, "poll_oneoff", uint32(s[3]), events)
	s[0] = wasiOK
}
