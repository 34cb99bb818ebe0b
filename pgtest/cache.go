package pgtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// initdb takes a second, a copy of its result 50 ms. So its result is kept, in
//
//	<cache>/pg15.18-0123456789abcdef/data     the data directory
//	<cache>/pg15.18-0123456789abcdef/entries  how many files and folders it has
//
// It is built beside and renamed into place: processes that race each build one,
// the first rename wins, and nobody sees half of one. entries guards against the
// cleaners of temporary folders, which remove old files one by one.

// cacheFormat is part of the key: a change of initdb's arguments needs a new one.
const cacheFormat = "1"

// cacheKey names a data directory after all that it depends on.
func cacheKey(inst *installation, acct *account) string {
	owner := strconv.Itoa(os.Geteuid())
	if acct != nil {
		owner = acct.name + ":" + strconv.Itoa(acct.uid)
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{cacheFormat, inst.dir, inst.version, owner, runtime.GOARCH}, "\x00")))

	return fmt.Sprintf("pg%s-%x", inst.release(), sum[:8])
}

// cacheRoot returns a folder for the cache that only this user can write to and
// that acct can pass through.
func cacheRoot(named string, acct *account) (string, error) {
	candidates := []string{named}
	if named == "" {
		candidates = nil
		if acct != nil {
			candidates = append(candidates, "/var/cache") // root's own cache folder is closed to others
		} else if dir, err := os.UserCacheDir(); err == nil {
			candidates = append(candidates, dir)
		}
		candidates = append(candidates, os.TempDir(), "/tmp")
		for i, dir := range candidates {
			candidates[i] = filepath.Join(dir, "lifeguard-pgtest")
			if i > 0 && os.Geteuid() >= 0 { // temporary folders are shared
				candidates[i] += "-" + strconv.Itoa(os.Geteuid())
			}
		}
	}

	var problems []error
	for _, dir := range candidates {
		err := os.MkdirAll(dir, 0o755)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		info, err := os.Lstat(dir)
		switch {
		case err != nil:
			problems = append(problems, err)
		case !trusted(info) && named == "":
			problems = append(problems, fmt.Errorf("%s: others can write to it", dir))
		case !acct.canEnter(dir):
			problems = append(problems, fmt.Errorf("%s: the user %s cannot enter it", dir, acct.name))
		default:
			return dir, nil
		}
	}

	return "", fmt.Errorf("no folder for the cache of data directories: %w", errors.Join(problems...))
}

// errStale says that a cached data directory is not as it was built.
var errStale = errors.New("incomplete cached data directory")

// fillData makes dst a data directory: a copy of the cached one, which is built
// first when there is none.
func fillData(ctx context.Context, dst, cacheDir string, inst *installation, acct *account) error {
	root, err := cacheRoot(cacheDir, acct)
	if err != nil {
		return err
	}
	entry := filepath.Join(root, cacheKey(inst, acct))

	err = copyEntry(ctx, dst, entry, acct)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errStale) {
		return err
	}
	if err := os.RemoveAll(dst); err != nil {
		return err
	}
	if err := buildEntry(ctx, entry, inst, acct); err != nil {
		return err
	}

	return copyEntry(ctx, dst, entry, acct)
}

// buildEntry runs initdb and moves the result to entry, unless another process
// was faster.
func buildEntry(ctx context.Context, entry string, inst *installation, acct *account) (err error) {
	build := filepath.Join(filepath.Dir(entry), ".building-"+rand.Text())
	k, err := keep(build, "TERM")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	if err := acct.own(build); err != nil {
		return err
	}

	data := filepath.Join(build, "data")
	if err := initdb(ctx, k, data, inst, acct); err != nil {
		return err
	}
	entries, err := countEntries(data)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(build, "entries"), []byte(strconv.Itoa(entries)), 0o644); err != nil {
		return err
	}

	err = os.Rename(build, entry)
	if err == nil || complete(entry) {
		return nil
	}
	// What is there is broken. Move it away first: others may race to here too.
	_ = os.Rename(entry, filepath.Join(build, "stale"))
	second := os.Rename(build, entry)
	_ = os.RemoveAll(filepath.Join(entry, "stale"))
	if second == nil || complete(entry) {
		return nil
	}

	return errors.Join(err, second)
}

// initdb runs as the superuser "postgres" and with the settings of no locale, so
// that a test sees the same order of text and the same messages everywhere.
func initdb(ctx context.Context, k *keeper, data string, inst *installation, acct *account) error {
	args := []string{"-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"}
	cmd := exec.Command(inst.program("initdb"), args...)
	cmd.Dir = k.dir
	cmd.Env = serverEnv()

	return k.run(ctx, cmd, acct)
}

// run waits for a program that ends by itself. The error has the end of what it said.
func (k *keeper) run(ctx context.Context, cmd *exec.Cmd, acct *account) error {
	name := filepath.Base(cmd.Path)
	out, err := os.Create(filepath.Join(k.dir, name+".log"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out

	p, err := k.start(cmd, acct)
	if err != nil {
		return err
	}
	for !p.exited(pollEvery) {
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), p.end(syscall.SIGTERM, stopLimit))
		}
	}
	if err := p.reap(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, tail(out.Name()))
	}

	return nil
}

// serverEnv is this process's environment without what changes a server: its
// locale, its time zone, and libpq's variables.
func serverEnv() []string {
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "LC_") || strings.HasPrefix(name, "LANG") || name == "TZ" {
			continue
		}
		env = append(env, entry)
	}

	return env
}

func countEntries(dir string) (n int, err error) {
	err = filepath.WalkDir(dir, func(string, fs.DirEntry, error) error {
		n++
		return nil
	})

	return n, err
}

func recordedEntries(entry string) (int, error) {
	text, err := os.ReadFile(filepath.Join(entry, "entries"))
	if err != nil {
		return 0, err
	}

	return strconv.Atoi(string(bytes.TrimSpace(text)))
}

// complete reports whether entry is as it was built.
func complete(entry string) bool {
	want, err := recordedEntries(entry)
	if err != nil {
		return false
	}
	have, err := countEntries(filepath.Join(entry, "data"))

	return err == nil && have == want
}

// copyEntry copies the data directory of entry to dst and gives it to acct.
func copyEntry(ctx context.Context, dst, entry string, acct *account) error {
	want, err := recordedEntries(entry)
	if err != nil {
		return err
	}
	src := filepath.Join(entry, "data")
	copied := 0
	err = filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		copied++
		if d.IsDir() {
			err = os.Mkdir(to, 0o700)
		} else {
			err = copyFile(to, path)
		}
		if err != nil {
			return err
		}
		return acct.own(to)
	})
	if err == nil && copied != want {
		return errStale
	}

	return err
}

func copyFile(to, from string) (err error) {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	_, err = io.Copy(w, r) // copy_file_range, which shares blocks where the file system can

	return err
}
