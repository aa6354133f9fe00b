package apptest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

var programs = []string{"admin", "proxy", "mockllm"}

var built = sync.OnceValues(build)

// Binaries gives the folder of the programs, building them if need be.
func Binaries() (string, error) { return built() }

func build() (string, error) {
	if dir := os.Getenv("RELAY_TEST_BIN"); dir != "" {
		for _, name := range programs {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				return "", fmt.Errorf("cannot use RELAY_TEST_BIN: %w", err)
			}
		}
		return filepath.Abs(dir)
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	// The linker is asked only where something changed, if its output stands in the
	// same place each time. The tests run copies: the place may change under them.
	sum := sha256.Sum256([]byte(root))
	shared := filepath.Join(os.TempDir(), fmt.Sprintf("relay-apptest-bin-%d-%s", os.Getuid(), hex.EncodeToString(sum[:4])))
	if err := os.MkdirAll(shared, 0o755); err != nil {
		return "", fmt.Errorf("cannot make a folder for the programs: %w", err)
	}
	unlock, err := lockFile(filepath.Join(shared, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	cmd := exec.Command("go", "build", "-o", shared+string(filepath.Separator), "./admin", "./proxy", "./loadtest/mockllm")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the programs: %w\n%s", err, out)
	}
	dir, err := folder("bin")
	if err != nil {
		return "", err
	}
	for _, name := range programs {
		if err := copyFile(filepath.Join(dir, name), filepath.Join(shared, name)); err != nil {
			return "", fmt.Errorf("cannot copy the programs: %w", err)
		}
	}
	return dir, nil
}

// copyFile links where it can: the compiler puts a new file in the place of the old
// one, so that a link keeps what it had.
func copyFile(to, from string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		_ = dst.Close()
		return err
	}
	return dst.Close()
}

// Root is the project's root: the next folder upwards with a go.mod.
func Root() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("cannot find the project's root: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		up := filepath.Dir(at)
		if up == at {
			return "", fmt.Errorf("cannot find the project's root: no go.mod above the test")
		}
		at = up
	}
}

const folderPrefix = "relay-apptest-"

var removeOldOnce sync.Once

// folder makes a folder that the next test process removes, should this one not get
// to it.
func folder(what string) (string, error) {
	removeOldOnce.Do(removeOld)
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-%s-", folderPrefix, os.Getpid(), what))
	if err != nil {
		return "", fmt.Errorf("cannot make a folder for the test: %w", err)
	}
	// Postgres runs as another user when the test runs as root.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", fmt.Errorf("cannot open the test's folder to the database: %w", err)
	}
	return dir, nil
}

func removeOld() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), folderPrefix+"*"))
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), folderPrefix), "-")
		if pid == "bin" {
			continue
		}
		if !processExists(pid) {
			_ = os.RemoveAll(dir)
		}
	}
}
