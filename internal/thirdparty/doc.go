// Package thirdparty holds nothing but tests: of what other libraries do with a *sql.DB, each
// run over plain pgx and over Lifeguard, and compared.
package thirdparty
