package doctor

import "golang.org/x/sys/windows"

// diskFree is how many bytes this user can still write where path is.
func diskFree(path string) (free, total uint64, ok bool) {
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, 0, false
	}
	err = windows.GetDiskFreeSpaceEx(p, &free, &total, nil)
	return free, total, err == nil
}

// descriptors have no such limit here.
func descriptors() (used, most uint64, ok bool) { return 0, 0, false }
