package rowset

import (
	"database/sql/driver"
	"unsafe"
)

// words are the two of an interface that is not nil: its type, and where its value is.
type words struct{ of, at unsafe.Pointer }

// wholeType is the first word of each driver.Value that is an int64.
//
//nolint:gochecknoglobals // a constant
var wholeType = func() unsafe.Pointer {
	var v driver.Value = int64(0)
	return (*words)(unsafe.Pointer(&v)).of
}()

// boxed is n as a driver.Value. An assignment would allocate eight bytes for n, which takes as
// long as the rest of the decoding; so the first one goes to *place, which nobody may write to
// any more: place is nil afterwards.
func boxed(n int64, place **int64) (v driver.Value) {
	at := *place
	if at == nil || 0 <= n && n < 256 { // of these the runtime has one for all
		return n
	}
	*at, *place = n, nil
	*(*words)(unsafe.Pointer(&v)) = words{wholeType, unsafe.Pointer(at)}
	return v
}
