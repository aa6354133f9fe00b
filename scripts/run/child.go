package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// child is a started process.
type child struct {
	name string
	cmd  *exec.Cmd
	log  string        // path of its log
	done chan struct{} // closed when it has ended and err is set
	err  error
}

// maxLog is the size at which a log is put aside at the next start.
const maxLog = 16 << 20

// start starts bin/name with args; its output goes to the log folder. Whoever kills
// the launcher kills the child: it is told by the kernel.
func (l *launcher) start(name string, args ...string) (*child, error) {
	c := &child{name: name, log: filepath.Join(l.data, "log", name+".log"), done: make(chan struct{})}
	if info, err := os.Stat(c.log); err == nil && info.Size() > maxLog {
		_ = os.Rename(c.log, c.log+".1") // at worst the log grows on
	}
	out, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log of %s: %w", name, err)
	}
	defer func() { _ = out.Close() }() // the child has its own
	c.cmd = exec.Command(filepath.Join(l.bin, name), args...)
	c.cmd.Env = l.environ(false)
	c.cmd.Stdout, c.cmd.Stderr = out, out
	c.cmd.SysProcAttr = attributes()
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	l.started = append(l.started, c)
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
		l.died <- c
	}()
	return c, nil
}

// stopAll ends the children in order: the proxy first, whose running requests finish
// and whose records are shipped, then admin, then the mock provider.
func (l *launcher) stopAll() {
	grace := 10 * time.Second
	if l.proxy != nil {
		grace += l.proxy.DrainDelay + l.proxy.DrainGrace
	}
	for i := len(l.started) - 1; i >= 0; i-- {
		l.started[i].stop(grace, l.hurry)
	}
}

func (c *child) stop(grace time.Duration, hurry <-chan struct{}) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-hurry:
		_ = c.cmd.Process.Kill()
		<-c.done
	case <-timer.C:
		say(c.name + " did not end in time and is killed")
		_ = c.cmd.Process.Kill()
		<-c.done
	}
	if code := c.cmd.ProcessState.ExitCode(); code == 3 {
		say(c.name + " kept its journal: the next start ships it")
	}
}

// deathError says that the child ended by itself, with the end of its log.
func (c *child) deathError() error {
	return fmt.Errorf("%s ended by itself (%s), stopping the rest; the end of %s:\n%s", c.name, c.cmd.ProcessState, c.log, tail(c.log))
}

// tail is the last lines of a log.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // only read
	const most = 4 << 10
	if info, err := f.Stat(); err == nil && info.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return ""
		}
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	if len(lines) > 15 {
		lines = lines[len(lines)-15:]
	}
	return "    " + strings.Join(lines, "\n    ")
}

// command runs an operator command to its end and returns what it printed.
func (l *launcher) command(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(l.bin, "admin"), args...)
	cmd.Env = l.environ(true)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = attributes()
	if err := cmd.Run(); err != nil {
		return nil, &commandError{args: args, text: strings.TrimSpace(errs.String()), err: err}
	}
	return out.Bytes(), nil
}

// commandError is an operator command that failed.
type commandError struct {
	args []string
	text string
	err  error
}

func (e *commandError) Error() string {
	return fmt.Sprintf("admin %s: %v\n    %s", strings.Join(e.args, " "), e.err, strings.ReplaceAll(e.text, "\n", "\n    "))
}

func (e *commandError) Unwrap() error { return e.err }

// exists reports that a command failed because what it makes is there already.
func exists(err error) bool {
	var failed *commandError
	return errors.As(err, &failed) && strings.Contains(failed.text, "exists already")
}

// waitReady waits until url answers 200.
func (l *launcher) waitReady(ctx context.Context, c *child, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client := &http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := "it does not answer"
	for {
		if res, err := client.Get(url); err == nil {
			body, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			last = strings.TrimSpace(string(body))
		}
		select {
		case <-tick.C:
		case <-c.done:
			return c.deathError()
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %s; the end of %s:\n%s", c.name, last, c.log, tail(c.log))
		}
	}
}

// startServers starts admin and the proxy and waits for both.
func (l *launcher) startServers(ctx context.Context) error {
	admin, err := l.start("admin", "serve")
	if err != nil {
		return err
	}
	proxy, err := l.start("proxy")
	if err != nil {
		return err
	}
	if err := l.waitReady(ctx, admin, "http://"+reachable(l.admin.InternalListen)+"/readyz"); err != nil {
		return err
	}
	return l.waitReady(ctx, proxy, "http://"+reachable(l.proxy.InternalListen)+"/readyz")
}

// environ is the process's environment as a map.
func environ() map[string]string {
	m := map[string]string{}
	for _, kv := range os.Environ() {
		if name, value, ok := strings.Cut(kv, "="); ok {
			m[name] = value
		}
	}
	return m
}

// environ is what a child gets. Only operator commands see the providers' keys.
func (l *launcher) environ(secrets bool) []string {
	var list []string
	for name, value := range l.env {
		if _, ok := providerOf[name]; ok && !secrets {
			continue
		}
		list = append(list, name+"="+value)
	}
	return list
}

func writeOut(text string) { _, _ = os.Stdout.WriteString(text + "\n") }
