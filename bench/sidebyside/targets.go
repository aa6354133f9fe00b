package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// target is one way to the provider.
type target struct {
	name    string
	version string
	missing string // why it is not there; nothing else is set then
	plain   door
	stream  door
	pids    func() []int // nil: there is no process in between
	restart func() error
	settle  func() error // waits until it has nothing left to do; nil: it never has
}

// program is a child that ends with this process.
type program struct {
	path string
	args []string
	env  []string
	log  string
	dir  string
	end  syscall.Signal // what ends it and its own children
	wait []string       // addresses that answer when it is ready

	cmd  *exec.Cmd
	done chan struct{}
}

// starter starts children from one thread that never ends: the kernel's word that a
// parent is gone is about the thread that made the child.
var starter = sync.OnceValue(func() func(*exec.Cmd) error {
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

func (p *program) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("cannot open a log: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: p.end, Setpgid: true}
	if err := starter()(cmd); err != nil {
		return fmt.Errorf("cannot start %s: %w", filepath.Base(p.path), err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go func() { _ = cmd.Wait(); close(p.done) }()
	for _, addr := range p.wait {
		for limit := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			c, err := net.DialTimeout("tcp", addr, time.Second)
			if err == nil {
				_ = c.Close()
				break
			}
			ended := false
			select {
			case <-p.done:
				ended = true
			default:
			}
			if ended || time.Now().After(limit) {
				said, _ := os.ReadFile(p.log)
				return fmt.Errorf("%s does not answer on %s: %w\n%s", filepath.Base(p.path), addr, err, said)
			}
		}
	}
	return nil
}

func (p *program) stop() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(p.end)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func (p *program) again() error {
	p.stop()
	return p.start()
}

func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("cannot find a free port: %w", err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String(), nil
}

func chatPath(lane string) string { return "/" + lane + "/v1/chat/completions" }

// debianPackages are what -fetch takes from Debian: the two proxies and the libraries
// that a small Debian lacks.
var debianPackages = []string{"nginx", "haproxy", "liblua5.3-0", "libopentracing1", "libopentracing-c-wrapper0", "libpcre2-8-0", "libsystemd0"}

// fetch unpacks Debian's nginx and haproxy into a folder. It installs nothing: no
// service, no user, no file outside of the folder, and needs no root.
func fetch(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make %s: %w", dir, err)
	}
	get := exec.Command("apt-get", append([]string{"download"}, debianPackages...)...)
	get.Dir = dir
	if out, err := get.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot download Debian's packages (apt-get update may be needed): %w\n%s", err, out)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	for _, file := range files {
		if out, err := exec.Command("dpkg-deb", "-x", file, dir).CombinedOutput(); err != nil {
			return fmt.Errorf("cannot unpack %s: %w\n%s", filepath.Base(file), err, out)
		}
	}
	return nil
}

// find gives a program that is installed or was fetched, and the environment it needs.
func find(name, fetched string) (path string, env []string, err error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil, nil
	}
	for _, dir := range []string{"", fetched} {
		path := filepath.Join(dir, "/usr/sbin", name)
		if _, err := os.Stat(path); err == nil {
			if dir != "" {
				libs, _ := filepath.Glob(filepath.Join(dir, "usr/lib/*-linux-gnu"))
				more, _ := filepath.Glob(filepath.Join(dir, "lib/*-linux-gnu"))
				env = []string{"LD_LIBRARY_PATH=" + strings.Join(append(libs, more...), ":")}
			}
			return path, env, nil
		}
	}
	return "", nil, errors.New("not installed (-fetch gets Debian's)")
}

// version runs a program for the first line of what it says about itself.
func version(path string, env []string, flag string) (string, error) {
	cmd := exec.Command(path, flag)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot run %s: %w: %s", path, err, bytes.TrimSpace(out))
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line), nil
}

const nginxConf = `
daemon off;
worker_processes WORKERS;
worker_rlimit_nofile 20000;
pid DIR/nginx.pid;
error_log stderr error;
events { worker_connections 10000; }
http {
  access_log off;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  client_body_buffer_size 128k;
  client_max_body_size 64m;
  keepalive_requests 1000000000;
  upstream provider { server PROVIDER; keepalive 4096; keepalive_requests 1000000000; }
  server {
    listen ADDR backlog=4096;
    location / {
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off; # streams; as one sets it for model providers
      proxy_read_timeout 600s;
    }
  }
}
`

const haproxyConf = `
global
  maxconn 8000
  nbthread WORKERS
defaults
  mode http
  option http-keep-alive
  option http-no-delay # else an event waits for the next one
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 600s
frontend in
  bind ADDR
  default_backend provider
backend provider
  server provider PROVIDER pool-max-conn -1
`

// foreign starts nginx or haproxy.
func foreign(name, conf, dir, fetched, provider string) (*target, *program, error) {
	path, env, err := find(name, fetched)
	if err != nil {
		return &target{name: name, missing: err.Error()}, nil, nil
	}
	flag := "-v"
	says, err := version(path, env, flag)
	if err != nil {
		return &target{name: name, missing: err.Error()}, nil, nil
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, nil, err
	}
	own := filepath.Join(dir, name)
	if err := os.MkdirAll(own, 0o777); err != nil {
		return nil, nil, fmt.Errorf("cannot make a folder: %w", err)
	}
	file := filepath.Join(own, name+".conf")
	text := strings.NewReplacer("DIR", own, "ADDR", addr, "PROVIDER", provider, "WORKERS", strconv.Itoa(runtime.NumCPU())).Replace(conf)
	if os.Getuid() == 0 && name == "nginx" {
		text = "user root;" + text
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, nil, fmt.Errorf("cannot write a configuration: %w", err)
	}
	args := []string{"-f", file, "-db"}
	if name == "nginx" {
		args = []string{"-p", own, "-c", file, "-e", "stderr"}
	}
	p := &program{path: path, args: args, env: env, dir: own, log: filepath.Join(own, "log"), end: syscall.SIGTERM, wait: []string{addr}}
	if err := p.start(); err != nil {
		return nil, nil, err
	}
	d := door{Addr: addr, Path: chatPath(name)}
	return &target{name: name, version: says, plain: d, stream: d, pids: func() []int { return []int{p.cmd.Process.Pid} }, restart: p.again}, p, nil
}
