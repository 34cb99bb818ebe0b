//go:build unix

package pgtest

import (
	"bufio"
	"encoding/json"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lifeguard-go/lifeguard/internal/needs"
)

// startHelperProcess runs this test binary as a process of its own, in a process
// group of its own as a shell would, that starts a server and ends as told.
func startHelperProcess(t *testing.T, end, tmp, cache string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envHelper+"="+end, "PGTEST_CACHE="+cache, "TMPDIR="+tmp, envDSN+"=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})

	return cmd, bufio.NewReader(out)
}

func readStarted(t *testing.T, out *bufio.Reader) (s started) {
	t.Helper()
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		t.Fatalf("%v: %s", err, line)
	}

	return s
}

// runs reports whether the process lives; a zombie does not.
func runs(pid int) bool {
	out, _ := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	state := strings.TrimSpace(string(out))

	return state != "" && state[0] != 'Z'
}

func TestNothingIsLeftHoweverTheProcessEnds(t *testing.T) {
	Shared(t) // the cache is filled
	for name, c := range map[string]struct {
		end    string
		signal syscall.Signal
		group  bool
	}{
		"Stop":            {end: "stop"},
		"panic":           {end: "panic"},
		"os.Exit":         {end: "exit"},
		"kill -9":         {end: "wait", signal: syscall.SIGKILL},
		"kill -9 a group": {end: "wait", signal: syscall.SIGKILL, group: true},
		"Ctrl-C":          {end: "wait", signal: syscall.SIGINT, group: true},
		"SIGTERM":         {end: "wait", signal: syscall.SIGTERM},
		"SIGQUIT":         {end: "wait", signal: syscall.SIGQUIT, group: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tmp := openTempDir(t)
			cmd, out := startHelperProcess(t, c.end, tmp, "")
			s := readStarted(t, out)
			if c.end == "wait" {
				connect(t, s.DSN) // a session must not keep the server alive
				if !runs(s.PID) || !exists(s.Dir) || filepath.Dir(s.Dir) != tmp {
					t.Fatalf("%+v is not the server", s)
				}
			}
			if c.signal != 0 {
				pid := cmd.Process.Pid
				if c.group {
					pid = -pid
				}
				if err := syscall.Kill(pid, c.signal); err != nil {
					t.Fatal(err)
				}
			}
			_ = cmd.Wait()
			eventually(t, "the server ends", func() bool { return !runs(s.PID) })
			eventually(t, "the directory goes", func() bool { return !exists(tmp + "/*") })
		})
	}
}

func TestARedisEndsWithAKilledProcess(t *testing.T) {
	for name, arrange := range map[string]func(*testing.T){
		"redis-server": func(t *testing.T) {
			t.Helper()
			if _, err := exec.LookPath("redis-server"); err != nil {
				needs.Lacking(t, "Redis: %v", err)
			}
		},
		"miniredis": func(t *testing.T) { t.Helper(); onlyGo(t, "exit 1") },
	} {
		t.Run(name, func(t *testing.T) {
			arrange(t)
			tmp := openTempDir(t)
			cmd, out := startHelperProcess(t, "redis", tmp, "")
			s := readStarted(t, out)
			if got := redisSays(t, s.DSN, "PING"); got != "+PONG" {
				t.Fatal(got)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			u, err := url.Parse(s.DSN)
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "the Redis ends", func() bool {
				conn, err := net.Dial("tcp", u.Host)
				if err == nil {
					conn.Close()
				}
				return err != nil
			})
			eventually(t, "the directories go", func() bool { return !exists(tmp + "/*") })
		})
	}
}

func TestNothingIsLeftWheneverTheProcessIsKilled(t *testing.T) {
	Shared(t)
	for name, moment := range map[string]string{
		"the directory is there": "tmp/lifeguard-pgtest-*",
		"initdb runs":            "cache/.building-*/data/base",
		"the data is copied":     "tmp/lifeguard-pgtest-*/data/PG_VERSION",
		"the server is launched": "tmp/lifeguard-pgtest-*/log",
		"the server starts":      "tmp/lifeguard-pgtest-*/data/postmaster.pid",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := openTempDir(t)
			for _, dir := range []string{"tmp", "cache"} {
				if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd, _ := startHelperProcess(t, "wait", root+"/tmp", root+"/cache")
			eventually(t, name, func() bool { return exists(filepath.Join(root, moment)) })
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			eventually(t, "the directories go", func() bool {
				return !exists(root+"/tmp/*") && !exists(root+"/cache/.building-*")
			})
			eventually(t, "the processes end", func() bool {
				out, _ := exec.Command("ps", "-eo", "args").Output()
				return !strings.Contains(string(out), root)
			})
		})
	}
}

func TestProcessesThatRaceForTheCacheShareOne(t *testing.T) {
	Shared(t)
	tmp, cache := openTempDir(t), openTempDir(t)
	const n = 3
	var outs []*bufio.Reader
	var cmds []*exec.Cmd
	for range n {
		cmd, out := startHelperProcess(t, "stop", tmp, cache)
		cmds, outs = append(cmds, cmd), append(outs, out)
	}
	for i := range n {
		readStarted(t, outs[i])
		if err := cmds[i].Wait(); err != nil {
			t.Error(err)
		}
	}
	entries, err := os.ReadDir(cache)
	if err != nil || len(entries) != 1 || !complete(filepath.Join(cache, entries[0].Name())) {
		t.Errorf("the cache holds %v, %v", entries, err)
	}
}

func TestTheSecondToBuildTheCacheKeepsTheFirst(t *testing.T) {
	inst := Shared(t).local.inst
	acct, err := dropTo()
	if err != nil {
		t.Fatal(err)
	}
	entry := filepath.Join(openTempDir(t), "entry")
	var infos [2]os.FileInfo
	for i := range infos {
		if err := buildEntry(t.Context(), entry, inst, acct); err != nil {
			t.Fatal(err)
		}
		if infos[i], err = os.Stat(entry); err != nil {
			t.Fatal(err)
		}
	}
	if !os.SameFile(infos[0], infos[1]) {
		t.Error("a whole data directory was replaced, perhaps while somebody copied it")
	}
}

func TestADamagedCacheIsBuiltAgain(t *testing.T) {
	Shared(t)
	cache := openTempDir(t)
	s := NewServer(t, Options{CacheDir: cache})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	notify, err := filepath.Glob(cache + "/*/data/pg_notify") // empty, so a cleaner may take it
	if err != nil || len(notify) != 1 {
		t.Fatal(notify, err)
	}
	if err := os.Remove(notify[0]); err != nil {
		t.Fatal(err)
	}

	s = NewServer(t, Options{CacheDir: cache})
	if got := query1(t, s.DSN(""), "SELECT 'alive'"); got != "alive" {
		t.Error(got)
	}
	left, _ := filepath.Glob(cache + "/.*")
	if !exists(notify[0]) || len(left) > 0 || exists(cache+"/*/stale") {
		t.Errorf("the cache is not whole again: %v", left)
	}
}

func TestRootDropsToAUserThatCanReachTheServer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root drops its rights; these tests run as somebody else")
	}
	s := NewServer(t, Options{})
	if s.local.acct == nil || s.local.acct.uid == 0 {
		t.Fatalf("runs as %+v", s.local.acct)
	}
	pid, _ := s.local.status()
	out, err := exec.Command("ps", "-o", "uid=", "-p", pid).Output()
	if err != nil || strings.TrimSpace(string(out)) != strconv.Itoa(s.local.acct.uid) {
		t.Errorf("the postmaster runs as uid %s, want %d", out, s.local.acct.uid)
	}

	closed := filepath.Join(openTempDir(t), "closed", "bin")
	if err := os.MkdirAll(closed, 0o755); err != nil {
		t.Fatal(err)
	}
	if !s.local.acct.canEnter(closed) {
		t.Error("an open folder counts as closed")
	}
	if err := os.Chmod(filepath.Dir(closed), 0o700); err != nil {
		t.Fatal(err)
	}
	if s.local.acct.canEnter(closed) {
		t.Error("a closed folder counts as open")
	}

	t.Setenv("TMPDIR", closed)
	dir, err := serverDir(s.local.acct, false)
	if err != nil || filepath.Dir(dir) == closed {
		t.Error(dir, err)
	}
	t.Setenv(envBin, fakeInstallation(t, closed, "15.1"))
	if _, err := start(t.Context(), Options{}, ""); err == nil || !strings.Contains(err.Error(), "cannot enter") {
		t.Error(err)
	}
}

func TestACacheThatOthersCanWriteToIsNotTrusted(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []os.FileMode{0o777, 0o775} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(dir); err != nil || trusted(info) {
			t.Error(mode, err)
		}
	}
	link := dir + "/link"
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || trusted(info) {
		t.Error("a link is trusted", err)
	}
	if info, err := os.Lstat(dir); err != nil || !trusted(info) {
		t.Error("a folder of our own is not trusted", err)
	}
}

func TestKillLeavesNoSharedMemoryBehind(t *testing.T) {
	if _, err := exec.LookPath("ipcs"); err != nil {
		t.Skip("without ipcs, which is Linux's, shared memory cannot be listed:", err)
	}
	s := NewServer(t, Options{})
	segment := s.local.sharedMemory()
	has := func() bool {
		out, _ := exec.Command("ipcs", "-m").Output()
		for _, line := range strings.Split(string(out), "\n") {
			for _, field := range strings.Fields(line) {
				if field == segment {
					return true
				}
			}
		}
		return false
	}
	if segment == "" || !has() {
		t.Fatalf("segment %q", segment)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if has() {
		t.Errorf("segment %s is still there", segment)
	}
}
