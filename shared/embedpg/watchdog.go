package embedpg

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// watchdog is a small shell that waits on a pipe whose other end only this program
// holds. The pipe closes when this program ends, however it ends, and the shell then
// shuts the server down. It works where there is no parent-death signal, and does not
// depend on the thread that started the server.
type watchdog struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

// The process id is compared with the cluster's own note, so that a reused id is
// never signalled.
const watchScript = `trap '' INT TERM HUP QUIT
read line
[ "$line" = done ] && exit 0
mine() { [ "$(head -n 1 "$2/postmaster.pid" 2>/dev/null)" = "$1" ]; }
mine "$1" "$2" && kill -INT "$1"
i=0
while [ $i -lt 50 ] && mine "$1" "$2" && kill -0 "$1" 2>/dev/null; do sleep 0.1; i=$((i+1)); done
mine "$1" "$2" && kill -QUIT "$1"
rm -rf "$3"
`

func watch(pid int, cluster, socket string, prepare func(*exec.Cmd)) (*watchdog, error) {
	cmd := exec.Command("/bin/sh", "-c", watchScript, "relay-pg-watchdog", strconv.Itoa(pid), cluster, socket)
	prepare(cmd)
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("cannot watch postgres: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot watch postgres: %w", err)
	}
	return &watchdog{cmd: cmd, pipe: pipe}, nil
}

// dismiss ends the watchdog without it touching the server.
func (w *watchdog) dismiss() {
	_, _ = io.WriteString(w.pipe, "done\n")
	_ = w.pipe.Close()
	_ = w.cmd.Wait()
}

// children are the processes that a process started, by /proc; elsewhere by ps.
func children(parent int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// pid (name) state ppid: the name may hold anything.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	if len(stats) > 0 {
		return pids
	}
	out, _ := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 2 && f[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(f[0])
			pids = append(pids, pid)
		}
	}
	return pids
}

// isPostgres says whether a process id is a Postgres server's, as far as can be told.
func isPostgres(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		_, statErr := os.Stat("/proc/self")
		return statErr != nil // no /proc: believe the note
	}
	return strings.HasPrefix(strings.TrimSpace(string(text)), "postgres")
}
