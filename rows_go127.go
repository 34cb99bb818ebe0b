//go:build go1.27

package lifeguard

import "database/sql/driver"

// From Go 1.27 database/sql calls NextRow and ScanColumn, and Next no more.
var _ driver.RowsColumnScanner = (*Rows)(nil)

// NextRow implements driver.RowsColumnScanner.
func (r *Rows) NextRow() error { return r.read(r.pgxRows.NextRow()) }

// NextRow implements driver.RowsColumnScanner.
func (r *liveRows) NextRow() error { return r.count(r.rowsReader.NextRow()) }
