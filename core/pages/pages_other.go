//go:build !linux

// Package pages keeps what the program's own file takes of memory small.
package pages

// Drop does nothing here.
func Drop() {}
