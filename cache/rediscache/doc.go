// Package rediscache keeps results in Redis for all processes that read and write one
// PostgreSQL database, and has Redis say whether they may still be served.
//
// It knows nothing of SQL or of connections to PostgreSQL: a relation is a number, a
// result is bytes. [Space] has the protocol, and what it rests on.
package rediscache
