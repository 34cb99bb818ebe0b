package sqltext

// begin reads a word where a statement may begin, and reports whether it was
// the beginning of one.
func (c *classifier) begin(l *level, tok Token, w word) bool {
	main := !c.main && !l.inner
	switch w {
	case wWith:
		l.with = withName
		return true
	case wSelect:
		c.operation(l, Select, w, main)
	case wValues:
		c.operation(l, Values, w, main)
	case wTable:
		c.operation(l, Table, w, main)
		l.expect = source
	case wInsert, wUpdate, wDelete, wMerge:
		if !main && !l.body {
			l.begins = false // f(update): a column may be called so
			return false
		}
		c.modify(l, w, main)
	default:
		return c.beginOther(l, tok, w, main)
	}
	return true
}

// beginOther takes a word that begins no query.
func (c *classifier) beginOther(l *level, tok Token, w word, main bool) bool {
	switch {
	case l.with == withQuery:
		return false // the words between the brackets of a WITH clause
	case c.current == Explain && main:
		c.explain(l, tok, w)
		return true
	}
	l.begins = false
	if c.depth == 0 && c.current == Empty {
		c.beginUtility(l, tok, w)
		return true
	}
	return false
}

// explain takes a word between EXPLAIN and the query: an option, or the
// beginning of one of the utility statements that can be explained.
func (c *classifier) explain(l *level, tok Token, w word) {
	switch w {
	case wAnalyze:
		c.flags |= ExplainAnalyze
	case wCreate, wDeclare, wExecute, wRefresh:
		if c.depth == 0 {
			c.beginUtility(l, tok, w)
			c.current = Explain
		}
	default:
		if tok.Kind == QuotedName { // an option may be called "analyze" with quotes, too
			c.flags |= ExplainAnalyze
		}
	}
}

func (c *classifier) modify(l *level, w word, main bool) {
	kind := Insert
	switch w {
	case wUpdate:
		kind = Update
	case wDelete:
		kind = Delete
	case wMerge:
		kind = Merge
	default: // INSERT
	}
	c.operation(l, kind, w, main)
	if !main {
		c.flags |= ModifyingCTE
	}
	if w == wUpdate {
		l.expect = target
	}
}

// operation begins a query, or another part of one.
func (c *classifier) operation(l *level, kind Kind, w word, main bool) {
	*l = level{op: w, inner: l.inner, body: l.body, cte: l.cte}
	if !main {
		return
	}
	c.main = true
	if c.current == Empty {
		c.current = kind
	}
	c.summary.operation(w)
}

// clause takes a word that changes which names are relations, and reports
// whether it was one.
func (c *classifier) clause(l *level, w word) bool {
	switch w {
	case wSelect:
		c.operation(l, Select, w, false)
	case wTable:
		if l.op == noWord || l.expect == object {
			return false
		}
		c.operation(l, Table, w, false)
		l.expect = source
	case wWith:
		if l.op != wInsert {
			return false // WITH ORDINALITY, WITH TIES, time WITH TIME ZONE
		}
		l.with, l.begins = withName, true
	case wFrom:
		c.from(l)
	case wJoin:
		if l.op != noWord || l.from {
			l.expect = source
		}
	case wInto:
		c.into(l)
	case wUsing:
		if (l.op == wDelete || l.op == wMerge) && !l.used {
			l.used, l.from, l.expect = true, true, source
		}
	case wUpdate, wShare:
		if c.before != wFor && (c.before != wKey || c.before2 != wFor && c.before2 != wNo) {
			return false
		}
		c.flags |= Locking
	case wWhere, wGroup, wOrder, wHaving, wLimit, wOffset, wFetch, wFor, wWindow, wUnion, wIntersect, wExcept,
		wSet, wReturning, wWhen, wValues, wOn:
		l.expect = noRole
		l.from = l.from && w == wOn // FROM a JOIN b ON …, c
	default:
		return false
	}
	return true
}

func (c *classifier) from(l *level) {
	if c.before == wDistinct && (c.before2 == wIs || c.before2 == wNot) {
		return
	}
	switch l.op {
	case wSelect, wUpdate:
		l.from, l.expect = true, source
	case wDelete:
		l.expect = target
	default: // extract(year FROM x)
	}
}

func (c *classifier) into(l *level) {
	switch {
	case l.op == wInsert || l.op == wMerge:
		l.expect = target
	case l.op == wSelect && !l.from:
		l.expect = object
		c.flags |= SelectInto
	}
}
