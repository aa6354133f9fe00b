package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cpuNanos is the processor time of a process and all its living descendants so far.
// The scheduler's own count per thread is exact to the nanosecond, where the clock
// ticks of /proc/PID/stat would be an eighth of a short run.
func cpuNanos(pid int) int64 {
	var sum int64
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, task.Name()))
		if err != nil {
			continue
		}
		first, _, _ := bytes.Cut(b, []byte(" "))
		n, _ := strconv.ParseInt(string(first), 10, 64)
		sum += n
	}
	for _, child := range children(pid) {
		sum += cpuNanos(child)
	}
	return sum
}

// rssKiB is the resident memory of a process and its descendants, shared pages counted
// once per process.
func rssKiB(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	var sum int64
	if _, rest, ok := bytes.Cut(b, []byte("\nVmRSS:")); ok {
		if fields := strings.Fields(string(rest[:min(len(rest), 40)])); len(fields) > 0 {
			sum, _ = strconv.ParseInt(fields[0], 10, 64)
		}
	}
	for _, child := range children(pid) {
		sum += rssKiB(child)
	}
	return sum
}

func children(pid int) []int {
	var list []int
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(field); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}

// busyNanos is what the whole machine has spent on anything but idling and programs of
// low priority (nice), which give way.
func busyNanos() int64 {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	var ticks int64
	for i, field := range strings.Fields(line) {
		if i == 0 || i == 2 || i == 4 || i == 5 || i > 8 { // the name, nice, idle, iowait, guests
			continue
		}
		n, _ := strconv.ParseInt(field, 10, 64)
		ticks += n
	}
	return ticks * 10_000_000
}

// parent is the process that started another, 0 if that is gone.
func parent(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(fields[1])
	return n
}

// separate gives processes and what they have started the last processor alone, and of that
// what nobody else wants (SCHED_IDLE: with a low priority alone, nice, they would keep what
// they have got for milliseconds). Who is measured then waits for them no more than if they
// had a machine of their own.
func separate(pids ...int) error {
	dirs, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*")
	if err != nil {
		return fmt.Errorf("cannot list threads: %w", err)
	}
	var there unix.CPUSet
	there.Set(runtime.NumCPU() - 1)
	for _, dir := range dirs {
		of, _ := strconv.Atoi(strings.Split(dir, "/")[2])
		thread, _ := strconv.Atoi(filepath.Base(dir))
		if !slices.ContainsFunc(pids, func(pid int) bool { return descends(of, pid) }) {
			continue
		}
		idle := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
		err := unix.SchedSetAttr(thread, &idle, 0)
		if err == nil {
			err = unix.SchedSetaffinity(thread, &there)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cannot give a thread its processor: %w", err)
		}
	}
	return nil
}
