package sqltext

import (
	"slices"
	"testing"
)

func TestCommentsAreFoundOutsideOfLiteralsOnly(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string][]string{
		"select 1":                                   nil,
		"/* a */ select 1":                           {" a "},
		"select /*a*//*b*/ 1 -- c\n, 2 --d":          {"a", "b", " c", "d"},
		"select 1 /* a /* b */ c */":                 {" a /* b */ c "},
		"select '/* a */', 2 -- b":                   {" b"},
		`select "/* a */", $$ /* b */ -- $$ /*c*/`:   {"c"},
		"select E'\\' /* a */', '--'":                nil,
		"select 1 /* no end":                         nil,
		"select 1 - -1 /* a */ / 2 -- b\r-- c":       {" a ", " b", " c"},
		"select 1 /* a */; select 2 /* b */":         {" a ", " b "},
		"select $tag$ /* a */ $tag$, U&'/* a */' --": {""},
	} {
		var got []string
		Comments(sql, func(inside string) { got = append(got, inside) })
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, not %q", sql, got, want)
		}
	}
}
