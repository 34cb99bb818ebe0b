//go:build unix

package pgtest

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user that runs the server in place of root, for whom PostgreSQL
// refuses to run. It has to exist: PostgreSQL looks its name up.
type account struct {
	name     string
	uid, gid int
}

// dropTo returns the account to use, or nil when this process is not root.
func dropTo() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil && uid != 0 {
			return &account{name: name, uid: uid, gid: gid}, nil
		}
	}

	return nil, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody to run it as")
}

// canEnter reports whether the account may pass through every folder of path. A
// nil account is this process, which finds out for itself.
func (a *account) canEnter(path string) bool {
	if a == nil {
		return true
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	for {
		info, err := os.Stat(path)
		if err != nil {
			return false
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return false
		}
		need := os.FileMode(0o001)
		if int(stat.Uid) == a.uid {
			need = 0o100
		} else if int(stat.Gid) == a.gid {
			need = 0o010
		}
		if info.IsDir() && info.Mode()&need == 0 {
			return false
		}
		parent := filepath.Dir(path)
		if parent == path {
			return true
		}
		path = parent
	}
}

// own gives path to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}

	return os.Lchown(path, a.uid, a.gid)
}

// trusted reports whether info is of a folder, not of a link to one, that only
// the user of this process may write to.
func trusted(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid() && info.IsDir() && info.Mode().Perm()&0o022 == 0
}
