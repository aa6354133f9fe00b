package mockllm

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"tokenrelay/shared/apptest/fixtures"
)

// Options of a mock provider. The zero value works.
type Options struct {
	Recordings string                              // a folder of recorded cases, "" for none
	Fixtures   string                              // a folder of cases besides the built-in ones, "" for none
	Default    string                              // script that every request starts from
	Text       func(model, question string) string // the default answer; nil: Text
	Records    int                                 // requests that the meter lists, 0: 200,000; sums count all
	Models     []string                            // names listed on …/models; nil: a few
}

// Server is a mock provider.
type Server struct {
	opt   Options
	meter *Meter
	cases map[string]*fixtures.Case
	done  chan struct{}
	wg    sync.WaitGroup

	mu       sync.Mutex
	lns      []net.Listener
	conns    map[*conn]bool
	closed   bool
	standing map[string]string // lane → script
	failed   map[string]int64  // script id → calls that were failed
	kept     map[string]int64  // key and id of a response → its tokens
}

// New reads the cases and checks the options. Nothing listens yet.
func New(o Options) (*Server, error) {
	if o.Text == nil {
		o.Text = Text
	}
	if o.Models == nil {
		o.Models = []string{"mock-chat", "mock-reasoner"}
	}
	sc := newScript()
	if err := sc.Apply(o.Default, ""); err != nil {
		return nil, fmt.Errorf("cannot use the default script: %w", err)
	}
	s := &Server{
		opt: o, meter: newMeter(o.Records), cases: map[string]*fixtures.Case{}, done: make(chan struct{}),
		conns: map[*conn]bool{}, standing: map[string]string{}, failed: map[string]int64{}, kept: map[string]int64{},
	}
	own, err := fixtures.Own()
	if err != nil {
		return nil, fmt.Errorf("cannot read the built-in fixtures: %w", err)
	}
	for _, c := range own {
		s.cases[c.ID] = c
	}
	for _, dir := range []string{o.Fixtures, o.Recordings} {
		if dir == "" {
			continue
		}
		more, err := fixtures.Load(dir)
		if err != nil {
			return nil, fmt.Errorf("cannot read the cases in %s: %w", dir, err)
		}
		for _, c := range more {
			s.cases[c.ID] = c
		}
	}
	return s, nil
}

// Meter is what the server has served.
func (s *Server) Meter() *Meter { return s.meter }

// Start listens on addr ("127.0.0.1:0" for any free port) and serves in the
// background until Close.
func (s *Server) Start(addr string) (net.Addr, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for the mock provider: %w", err)
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		_ = s.Serve(ln)
	}()
	return ln.Addr(), nil
}

// Serve accepts connections until Close, which makes it return nil.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ln.Close()
	}
	s.lns = append(s.lns, ln)
	s.mu.Unlock()
	for {
		nc, err := ln.Accept()
		if err != nil {
			select {
			case <-s.done:
				return nil
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				continue
			}
			// Out of file descriptors, most likely: others will be closed soon.
			timer := time.NewTimer(10 * time.Millisecond)
			<-timer.C
			continue
		}
		c := &conn{s: s, nc: nc, br: bufio.NewReaderSize(nc, 4096), num: s.meter.conns.Add(1), out: newLookout(nc)}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = nc.Close()
			return nil
		}
		s.conns[c] = true
		s.wg.Add(1)
		s.mu.Unlock()
		go func() {
			defer s.wg.Done()
			c.serve()
		}()
	}
}

// Close ends every connection and waits for their goroutines.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
		for _, ln := range s.lns {
			_ = ln.Close()
		}
		for c := range s.conns {
			_ = c.nc.Close()
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// SetScript gives a lane its standing script; "" takes it away.
func (s *Server) SetScript(lane, script string) error {
	sc := newScript()
	if err := sc.Apply(script, lane); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.standing, lane)
	delete(s.failed, "lane "+lane)
	if script != "" {
		s.standing[lane] = script
	}
	return nil
}

func (s *Server) standingScript(lane string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.standing) == 0 {
		return ""
	}
	return s.standing[lane]
}

// mayFail counts one call that a script wants to fail, and says whether it does.
func (s *Server) mayFail(id string, most int64) bool {
	if most < 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failed) > 100_000 {
		s.failed = map[string]int64{}
	}
	n := s.failed[id] + 1
	s.failed[id] = n
	return n <= most
}

// A shape answers one family of requests.
type shape interface {
	parse(a *ask, body []byte) error
	buffered(o *out, w *answer) error
	stream(o *out, w *answer) error
	anthropic() bool // errors in Anthropic's form
}

// provider answers one request to a provider's path.
func (s *Server) provider(c *conn, method, path string) bool {
	sc := newScript()
	lane, dial, pathScript := readPath(path)
	l := &live{rec: Record{
		ID: "mock-" + strconv.FormatInt(s.meter.next.Add(1), 10), Lane: lane, Path: path, Dialect: dial.name,
		Conn: c.num, ConnReq: c.reqs, StartedNS: time.Now().UnixNano(), End: EndOpen,
	}}
	key := providerKey(c)
	l.rec.Key = key[max(0, len(key)-4):]
	s.meter.begin(l)
	o := &out{c: c, sc: &sc, l: l, dial: dial, nl: "\n", wire: c.wire[:0]}
	err := s.answer(o, method, path, lane, pathScript, key)
	c.wire = o.wire[:0]
	if o.end == "" {
		o.end = EndGone
	}
	s.meter.finish(l, o.end)
	return err == nil || err == errEnd && o.end == EndFinished
}

func (s *Server) answer(o *out, method, path, lane, pathScript, key string) error {
	c, sc, l := o.c, o.sc, o.l
	var scriptErr error
	apply := func(text string) {
		if text != "" && scriptErr == nil {
			scriptErr = sc.Apply(text, lane)
		}
	}
	apply(s.opt.Default)
	apply(s.standingScript(lane))
	apply(pathScript)
	apply(scriptIn(key))
	if sc.Answer == "early" {
		c.close = true
		return o.whole(200, "application/json", []byte(`{"error":{"message":"answered before reading","type":"server_error"}}`), "")
	}
	if err := c.readBody(); err != nil {
		if err == errBad {
			s.meter.bad.Add(1)
			c.close = true
			return o.whole(400, "text/plain", []byte("bad request framing\n"), "")
		}
		return err
	}
	l.mu.Lock()
	l.rec.BytesIn = int64(len(c.body))
	l.mu.Unlock()

	var sh shape
	var a ask
	var parseErr error
	endpoint := ""
	g, operation, native := geminiPath(path, c.query)
	b, asked := conversePath(path)
	switch {
	case asked:
		sh, native, o.dial = b, true, dialectConverse
	case strings.HasSuffix(path, coherePath):
		sh, native, o.dial = cohere{}, true, dialectCohere
	case native:
		sh = g
		if o.dial = dialectGemini; operation == "countTokens" {
			endpoint = "count"
		}
	case strings.HasSuffix(path, dashScopePath), strings.HasSuffix(path, dashScopeSight):
		sh, native, o.dial = newDashScope(c, strings.HasSuffix(path, dashScopeSight)), true, dialectDashScope
	case strings.HasSuffix(path, "/chat/completions"):
		sh = chat{}
	case strings.HasSuffix(path, "/messages/count_tokens"):
		sh, endpoint = messages{}, "count"
	case strings.HasSuffix(path, "/messages"):
		sh = messages{}
	case strings.HasSuffix(path, "/completions"):
		sh = completions{}
	case strings.HasSuffix(path, "/responses"):
		sh = responses{}
	case newMedia(c, path) != nil:
		m := newMedia(c, path)
		if sh = m; m.kind == "dashscope" {
			native, o.dial = true, dialectDashScope
		}
	case strings.HasSuffix(path, "/embeddings"):
		sh = embeddings{}
	case strings.HasSuffix(path, "/models") || strings.Contains(path, "/models/"):
		return s.models(o, path)
	default:
		return o.whole(404, "application/json", []byte(`{"error":{"message":"Unknown request URL","type":"invalid_request_error","param":null,"code":"unknown_url"}}`), "")
	}
	if sh.anthropic() {
		o.dial = dialectAnthropic
	}
	if method != "POST" {
		return o.whole(405, "application/json", []byte(`{"error":{"message":"Not allowed to `+method+` here","type":"invalid_request_error","param":null,"code":null}}`), "")
	}
	if asked {
		if wrong := signed(c, method, path); wrong != "" {
			return o.whole(403, "application/json", []byte(`{"message":`+quoted(wrong)+`}`), "x-amzn-ErrorType: InvalidSignatureException\r\n")
		}
	}
	a = ask{raw: c.body, n: 1, maxTokens: -1, logprobs: -1, obfuscate: true}
	if parseErr = sh.parse(&a, c.body); parseErr == nil {
		var byName string
		a.name, byName = modelScript(a.model)
		apply(byName)
		apply(scriptIn(a.firstUser))
		for _, id := range a.userIDs {
			apply(scriptIn(id))
		}
	}
	apply(c.header("x-mock"))
	if id := c.header("x-mock-case"); id != "" {
		sc.Case = id
	}
	if sc.Dialect != "" && !sh.anthropic() && !native {
		o.dial = dialectByName(sc.Dialect)
	}
	o.ask, o.nl = &a, o.dial.nl
	l.mu.Lock()
	l.rec.Marker, l.rec.Model, l.rec.Stream, l.rec.Dialect = strings.Clone(sc.ID), strings.Clone(a.model), a.stream, o.dial.name
	if scriptErr != nil {
		l.rec.ScriptErr = scriptErr.Error()
	}
	l.mu.Unlock()
	if sc.Keep {
		s.meter.keep(l, &Detail{Head: string(c.head), Body: append([]byte(nil), c.body[:min(len(c.body), 4<<20)]...)})
	}
	if scriptErr != nil {
		*sc = newScript()
		return o.whole(400, "application/json", []byte(`{"error":{"message":`+quoted(scriptErr.Error())+`,"type":"invalid_request_error","param":null,"code":"mock_script"}}`), "")
	}
	if parseErr != nil {
		*sc = newScript()
		status, contentType, body := errorFor(o.dial, sh.anthropic(), "bad_request", 400, "", "")
		body = strings.Replace(body, "* GenerateContentRequest.generation_config.temperature: invalid value.", strings.Trim(quoted(parseErr.Error()), `"`), 1)
		body = strings.Replace(body, "<400> InternalError.Algo.InvalidParameter: 'temperature' must be Float", strings.Trim(quoted(parseErr.Error()), `"`), 1)
		body = strings.Replace(body, "invalid request: temperature must be between 0 and 2.", strings.Trim(quoted(parseErr.Error()), `"`), 1)
		body = strings.Replace(body, "1 validation error detected: Value at 'inferenceConfig.temperature' failed to satisfy constraint: Member must be less than or equal to 1", strings.Trim(quoted(parseErr.Error()), `"`), 1)
		body = strings.Replace(body, "'temperature': expected a number between 0 and 2.", "the body: "+strings.Trim(quoted(parseErr.Error()), `"`), 1)
		return o.whole(status, contentType, []byte(body), "")
	}

	failing := sc.Fail >= 0
	if failing {
		id := "id " + sc.ID
		if sc.ID == "" {
			id = "lane " + lane
		}
		if !s.mayFail(id, sc.Fail) {
			sc.calm()
		} else if sc.Status == 0 && sc.Error == "" && !sc.faulty() {
			sc.Status = 500
		}
	}
	if sc.Status == 204 || sc.Status >= 300 && sc.Status < 400 {
		return o.whole(sc.Status, "", nil, "")
	}
	if sc.Status >= 400 || sc.Error != "" && sc.ErrorAt < 0 {
		status, contentType, body := errorFor(o.dial, sh.anthropic(), sc.Error, sc.Status, a.model, l.rec.Key)
		extra := ""
		if asked {
			extra = converseHead(sc.Error, sc.Status)
		}
		return o.whole(status, contentType, []byte(body), extra)
	}
	if endpoint == "count" && native {
		return o.whole(200, "application/json; charset=UTF-8", append(strconv.AppendInt([]byte(`{"totalTokens": `), a.prompt, 10), '}'), "")
	}
	if endpoint == "count" {
		return o.whole(200, "application/json", append(strconv.AppendInt([]byte(`{"input_tokens":`), a.prompt, 10), '}'), "")
	}
	if sc.Case != "" {
		return s.replay(o)
	}
	if a.previous != "" && !s.resume(&a, key) {
		return o.whole(400, "application/json", []byte(`{"error":{"message":"Previous response with id '`+a.previous+`' not found.","type":"invalid_request_error","param":"previous_response_id","code":"previous_response_not_found"}}`), "")
	}
	switch o.dial.name {
	case "openai", "azure", "xai":
	default:
		a.keeps = false
	}
	w := s.decide(&a, sc, c.hash())
	if a.keeps {
		s.keep(w, key)
	}
	o.input = w.units
	if a.stream {
		o.stream = true
		return sh.stream(o, w)
	}
	return sh.buffered(o, w)
}

// resume finds the response that a request goes on from: what was said before is part
// of the prompt.
func (s *Server) resume(a *ask, key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.kept[key+" "+a.previous]
	a.prompt += n
	return ok
}

// keep remembers a response.
func (s *Server) keep(w *answer, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) > 100_000 {
		s.kept = map[string]int64{}
	}
	s.kept[key+" resp_"+w.id] = w.units.TotalInput() + w.units.Output
}

// calm takes every error and fault out of a script whose failing calls are over.
func (s *Script) calm() {
	ok := newScript()
	ok.ID, ok.Case, ok.Dialect, ok.Out, ok.Chunks, ok.Size, ok.In = s.ID, s.Case, s.Dialect, s.Out, s.Chunks, s.Size, s.In
	ok.Cached, ok.CacheW, ok.CacheW1h, ok.Reasoning, ok.Tools = s.Cached, s.CacheW, s.CacheW1h, s.Reasoning, s.Tools
	*s = ok
}

// faulty says whether the script breaks the answer without an error status.
func (s *Script) faulty() bool {
	return s.Hang != unset || s.HangBytes != unset || s.Cut != unset || s.CutBytes != unset || s.End != unset ||
		s.Rst != unset || s.RstBytes != unset || s.ErrorAt != unset || s.SSE != "" || s.Gzip != "" || s.TE != "" ||
		s.Head != "" || s.SlowHeaders > 0 || s.Delay > 0 || s.HugeHeader != unset || s.Location != ""
}

// readPath finds lane, dialect and script in a path.
func readPath(path string) (lane string, d *dialect, script string) {
	d = &dialects[0]
	first := true
	for rest := path[1:]; rest != ""; {
		var seg string
		seg, rest, _ = strings.Cut(rest, "/")
		if text, ok := strings.CutPrefix(seg, "mock:"); ok {
			script = text
			continue
		}
		if first && rest != "" && seg != "v1" && seg != "chat" {
			lane = seg
		}
		first = false
		if named := dialectByName(seg); named != nil {
			d = named
		}
	}
	return lane, d, script
}

func providerKey(c *conn) string {
	for _, name := range [...]string{"authorization", "x-api-key", "api-key", "x-goog-api-key"} {
		if v := c.header(name); v != "" {
			return strings.TrimPrefix(v, "Bearer ")
		}
	}
	return ""
}

// Cases is the number of cases that can be replayed.
func (s *Server) Cases() int { return len(s.cases) }
