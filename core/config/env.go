package config

import "strings"

// Getenv is the value of a variable in an environment such as os.Environ's, where
// the last one counts; empty if there is none.
func Getenv(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], name+"="); ok {
			return v
		}
	}
	return ""
}
