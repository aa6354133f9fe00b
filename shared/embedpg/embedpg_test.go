package embedpg

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is also the program that the parent-death test kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("EMBEDPG_TEST_CHILD"); dir != "" {
		s, err := Start(context.Background(), Options{Dir: dir, Throwaway: true})
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println("pid", s.PID())
		select {}
	}
	os.Exit(m.Run())
}

func start(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Options{Dir: dir, Throwaway: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.StopNow() })
	return s
}

func answers(s *Server) bool {
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(s.Port()), time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func gone(pid int, within time.Duration) bool {
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if syscall.Kill(pid, 0) == syscall.ESRCH || zombie(pid) {
			return true
		}
	}
	return false
}

func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(text), ") Z ")
}

// One life: made, stopped, started again on the same port, crashed, started again.
func TestLife(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	if !answers(s) {
		t.Fatal("the server does not answer")
	}
	if os.Geteuid() == 0 {
		info, err := os.Stat(fmt.Sprintf("/proc/%d", s.PID()))
		if err != nil || info.Sys().(*syscall.Stat_t).Uid == 0 {
			t.Fatalf("the server runs as root (%v)", err)
		}
	}
	if _, err := os.Stat(filepath.Join(s.socket, ".s.PGSQL."+strconv.Itoa(s.Port()))); err != nil {
		t.Errorf("no unix socket: %v", err)
	}
	if err := s.Restart(t.Context()); err == nil {
		t.Error("a running server was started again")
	}
	port, url := s.Port(), s.URL("")
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if answers(s) {
		t.Fatal("stopped, but answers")
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Port() != port || s.URL("") != url {
		t.Errorf("the address moved: %s", s.URL(""))
	}
	for range 2 {
		pid := s.PID()
		family := children(pid)
		if len(family) == 0 {
			t.Error("no child processes found")
		}
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		for _, p := range append(family, pid) {
			if !gone(p, 5*time.Second) {
				t.Fatalf("process %d survives kill -9", p)
			}
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatalf("restart after kill -9: %v", err)
		}
	}
	s.StopNow()

	// A second program on the same folder finds the data and the password.
	again := start(t, dir)
	if again.password != s.password {
		t.Error("another password at the second start")
	}
	previousWait = 300 * time.Millisecond
	defer func() { previousWait = 8 * time.Second }()
	if _, err := Start(t.Context(), Options{Dir: dir, Throwaway: true}); err == nil {
		t.Error("two servers on one folder")
	}
}

// The launcher is killed with kill -9: no server stays behind, and the next start
// works at once.
func TestNoServerOutlivesItsLauncher(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "EMBEDPG_TEST_CHILD="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var word string
	var pid int
	if _, err := fmt.Fscan(out, &word, &pid); err != nil || word != "pid" {
		t.Fatalf("child: %s %v", word, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	// The server is nobody's child now: init may be slow to reap it.
	if !gone(pid, 10*time.Second) {
		t.Fatalf("postgres %d outlives its launcher", pid)
	}
	start(t, dir)
}

// A folder that the server's user cannot reach: as when the repository is in /root.
func TestUnreachableFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		// As a plain user the server is ourselves and reaches what we reach.
		if a, err := chooseAccount(); a != nil || err != nil {
			t.Fatalf("account %v, %v", a, err)
		}
		return
	}
	dir := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, filepath.Join(dir, "data"))
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(s.cluster)) })
	if strings.HasPrefix(s.cluster, dir) {
		t.Fatalf("cluster at %s", s.cluster)
	}
	s.StopNow()
	if again := start(t, filepath.Join(dir, "data")); again.cluster != s.cluster || again.password != s.password {
		t.Error("the second start lost the cluster")
	} else {
		again.StopNow()
	}
	// The folder goes, and with the next start its cluster.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	sweep()
	if _, err := os.Stat(s.cluster); err == nil {
		t.Error("a cluster without its folder stays")
	}
}

func TestPauseMakesItHang(t *testing.T) {
	s := start(t, t.TempDir())
	s.Pause()
	time.Sleep(50 * time.Millisecond)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
	s.Resume()
	if err == nil && !strings.Contains(string(text), ") T ") {
		t.Errorf("not stopped: %s", text)
	}
	if !answers(s) {
		t.Error("does not answer after Resume")
	}
}

func TestMissingBinariesSayWhatToInstall(t *testing.T) {
	if dir := find(t.Context(), 0, []string{t.TempDir()}); dir != "" {
		t.Errorf("found %s in an empty folder", dir)
	}
	_, err := Binaries(t.Context(), 9, false, nil) // a version that nobody has
	if err == nil || !strings.Contains(err.Error(), "apt-get install postgresql") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
}
