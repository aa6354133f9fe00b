//go:build !linux

package main

import "syscall"

// attributes puts a child in a group of its own, so that Ctrl-C reaches the launcher
// only. There is no parent-death signal here: after a kill -9 of the launcher its
// children have to be ended by hand.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// endWithMake does nothing here: there is no parent-death signal.
func endWithMake() {}
