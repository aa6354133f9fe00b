package peek

import "tokenrelay/shared/apierr"

// Media is what was found in a request for an endpoint beside the conversations. Slices
// point into the scanned body.
type Media struct {
	Format     []byte // response_format, nil = not given
	Characters int64  // of the text that is to be spoken
	Wide       int64  // bytes of that text beyond one for each character
	Words      int64  // bytes of text: what is to be spoken and how, a prompt, a query
	Slow       int64  // how many times longer than usual speech is asked to last, 1 to 4

	Pictures      int64  // n, 0 = not given
	Partial       int64  // partial_images
	Width, Height int64  // of size, 0 = left to the provider
	OddSize       bool   // size says neither pixels nor auto
	Quality       []byte // nil = not given

	Documents     int64 // of a request for ranks
	DocumentBytes int64 // of all, JSON around them included
	Returned      bool  // return_documents is true
	TopN          int64 // 0 = not given

	Dimensions int64 // of embeddings of Gemini's form, 0 = not given

	Prompt Span // of a form
	File   Span // the sound that is to be written down
}

// maxSpeech is the most characters of one request for speech; the largest provider takes
// 4,096.
const maxSpeech = 100_000

var speechNames = []string{"model", "input", "stream_format", "response_format", "speed", "instructions", "voice"}

// speech reads a request for speech.
func (s *scanner) speech() *apierr.Error {
	r := s.r
	m := &r.Media
	m.Slow = 1
	var events []byte
	seen, err := s.body(speechNames, func(n, depth int) bool {
		switch speechNames[n] {
		case "model":
			return s.model()
		case "input":
			if s.next() != '"' {
				return s.refuse("input", "The field 'input' must be a string.")
			}
			start, end, _, ok := s.str()
			m.Characters, m.Words = characters(s.b[start:end]), m.Words+int64(end-start)
			m.Wide = int64(end-start) - m.Characters
			switch {
			case !ok:
				return false
			case m.Characters == 0:
				return s.refuse("input", "The field 'input' must not be empty.")
			case m.Characters > maxSpeech:
				return s.refuse("input", "The field 'input' is too long.")
			}
			return true
		case "stream_format":
			return s.plain("stream_format", 16, &events)
		case "response_format":
			return s.plain("response_format", 16, &m.Format)
		case "speed":
			return s.speed()
		case "voice":
			if s.next() == '{' { // a voice of the account that all customers share
				r.StoredID = "voice"
			}
			return s.value(depth)
		}
		from := s.i
		ok := s.value(depth)
		m.Words += int64(s.i - from)
		return ok
	})
	switch {
	case err != nil:
		return err
	case !r.ModelSpan.Present():
		return missing("model")
	case seen&(1<<1) == 0:
		return missing("input")
	}
	switch string(events) {
	case "", "audio":
	case "sse":
		r.Stream = true
	default:
		return apierr.Invalid("stream_format", "The field 'stream_format' must be 'sse' or 'audio'.")
	}
	return nil
}

// speed reads how fast speech is to be: 0.25 to 4, or null.
func (s *scanner) speed() bool {
	s.ws()
	from := s.i
	if !s.value(1) {
		return false
	}
	v := s.b[from:s.i]
	switch {
	case string(v) == "null":
		return true
	case v[0] >= '1' && v[0] <= '4' && (len(v) == 1 || v[1] == '.'):
		return true
	case len(v) > 2 && v[0] == '0' && v[1] == '.' && v[2] >= '2' && v[2] <= '9':
		// 0.5 lasts twice as long; what begins with 0.2 is taken as 0.25.
		s.r.Media.Slow = (10 + int64(v[2]-'0') - 1) / int64(v[2]-'0')
		if v[2] == '2' {
			s.r.Media.Slow = 4
		}
		for _, c := range v[3:] {
			if c < '0' || c > '9' {
				return s.refuse("speed", errSpeed)
			}
		}
		return true
	}
	return s.refuse("speed", errSpeed)
}

const errSpeed = "The field 'speed' must be a number from 0.25 to 4.0."
