// Package doctest has tests of what README.md and docs say: links lead somewhere, commands do
// what they are shown to do, statements run on a server, every page is in the index, and the
// figures of docs/tuning.md are those that the formulas give.
package doctest
