package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// binary is the admin program, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "relay-admin-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "admin")
		if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "cannot build admin: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// shell runs the built program as an operator would.
type shell struct {
	t   *testing.T
	env []string
}

func newShell(t *testing.T, url string) *shell {
	t.Helper()
	return &shell{t: t, env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "RELAY_DATA_DIR=" + t.TempDir(), "RELAY_DATABASE_URL=" + url,
		"RELAY_SECRET_KEY=" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
	}}
}

// run returns the exit code and both outputs.
func (s *shell) run(stdin string, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = s.env
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		s.t.Fatalf("admin %v: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// ok runs a command that must succeed, with --json, and reads its result.
func (s *shell) ok(result any, args ...string) (stdout, stderr string) {
	s.t.Helper()
	code, stdout, stderr := s.run("", append(args, "--json")...)
	if code != 0 {
		s.t.Fatalf("admin %v: exit %d\n%s%s", args, code, stdout, stderr)
	}
	if result != nil {
		if err := json.Unmarshal([]byte(stdout), result); err != nil {
			s.t.Fatalf("admin %v printed %q: %v", args, stdout, err)
		}
	}
	return stdout, stderr
}

// refused runs a command that must fail with the code and say so.
func (s *shell) refused(code int, says string, args ...string) {
	s.t.Helper()
	got, stdout, stderr := s.run("", args...)
	if got != code || !strings.Contains(stderr, says) || stdout != "" {
		s.t.Errorf("admin %v: exit %d, stdout %q, stderr %q; want exit %d, stderr …%s…", args, got, stdout, stderr, code, says)
	}
}
