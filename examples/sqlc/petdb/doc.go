// Package petdb is what sqlc makes of schema.sql and queries.sql, as sqlc.yaml tells it.
package petdb

//go:generate env CGO_ENABLED=0 go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1 generate
