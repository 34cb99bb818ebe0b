package sqltext

// A utility is how far a statement that is not a query has been read.
type utility struct {
	reading bool
	types   int  // how many words of the object's type are still to come
	several bool // names may be listed with commas
	routine bool // CREATE FUNCTION or PROCEDURE, which may have a body
	blocks  int  // open BEGIN and CASE in that body
}

// beginUtility takes the first word of a statement that is not a query.
func (c *classifier) beginUtility(l *level, tok Token, w word) {
	kind := utilityKind(w)
	c.current = kind
	if kind == Other && w != wLoad {
		// Not a word that we know: it may be anything, also a secret in the
		// wrong place, so the summary stays empty.
		c.utility.reading = true
		return
	}
	c.summary.word(c.sql[tok.Start:tok.End])
	switch kind {
	case Explain:
		l.begins = true
		return
	case Copy:
		l.expect = target
		return
	case Set, Reset, Discard, Show, Call:
		l.expect = object
	case Truncate, Lock:
		l.expect, c.utility.several = object, true
	case Maintenance:
		c.utility.several = true
		if w == wReindex {
			c.utility.types = 1
		} else {
			l.expect = object
		}
	case Refresh:
		c.utility.types = 1
	case DDL:
		if w == wCreate || w == wAlter || w == wDrop {
			c.utility.types, c.utility.several = 1, w == wDrop
		}
	default:
	}
	c.utility.reading = true
}

func utilityKind(w word) Kind {
	switch w {
	case wBegin, wStart:
		return Begin
	case wCommit, wEnd:
		return Commit
	case wRollback, wAbort:
		return Rollback
	case wSavepoint:
		return Savepoint
	case wRelease:
		return Release
	case wSet:
		return Set
	case wReset:
		return Reset
	case wDiscard:
		return Discard
	case wShow:
		return Show
	case wCopy:
		return Copy
	case wExplain:
		return Explain
	case wCreate, wAlter, wDrop, wGrant, wRevoke, wComment, wSecurity, wImport, wReassign:
		return DDL
	case wTruncate:
		return Truncate
	case wRefresh:
		return Refresh
	case wCall:
		return Call
	case wDo:
		return Do
	case wLock:
		return Lock
	default:
		return sessionKind(w)
	}
}

func sessionKind(w word) Kind {
	switch w {
	case wListen, wUnlisten:
		return Listen
	case wNotify:
		return Notify
	case wPrepare:
		return Prepare
	case wExecute:
		return Execute
	case wDeallocate:
		return Deallocate
	case wDeclare, wFetch, wMove, wClose:
		return Cursor
	case wVacuum, wAnalyze, wCluster, wReindex, wCheckpoint:
		return Maintenance
	default:
		return Other
	}
}

// utilityWord takes a later word of such a statement, and reports whether that
// was all there is to it; else it may be a name.
func (c *classifier) utilityWord(tok Token, w word) bool {
	c.block(w)
	if c.depth > 0 {
		return true
	}
	switch {
	case c.utility.types > 0:
		c.objectType(tok, w)
		return true
	case w == wPrepared && (c.before == wCommit || c.before == wRollback),
		w == wTransaction && c.before == wPrepare:
		c.current = TwoPhase
	case w == wTo && c.current == Rollback:
		c.current = RollbackTo
	case w == wMapping && c.before == wUser:
		c.top().expect = noRole // its name is a user and a server
	case w == wTransaction && c.before == wStart,
		(w == wClass || w == wFamily) && c.before == wOperator:
	default:
		return false
	}
	c.summary.word(c.sql[tok.Start:tok.End])
	return true
}

// block counts what END ends in a body that begins with BEGIN ATOMIC, as psql
// does to find the end of such a statement.
func (c *classifier) block(w word) {
	switch {
	case !c.utility.routine:
	case c.utility.blocks == 0:
		if w == wAtomic && c.before == wBegin {
			c.utility.blocks = 1
		}
	case w == wBegin || w == wCase:
		c.utility.blocks++
	case w == wEnd:
		c.utility.blocks--
	}
}

// objectType takes the words between CREATE, ALTER or DROP and the name.
func (c *classifier) objectType(tok Token, w word) {
	u := &c.utility
	switch w {
	case wOr, wReplace, wTemp, wTemporary, wGlobal, wLocal, wUnlogged, wUnique, wConcurrently, wRecursive,
		wConstraint, wTrusted, wProcedural:
		return
	case wMaterialized, wEvent, wAccess, wLarge, wForeign, wDefault:
		u.types = 2
	case wText:
		u.types = 3
	case wData:
		u.types = 2 // FOREIGN DATA WRAPPER
	case wFunction, wProcedure:
		u.routine = true
	default:
	}
	if tok.Kind != Word {
		u.types = 0
		return
	}
	c.summary.word(c.sql[tok.Start:tok.End])
	u.types--
	if u.types == 0 && c.before != wDefault { // ALTER DEFAULT PRIVILEGES has no name
		c.top().expect = object
	}
}

// skips reports whether w may stand before the name that is expected.
func (c *classifier) skips(r role, w word) bool {
	if w == wOnly {
		return true
	}
	if r != object {
		return r == source && w == wLateral
	}
	switch w {
	case wIf, wNot, wExists, wConcurrently, wOn:
		return true
	case wTable:
		return c.current == Truncate || c.current == Lock || !c.utility.reading
	case wTemp, wTemporary, wUnlogged:
		return !c.utility.reading // SELECT INTO TEMP x
	case wLocal, wSession:
		return c.current == Set
	case wFull, wFreeze, wVerbose, wAnalyze:
		return c.current == Maintenance
	case wSet, wBy: // ALTER SYSTEM SET x, DROP OWNED BY x
		return c.current == DDL
	default:
		return false
	}
}
