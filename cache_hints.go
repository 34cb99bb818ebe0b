package lifeguard

import (
	"strings"
	"time"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// hintPrefix begins a comment that is meant for us: /* lifeguard: nocache */.
const hintPrefix = "lifeguard:"

// readHints reads the hints of a text, separated by commas or spaces, from its comments.
// Those that mean nothing are returned as they stand, for who asks for an explanation.
func readHints(sql string) (option CacheOption, unknown []string) {
	if !strings.Contains(sql, hintPrefix) {
		return 0, nil
	}
	sqltext.Comments(sql, func(inside string) {
		hints, ours := strings.CutPrefix(strings.TrimSpace(inside), hintPrefix)
		if !ours {
			return
		}
		for _, hint := range strings.FieldsFunc(hints, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
			if o, ok := readHint(hint); ok {
				option = option.and(o)
			} else {
				unknown = append(unknown, hint)
			}
		}
	})
	return option, unknown
}

func readHint(hint string) (CacheOption, bool) {
	if hint == "nocache" {
		return NoCache, true
	}
	age, ok := strings.CutPrefix(hint, "maxage=")
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(age)
	if err != nil || d < 0 {
		return 0, false
	}
	return MaxAge(d), true
}
