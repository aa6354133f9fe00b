package journal

import "errors"

var (
	// ErrInUse says that another process holds the data folder.
	ErrInUse = errors.New("data folder is in use by another process")
	// ErrDead says that the disk failed under the journal; it takes nothing any more.
	ErrDead = errors.New("journal is dead")
	// ErrFull says that there is no disk space for another segment.
	ErrFull = errors.New("journal has no disk space")
	// ErrClosed says that the journal was closed.
	ErrClosed = errors.New("journal is closed")
)
