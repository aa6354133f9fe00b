package relay

import (
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/gemini"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/proxy/protocol/translate"
)

// translation is what a translated request needs besides an exchange. It is made
// when an exchange first meets one, and kept with it.
type translation struct {
	form   chat.Request
	stream translate.Stream
	text   []byte
}

// defaultCap is the output cap that Messages demands where neither the customer nor
// the catalogue knows one, in tokens.
const defaultCap = 4096

func (t *translation) release() {
	t.form.Release()
	t.stream.Release()
}

// decode reads the customer's body into the common form, once for all attempts.
func (x *Exchange) decode() *apiError {
	if x.decoded {
		return nil
	}
	if x.trans == nil {
		x.trans = new(translation)
	}
	if err := translate.Request(x.lane.form, x.body, &x.trans.form); err != nil {
		return err
	}
	x.decoded = true
	x.trans.form.Stream = x.stream // Gemini says so in its path, DashScope in a header
	return nil
}

// translate appends the customer's request, which has been decoded, in the form of the
// attempt's upstream, and sets up the reading of its answer.
func (x *Exchange) translate(dst []byte) ([]byte, *apiError) {
	t := x.trans
	if t.form.MaxTokens = x.outputCap(); t.form.MaxTokens <= 0 {
		t.form.MaxTokens = defaultCap
	}
	x.cfg.Repeats = x.choice.Route.Provider.Options["incremental_output"] == "false"
	t.form.Repeats = x.cfg.Repeats
	dst, err := translate.AppendRequest(dst, &t.form, x.via.form, x.choice.Route.UpstreamModel, openai.Dialect(x.cfg.Dialect))
	if err != nil {
		return dst, err
	}
	c := chat.Config{
		ID: x.idText[len("req_"):], Model: x.showName, Created: x.startedMilli / 1000,
		AskedUsage: x.peek.IncludeUsage, InputEstimate: x.end.InputEstimate,
		Array: x.array, Plain: t.form.Plain, Cumulative: t.form.Cumulative, Legacy: t.form.Legacy, Choices: int(t.form.Answers), Echo: x.echoed(t.form.Echo),
	}
	t.stream.Begin(x.via.form, x.lane.form, &x.cfg, &c)
	x.answer, x.maxEvent, x.translated = &t.stream, translate.MaxEvent, true
	return dst, nil
}

// endAnswer appends the end of a stream that its upstream has not ended: of a
// translated one whose upstream has no terminator, of an array made of events.
// It reports whether the client's policy does not let the end of the answer through.
func (x *Exchange) endAnswer() (stopped bool) {
	at := len(x.out)
	switch {
	case x.translated:
		x.out = x.trans.stream.End(x.out)
	case x.array:
		x.out = append(x.out, gemini.ArrayEnd...)
	}
	if x.screen != nil {
		stopped = x.screened(at, true)
	}
	if x.translated {
		x.last(x.out[at:])
	}
	return stopped
}
