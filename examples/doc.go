// Package examples holds programs that show Lifeguard under the usual libraries, one in
// each folder; go run ./gorm runs one, make examples all. They need nothing but an
// installed PostgreSQL, which need not run.
package examples
