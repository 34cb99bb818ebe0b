package cdc

import "strings"

// ApplicationName is what the connections of a stream are called in pg_stat_activity and
// pg_stat_replication.
const ApplicationName = "lifeguard cdc"

// CountsAsStandby reports whether a value of synchronous_standby_names names a connection
// that is called application: then the server takes a walsender's client for a standby that
// stores what it was sent, lets commits wait for it, and takes them for replicated once it
// has read them. A name matches in any case, and * matches all; FIRST, ANY and the numbers
// are taken for names, which errs on the safe side.
func CountsAsStandby(names, application string) bool {
	for names != "" {
		var name string
		name, names = nextName(names)
		if name == "*" || strings.EqualFold(name, application) {
			return true
		}
	}
	return false
}

// nextName takes the first name, or an empty one for what is between names.
func nextName(list string) (name, rest string) {
	quoted, found := strings.CutPrefix(list, `"`)
	if !found {
		end := strings.IndexAny(list, " \t\n\r\f\v,()\"")
		switch {
		case end < 0:
			return list, ""
		case end == 0:
			return "", list[1:]
		}
		return list[:end], list[end:]
	}
	var b strings.Builder
	for {
		part, after, _ := strings.Cut(quoted, `"`)
		b.WriteString(part)
		if quoted, found = strings.CutPrefix(after, `"`); !found {
			return b.String(), after
		}
		b.WriteByte('"') // a doubled quote is one
	}
}

// countsAsStandby is CountsAsStandby of this stream's connections, which have one name.
func (s *stream) countsAsStandby(names string) bool {
	return CountsAsStandby(names, s.control.ParameterStatus("application_name"))
}
