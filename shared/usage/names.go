package usage

import "fmt"

var classNames = [NumClasses]string{
	Input: "input", CacheRead: "cache_read", CacheWrite: "cache_write", CacheWrite1h: "cache_write_1h",
	Output: "output", Reasoning: "reasoning", AudioIn: "audio_in", AudioOut: "audio_out",
	ImageIn: "image_in", ImageOut: "image_out", Characters: "characters", Seconds: "seconds",
	Images: "images", Searches: "searches", Request: "request",
}

// String is the class's name in prices, catalogue files and reports.
func (c Class) String() string {
	if c < NumClasses {
		return classNames[c]
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// ClassName is c.String(): the class's name in prices, catalogue files and reports.
func ClassName(c Class) string { return c.String() }

// ParseClass reads a class's name.
func ParseClass(name string) (Class, bool) {
	for c, n := range classNames {
		if n == name {
			return Class(c), true
		}
	}
	return 0, false
}

// ClassSet is a set of classes, a bit each.
type ClassSet uint32

// SetOf is the set of some classes.
func SetOf(classes ...Class) ClassSet {
	var s ClassSet
	for _, c := range classes {
		s |= 1 << c
	}
	return s
}

// Has says whether c is in the set.
func (s ClassSet) Has(c Class) bool { return s>>c&1 != 0 }

// The two sides of token classes. InputSide counts into the total input on which
// price tiers are decided; a class of a side that has no price of its own costs
// what Input or Output costs. The classes of neither side (characters, seconds,
// images, searches, request) have a price of their own or none.
const (
	InputSide  ClassSet = 1<<Input | 1<<CacheRead | 1<<CacheWrite | 1<<CacheWrite1h | 1<<AudioIn | 1<<ImageIn
	OutputSide ClassSet = 1<<Output | 1<<Reasoning | 1<<AudioOut | 1<<ImageOut
)

// InputSide says whether units of the class are input tokens.
func (c Class) InputSide() bool { return InputSide.Has(c) }

// OutputSide says whether units of the class are output tokens.
func (c Class) OutputSide() bool { return OutputSide.Has(c) }

// TotalInput is the number of all input tokens, whatever their class; it stops at
// the largest int64.
func (u *Units) TotalInput() int64 {
	return sum(u[Input], u[CacheRead], u[CacheWrite], u[CacheWrite1h], u[AudioIn], u[ImageIn])
}

// TotalOutput is the number of all output tokens, whatever their class; it stops
// at the largest int64.
func (u *Units) TotalOutput() int64 {
	return sum(u[Output], u[Reasoning], u[AudioOut], u[ImageOut])
}

func sum(counts ...int64) int64 {
	var total int64
	for _, n := range counts {
		if total += n; total < 0 {
			return 1<<63 - 1
		}
	}
	return total
}

// Add adds the counts of v.
func (u *Units) Add(v *Units) {
	for c := range u {
		u[c] += v[c]
	}
}

// IsZero says that nothing is counted.
func (u *Units) IsZero() bool { return *u == Units{} }

var sourceNames = [...]string{
	SourceNone: "none", SourceReported: "reported", SourcePartial: "partial", SourceEstimated: "estimated", SourceCache: "cache",
}

// String is the name in reports.
func (s Source) String() string { return enumName(sourceNames[:], int(s), "source") }

// ParseSource reads the name of a source.
func ParseSource(name string) (Source, bool) {
	i, ok := enumValue(sourceNames[:], name)
	return Source(i), ok
}

var statusNames = [...]string{
	Success: "success", Failed: "failed", Timeout: "timeout", Cancelled: "cancelled",
	Interrupted: "interrupted", Refused: "refused",
}

// String is the name in reports.
func (s Status) String() string { return enumName(statusNames[:], int(s), "status") }

// ParseStatus reads the name of a status.
func ParseStatus(name string) (Status, bool) {
	i, ok := enumValue(statusNames[:], name)
	return Status(i), ok
}

var outcomeNames = [...]string{
	OutcomeOK: "ok", OutcomeConnect: "connect", OutcomeTimeout: "timeout", OutcomeStatus: "status",
	OutcomeErrorEvent: "error_event", OutcomeCut: "cut", OutcomeBadResponse: "bad_response",
	OutcomeCancelled: "cancelled",
}

// String is the name in traces.
func (o Outcome) String() string { return enumName(outcomeNames[:], int(o), "outcome") }

var flagNames = [...]string{
	"stream", "clamped", "usage_suspect", "overrun", "pinned", "key_cut",
	"found_email", "found_phone", "found_card", "found_id", "found_credential", "found_word", "masked", "blocked", "cache_hit", "trimmed",
	"moderated", "warned", "unjudged",
}

// String lists the names of the flags that are set, with commas between.
func (f Flags) String() string {
	var text []byte
	for i, name := range flagNames {
		if f>>i&1 == 0 {
			continue
		}
		if len(text) > 0 {
			text = append(text, ',')
		}
		text = append(text, name...)
	}
	return string(text)
}

func enumName(names []string, i int, kind string) string {
	if i < len(names) && names[i] != "" {
		return names[i]
	}
	return fmt.Sprintf("%s(%d)", kind, i)
}

func enumValue(names []string, name string) (int, bool) {
	for i, n := range names {
		if n == name && n != "" {
			return i, true
		}
	}
	return 0, false
}
