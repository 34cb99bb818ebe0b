package sqltext

import "strings"

// Comments calls f with the inside of each comment of a text, in order: of /* … */, where a
// comment inside another belongs to the outer one, and of -- … up to the end of its line.
// What looks like a comment inside a literal or a quoted name is none. It stops where
// PostgreSQL would refuse the text.
func Comments(sql string, f func(inside string)) {
	l := NewLexer(sql)
	for from := 0; ; {
		t := l.Next()
		commentsIn(sql[from:t.Start], f)
		if t.Kind == EOF || t.Kind == Invalid {
			return
		}
		from = t.End
	}
}

// commentsIn reads what stands between two tokens: comments and white space.
func commentsIn(gap string, f func(inside string)) {
	for {
		i := strings.IndexAny(gap, "-/")
		if i < 0 {
			return
		}
		if gap[i] == '/' {
			end, ok := blockCommentEnd(gap, i)
			if !ok {
				return
			}
			f(gap[i+2 : end-2])
			gap = gap[end:]
			continue
		}
		line := gap[i:]
		end := strings.IndexAny(line, "\r\n")
		if end < 0 {
			end = len(line)
		}
		f(strings.TrimPrefix(line[:end], "--"))
		gap = line[end:]
	}
}
