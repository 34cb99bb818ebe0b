package sqltext

// A Kind is the kind of one statement, as its first words say.
type Kind uint8

// The kinds, by the words that a statement begins with.
const (
	Empty       Kind = iota // no statement: blanks, comments, semicolons
	Other                   // a statement whose first word says nothing here
	Multi                   // more than one statement in one text
	Select                  // SELECT, also in parentheses or after WITH
	Values                  // VALUES (…)
	Table                   // TABLE x
	Insert                  // INSERT
	Update                  // UPDATE
	Delete                  // DELETE
	Merge                   // MERGE
	Copy                    // COPY, in either direction
	Begin                   // BEGIN, START TRANSACTION
	Commit                  // COMMIT, END
	Rollback                // ROLLBACK, ABORT
	Savepoint               // SAVEPOINT
	Release                 // RELEASE SAVEPOINT
	RollbackTo              // ROLLBACK TO SAVEPOINT
	TwoPhase                // PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED
	Set                     // SET, of any sort
	Reset                   // RESET
	Discard                 // DISCARD
	Show                    // SHOW
	DDL                     // CREATE, ALTER, DROP, GRANT, REVOKE, COMMENT, IMPORT, …
	Truncate                // TRUNCATE
	Refresh                 // REFRESH MATERIALIZED VIEW
	Call                    // CALL
	Do                      // DO
	Listen                  // LISTEN, UNLISTEN
	Notify                  // NOTIFY
	Prepare                 // PREPARE
	Execute                 // EXECUTE
	Deallocate              // DEALLOCATE
	Cursor                  // DECLARE, FETCH, MOVE, CLOSE
	Explain                 // EXPLAIN
	Maintenance             // VACUUM, ANALYZE, CLUSTER, REINDEX, CHECKPOINT
	Lock                    // LOCK TABLE

	kinds // how many there are
)

// An Op is the value of the metrics label "op". The set is closed and small, so
// that it may multiply with other labels.
type Op uint8

// The values of the label; String spells them.
const (
	OpOther Op = iota
	OpSelect
	OpInsert
	OpUpdate
	OpDelete
	OpCopy
	OpTx

	Ops // how many there are, for arrays indexed by Op
)

// Op returns the metrics label of the kind. A text of several statements is
// OpOther even if all of them are of one kind: its duration says nothing about
// any of them. So is MERGE, which may do any of three things. A SELECT is
// OpSelect even if its Flags say that it writes: that is what the server calls
// it, and what its client waits for.
func (k Kind) Op() Op {
	switch k {
	case Select, Values, Table:
		return OpSelect
	case Insert:
		return OpInsert
	case Update:
		return OpUpdate
	case Delete:
		return OpDelete
	case Copy:
		return OpCopy
	case Begin, Commit, Rollback, Savepoint, Release, RollbackTo, TwoPhase:
		return OpTx
	default:
		return OpOther
	}
}

// String returns the label's value.
func (o Op) String() string {
	switch o {
	case OpSelect:
		return "select"
	case OpInsert:
		return "insert"
	case OpUpdate:
		return "update"
	case OpDelete:
		return "delete"
	case OpCopy:
		return "copy"
	case OpTx:
		return "tx"
	default:
		return "other"
	}
}

// String returns the kind's name in lower case.
func (k Kind) String() string {
	const names = "empty other multi select values table insert update delete merge copy begin commit rollback " +
		"savepoint release rollback-to two-phase set reset discard show ddl truncate refresh call do listen " +
		"notify prepare execute deallocate cursor explain maintenance lock "
	start := 0
	for i := range names {
		if names[i] != ' ' {
			continue
		}
		if k == 0 {
			return names[start:i]
		}
		k--
		start = i + 1
	}
	return "unknown"
}
