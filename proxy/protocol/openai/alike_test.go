package openai

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/prototest"
	"tokenrelay/proxy/protocol/template"
)

const (
	usageOf  = `{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":%d,"accepted_prediction_tokens":0}}`
	answerOf = `{"id":"%s","object":"chat.completion","created":%d,"model":"%s","choices":[{"index":0,"message":{"role":"assistant","content":"%s","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":%s,"system_fingerprint":"fp"}`
)

func wholeAnswer(id string, created int, model, text string, prompt, completion, cached, reasoning int) string {
	return fmt.Sprintf(answerOf, id, created, model, text, fmt.Sprintf(usageOf, prompt, completion, prompt+completion, cached, reasoning))
}

// given is what becomes of a whole answer, and whether it was compared with the one before.
func given(t *testing.T, cfg protocol.StreamConfig, answer string) (alike bool) {
	t.Helper()
	quick := newStream(cfg)
	_, alike = newStream(cfg).alike(nil, []byte(answer))
	a, ka, ea := quick.Buffered([]byte("b"), []byte(answer))
	cfg.Answers = nil
	slow := newStream(cfg)
	b, kb, eb := slow.Buffered([]byte("b"), []byte(answer))
	if !bytes.Equal(a, b) || ka != kb || ea != eb {
		t.Fatalf("%s became\n%v %v %q, walked through\n%v %v %q", answer, ka, ea, a, kb, eb, b)
	}
	if x, y := quick.outcome(), slow.outcome(); x != y {
		t.Fatalf("%s\n%+v, walked through\n%+v", answer, x, y)
	}
	return alike
}

// A whole answer that is an earlier one but for its texts and numbers is not walked through;
// every other is, and all are read alike.
func TestAlike(t *testing.T) {
	plain := wholeAnswer("a", 1, "up", "hello", 12, 5, 0, 0)
	long := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 200)
	in := func(s, old, replaced string) string {
		if !strings.Contains(s, old) {
			t.Fatalf("no %s in %s", old, s)
		}
		return strings.Replace(s, old, replaced, 1)
	}
	for _, tt := range []struct {
		name        string
		last, other string
		alike       bool
	}{
		{"itself", plain, plain, true},
		{"all that may be another", plain, wholeAnswer("chatcmpl-1", 1755137921, "up-2", `é 漢 \"x\" \\`, 4096, 300, 1024, 200), true},
		{"a long text", plain, wholeAnswer("b", 2, "up", long, 1, 2, 0, 0), true},
		{"the client's own name of the model", plain, wholeAnswer("b", 2, "alias", "x", 1, 2, 0, 0), true},
		{"hidden output in one of them", wholeAnswer("a", 1, "up", "hello", 12, 5, 0, 3), plain, true},
		{"no usage", in(plain, `,"usage":`+fmt.Sprintf(usageOf, 12, 5, 17, 0, 0), ""), in(in(plain, `,"usage":`+fmt.Sprintf(usageOf, 12, 5, 17, 0, 0), ""), "hello", "x"), true},
		{"Completions", `{"model":"up","choices":[{"text":"a"}]}`, `{"model":"up","choices":[{"text":"bc"}]}`, true},
		{"a text in parts", `{"choices":[{"message":{"content":[{"type":"text","text":"a"}]}}]}`, `{"choices":[{"message":{"content":[{"type":"text","text":"b"}]}}]}`, true},
		{"a time beside the usage", in(plain, `"usage":{`, `"usage":{"queue_time":0.0012,`), in(plain, `"usage":{`, `"usage":{"queue_time":3e-5,`), true},
		{"a figure that is read twice", in(plain, `"usage":{`, `"usage":{"cached_tokens":3,`), in(plain, `"usage":{`, `"usage":{"cached_tokens":7,`), true},
		{"another name for a figure, that is none", in(plain, `"usage":{`, `"usage":{"cached_tokens":3,`), in(plain, `"usage":{`, `"usage":{"cached_tokens":1.5,`), false},
		{"white space", in(plain, `,`, ` ,`), in(in(plain, `,`, ` ,`), "hello", "x"), true},

		{"no text", plain, wholeAnswer("a", 1, "up", "", 12, 5, 0, 0), false},
		{"a text behind none", wholeAnswer("a", 1, "up", "", 12, 5, 0, 0), plain, false},
		{"another end", plain, in(plain, `"stop"`, `"length"`), false},
		{"a figure that is too large", plain, in(plain, `"prompt_tokens":12`, `"prompt_tokens":9999999999999`), false},
		{"a figure below zero", plain, in(plain, `"prompt_tokens":12`, `"prompt_tokens":-12`), false},
		{"half a token", plain, in(plain, `"completion_tokens":5`, `"completion_tokens":5.5`), false},
		{"a figure as a text", plain, in(plain, `"prompt_tokens":12`, `"prompt_tokens":"12"`), false},
		{"a figure that is none", in(plain, `"prompt_tokens":12`, `"prompt_tokens":-12`), plain, false},
		{"a refusal beside the text", plain, in(plain, `"refusal":null`, `"refusal":"no"`), false},
		{"two texts", in(plain, `"refusal":null`, `"refusal":"no"`), in(plain, `"refusal":null`, `"refusal":"on"`), false},
		{"tools", `{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]}`, `{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{1}"}}]}}]}`, false},
		{"two choices", `{"choices":[{"text":"a"},{"text":"b"}]}`, `{"choices":[{"text":"a"},{"text":"c"}]}`, false},
		{"a supplier is hidden", in(plain, `"object"`, `"provider":"p","object"`), in(in(plain, `"object"`, `"provider":"p","object"`), "hello", "x"), false},
		{"a price is hidden", in(plain, `"usage":{`, `"usage":{"cost":0.1,`), in(plain, `"usage":{`, `"usage":{"cost":0.2,`), false},
		{"usage of a choice beside", in(plain, `"index":0`, `"usage":{"prompt_tokens":12,"completion_tokens":500}`), in(in(plain, `"index":0`, `"usage":{"prompt_tokens":12,"completion_tokens":500}`), "hello", "x"), false},
		{"usage twice", in(plain, `"object"`, `"usage":{"prompt_tokens":1,"completion_tokens":50},"object"`), in(in(plain, `"object"`, `"usage":{"prompt_tokens":1,"completion_tokens":50},"object"`), "hello", "x"), false},
		{"usage that is none", in(plain, `"usage":{`, `"usage":7,"x":{`), in(plain, `"usage":{`, `"usage":7,"x":{`), false},
		{"thoughts that are hidden", in(plain, `"refusal":null`, `"reasoning_details":[1]`), in(in(plain, `"refusal":null`, `"reasoning_details":[1]`), "hello", "x"), false},
		{"an error", plain, in(plain, `"object"`, `"error":{"message":"no"},"object"`), false},
		{"broken", plain, plain[:len(plain)-1], false},
		{"more behind", plain, plain + "x", false},
		{"no object", plain, "[]", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := protocol.StreamConfig{ClientModel: "alias", Dialect: uint8(OpenAI), Answers: new(template.Kept)}
			given(t, cfg, tt.last)
			if given(t, cfg, tt.other) != tt.alike {
				t.Errorf("alike: %v", !tt.alike)
			}
		})
	}
}

// In a provider-pinned lane the customer sees more of the answer: it makes no template, and
// none is used.
func TestAlikeIsNotPinned(t *testing.T) {
	answer := wholeAnswer("a", 1, "up", "hello", 12, 5, 0, 0)
	cfg := protocol.StreamConfig{Answers: new(template.Kept), Pinned: true}
	given(t, cfg, answer)
	if cfg.Answers.Get() != nil {
		t.Error("a template was made")
	}
	cfg.Pinned = false
	given(t, cfg, answer)
	if cfg.Pinned = true; given(t, cfg, answer) {
		t.Error("a template was used")
	}
}

// What one customer's answer has taught is used for another's, who calls the model otherwise.
func TestAlikeOfOthers(t *testing.T) {
	cfg := protocol.StreamConfig{Answers: new(template.Kept)}
	given(t, cfg, `{"model":"up","choices":[{"text":"a"}],"model":"up"}`)
	for _, cfg.ClientModel = range []string{"alias", "up", ""} {
		given(t, cfg, `{"model":"up","choices":[{"text":"bc"}],"model":"up"}`)
	}
}

// A template that nothing is like is replaced, but seldom.
func TestAlikeIsLearntAnew(t *testing.T) {
	cfg := protocol.StreamConfig{Answers: new(template.Kept)}
	s := newStream(cfg)
	give := func(finish string) (alike bool) {
		b := []byte(strings.Replace(wholeAnswer("a", 1, "up", "hello", 12, 5, 0, 0), `"stop"`, finish, 1))
		s.Reset(&cfg)
		_, alike = s.alike(nil, b)
		s.Reset(&cfg)
		if _, k, err := s.Buffered(nil, b); k != protocol.Output || err != nil {
			t.Fatal(k, err)
		}
		return alike
	}
	if give(`"stop"`) || !give(`"stop"`) {
		t.Fatal("nothing was learnt of the first")
	}
	n := 1
	for ; !give(`"length"`); n++ {
		if n > 2*learnEvery {
			t.Fatal("nothing was learnt anew")
		}
	}
	if n <= learnEvery {
		t.Errorf("learnt anew after %d", n)
	}
}

// No time is lost on making a template of a large answer.
func TestAlikeIsBounded(t *testing.T) {
	for _, size := range []int{maxLearned / 2, maxLearned} {
		cfg := protocol.StreamConfig{Answers: new(template.Kept)}
		given(t, cfg, wholeAnswer("a", 1, "up", strings.Repeat("x", size), 12, 5, 0, 0))
		if learnt := cfg.Answers.Get() != nil; learnt != (size < maxLearned) {
			t.Errorf("a text of %d bytes: a template was made: %v", size, learnt)
		}
	}
}

// Nor on one whose usage holds thousands of numbers.
func TestAlikeTriesFewNumbers(t *testing.T) {
	numbers := strings.Repeat(`"x":1,`, 5000)
	answer := []byte(`{"choices":[{"text":"a"}],"usage":{` + numbers + `"prompt_tokens":1,"completion_tokens":1}}`)
	if n := testing.AllocsPerRun(3, func() {
		s := newStream(protocol.StreamConfig{Answers: new(template.Kept)})
		if _, k, err := s.Buffered(nil, answer); k != protocol.Output || err != nil {
			t.Fatal(k, err)
		}
	}); n > 100 {
		t.Errorf("%v allocations", n)
	}
}

// Every recorded answer is read through a template of it as it is without one.
func TestAlikeRecordings(t *testing.T) {
	list := prototest.Recordings(t, "openai.chat")
	list = append(list, prototest.Read(t, "testdata", "openai.chat")...)
	whole, alike := 0, 0
	for _, c := range list {
		if c.Status != 200 || c.Stream {
			continue
		}
		whole++
		cfg := protocol.StreamConfig{ClientModel: "a/client's-\"name\"", Dialect: uint8(ParseDialect(c.Provider)), Answers: new(template.Kept)}
		given(t, cfg, string(c.Body))
		if given(t, cfg, string(c.Body)) {
			alike++
		}
	}
	if alike == 0 {
		t.Error("none was compared")
	}
	fmt.Printf("openai.chat: %d whole answers, %d read by a template\n", whole, alike)
}

func FuzzAlike(f *testing.F) {
	for _, seed := range []string{
		wholeAnswer("a", 1, "up", "hello", 12, 5, 0, 3),
		`{"choices":[{"message":{"content":"a","reasoning_content":""},"usage":{"prompt_tokens":1,"completion_tokens":2}}],"usage":{"prompt_tokens":1,"completion_tokens":2},"model":"up"}`,
		`{"id":"x","choices":[{"text":"a"}],"x_groq":{"usage":{"prompt_tokens":1}},"usage":null,"error":null}`,
		`{"choices":[{"message":{"content":[{"type":"text","text":"x"}],"tool_calls":[{"name":""}],"audio":null}}],"usage":{"prompt_tokens":3,"total_tokens":9}}`,
	} {
		f.Add(seed, "xy", uint16(90), byte(1), byte(0))
	}
	f.Fuzz(func(t *testing.T, answer, piece string, at uint16, cut, mode byte) {
		cfg := protocol.StreamConfig{Dialect: mode % byte(numDialects), Answers: new(template.Kept)}
		given(t, cfg, answer)
		cfg.ClientModel = "alias"
		given(t, cfg, answer)
		cfg.Pinned, cfg.InputOnly, cfg.HiddenOutput = mode&32 != 0, mode&64 != 0, mode&128 != 0
		if mode&16 != 0 {
			cfg.ClientModel = "up"
		} else {
			cfg.ClientModel = "another"
		}
		i := min(int(at), len(answer))
		given(t, cfg, answer[:i]+piece+answer[min(i+int(cut), len(answer)):])
		given(t, cfg, answer)
	})
}
