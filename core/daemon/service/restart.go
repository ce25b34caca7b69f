package service

import "strings"

// Restart says what restarts a process that is managed by systemd in a unit, or has a
// process id of 1, as one has in a container; otherwise that is by hand.
func Restart(byHand string, managed bool, unit string, pid int) string {
	switch {
	case managed && strings.HasPrefix(unit, "--user "):
		return "systemctl " + strings.Replace(unit, "-u ", "restart ", 1)
	case managed && unit != "":
		return "sudo systemctl " + strings.Replace(unit, "-u ", "restart ", 1)
	case managed:
		return "restart its service"
	case pid == 1:
		return "restart its container"
	}
	return byHand
}
