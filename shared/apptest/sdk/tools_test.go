package sdk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// tools prepares what the suites run with, and keeps it under the hash of its lock.
type tools struct {
	root  string
	cache string

	apt    sync.Mutex
	python sync.Mutex
	node   sync.Mutex
}

func (x *tools) folder(name string) string { return filepath.Join(x.root, "shared/apptest", name) }

// installTime is for a slow index on a loaded machine.
const installTime = 8 * time.Minute

// environment is the tester's own without keys and addresses of providers, and
// without proxies: everything that the suites call is on this machine.
func environment(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(kv), "=")
		return strings.HasPrefix(name, "RELAY_") || strings.HasPrefix(name, "OPENAI_") || strings.HasPrefix(name, "ANTHROPIC_") || strings.HasPrefix(name, "GOOGLE_") || strings.HasPrefix(name, "GEMINI_") ||
			strings.HasPrefix(name, "LANGCHAIN_") || strings.HasPrefix(name, "LANGSMITH_") || strings.HasSuffix(name, "_API_KEY") ||
			slices.Contains([]string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "PYTHONPATH", "NODE_PATH", "NODE_OPTIONS"}, name)
	})
	return append(env, more...)
}

// command runs a program to its end; on failure the error ends with its last words.
func command(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		words := strings.TrimSpace(errs.String())
		if words == "" {
			words = strings.TrimSpace(out.String())
		}
		if len(words) > 2000 {
			words = "…" + words[len(words)-2000:]
		}
		return out.String(), fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, words)
	}
	return out.String(), nil
}

// need installs packages of the system if try fails, where that is possible.
func (x *tools) need(t *testing.T, what string, try func() error, packages ...string) {
	t.Helper()
	err := try()
	if err == nil {
		return
	}
	x.apt.Lock()
	defer x.apt.Unlock()
	if apt, look := exec.LookPath("apt-get"); look == nil && os.Getuid() == 0 {
		ctx, cancel := context.WithTimeout(t.Context(), installTime)
		defer cancel()
		env := append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		_, _ = command(ctx, "/", env, apt, "update", "-qq")
		_, _ = command(ctx, "/", env, apt, append([]string{"install", "-y", "-qq", "--no-install-recommends"}, packages...)...)
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("%s is needed and missing (%v): install %s", what, err, strings.Join(packages, " "))
}

// prepared gives the folder in .cache for files with this content, and makes it with
// fill if it is not there yet.
func (x *tools) prepared(t *testing.T, name string, files []string, fill func(dir string) error) string {
	t.Helper()
	h := sha256.New()
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(h, "%d\n", len(b))
		h.Write(b)
	}
	dir := filepath.Join(x.cache, name+"-"+hex.EncodeToString(h.Sum(nil)[:6]))
	done := filepath.Join(dir, ".complete")
	if err := os.MkdirAll(x.cache, 0o755); err != nil {
		t.Fatal(err)
	}
	// Two test processes do not fill one folder.
	lock, err := os.OpenFile(filepath.Join(x.cache, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(done); err == nil {
		return dir
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := fill(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// noIndex is the one line that says why a suite has no packages: with the last error
// that the installer printed.
func noIndex(suite, lock string, err error) error {
	last := ""
	for text := range strings.Lines(err.Error()) {
		text = strings.TrimSpace(text)
		if l := strings.ToLower(text); strings.HasPrefix(l, "error") || strings.HasPrefix(l, "npm error") {
			last = text
			if strings.Contains(l, "failed") {
				break // the advice after it says less
			}
		}
	}
	if last == "" {
		last = strings.Join(strings.Fields(err.Error()), " ")
	}
	return fmt.Errorf("the %s suites cannot run: no package index gives the packages locked in %s: %s", suite, lock, last)
}

// Python gives the interpreter of a virtual environment with the packages of a lock,
// which lies in the folder python.
func (x *tools) Python(t *testing.T, name, lockFile string) string {
	t.Helper()
	x.python.Lock()
	defer x.python.Unlock()
	lock := filepath.Join(x.folder("python"), lockFile)
	dir := x.prepared(t, name, []string{lock}, func(dir string) error {
		ctx, cancel := context.WithTimeout(t.Context(), installTime)
		defer cancel()
		x.need(t, "python3 with venv", func() error {
			_, err := command(ctx, dir, os.Environ(), "python3", "-m", "venv", "--clear", "venv")
			return err
		}, "python3", "python3-venv")
		_, err := command(ctx, dir, os.Environ(), filepath.Join(dir, "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
			"--no-input", "--only-binary", ":all:", "--require-hashes", "-r", lock)
		if err != nil {
			return noIndex("Python", "shared/apptest/python/"+lockFile, err)
		}
		return nil
	})
	return filepath.Join(dir, "venv/bin/python")
}

// Node gives a folder in which scripts find the locked packages.
func (x *tools) Node(t *testing.T) string {
	t.Helper()
	x.node.Lock()
	defer x.node.Unlock()
	from := x.folder("node")
	files := []string{filepath.Join(from, "package-lock.json"), filepath.Join(from, "package.json"), filepath.Join(from, ".npmrc")}
	return x.prepared(t, "node", files, func(dir string) error {
		ctx, cancel := context.WithTimeout(t.Context(), installTime)
		defer cancel()
		x.need(t, "node with npm", func() error {
			if _, err := command(ctx, dir, os.Environ(), "node", "--version"); err != nil {
				return err
			}
			_, err := command(ctx, dir, os.Environ(), "npm", "--version")
			return err
		}, "nodejs", "npm")
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o644)
			}
			if err != nil {
				return err
			}
		}
		if _, err := command(ctx, dir, os.Environ(), "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"); err != nil {
			return noIndex("Node", "shared/apptest/node/package-lock.json", err)
		}
		return nil
	})
}

// scripts makes a folder of its own below Node's, removed with the test.
func (x *tools) scripts(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(x.Node(t), "run-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Go builds a package of a nested module and gives the program. overlay replaces
// files of the module by others.
func (x *tools) Go(t *testing.T, module, pkg string, overlay map[string]string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "suite")
	args := []string{"build", "-o", out}
	if len(overlay) > 0 {
		args = append(args, "-overlay", overlayFile(t, overlay))
	}
	ctx, cancel := context.WithTimeout(t.Context(), installTime)
	defer cancel()
	env := append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly -buildvcs=false")
	if _, err := command(ctx, filepath.Join(x.folder("gosdk"), module), env, "go", append(args, pkg)...); err != nil {
		t.Fatalf("the Go suite cannot be built (is the module proxy reachable?): %v", err)
	}
	return out
}
