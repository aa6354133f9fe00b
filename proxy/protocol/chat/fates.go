package chat

import (
	"bytes"
	"slices"
	"strconv"
)

// Fate says what becomes of a member of a request that is translated.
type Fate uint8

// The fates.
const (
	Mapped   Fate = iota // the other format says the same
	Emulated             // the relay does what the other format does not
	Dropped              // ignored, and named in x-relay-dropped
	Refused              // 400: to ignore it would mislead
)

// String names the fate.
func (f Fate) String() string {
	switch f {
	case Mapped:
		return "mapped"
	case Emulated:
		return "emulated"
	case Dropped:
		return "dropped"
	}
	return "refused"
}

// Row is the fate of one member. A path without its own row has the fate Dropped.
// A mapped member may have values that are dropped or refused; the note says which.
type Row struct {
	From Protocol
	Path string
	Fate Fate
	Note string
}

// Find is the row of a member on its way to a target, nil for one that the table
// does not know.
func Find(from, to Protocol, path string) *Row {
	for i := range Exceptions[to] {
		if r := &Exceptions[to][i]; r.From == from && r.Path == path {
			return r
		}
	}
	for i := range Table {
		if Table[i].From == from && Table[i].Path == path {
			return &Table[i]
		}
	}
	return nil
}

//go:generate go run ./translationdoc ../../../docs/translation.md

// Table is what becomes of every member of a request on its way to an upstream of
// another format, whichever it is; Exceptions tells where one format differs. The
// code that translates asks both (Request.Cannot), docs/translation.md is made from
// them, and a test walks them. The rows of a format stand in the file of its name.
var Table = slices.Concat(chatRows, messagesRows, responsesRows, geminiRows, dashScopeRows)

// Exceptions are the rows that hold for one target only, in the place of those of
// Table.
var Exceptions = [NumProtocols][]Row{
	OpenAI:    slices.Concat(responsesLogprobs, fromGemini[OpenAI], fromDashScope[OpenAI]),
	Messages:  slices.Concat(fromGemini[Messages], fromDashScope[Messages]),
	Gemini:    slices.Concat(toGemini, responsesLogprobs, fromDashScope[Gemini]),
	DashScope: slices.Concat(toDashScope, responsesLogprobs),
	Converse:  toConverse,
	Cohere:    toCohere,
}

// AppendMarkdown appends the table as the page docs/translation.md.
func AppendMarkdown(dst []byte) []byte {
	b := bytes.NewBuffer(dst)
	b.WriteString(`# Translation

Generated from proxy/protocol/chat by ` + "`go generate ./proxy/protocol/chat`" + `; do not edit.

A model is served in the protocol of the request where one of its routes speaks it: the bytes then pass.
Where none can answer, the request is translated for a route of another protocol, and the answer back. Each
member of a translated request is mapped, emulated by the relay, dropped and named in the header
` + "`x-relay-dropped`" + `, or refused with 400 and its name. Members that are not listed are dropped and named.
`)
	for from := range NumProtocols {
		section(b, "\n## "+from.String()+"\n", from, Table)
		for to := range NumProtocols {
			section(b, "\n### "+from.String()+" to "+to.String()+": what differs\n", from, Exceptions[to])
		}
	}
	b.WriteString("\n## Thinking\n\n| effort | budget of thinking tokens |\n| --- | --- |\n")
	for e := EffortMinimal; e <= EffortMax; e++ {
		b.WriteString("| `" + e.String() + "` | ")
		b.WriteString(strconv.FormatInt(Scale[e], 10))
		b.WriteString(" |\n")
	}
	b.WriteString(`
A budget becomes the largest effort whose budget it reaches, at least ` + "`low`" + ` and at most ` + "`high`" + `.
Claude models from 4.6 on get ` + "`thinking: {type: adaptive}`" + ` and the effort itself (` + "`minimal`" + ` is ` + "`low`" + `; before 4.7 ` + "`xhigh`" + ` is ` + "`high`" + `).

Thoughts of an Anthropic model reach a Chat client as ` + "`reasoning_content`" + ` and, with their signatures, as
` + "`reasoning_details`" + ` of the format ` + "`anthropic-claude-v1`" + `: sent back with the message they are what the model signed.
A Gemini model's proofs reach a Chat client in ` + "`tool_calls[].extra_content.google.thought_signature`" + ` and as ` + "`reasoning_details`" + ` of the
format ` + "`google-gemini-v1`" + `, a Messages client as ` + "`thinking`" + ` blocks whose signature begins with ` + "`google-gemini-v1:`" + `. What an Anthropic
model signed reaches a Gemini client as a thought with a ` + "`thoughtSignature`" + `. Each is sent back to models of its own provider only.
Thoughts without a proof reach a Messages client as ` + "`thinking`" + ` blocks without a signature.
A Responses client gets a thought as a ` + "`reasoning`" + ` item with the text in ` + "`summary`" + ` and what was signed in ` + "`encrypted_content`" + `:
sent back it is what the model signed.
A DashScope client gets thoughts as ` + "`reasoning_content`" + `, and no proofs.

## Answers

| Chat Completions | Messages | Responses | Gemini | DashScope |
| --- | --- | --- | --- | --- |
| ` + "`stop`" + ` | ` + "`end_turn`, `stop_sequence`, `pause_turn`" + ` | ` + "`completed`" + ` | ` + "`STOP`, `OTHER`, `MALFORMED_FUNCTION_CALL` and the like" + ` | ` + "`stop`" + ` |
| ` + "`length`" + ` | ` + "`max_tokens`, `model_context_window_exceeded`" + ` | ` + "`incomplete`: `max_output_tokens`" + ` | ` + "`MAX_TOKENS`" + ` | ` + "`length`" + ` |
| ` + "`tool_calls`, `function_call`" + ` | ` + "`tool_use`" + ` | ` + "`completed`, with `function_call` items" + ` | ` + "`STOP`" + ` with a ` + "`functionCall`" + ` | ` + "`tool_calls`" + ` |
| ` + "`content_filter`" + ` | ` + "`refusal`" + ` | ` + "`incomplete`: `content_filter`" + ` | ` + "`SAFETY`, `RECITATION`, `PROHIBITED_CONTENT` and the like; `promptFeedback.blockReason`" + ` | ` + "`content_filter`" + `, the error ` + "`DataInspectionFailed`" + ` |
| ` + "`usage.prompt_tokens`" + ` | ` + "`input_tokens` + `cache_read_input_tokens` + `cache_creation_input_tokens`" + ` | ` + "`input_tokens`" + ` | ` + "`promptTokenCount` + `toolUsePromptTokenCount`" + ` | ` + "`input_tokens`" + ` |
| ` + "`usage.prompt_tokens_details.cached_tokens`, `.cache_write_tokens`" + ` | ` + "`cache_read_input_tokens`, `cache_creation_input_tokens`" + ` | ` + "`input_tokens_details.cached_tokens`, `.cache_write_tokens`" + ` | ` + "`cachedContentTokenCount`" + `, none | ` + "`prompt_tokens_details.cached_tokens`, `.cache_creation_input_tokens`" + ` |
| ` + "`usage.completion_tokens`" + ` | ` + "`output_tokens`" + ` | ` + "`output_tokens`" + ` | ` + "`candidatesTokenCount` + `thoughtsTokenCount`" + ` | ` + "`output_tokens`" + ` |
`)
	return b.Bytes()
}

// section appends the rows of one source, nothing if there are none.
func section(b *bytes.Buffer, title string, from Protocol, rows []Row) {
	begun := false
	for i := range rows {
		r := &rows[i]
		if r.From != from {
			continue
		}
		if !begun {
			begun = true
			b.WriteString(title + "\n| member | fate | note |\n| --- | --- | --- |\n")
		}
		b.WriteString("| `" + r.Path + "` | " + r.Fate.String() + " | " + r.Note + " |\n")
	}
}
