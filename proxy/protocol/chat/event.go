package chat

// EventKind says what an event of an answer is.
type EventKind uint8

// The kinds of events. A whole answer is the same run of events at once.
const (
	Start     EventKind = iota // the answer begins
	Text                       // Text
	Refusal                    // Text of a refusal
	Thinking                   // Text of a thought
	Signature                  // Text is the proof of the thought before, or of a text that follows; Signer
	Redacted                   // Text is the data of a thought that is not shown; Signer
	Block                      // the part before is complete, another begins
	CallStart                  // Call, and of ID and Name what is known; Proof and Signer of the thought that led to it
	CallArgs                   // Call, Text: a piece of the arguments, escaped
	Citation                   // URL, Title
	Logprobs                   // Text: a JSON array of tokens and their probabilities, as Chat Completions has it, of the text that follows
	Finish                     // Reason, StopText
)

// Reason says why an answer ended.
type Reason uint8

// The reasons.
const (
	Stop Reason = iota
	StopSequence
	Length
	ToolCalls
	Filtered
	Paused
)

// Event is one step of an answer. Its slices point into the upstream's bytes, or
// into memory of the decoder until its next call. Texts are escaped.
type Event struct {
	Kind       EventKind
	Reason     Reason
	Call       int // which tool call, from 0
	Text       []byte
	ID, Name   []byte
	Proof      []byte
	Signer     Signer
	URL, Title []byte
}

// Total is what an answer consumed, in disjoint counts of tokens.
type Total struct {
	Input, CacheRead, CacheWrite5m, CacheWrite1h int64
	Output                                       int64 // with reasoning
	Reasoning                                    int64 // inside Output, for information
	AudioIn, AudioOut                            int64 // beside Input and Output
	Searches                                     int64
}

// Config is what an encoder of answers has to know.
type Config struct {
	ID            []byte // of the answer, with the format's own prefix left out
	Model         string // as the customer named it
	Created       int64  // unix seconds
	AskedUsage    bool
	Array         bool   // one JSON array in place of events
	Plain         bool   // Request.Plain
	Cumulative    bool   // Request.Cumulative
	Legacy        bool   // function_call in place of tool_calls
	InputEstimate int64  // tokens
	Choice        int    // which of several answers this is, from 0
	Choices       int    // how many there are, 0 = one
	Written       *int   // events so far, of all choices together
	Echo          []byte // Request.Echo; Reset copies it
}

// Last reports whether the choice is the one that says what all have in common.
func (c *Config) Last() bool { return c.Choice+1 >= c.Choices }

// Encoder writes an answer in one format. Of several choices each has its own, which are
// called one after another; the last one writes what ends them all.
type Encoder interface {
	// Reset makes it ready for one answer.
	Reset(c *Config)
	// Events appends what a run of events is on the wire, nothing if they are held.
	Events(dst []byte, list []Event) []byte
	// End appends what stands behind the last event: held events, usage, and the
	// format's terminator.
	End(dst []byte, total *Total) []byte
	// Whole appends a whole answer.
	Whole(dst []byte, list []Event, total *Total) []byte
	// Overflow reports that more had to be held than may be: the stream must break off.
	Overflow() bool
}

// Decoder reads an upstream's answer.
type Decoder interface {
	Reset()
	// Event appends what one event's data holds.
	Event(list []Event, data []byte) []Event
	// Whole appends what a whole answer holds.
	Whole(list []Event, body []byte) []Event
}
