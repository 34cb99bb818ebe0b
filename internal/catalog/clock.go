package catalog

import "strings"

// ReadsClock reports whether text, taken as a date or time, could depend on when
// that happens: whether it holds one of the words now, today, tomorrow and
// yesterday. PostgreSQL looks for them letter by letter, in any case, with
// anything around them ("{today,infinity}").
//
// A caller asks it about each argument that it sends as text.
func ReadsClock(text string) bool {
	for i := 0; i < len(text); {
		if !isLetter(text[i]) {
			i++
			continue
		}
		start := i
		for i < len(text) && isLetter(text[i]) {
			i++
		}
		if isClockWord(text[start:i]) {
			return true
		}
	}
	return false
}

func isClockWord(word string) bool {
	switch len(word) {
	case len("now"):
		return strings.EqualFold(word, "now")
	case len("today"):
		return strings.EqualFold(word, "today")
	case len("tomorrow"):
		return strings.EqualFold(word, "tomorrow")
	case len("yesterday"):
		return strings.EqualFold(word, "yesterday")
	default:
		return false
	}
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// literalReadsClock is ReadsClock for a string as written, quotes included.
// Where the content is not what stands there (escapes, continuations), it says
// yes rather than decode it.
func literalReadsClock(literal string) bool {
	if literal == "" {
		return false
	}
	if literal[0] == '$' {
		return ReadsClock(literal)
	}
	start := strings.IndexByte(literal, '\'')
	if start < 0 || len(literal) < start+2 {
		return true
	}
	content := literal[start+1 : len(literal)-1]
	prefix := literal[:start]
	if strings.EqualFold(prefix, "u&") { // and any character may be the escape
		return true
	}
	if strings.EqualFold(prefix, "e") && strings.IndexByte(content, '\\') >= 0 {
		return true
	}
	for i := 0; i < len(content); i++ {
		if content[i] != '\'' {
			continue
		}
		if i+1 >= len(content) || content[i+1] != '\'' {
			return true // goes on after a line end
		}
		i++
	}
	return ReadsClock(content)
}
