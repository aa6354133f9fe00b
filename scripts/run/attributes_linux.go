package main

import "syscall"

// attributes puts a child in a group of its own, so that Ctrl-C reaches the launcher
// only, and has the kernel kill it when the launcher is gone. Killing is safe: the
// proxy's journal is made for it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
