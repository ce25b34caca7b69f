package service

// InJournal reports false: there is no journal.
func InJournal([]string) bool { return false }

// UnitArgs is empty: there are no units.
func UnitArgs() string { return "" }
