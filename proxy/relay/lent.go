package relay

import (
	"sync"

	"tokenrelay/proxy/protocol/anthropic"
	"tokenrelay/proxy/protocol/dashscope"
	"tokenrelay/proxy/protocol/gemini"
	"tokenrelay/proxy/protocol/media"
	"tokenrelay/proxy/protocol/responses"
)

// lent is a part of an exchange that only some requests need. It comes from a pool of
// its own and goes back with the exchange: an open stream carries the reader of its own
// protocol and not those of all others, which would be two thirds of an exchange.
type lent[T any] struct{ part *T }

func (l *lent[T]) take(pool *sync.Pool) *T {
	if l.part == nil {
		l.part = pool.Get().(*T)
	}
	return l.part
}

func (l *lent[T]) giveBack(pool *sync.Pool) {
	if l.part != nil {
		pool.Put(l.part)
		l.part = nil
	}
}

func poolOf[T any]() sync.Pool { return sync.Pool{New: func() any { return new(T) }} }

var (
	claudes    = poolOf[anthropic.Stream]()
	geminis    = poolOf[gemini.Stream]()
	dashscopes = poolOf[dashscope.Stream]()
	responsive = poolOf[responses.Stream]()
	medias     = poolOf[media.Stream]()
)

// giveBack ends the loans.
func (x *Exchange) giveBack() {
	x.claude.giveBack(&claudes)
	x.gemini.giveBack(&geminis)
	x.dashscope.giveBack(&dashscopes)
	x.responses.giveBack(&responsive)
	x.media.giveBack(&medias)
	x.remade = remade{}
}
