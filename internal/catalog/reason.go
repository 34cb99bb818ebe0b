package catalog

// A Reason says why a result is not cacheable, or why a write may reach every
// relation. The set is closed, so it may be a metrics label. The empty Reason
// says that nothing stands against it.
type Reason string

// Reasons that the text alone gives.
const (
	NotARead        Reason = "not_a_read"       // another kind of statement
	Several         Reason = "several"          // more than one statement in the text
	Unreadable      Reason = "unreadable"       // text that the lexer does not vouch for
	Modifies        Reason = "modifies"         // a data-modifying word, SELECT INTO included
	LocksRows       Reason = "locks_rows"       // FOR UPDATE and its relatives
	SessionValue    Reason = "session_value"    // current_date, current_user, …
	ClockLiteral    Reason = "clock_literal"    // 'now', 'today', 'tomorrow', 'yesterday', or perhaps so
	ClockCast       Reason = "clock_cast"       // a cast that might read such a word from text
	ClockType       Reason = "clock_type"       // time with time zone: its zone depends on the day
	Sample          Reason = "tablesample"      // TABLESAMPLE
	SystemColumn    Reason = "system_column"    // ctid, xmin, …
	CatalogType     Reason = "catalog_type"     // regclass and its relatives
	DocumentColumns Reason = "document_columns" // XMLTABLE, JSON_TABLE, JSON_VALUE, JSON_QUERY
)

// Reasons that the server gives.
const (
	Refused           Reason = "refused"            // the server does not accept the text
	Function          Reason = "function"           // a function that is not known to be stable
	FunctionBody      Reason = "function_body"      // … since its body does not stand up to its declaration
	Operator          Reason = "operator"           // an operator over such a function
	Cast              Reason = "cast"               // a cast over such a function, or to a type not understood
	Domain            Reason = "domain"             // a domain whose check calls such a function
	OperatorClass     Reason = "operator_class"     // an operator class over such a function
	View              Reason = "view"               // a view whose definition would be refused
	CatalogRelation   Reason = "catalog_relation"   // pg_catalog, information_schema
	TemporaryRelation Reason = "temporary_relation" // a temporary table
	ForeignRelation   Reason = "foreign_relation"   // a foreign table, also as a partition
	Sequence          Reason = "sequence"           // a sequence read as a relation
	RowSecurity       Reason = "row_security"       // a table with row-level security
	RelationKind      Reason = "relation_kind"      // any other kind of relation
	LockMode          Reason = "lock_mode"          // a lock that no read or write takes
	SearchPath        Reason = "search_path"        // built-in names may be hidden
	Changing          Reason = "changing"           // the catalog could not be read to an end
)

// Reasons for a write to reach everything.
const (
	Opaque  Reason = "opaque"  // CALL, DO, DDL, several statements, …
	Trigger Reason = "trigger" // a trigger that does more than compute
	Rule    Reason = "rule"    // a rewrite rule
	Default Reason = "default" // a default, constraint, index or policy that does so
)

// Reasons that the session gives.
const (
	Isolation       Reason = "isolation"        // the default isolation is not READ COMMITTED
	TemporarySchema Reason = "temporary_schema" // temporary objects may hide others
	Encoding        Reason = "encoding"         // the client's encoding is not UTF8
	Escapes         Reason = "escapes"          // standard_conforming_strings is off
	FuzzySearch     Reason = "fuzzy_search"     // gin_fuzzy_search_limit makes results random
	ReplicationRole Reason = "replication_role" // session_replication_role is not origin
)
