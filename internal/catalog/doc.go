// Package catalog finds out which relations a statement reads and writes, and
// whether its result may be kept, by asking the server rather than by parsing
// SQL.
//
// # Who is trusted for what
//
// The text, read by the tokens of package sqltext, is trusted to hold the words
// that it holds, and for nothing else. [Gate] refuses whatever a word could make
// differ between two executions in one snapshot, without looking at grammar: a
// column called "ctid" in quotes is refused as the system column would be. It
// never concludes from a word that something is safe. What looks like a call, or
// like an attribute that could be a call, is only collected.
//
// The server's parse analysis is trusted for the relations. It locks every
// relation that the text names, and the rewriter every one below views, rules and
// policies, before anything is planned, pruned or folded, and keeps the locks to
// the end of the transaction. So
//
//	BEGIN; Parse; SELECT … FROM pg_lock_status(); ROLLBACK
//
// names them all, and the mode tells reading (AccessShare), locking rows
// (RowShare) and writing (RowExclusive) apart. It is one pipelined round trip.
// EXPLAIN would not do: partitions that are pruned, and whole branches under a
// false condition, are missing from a plan.
//
// The catalog is trusted for volatility as far as it goes. Built-in functions are
// IMMUTABLE by pg_proc or on a short list of STABLE ones that depend on nothing
// but settings in the [Session] key. A name stands for all functions of that name
// that the search_path shows, so overload resolution need not be repeated. Of
// other functions only IMMUTABLE ones count: those in C as declared, since only a
// superuser can have made them; those in SQL and PL/pgSQL only if their text
// stands up to the same check, and so on down, because nothing keeps anybody from
// declaring a look-up IMMUTABLE; any other language not at all. An aggregate is
// what its support functions are, whatever pg_proc says of itself. Operators are
// built in, or belong to functions that pass; casts, domains and operator classes
// whose functions do not pass spoil whatever touches their types.
//
// Not covered: built-in functions that run a text as a query (query_to_xml, ts_stat)
// within a view that another function reads; functions in C that are declared
// IMMUTABLE and are not; and what a function does through a connection of its own
// (dblink), which is another session's write.
//
// What data holds is not trusted: text becomes a date by way of words like
// "today", so a cast from text to a date is refused unless the column is known not
// to be text, and [ReadsClock] must be asked about each argument that is text.
//
// # Writes
//
// What a statement writes is its targets by lock mode, closed over foreign keys
// with actions, and over partitions and inheritance. User triggers, defaults and
// constraints are read like functions: if they only compute ("NEW.updated_at :=
// now()"), they add nothing; else, and for everything that is not understood, the
// answer is [Analysis.Everything].
//
// # Relations
//
// Tables that are connected by partitioning or inheritance share rows, so all of
// them are one [Relation]: the root, or the root with the lowest OID where a table
// has several parents.
//
// # Memory
//
// What was looked up is remembered in a [Catalog] until [Catalog.Forget], which
// must be called before and after any DDL. An [Analysis] carries the generation
// that it was made in and is worth nothing in another.
package catalog
