//go:build !linux

package daemon

func dropPages() {}
