// Package doctest has tests of what README.md and docs say: links lead somewhere, commands and
// make targets exist, every page is in the index, and the figures of docs/tuning.md are those
// that the formulas give.
package doctest
