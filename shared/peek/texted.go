package peek

import "tokenrelay/shared/apierr"

// What stands here reads requests that give texts and get judgements of them: moderations,
// ranks, embeddings of Gemini's form.

var moderationNames = []string{"model", "input"}

// moderation reads a request for a judgement. The model may be left out.
func (s *scanner) moderation() *apierr.Error {
	r := s.r
	seen, err := s.body(moderationNames, func(n, depth int) bool {
		if n == 0 {
			return s.model()
		}
		switch s.next() {
		case '"', '[':
			return s.contentAt(depth)
		}
		return s.refuse("input", "The field 'input' must be a string, or a list of strings or of parts.")
	})
	switch {
	case err != nil:
		return err
	case seen&(1<<1) == 0:
		return missing("input")
	}
	if !r.ModelSpan.Present() {
		r.Model = moderationDefault
	}
	return nil
}

// moderationDefault is the model of a request for a judgement that names none.
var moderationDefault = []byte("omni-moderation-latest")

var rankNames = []string{"model", "query", "documents", "top_n", "return_documents", "top_k"}

// maxDocuments of one request for ranks.
const maxDocuments = 10_000

// ranks reads a request for ranks.
func (s *scanner) ranks() *apierr.Error {
	r := s.r
	m := &r.Media
	seen, err := s.body(rankNames, func(n, depth int) bool {
		from := s.i
		switch rankNames[n] {
		case "model":
			return s.model()
		case "query":
			if s.next() != '"' {
				return s.refuse("query", "The field 'query' must be a string.")
			}
			_, _, _, ok := s.str()
			m.Words += int64(s.i - from)
			return ok
		case "documents":
			ok := s.documents(depth)
			m.DocumentBytes = int64(s.i - from)
			return ok
		case "top_n", "top_k":
			if s.next() == 'n' {
				return s.literal("null")
			}
			return s.integer(rankNames[n], maxDocuments, &m.TopN)
		}
		return s.boolean("return_documents", &m.Returned)
	})
	switch {
	case err != nil:
		return err
	case !r.ModelSpan.Present():
		return missing("model")
	case seen&(1<<1) == 0:
		return missing("query")
	case m.Documents == 0:
		return missing("documents")
	}
	return nil
}

var mediaNames = []string{"image", "image_url", "video", "audio"}

func (s *scanner) documents(depth int) bool {
	if s.next() != '[' {
		return s.refuse("documents", "The field 'documents' must be a list.")
	}
	if !s.open(depth) {
		return false
	}
	for first := true; s.element(first); first = false {
		if s.r.Media.Documents++; s.r.Media.Documents > maxDocuments {
			return s.refuse("documents", "The field 'documents' has more than 10000 documents.")
		}
		ok := false
		switch s.next() {
		case '"':
			_, _, _, ok = s.str()
		case '{':
			_, ok = s.object(depth+1, "documents[].", mediaNames, func(n, _ int) bool {
				return s.refuse("documents[]."+mediaNames[n], "Only texts are ranked here: the cost of '"+mediaNames[n]+"' has no bound.")
			})
		default:
			return s.refuse("documents", "Each of the documents must be a string or an object with text.")
		}
		if !ok {
			return false
		}
	}
	return s.err == nil
}

var embedNames = []string{"model", "content", "requests", "outputDimensionality", "output_dimensionality"}

// maxDimensions of an embedding.
const maxDimensions = 65_536

// geminiEmbed reads a request for embeddings of Gemini's form: one content, or several
// requests with one each. What is embedded is text.
func (s *scanner) geminiEmbed(batch bool) *apierr.Error {
	sized := int64(0)
	one := func(n, depth int) bool {
		if n == 0 {
			if s.next() != '"' {
				return s.refuse("model", "The field 'model' must be a string.")
			}
			_, _, _, ok := s.str()
			return ok
		}
		switch n {
		case 2:
			return s.refuse("requests", "The field 'requests' belongs to batchEmbedContents.")
		case 3, 4:
			dimensions := int64(0)
			ok := s.integer("outputDimensionality", maxDimensions, &dimensions)
			if sized++; ok && s.r.Media.Dimensions != 0 && s.r.Media.Dimensions != dimensions {
				return s.refuse("outputDimensionality", "All requests of one call must ask for the same 'outputDimensionality'.")
			}
			s.r.Media.Dimensions = dimensions
			return ok
		}
		s.r.Prompts++
		if s.next() != '{' {
			return s.refuse("content", "The field 'content' must be an object.")
		}
		return s.geminiContent(depth)
	}
	if !batch {
		seen, err := s.body(embedNames, one)
		if err == nil && seen&(1<<1) == 0 {
			err = missing("content")
		}
		return s.onlyText(err)
	}
	seen, err := s.body(embedNames, func(n, depth int) bool {
		if n != 2 {
			return s.refuse(embedNames[n], "The field '"+embedNames[n]+"' belongs into 'requests'.")
		}
		if s.next() != '[' {
			return s.refuse("requests", "The field 'requests' must be a list.")
		}
		return s.geminiList(depth, func(depth int) bool {
			seen, ok := s.object(depth, "requests[].", embedNames, one)
			if ok && seen&(1<<1) == 0 {
				return s.refuse("requests[].content", "The field 'requests[].content' is missing.")
			}
			return ok
		})
	})
	if err == nil && (seen&(1<<2) == 0 || s.r.Prompts == 0) {
		err = missing("requests")
	}
	if err == nil && sized > 0 && sized != s.r.Prompts {
		err = apierr.Invalid("outputDimensionality", "All requests of one call must ask for the same 'outputDimensionality'.")
	}
	return s.onlyText(err)
}

func (s *scanner) onlyText(err *apierr.Error) *apierr.Error {
	switch r := s.r; {
	case err != nil:
		return err
	case r.StoredID != "":
		return nil // refused by that
	case r.Images+r.Audios+r.Files > 0:
		return apierr.Invalid("content", "Only text is embedded here: the cost of other parts has no bound.")
	}
	return nil
}
