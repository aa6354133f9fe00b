package apptest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is one of the programs at work. It can be killed and started again: same
// command, same ports, same folder.
type Process struct {
	Name string

	t       testing.TB
	path    string
	args    []string
	env     []string
	more    []string // With
	dir     string
	logFile string
	ready   string // URL that answers 200 when it is ready

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// spawn starts processes on one thread that never ends: the kernel's "parent is gone"
// is said of the thread that started a child.
var spawn = sync.OnceValue(func() func(*exec.Cmd) error {
	type job struct {
		cmd  *exec.Cmd
		done chan error
	}
	jobs := make(chan job)
	go func() {
		runtime.LockOSThread()
		for j := range jobs {
			j.done <- j.cmd.Start()
		}
	}()
	return func(cmd *exec.Cmd) error {
		j := job{cmd, make(chan error)}
		jobs <- j
		return <-j.done
	}
})

// Start starts the process and returns at once; WaitReady waits for it.
func (p *Process) Start() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		select {
		case <-p.done:
		default:
			p.t.Fatalf("%s is running already", p.Name)
		}
	}
	log, err := os.OpenFile(p.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Fatalf("cannot open the log of %s: %v", p.Name, err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Dir = slices.Concat(p.env, p.more), p.dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()
	if err := spawn()(cmd); err != nil {
		p.t.Fatalf("cannot start %s: %v", p.Name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(done)
	}()
}

// WaitReady waits until the process says that it is ready; the test fails if it ends
// or takes over a minute.
func (p *Process) WaitReady() {
	p.t.Helper()
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	last := "no answer yet"
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		select {
		case <-p.exited():
			p.t.Fatalf("%s ended (%v) before it was ready:\n%s", p.Name, p.exitError(), p.tail(4<<10))
		default:
		}
		resp, err := client.Get(p.ready)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
			last = resp.Status
		} else {
			last = err.Error()
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("%s is not ready after a minute (%s):\n%s", p.Name, last, p.tail(4<<10))
}

func (p *Process) exited() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

func (p *Process) exitError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// InternalURL is the address of the program's internal port: its metrics.
func (p *Process) InternalURL() string { return p.ready[:len(p.ready)-len("/readyz")] }

// PID is the process id of the last start.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// Running says whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.exited():
		return false
	default:
		return true
	}
}

// Signal sends a signal: SIGSTOP and SIGCONT freeze and thaw it.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(p.PID(), sig); err != nil {
		p.t.Fatalf("cannot signal %s: %v", p.Name, err)
	}
}

// Kill is kill -9; it returns when the process is gone.
func (p *Process) Kill() {
	p.t.Helper()
	p.Signal(syscall.SIGKILL)
	<-p.exited()
}

// Terminate sends SIGTERM and returns at once; Wait gives the exit code.
func (p *Process) Terminate() {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
}

// Wait waits for the process's end and gives its exit code, -1 for a signal.
func (p *Process) Wait(timeout time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited():
	case <-time.After(timeout):
		p.t.Fatalf("%s has not ended after %s:\n%s", p.Name, timeout, p.tail(4<<10))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.ProcessState.ExitCode()
}

// Restart starts a process that has ended and waits until it is ready.
func (p *Process) Restart() {
	p.t.Helper()
	p.Start()
	p.WaitReady()
}

// Use makes another program stand in the place of this one from its next start on.
func (p *Process) Use(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.path = path
}

// With gives the process these variables (NAME=value) besides its own at its next
// starts, in place of those of an earlier call.
func (p *Process) With(env ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.more = env
}

// Path is the program's file.
func (p *Process) Path() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.path
}

// Log is everything that the process has written, over all its starts.
func (p *Process) Log() string {
	b, _ := os.ReadFile(p.logFile)
	return string(b)
}

func (p *Process) tail(n int) string {
	s := p.Log()
	if len(s) > n {
		s = "…" + s[len(s)-n:]
	}
	return s
}

// stop ends the process for good: the test is over.
func (p *Process) stop() {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	select {
	case <-done:
		return
	default:
	}
	_ = syscall.Kill(cmd.Process.Pid, syscall.SIGCONT)
	_ = cmd.Process.Kill()
	<-done
}

// freePort finds a port that nothing listens on, below the ones that the kernel gives
// to outgoing connections: it must still be free when a killed process comes back.
func freePort(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10240+rand.IntN(32000-10240))
		portsMu.Lock()
		taken := ports[addr]
		ports[addr] = true
		portsMu.Unlock()
		if taken {
			continue
		}
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		_ = ln.Close()
		return addr
	}
	t.Fatal("cannot find a free port")
	return ""
}

var (
	portsMu sync.Mutex
	ports   = map[string]bool{} // those given out by this test process
)

// command runs a program to its end.
func command(dir string, env []string, stdin string, path string, args ...string) (stdout, stderr []byte, code int, err error) {
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = attributes()
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewBufferString(stdin), &out, &errs
	if err := spawn()(cmd); err != nil {
		return nil, nil, 0, err
	}
	err = cmd.Wait()
	if _, ended := err.(*exec.ExitError); ended {
		err = nil
	}
	return out.Bytes(), errs.Bytes(), cmd.ProcessState.ExitCode(), err
}
