// Package cache is what Lifeguard's query cache rests on: which results may still be
// served (Ledger), who asks the database for one (Flights), how a statement with its
// arguments is named (Key), and where results are kept (Store).
//
// It knows nothing of SQL or of connections: a relation is a number here, and a result
// is whatever has a size. The driver says what a statement reads and what a
// transaction has written.
package cache
