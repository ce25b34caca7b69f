package api

import "github.com/opengatewayprotocol/ogp/core"

// ConfigParams say how to show the configuration.
type ConfigParams struct {
	Origin   bool `json:"origin,omitempty"`   // say where each value comes from
	Settings bool `json:"settings,omitempty"` // also one by one
}

// SettingView is one setting that a line of text can say.
type SettingView struct {
	Key      string `json:"key"` // as in config.toml
	Value    string `json:"value"`
	Unit     string `json:"unit,omitempty"`
	Doc      string `json:"doc"`
	From     string `json:"from"`               // the layer that it is of, and where
	Override string `json:"override,omitempty"` // the variable or flag that counts more than the file
}

// SettingParams change a setting in the configuration file, one line of it.
type SettingParams struct {
	Key   string `json:"key"`
	Value string `json:"value,omitempty"` // as a flag takes it
	Unset bool   `json:"unset,omitempty"` // the default is to count
}

// SettingResult says what came of it. What it does not name counts now.
type SettingResult struct {
	File     string `json:"file"`
	Override string `json:"override,omitempty"` // the variable or flag that still counts more
	Restart  string `json:"restart,omitempty"`  // what puts it in force, in words: it counts from the next start on
}

// ConfigView is a configuration: the one that a daemon has in force, or the one that a
// start would put in force. Secrets are redacted.
type ConfigView struct {
	PID      int               `json:"pid,omitzero"` // of the daemon; zero: none runs
	Config   core.Raw          `json:"config"`
	Settings []SettingView     `json:"settings,omitempty"`
	Origins  map[string]string `json:"origins,omitempty"`
	TOML     string            `json:"toml,omitempty"` // the same as a config.toml
	File     string            `json:"file,omitempty"` // where the settings are kept; empty: there is none
	// FileError is why the file cannot be taken up as it is now.
	FileError *ErrorView `json:"fileError,omitempty"`
	// Differs are the settings that the daemon has otherwise than the file alone says.
	Differs []ConfigDifference `json:"differs"`
	// Overrides are the settings that a variable or a flag sets, by key, and which: they
	// count more than the file.
	Overrides map[string]string `json:"overrides,omitempty"`
}

// ConfigDifference is a setting that the daemon has otherwise than its file says.
type ConfigDifference struct {
	Key     string `json:"key"`
	InForce string `json:"inForce,omitempty"` // as in config.toml; empty for tables
	From    string `json:"from"`              // what set it: a flag, a variable, the file and line, default
	File    string `json:"file,omitempty"`    // what the file says, or the default where it says nothing; empty for tables
	FileAt  string `json:"fileAt"`            // file and line, or default
	// Restart says that the file's value counts from the next start on.
	Restart bool `json:"restart,omitzero"`
}
