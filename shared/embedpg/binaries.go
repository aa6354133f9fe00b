package embedpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// minVersion is the oldest major version whose SQL the schema speaks (functions with
// SQL bodies).
const minVersion = 14

// errMissing says in one line what to install.
var errMissing = errors.New("no Postgres server found: install it (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql@16), or set RELAY_DATABASE_URL")

// Binaries returns the folder with initdb and postgres of a major version (0: the
// newest found, at least 14): from PATH, /usr/lib/postgresql or Homebrew. With
// install it then tries apt-get (as root on Debian and Ubuntu) and a download.
func Binaries(ctx context.Context, major int, install bool, log func(string)) (string, error) {
	if dir := find(ctx, major, candidates()); dir != "" {
		return dir, nil
	}
	if !install {
		return "", errMissing
	}
	if log == nil {
		log = func(string) {}
	}
	var problems []error
	for _, way := range []func(context.Context, func(string)) error{aptGet, download} {
		if err := way(ctx, log); err != nil {
			problems = append(problems, err)
			continue
		}
		if dir := find(ctx, major, candidates()); dir != "" {
			return dir, nil
		}
	}
	// One line, also with the causes.
	return "", fmt.Errorf("%w (%s)", errMissing, strings.ReplaceAll(errors.Join(problems...).Error(), "\n", "; "))
}

// candidates are the folders that may hold the binaries, best first.
func candidates() (dirs []string) {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		// /usr/local/bin/postgres may be a link to the folder where its share/ is.
		if real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres")); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
		"/opt/homebrew/opt/postgresql/bin", "/usr/local/opt/postgresql/bin",
	} {
		found, _ := filepath.Glob(pattern)
		slices.SortFunc(found, func(a, b string) int { return folderVersion(b) - folderVersion(a) })
		dirs = append(dirs, found...)
	}
	return append(dirs, filepath.Join(fetched(), "bin"))
}

func folderVersion(dir string) int {
	n := 0
	for _, r := range dir {
		if r >= '0' && r <= '9' {
			n = n*10 + int(r-'0')
		}
	}
	return n
}

func find(ctx context.Context, major int, dirs []string) string {
	for _, dir := range dirs {
		if v := version(ctx, dir); v >= minVersion && (major == 0 || v == major) {
			return dir
		}
	}
	return ""
}

// version is the major version of a folder's server, 0 if it has none that runs.
func version(ctx context.Context, dir string) int {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return 0
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0
	}
	for _, word := range strings.Fields(string(out)) {
		first, _, _ := strings.Cut(word, ".")
		if n, err := strconv.Atoi(first); err == nil {
			return n
		}
	}
	return 0
}

// aptGet installs the platform's package, without the cluster and the service that it
// would otherwise make.
func aptGet(ctx context.Context, log func(string)) error {
	if os.Geteuid() != 0 {
		return errors.New("not root, apt-get not tried")
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return errors.New("there is no apt-get")
	}
	log("installing the package postgresql with apt-get")
	conf := "/etc/postgresql-common/createcluster.conf"
	if _, err := os.Stat(conf); err != nil {
		if os.MkdirAll(filepath.Dir(conf), 0o755) == nil {
			_ = os.WriteFile(conf, []byte("create_main_cluster = false\n"), 0o644)
		}
	}
	for _, args := range [][]string{{"update", "-qq"}, {"install", "-y", "-qq", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", "postgresql"}} {
		cmd := exec.CommandContext(ctx, apt, args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil && args[0] != "update" {
			return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLine(out))
		}
	}
	return nil
}

// fetched is where download puts the binaries: readable by the server's user too.
func fetched() string {
	if os.Geteuid() == 0 {
		return "/var/lib/tokenrelay-postgres/server"
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "tokenrelay", "postgres-server")
}

// download fetches binaries with the embedded-postgres library. The library can only
// fetch by starting a server, which fails as root; what counts is whether the
// binaries are there afterwards.
func download(ctx context.Context, log func(string)) error {
	log("fetching a Postgres server for " + runtime.GOOS + "/" + runtime.GOARCH)
	dir := fetched()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot keep a Postgres server: %w", err)
	}
	scratch, err := os.MkdirTemp("", "relay-pg-fetch-")
	if err != nil {
		return fmt.Errorf("cannot fetch a Postgres server: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	port, err := (&Server{}).choosePort()
	if err != nil {
		return err
	}
	pg := embedded.NewDatabase(embedded.DefaultConfig().
		Version(embedded.V16).Port(uint32(port)).Logger(io.Discard).
		BinariesPath(dir).CachePath(filepath.Join(scratch, "cache")).
		RuntimePath(filepath.Join(scratch, "run")).DataPath(filepath.Join(scratch, "data")))
	err = pg.Start()
	if err == nil {
		_ = pg.Stop()
	}
	if version(ctx, filepath.Join(dir, "bin")) == 0 {
		return fmt.Errorf("cannot fetch a Postgres server: %w", err)
	}
	return nil
}
