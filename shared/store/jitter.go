package store

import (
	"math/rand/v2"
	"time"
)

// jitter is a random part of d.
func jitter(d time.Duration) time.Duration { return rand.N(d) }
