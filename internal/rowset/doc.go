// Package rowset keeps the rows of a result as the server sent them, and replays them
// through database/sql exactly as pgx/stdlib would have: value for value, Go type for Go
// type, error text for error text.
//
// # Why raw values
//
// A value is kept in its wire format and is decoded again at each replay, by the scan
// plans of pgx that stdlib uses. So a replay cannot differ from a live result by an
// intermediate representation, whatever the destination of Scan is; the values that a
// caller gets are its own, and a set costs little more than the bytes that came over the
// network. Decoded values cost two to five times the memory: an interface, a box, and the
// value in it, all of which the garbage collector has to follow.
//
// That is worth it for a result that is read often: [Set.Ready] makes its values once, and
// a replay then hands out copies of the interfaces. Values of the types that a driver
// gives cannot be changed, but for []byte, which is copied each time.
//
// # Layout
//
// A [Set] is one struct, the columns, one string with all their names, and one arena:
//
//	arena = row*
//	row   = uvarint(length of what follows) value*      one value per column
//	value = uvarint(0)                                  NULL
//	      | uvarint(length+1) byte*
//
// The row's length lets a reader that skipped columns find the next row, and gives a row
// without columns a byte, so that a count of rows can always be checked against the
// arena. A reader keeps a position: there is no index, because database/sql reads rows
// in order, and columns nearly always.
//
// A Set is immutable, from [Builder.Set] or [Parse] on: any number of [Rows] may read it
// at once. What a caller is given and may change, a []byte, never points into the arena,
// with one exception that is made harmless by a copy: see [Rows.ScanColumn] of Go 1.27. A
// text may point into an arena of up to 1 KiB, which stays in memory as long as the text;
// those of a larger one share copies of that size.
//
// # Who decodes
//
// A pgtype.Map may not be used by two goroutines. [Maps] pools workspaces, each with its
// own map, the plans made from it, and the variables that plans scan into. Rows hold one
// from their first use to their Close. These maps are pgx's default ones, so a result
// may only be recorded if the connection's map decodes it alike: [Known].
//
// A result that outgrew the limits of its [Builder] is not lost: a [Reader] gives the
// recorded rows first and then goes on over the live ones.
package rowset
