package sqltext

// startName begins a relation's name, if one is expected.
func (c *classifier) startName(l *level, tok Token, w word, named bool) {
	if l.expect == noRole || !named || c.skips(l.expect, w) {
		return
	}
	c.name = name{span: span{tok.Start, tok.End}, role: l.expect}
	l.expect = noRole
}

// endName ends the name being read, if there is one; w comes behind it.
func (c *classifier) endName(w word) {
	if c.name.end == 0 {
		return
	}
	n := c.name
	c.name = name{}
	if n.role == source && (c.isCTE(n.span) || w == wFrom && lookupWord(c.sql[n.start:n.end]) == wRows) {
		return // ROWS FROM (…) lists functions
	}
	if c.current == Copy {
		c.main = true // what is in brackets now are columns, not a query
	}
	op := noWord
	for i := len(c.levels) - 1; i >= 0 && op == noWord; i-- {
		op = c.levels[i].op
	}
	c.summary.relation(op, c.sql[n.start:n.end])
}

func (c *classifier) addCTE(s span) {
	if len(c.ctes) < maxCTEs {
		c.ctes = append(c.ctes, s)
	}
}

func (c *classifier) isCTE(s span) bool {
	for _, cte := range c.ctes {
		if sameName(c.sql[s.start:s.end], c.sql[cte.start:cte.end]) {
			return true
		}
	}
	return false
}

// sameName compares two names as PostgreSQL does: without quotes, case counts
// for nothing.
func sameName(a, b string) bool {
	a, foldA := unquote(a)
	b, foldB := unquote(b)
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if foldA {
			x = toLower(x)
		}
		if foldB {
			y = toLower(y)
		}
		if x != y {
			return false
		}
	}
	return true
}

func unquote(s string) (content string, fold bool) {
	if len(s) >= 2 && s[0] == '"' {
		return s[1 : len(s)-1], false
	}
	return s, true
}
