// Package embedpg runs a private Postgres for development and tests: it finds or
// fetches the server's binaries, keeps the cluster in a folder, and leaves no server
// behind, however the program that started it ends.
package embedpg

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say what server to run.
type Options struct {
	// Dir holds the cluster, its log, password and port; it is created. A second Start
	// on the same folder keeps the data.
	Dir string
	// Port on 127.0.0.1; 0 takes that of the last run if it is free, else any free one.
	Port int
	// Database is created with the cluster, default "relay".
	Database string
	// Throwaway turns off every promise about crashes of the machine (fsync …) and the
	// password. For tests only: kill -9 of the server alone still loses nothing.
	Throwaway bool
	// Settings are further server settings.
	Settings map[string]string
	// Install lets missing binaries be installed (apt-get as root) or fetched. Without
	// it, missing binaries are an error.
	Install bool
	// Log is told in one line what takes long (installing); may be nil.
	Log func(string)
}

// User is the superuser of the private server.
const User = "relay"

// previousWait is how long Start waits for a server of the same folder to go down:
// longer than the watchdog needs.
var previousWait = 8 * time.Second

// Server is a running private Postgres.
type Server struct {
	o        Options
	bin      string // folder of the binaries
	cluster  string
	password string
	socket   string // folder of the unix socket
	port     int
	as       *account

	mu       sync.Mutex
	cmd      *exec.Cmd
	done     chan struct{}
	watchdog *watchdog
}

// Start starts the server and returns once it takes connections. Whoever starts it
// stops it; if that program dies, the server is shut down by a watchdog.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Database == "" {
		o.Database = "relay"
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot start postgres in %s: %w", o.Dir, err)
	}
	o.Dir = dir
	s := &Server{o: o}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot start postgres: %w", err)
	}
	if s.as, err = chooseAccount(); err != nil {
		return nil, err
	}
	if s.cluster, err = s.place(); err != nil {
		return nil, err
	}
	if s.bin, err = Binaries(ctx, clusterVersion(s.cluster), o.Install, o.Log); err != nil {
		return nil, err
	}
	if err := s.initialise(ctx); err != nil {
		return nil, err
	}
	if err := s.Restart(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// elsewhere is where clusters go whose folder the server's user cannot reach.
const elsewhere = "/var/lib/tokenrelay-postgres"

// sweep removes the clusters elsewhere whose folder is gone: a test's, or a removed
// checkout's.
func sweep() {
	notes, _ := filepath.Glob(filepath.Join(elsewhere, "*", "origin"))
	for _, note := range notes {
		origin, err := os.ReadFile(note)
		if err != nil {
			continue
		}
		_, err = os.Stat(strings.TrimSpace(string(origin)))
		pid := postmasterPID(filepath.Join(filepath.Dir(note), "cluster"))
		if errors.Is(err, os.ErrNotExist) && (pid == 0 || syscall.Kill(pid, 0) == syscall.ESRCH) {
			_ = os.RemoveAll(filepath.Dir(note))
		}
	}
}

// place decides where the cluster is: in Dir, or, when the server's user cannot reach
// Dir (a folder in /root), in /var/lib, with a note in Dir.
func (s *Server) place() (string, error) {
	note := filepath.Join(s.o.Dir, "cluster.path")
	if text, err := os.ReadFile(note); err == nil && len(text) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	inside := filepath.Join(s.o.Dir, "cluster")
	if s.as == nil || s.as.reaches(s.o.Dir) {
		return inside, nil
	}
	sweep()
	sum := sha256.Sum256([]byte(s.o.Dir))
	outside := filepath.Join(elsewhere, hex.EncodeToString(sum[:6]))
	if err := os.MkdirAll(outside, 0o755); err != nil {
		return "", fmt.Errorf("cannot place the postgres cluster: %w", err)
	}
	if err := os.WriteFile(filepath.Join(outside, "origin"), []byte(s.o.Dir+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("cannot place the postgres cluster: %w", err)
	}
	outside = filepath.Join(outside, "cluster")
	if err := os.WriteFile(note, []byte(outside+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("cannot place the postgres cluster: %w", err)
	}
	return outside, nil
}

// clusterVersion is the major version that made the cluster, 0 if there is none.
func clusterVersion(cluster string) int {
	text, err := os.ReadFile(filepath.Join(cluster, "PG_VERSION"))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}

// initialise makes the cluster if there is none. It is made beside and then renamed:
// a start that was interrupted leaves nothing half done.
func (s *Server) initialise(ctx context.Context) error {
	pwfile := filepath.Join(s.o.Dir, "password")
	if clusterVersion(s.cluster) != 0 {
		if text, err := os.ReadFile(pwfile); err == nil {
			s.password = strings.TrimSpace(string(text))
		}
		return nil
	}
	fresh := s.cluster + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("cannot make a postgres cluster: %w", err)
	}
	if err := os.MkdirAll(fresh, 0o700); err != nil {
		return fmt.Errorf("cannot make a postgres cluster: %w", err)
	}
	if err := s.as.own(fresh); err != nil {
		return fmt.Errorf("cannot make a postgres cluster: %w", err)
	}
	s.password = rand.Text()
	handover, err := os.CreateTemp("", "relay-pg-")
	if err != nil {
		return fmt.Errorf("cannot make a postgres cluster: %w", err)
	}
	defer func() { _ = os.Remove(handover.Name()) }()
	_, err = handover.WriteString(s.password + "\n")
	if err := errors.Join(err, handover.Close(), s.as.own(handover.Name())); err != nil {
		return fmt.Errorf("cannot make a postgres cluster: %w", err)
	}
	args := []string{"-D", fresh, "-U", User, "-E", "UTF8", "--no-locale", "--pwfile=" + handover.Name()}
	if s.o.Throwaway {
		args = append(args, "--auth=trust", "--no-sync")
	} else {
		args = append(args, "--auth=scram-sha-256")
	}
	if err := s.run(ctx, "", "initdb", args...); err != nil {
		return err
	}
	create := fmt.Sprintf("CREATE DATABASE %q;\n", s.o.Database)
	if err := s.run(ctx, create, "postgres", "--single", "-D", fresh, "-F", "postgres"); err != nil {
		return err
	}
	if err := os.WriteFile(pwfile, []byte(s.password+"\n"), 0o600); err != nil {
		return fmt.Errorf("cannot make a postgres cluster: %w", err)
	}
	if err := os.Rename(fresh, s.cluster); err != nil {
		return fmt.Errorf("cannot make a postgres cluster: %w", err)
	}
	return nil
}

// run runs a tool of the server as the server's user.
func (s *Server) run(ctx context.Context, stdin, tool string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, tool), args...)
	s.prepare(cmd)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot make a postgres cluster: %s: %w: %s", tool, err, lastLine(out))
	}
	return nil
}

func (s *Server) prepare(cmd *exec.Cmd) {
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=" + s.bin + ":/usr/bin:/bin"}
	// A group of its own: Ctrl-C in the terminal is for the launcher, which then stops
	// the server in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.as != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: s.as.uid, Gid: s.as.gid}
	}
}

// Restart starts the server again after Stop, Kill or a crash. It is an error while
// it runs.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil && !closed(s.done) {
		return errors.New("cannot start postgres: it is running")
	}
	s.cleanUp()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.waitForPrevious(ctx); err != nil {
		return err
	}
	var err error
	for attempt := range 20 {
		if attempt > 0 {
			select {
			case <-ctx.Done():
				return err
			case <-time.After(200 * time.Millisecond):
			}
		}
		var again bool
		if again, err = s.start(ctx); err == nil || !again {
			return err
		}
	}
	return err
}

// waitForPrevious waits for a server of this folder that is still going down, as
// after a launcher that was killed.
func (s *Server) waitForPrevious(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, previousWait)
	defer cancel()
	for {
		pid := postmasterPID(s.cluster)
		if pid == 0 || syscall.Kill(pid, 0) == syscall.ESRCH || !isPostgres(pid) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot start postgres: process %d already runs on %s", pid, s.cluster)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// start makes one attempt; again says that another may succeed (the port was taken in
// between, or the memory of a killed server is not released yet).
func (s *Server) start(ctx context.Context) (again bool, err error) {
	if s.port, err = s.choosePort(); err != nil {
		return false, err
	}
	// A path of its own, because the path of a unix socket must be short.
	if s.socket, err = os.MkdirTemp("/tmp", "relay-pg-"); err != nil {
		return false, fmt.Errorf("cannot start postgres: %w", err)
	}
	if err := s.as.own(s.socket); err != nil {
		return false, fmt.Errorf("cannot start postgres: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(s.o.Dir, "postgres.log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return false, fmt.Errorf("cannot start postgres: %w", err)
	}
	defer func() { _ = log.Close() }()
	before, _ := log.Seek(0, 2)
	args := []string{"-D", s.cluster, "-p", strconv.Itoa(s.port), "-k", s.socket, "-h", "127.0.0.1"}
	settings := map[string]string{"max_connections": "100", "shared_buffers": "128MB", "logging_collector": "off", "log_min_messages": "warning"}
	if s.o.Throwaway {
		// Not synchronous_commit: a commit must be with the kernel before it is told.
		settings["fsync"], settings["full_page_writes"] = "off", "off"
		settings["max_connections"] = "300"
		settings["max_wal_size"] = "4GB"
	}
	for name, value := range s.o.Settings {
		settings[name] = value
	}
	for name, value := range settings {
		args = append(args, "-c", name+"="+value)
	}
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), args...)
	s.prepare(cmd)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("cannot start postgres: %w", err)
	}
	done := make(chan struct{})
	go reap(cmd, done)
	s.cmd, s.done = cmd, done
	if s.watchdog, err = watch(cmd.Process.Pid, s.cluster, s.socket, s.prepare); err != nil {
		_ = cmd.Process.Kill()
		return false, fmt.Errorf("cannot start postgres: %w", err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			s.cleanUp()
			text := make([]byte, 1<<16)
			n, _ := log.ReadAt(text, before)
			tail := string(text[:n])
			retry := strings.Contains(tail, "Address already in use") || strings.Contains(tail, "shared memory block") || strings.Contains(tail, "lock file")
			return retry, fmt.Errorf("cannot start postgres: %s", lastLine(text[:n]))
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGQUIT)
			<-done
			s.cleanUp()
			return false, fmt.Errorf("cannot start postgres: %w", ctx.Err())
		case <-tick.C:
			if ready(s.cluster, cmd.Process.Pid) {
				_ = os.WriteFile(filepath.Join(s.o.Dir, "port"), []byte(strconv.Itoa(s.port)), 0o644)
				return false, nil
			}
		}
	}
}

// choosePort prefers the wanted port, then that of the last run, then a free one.
func (s *Server) choosePort() (int, error) {
	if s.o.Port != 0 {
		return s.o.Port, nil
	}
	last := s.port
	if last == 0 {
		if text, err := os.ReadFile(filepath.Join(s.o.Dir, "port")); err == nil {
			last, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		}
	}
	for _, port := range []int{last, 0} {
		l, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		port = l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		return port, nil
	}
	return 0, errors.New("cannot start postgres: no free port on 127.0.0.1")
}

// URL is the postgres:// URL of a database over TCP; "" means Options.Database.
func (s *Server) URL(database string) string {
	return s.url(database, net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), nil)
}

// SocketURL is the URL over the unix socket. It changes with every start.
func (s *Server) SocketURL(database string) string {
	return s.url(database, "", url.Values{"host": {s.socket}, "port": {strconv.Itoa(s.port)}})
}

func (s *Server) url(database, host string, q url.Values) string {
	if database == "" {
		database = s.o.Database
	}
	if q == nil {
		q = url.Values{}
	}
	q.Set("sslmode", "disable")
	u := url.URL{Scheme: "postgres", User: url.UserPassword(User, s.password), Host: host, Path: "/" + database, RawQuery: q.Encode()}
	return u.String()
}

// Port is the port on 127.0.0.1.
func (s *Server) Port() int { return s.port }

// PID is the process id of the server.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

// Done is closed when the server's process has ended, for whatever reason.
func (s *Server) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// Stop shuts the server down in order (connections are cut, everything is on disk),
// at last at once if ctx ends before.
func (s *Server) Stop(ctx context.Context) error { return s.end(ctx, syscall.SIGINT) }

// StopNow shuts the server down at once, as a crash that recovers at the next start.
func (s *Server) StopNow() error { return s.end(context.Background(), syscall.SIGQUIT) }

// Kill is kill -9 of the server and all its processes.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil || closed(s.done) {
		return nil
	}
	// Frozen first: a process that the server starts between the look at its children
	// and its end would live on, with the shared memory that the next start needs.
	_ = syscall.Kill(s.cmd.Process.Pid, syscall.SIGSTOP)
	<-time.After(time.Millisecond)
	family := append([]int{s.cmd.Process.Pid}, children(s.cmd.Process.Pid)...)
	for _, pid := range family {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-s.done
	s.cleanUp()
	return nil
}

// Pause freezes the server and its processes: it accepts and answers nothing. Resume
// undoes it. For tests of hanging databases.
func (s *Server) Pause() { s.signalAll(syscall.SIGSTOP) }

// Resume undoes Pause.
func (s *Server) Resume() { s.signalAll(syscall.SIGCONT) }

func (s *Server) signalAll(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil || closed(s.done) {
		return
	}
	for _, pid := range append([]int{s.cmd.Process.Pid}, children(s.cmd.Process.Pid)...) {
		_ = syscall.Kill(pid, sig)
	}
}

func (s *Server) end(ctx context.Context, sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil || closed(s.done) {
		s.cleanUp()
		return nil
	}
	_ = s.cmd.Process.Signal(sig)
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	var err error
	for {
		select {
		case <-s.done:
			s.cleanUp()
			return err
		case <-ctx.Done():
		case <-limit.C:
		}
		if sig == syscall.SIGKILL {
			<-s.done
			continue
		}
		// Not in time: at once, then the hard way.
		err = errors.New("postgres did not shut down in time and was stopped at once")
		if ctx, sig = context.Background(), syscall.SIGKILL; s.cmd.Process.Signal(syscall.SIGQUIT) != nil {
			continue
		}
		limit.Reset(5 * time.Second)
		select {
		case <-s.done:
		case <-limit.C:
			_ = s.cmd.Process.Kill()
		}
	}
}

// cleanUp takes back the watchdog and the socket folder of a server that has ended.
func (s *Server) cleanUp() {
	if s.watchdog != nil {
		s.watchdog.dismiss()
		s.watchdog = nil
	}
	if s.socket != "" {
		_ = os.RemoveAll(s.socket)
		s.socket = ""
	}
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// ready reads from postmaster.pid whether the server takes connections.
func ready(cluster string, pid int) bool {
	text, err := os.ReadFile(filepath.Join(cluster, "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(text), "\n")
	return len(lines) >= 8 && strings.TrimSpace(lines[0]) == strconv.Itoa(pid) && strings.TrimSpace(lines[7]) == "ready"
}

func postmasterPID(cluster string) int {
	text, err := os.ReadFile(filepath.Join(cluster, "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, _ := strconv.Atoi(strings.TrimSpace(first))
	return max(pid, 0)
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.Contains(lines[i], "FATAL") || strings.Contains(lines[i], "error:") {
			return lines[i]
		}
	}
	return lines[len(lines)-1]
}

// reap waits for a server, so that it does not stay as a zombie, and tells of its end.
func reap(cmd *exec.Cmd, done chan<- struct{}) {
	_ = cmd.Wait()
	close(done)
}
