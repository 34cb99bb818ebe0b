package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// A keeper is a child process that outlives this one by a moment: it ends what
// was started under it and removes the directory, however this process ends. How it
// does that stands with keeperCommand, for each kind of system.
type keeper struct {
	dir  string
	cmd  *exec.Cmd
	pipe *os.File // the write end
}

// keep makes dir, mode 0700, and a keeper for it. The keeper comes first: a kill
// between the two leaves nothing.
func keep(dir, signal string) (*keeper, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()

	cmd := keeperCommand(dir, signal)
	cmd.Stdin = r
	detach(cmd)
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, err
	}
	k := &keeper{dir: dir, cmd: cmd, pipe: w}
	hold(w)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, errors.Join(err, k.close())
	}

	return k, nil
}

// close ends what still runs under the keeper and removes the directory.
func (k *keeper) close() error {
	letGo(k.pipe)
	err := k.cmd.Wait()
	if _, statErr := os.Lstat(k.dir); statErr == nil {
		return errors.Join(fmt.Errorf("could not remove %s", k.dir), err)
	}

	return nil
}
