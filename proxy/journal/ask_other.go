//go:build !linux

package journal

import (
	"errors"
	"time"
)

// newAsker is nil: the syncer waits for the disk itself.
func newAsker() asker { return nil }

// alarm comes with the asker.
type alarm struct{}

func newAlarm() (*alarm, error)  { return nil, errNoAlarm }
func (*alarm) set(time.Duration) {}
func (*alarm) wait()             {}
func (*alarm) close()            {}

var errNoAlarm = errors.New("only Linux has one")
