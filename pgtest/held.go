package pgtest

import (
	"os"
	"sync"
)

// held has this process's ends of the pipes by which a child learns that this
// process ended. The garbage collector closes a file that nobody refers to: it would
// stop the server of somebody who kept the DSN and let go of the Server, as code may
// that wants one until the process ends.
//
//nolint:gochecknoglobals // reachable for as long as the process lives is what it is for
var held sync.Map // *os.File to nothing

func hold(files ...*os.File) {
	for _, f := range files {
		held.Store(f, nil)
	}
}

// letGo closes what hold got; a second time does nothing.
func letGo(files ...*os.File) {
	for _, f := range files {
		held.Delete(f)
		f.Close()
	}
}
