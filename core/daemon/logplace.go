package daemon

// The places that a daemon logs to, other than a file.
const (
	LogJournal = "journal"
	LogStderr  = "stderr"
)

// logPlace is where this process logs to.
func (d *Daemon) logPlace() string {
	switch {
	case d.o.LogFile != "":
		return d.o.LogFile
	case inJournal(d.o.env()):
		return LogJournal
	}
	return LogStderr
}
