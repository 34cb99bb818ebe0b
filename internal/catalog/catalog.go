package catalog

import (
	"slices"
	"sync"
	"sync/atomic"
)

// A Relation is the OID of a table, view or materialized view; of tables that
// share rows, the OID of the root.
type Relation = uint32

// An Analysis is what the server says about one text in one session.
type Analysis struct {
	// Cacheable says that two executions in one snapshot, in sessions of one
	// [Session] key, with equal arguments, give the same rows. The order of rows
	// that the statement leaves open may differ.
	Cacheable bool
	// Reason is why not.
	Reason Reason
	// Culprit is the name of the function, relation, … that is the reason, for
	// whoever asks to be told; empty where the reason says it all.
	Culprit string

	// Reads are the relations whose contents the result depends on, sorted.
	// Those that are written are not among them.
	Reads []Relation
	// Writes are the relations whose contents may change, sorted.
	Writes []Relation
	// Unlogged are those of Reads that are not in the log, as logical decoding
	// does not see them.
	Unlogged []Relation

	// Everything says that the statement may change any relation, not Writes
	// alone; Cause is why. With DDL it may change the session's settings too, so
	// that the [Session] must be read again.
	Everything bool
	Cause      Reason
	// DDL says that it may change the catalog too, so that [Catalog.Forget] is due
	// around it, or the session's settings.
	DDL bool
	// Held says that Everything is known better at the end of a transaction,
	// by [Catalog.Held].
	Held bool
	// Foreign says that it may commit something at once, through a connection of
	// its own, whatever becomes of the transaction around it.
	Foreign bool

	// Row is the row to which Reads, or Writes, are confined: of the only relation there. Its
	// zero value says that any row may be meant.
	Row Row

	// Params are the parameters' types, as the server infers them.
	Params []uint32
	// Generation is [Catalog.Generation] when the analysis began. It holds in
	// no other.
	Generation uint64
}

// A Catalog remembers what was looked up of a database's catalog. It is safe for
// concurrent use.
type Catalog struct {
	generations atomic.Pointer[Generations]
	now         atomic.Pointer[knowledge]
}

// Generations counts the generations of one database's catalog, for all Catalogs of
// it: what one sees change, none of them may go on believing.
type Generations struct{ now atomic.Uint64 }

// NewGenerations begins with first. Those of two databases must never meet, so the
// caller leaves room between them.
func NewGenerations(first uint64) *Generations {
	g := &Generations{}
	g.now.Store(first)
	return g
}

// Next begins a new generation.
func (g *Generations) Next() { g.now.Add(1) }

// Now returns the generation.
func (g *Generations) Now() uint64 { return g.now.Load() }

// New returns an empty Catalog, which counts by itself.
func New() *Catalog {
	c := &Catalog{}
	c.Share(NewGenerations(1))
	return c
}

// Share makes the Catalog count with others. What it remembers is of another
// generation, and forgotten.
func (c *Catalog) Share(g *Generations) {
	c.now.Store(newKnowledge(g.Now()))
	c.generations.Store(g)
}

// Forget begins a new generation, in which nothing is remembered. Analyses that are
// under way end in the old one.
func (c *Catalog) Forget() { c.generations.Load().Next() }

// Generation changes with every [Catalog.Forget].
func (c *Catalog) Generation() uint64 { return c.generations.Load().Now() }

// current is what is remembered in this generation.
func (c *Catalog) current() *knowledge {
	for {
		generation, k := c.Generation(), c.now.Load()
		if k.generation == generation {
			return k
		}
		c.now.CompareAndSwap(k, newKnowledge(generation))
	}
}

// Knowledge is what was looked up in one generation. What is nil was looked up
// and does not exist; facts never change.
type knowledge struct {
	generation uint64
	reach      atomic.Pointer[Reach] // with hazards

	mu        sync.Mutex // guards what follows; never held while blocking
	functions map[string][]*function
	types     map[string][]*typeFact
	relations map[Relation]*relation
	hazards   *hazards
}

func newKnowledge(generation uint64) *knowledge {
	return &knowledge{
		generation: generation,
		functions:  map[string][]*function{},
		types:      map[string][]*typeFact{},
		relations:  map[Relation]*relation{},
	}
}

// A function is a row of pg_proc.
type function struct {
	OID      uint32 `json:"oid"`
	Schema   string `json:"schema"`
	Name     string `json:"name"`
	Built    bool   `json:"built"` // came with the server
	Volatile string `json:"volatile"`
	Kind     string `json:"kind"`
	Language string `json:"language"`
	Trusted  bool   `json:"trusted"` // is the language
	// Extension is what the function came with, or empty.
	Extension string   `json:"extension"`
	Row       bool     `json:"row"`     // takes one row, so that row.name calls it
	Single    bool     `json:"single"`  // may be called with one argument, so that (x).name calls it
	Text      string   `json:"text"`    // CREATE FUNCTION …, in SQL and PL/pgSQL
	Support   []funcID `json:"support"` // what an aggregate calls
	Timetz    bool     `json:"timetz"`  // gives a time with time zone

	scanned bool // Text was read
	body    *body
}

// A funcID names a function.
type funcID struct {
	OID  uint32 `json:"oid"`
	Name string `json:"name"`
}

// A typeFact is a row of pg_type.
type typeFact struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
	Built  bool   `json:"built"`
	Kind   string `json:"kind"`
}

// A relation is a row of pg_class with what hangs on it.
type relation struct {
	OID         uint32    `json:"oid"`
	Name        string    `json:"name"`
	System      bool      `json:"system"`
	Kind        string    `json:"kind"`
	Persistence string    `json:"persistence"`
	Secured     bool      `json:"secured"`
	Rules       []string  `json:"rules"` // other than a view's own
	Parents     []uint32  `json:"parents"`
	Children    []uint32  `json:"children"`
	Columns     []column  `json:"columns"`
	View        string    `json:"view"`
	Keys        []key     `json:"keys"`
	Triggers    []trigger `json:"triggers"`
	Expressions []string  `json:"expressions"` // defaults, checks, indexes
	Policies    []string  `json:"policies"`
	// Primary is the primary key, if it is one by which rows are told apart; see rowOf.
	Primary *primary `json:"primary"`

	view        *Candidate // of View
	viewReason  Reason
	rules       []*body // of Rules
	expressions []*body // of Expressions
	policies    []*body // of Policies
}

type column struct {
	Name string `json:"name"`
	Type uint32 `json:"type"`
}

// A key is a foreign key that references the relation.
type key struct {
	From   uint32 `json:"from"`
	Delete bool   `json:"delete"` // an action that changes From
	Update bool   `json:"update"`
	// Rewrites says that deletion here updates there: SET NULL, SET DEFAULT.
	Rewrites bool `json:"rewrites"`
}

// A primary is a primary key of one column.
type primary struct {
	Name   string `json:"name"`
	Number uint32 `json:"number"`
	Type   uint32 `json:"type"`
	Cuts   bool   `json:"cuts"` // what is stored may be shorter than what was given
}

type trigger struct {
	Function funcID `json:"function"`
	Deferred bool   `json:"deferred"`
}

// Hazards are those operators, casts, domains and operator classes of the users'
// whose functions are not IMMUTABLE, or only say so.
type hazards struct {
	Operators []hazard `json:"operators"`
	Casts     []hazard `json:"casts"`
	Domains   []hazard `json:"domains"`
	Defaults  []hazard `json:"defaults"` // of domains
	Classes   []hazard `json:"classes"`
	// Views are functions that views and policies call.
	Views []funcID `json:"views"`
}

type hazard struct {
	Name     string   `json:"name"`     // of the operator
	Types    []uint32 `json:"types"`    // that are spoilt, with their arrays
	Names    []string `json:"names"`    // of those types
	Built    bool     `json:"built"`    // all of them came with the server
	Function funcID   `json:"function"` // that does it
	Check    string   `json:"check"`    // of a domain, or its default

	check *body
}

// sorted returns a set as a sorted slice.
func sorted(set map[Relation]bool) []Relation {
	if len(set) == 0 {
		return nil
	}
	oids := make([]Relation, 0, len(set))
	for oid := range set {
		oids = append(oids, oid)
	}
	slices.Sort(oids)

	return oids
}
