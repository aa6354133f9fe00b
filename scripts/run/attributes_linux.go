package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes puts a child in a group of its own, so that Ctrl-C reaches the launcher
// only, and has the kernel kill it when the launcher is gone. Killing is safe: the
// proxy's journal is made for it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// endWithMake has a killed make end the launcher in order. Started without make it
// may outlive its shell.
func endWithMake() {
	if os.Getenv("MAKELEVEL") != "" {
		_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0) // a courtesy: without it the launcher runs on
	}
}
