package catalog

// Settings says what a statement may change of its session: settings, and with them what
// names mean. An application's own settings, with a dot in their names, change nothing else:
// names keep their meaning, and tables their triggers.
type Settings uint8

// What may change, and for how long.
const (
	// SettingsStay: nothing.
	SettingsStay Settings = iota
	// OwnLocal: settings of an application's own, until the transaction ends, and nothing
	// outside of one.
	OwnLocal
	// OwnLasting: the same, also when the transaction was committed.
	OwnLasting
	// AnyLocal: any setting, until the transaction ends, and nothing outside of one.
	AnyLocal
	// AnyLasting: any setting, and what names mean, also when the transaction was
	// committed.
	AnyLasting
)

// settingsChange is the Settings of a statement that changes some.
func settingsChange(own, local bool) Settings {
	switch {
	case own && local:
		return OwnLocal
	case own:
		return OwnLasting
	case local:
		return AnyLocal
	}
	return AnyLasting
}

// Change reports whether something may change: the [Session] must be read again.
func (s Settings) Change() bool { return s != SettingsStay }

// Last reports whether what may change stays when the transaction was committed.
func (s Settings) Last() bool { return s == OwnLasting || s == AnyLasting }

// Rename reports whether names may mean something else afterwards.
func (s Settings) Rename() bool { return s == AnyLocal || s == AnyLasting }
