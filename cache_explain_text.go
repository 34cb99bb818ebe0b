package lifeguard

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// String is the explanation for people, in several lines.
func (x CacheExplanation) String() string {
	var b strings.Builder
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-10s %s\n", name, text)
		}
	}
	verdict := "yes"
	if !x.Cacheable {
		verdict = "no: " + x.Reason
		if x.Culprit != "" {
			verdict += " (" + x.Culprit + ")"
		}
	}
	line("cacheable", verdict)
	line("because", x.Because)
	mode := string(x.Mode)
	switch {
	case x.Mode == CacheTTL:
		mode += fmt.Sprintf(": what is served may be stale, up to %s old", x.TTL)
	case x.TTL > 0:
		mode += fmt.Sprintf(", up to %s old", x.TTL)
	}
	line("mode", mode)
	var reads []string
	for _, r := range x.Reads {
		text := fmt.Sprintf("%s (version %d", r.Name, r.Version)
		if r.Fenced {
			text += ", being written"
		}
		reads = append(reads, text+")")
	}
	line("reads", strings.Join(reads, ", "))
	line("writes", strings.Join(x.Writes, ", "))
	if x.Row != "" {
		line("row", "one, by "+x.Row)
	}
	if x.Everything {
		line("writes", "perhaps every table: "+x.Cause)
	}
	line("calls", strings.Join(x.Functions, ", "))
	line("option", x.Option)
	line("unknown", strings.Join(x.UnknownHints, ", "))
	for i, setting := range slices.Sorted(maps.Keys(x.Settings)) {
		name := ""
		if i == 0 {
			name = "key"
		}
		fmt.Fprintf(&b, "%-10s %s = %s\n", name, setting, x.Settings[setting])
	}
	if x.Cacheable {
		line("memory", fmt.Sprintf("%d results, about %d bytes, %d hits", x.Entries, x.Bytes, x.Hits))
		entry := "none for these arguments"
		if x.Entry != nil {
			entry = fmt.Sprintf("%d rows, about %d bytes, %s old", x.Entry.Rows, x.Entry.Bytes, x.Entry.Age.Round(time.Millisecond))
		}
		line("entry", entry)
		line("redis", x.Redis)
	}
	return b.String()
}
