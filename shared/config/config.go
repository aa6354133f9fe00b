// Package config reads the settings of a process: each is an environment variable
// and a flag, has a type, a default and a sentence, and is refused by name when it
// is wrong. What a process understands is declared once, so the help text, the
// reference page and the parser cannot differ.
package config

//go:generate go run ./configdoc ../../docs/config.md

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"tokenrelay/shared/money"
)

// Lookup finds an environment variable, as os.LookupEnv does.
type Lookup func(name string) (string, bool)

// HelpError is what Parse returns for --help: Text is what to print on stdout, and
// the process then exits 0.
type HelpError struct{ Text string }

// Error says that help was asked for.
func (*HelpError) Error() string { return "help was asked for" }

// Set is the settings one process or one command understands.
type Set struct {
	usage    string // first line of the help text
	settings []*Setting
	byFlag   map[string]*Setting

	// RunEnv lets settings that are absent be read from RELAY_DATA_DIR/run.env, the
	// file that `make run` keeps. Operator commands set it, servers do not.
	RunEnv bool
}

// Setting is one declared setting. Its methods refine the declaration and return
// it, so that a declaration reads as one line.
type Setting struct {
	Name    string // RELAY_X, or "" if it is a flag only
	Flag    string // without the dashes
	Kind    string // how values look, for the reference page
	Default string
	Doc     string

	required bool
	secret   bool
	isBool   bool
	set      func(string) error
	source   string // where the value came from, for error texts
	given    bool
}

// Required makes an absent or empty value an error.
func (s *Setting) Required() *Setting { s.required = true; return s }

// Secret keeps the value out of error texts and lets it be given as NAME_FILE.
func (s *Setting) Secret() *Setting { s.secret = true; return s }

// New returns an empty set. usage is the first line of its help text.
func New(usage string) *Set {
	return &Set{usage: usage, byFlag: map[string]*Setting{}}
}

// Settings returns the declared settings in the order of their declaration.
func (s *Set) Settings() []*Setting { return s.settings }

// Given reports whether a flag or a variable set the named setting. The name is
// RELAY_X or the flag.
func (s *Set) Given(name string) bool {
	for _, x := range s.settings {
		if x.Name == name || x.Flag == name {
			return x.given
		}
	}
	return false
}

// add declares a setting. A name that does not begin with RELAY_ is a flag only.
func (s *Set) add(name, kind, def, doc string, set func(string) error) *Setting {
	x := &Setting{Name: name, Kind: kind, Default: def, Doc: doc, set: set}
	x.Flag = FlagName(name)
	if !strings.HasPrefix(name, envPrefix) {
		x.Name = ""
	}
	s.byFlag[x.Flag] = x
	s.settings = append(s.settings, x)
	return x
}

const envPrefix = "RELAY_"

// FlagName returns the flag of a setting: the name without RELAY_, in lower case,
// with dashes.
func FlagName(name string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, envPrefix)), "_", "-")
}

// String declares a free text.
func (s *Set) String(p *string, name, def, doc string) *Setting {
	return s.add(name, "text", def, doc, func(v string) error { *p = v; return nil })
}

// Choice declares one of a few words.
func (s *Set) Choice(p *string, name, def, doc string, words ...string) *Setting {
	return s.add(name, strings.Join(words, "|"), def, doc, func(v string) error {
		if !slices.Contains(words, v) {
			return fmt.Errorf("must be one of %s", strings.Join(words, ", "))
		}
		*p = v
		return nil
	})
}

// Bool declares a switch: on, off, true, false, 1, 0. The flag alone means on; the
// flag with a value is --flag=off.
func (s *Set) Bool(p *bool, name, def, doc string) *Setting {
	x := s.add(name, "on|off", def, doc, func(v string) error {
		b, err := ParseBool(v)
		if err == nil {
			*p = b
		}
		return err
	})
	x.isBool = true
	return x
}

// Int declares a whole number in [least, most].
func (s *Set) Int(p *int64, name, def, doc string, least, most int64) *Setting {
	return s.add(name, "number", def, doc, func(v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < least || n > most {
			return fmt.Errorf("must be a whole number between %d and %d", least, most)
		}
		*p = n
		return nil
	})
}

// Size declares a number of bytes in [least, most]: 8KiB, 32MiB, 1GiB, 500kB, 4096.
func (s *Set) Size(p *int64, name, def, doc string, least, most int64) *Setting {
	return s.add(name, "size", def, doc, func(v string) error {
		n, err := ParseSize(v)
		if err != nil {
			return err
		}
		if n < least || n > most {
			return fmt.Errorf("must be between %s and %s", FormatSize(least), FormatSize(most))
		}
		*p = n
		return nil
	})
}

// Duration declares a time span in [least, most]: 250ms, 30s, 5m, 1h30m.
func (s *Set) Duration(p *time.Duration, name, def, doc string, least, most time.Duration) *Setting {
	return s.add(name, "duration", def, doc, func(v string) error {
		d, err := time.ParseDuration(v)
		if err != nil {
			return errors.New("must be a duration with its unit, like 250ms, 30s or 5m")
		}
		if d < least || d > most {
			return fmt.Errorf("must be between %s and %s", least, most)
		}
		*p = d
		return nil
	})
}

// Listen declares an address to listen on: host:port.
func (s *Set) Listen(p *string, name, def, doc string) *Setting {
	return s.add(name, "host:port", def, doc, func(v string) error {
		_, port, err := net.SplitHostPort(v)
		if err != nil {
			return errors.New("must be host:port")
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
			return errors.New("must be host:port with a port between 0 and 65535")
		}
		*p = v
		return nil
	})
}

// URL declares an http or https address; a trailing slash is cut off. "" is
// accepted only as the default.
func (s *Set) URL(p *string, name, def, doc string) *Setting {
	return s.add(name, "url", def, doc, func(v string) error {
		if v == "" && def == "" {
			*p = ""
			return nil
		}
		u, err := url.Parse(v)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return errors.New("must be an address like https://relay.example.com")
		}
		*p = strings.TrimRight(v, "/")
		return nil
	})
}

// Prefixes declares a comma-separated list of CIDRs or single addresses.
func (s *Set) Prefixes(p *[]netip.Prefix, name, def, doc string) *Setting {
	return s.add(name, "CIDRs", def, doc, func(v string) error {
		list, err := ParsePrefixes(v)
		if err == nil {
			*p = list
		}
		return err
	})
}

// USD declares an amount of US dollars as a decimal.
func (s *Set) USD(p *money.Amount, name, def, doc string) *Setting {
	return s.add(name, "USD", def, doc, func(v string) error {
		a, err := money.ParseUSD(v)
		if err == nil {
			*p = a
		}
		return err
	})
}

// Time declares a moment as RFC 3339; "" is the zero time.
func (s *Set) Time(p *time.Time, name, def, doc string) *Setting {
	return s.add(name, "RFC 3339 time", def, doc, func(v string) error {
		if v == "" {
			*p = time.Time{}
			return nil
		}
		t, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return errors.New("must be a time like 2026-12-31T23:59:59Z")
		}
		*p = t
		return nil
	})
}

// Key32 declares 32 secret bytes in base64.
func (s *Set) Key32(p *[]byte, name, doc string) *Setting {
	return s.add(name, "32 bytes, base64", "", doc, func(v string) error {
		if v == "" {
			*p = nil
			return nil
		}
		b, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(b) != 32 {
			return errors.New("must be 32 bytes in base64; make one with: openssl rand -base64 32")
		}
		*p = b
		return nil
	}).Secret()
}

// Parse reads flags from args and variables from env, flags first, then defaults,
// and returns the arguments that are not flags. The error names the setting and
// the reason; *HelpError if help was asked for.
func (s *Set) Parse(args []string, env Lookup) (rest []string, err error) {
	values := map[*Setting]string{}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			rest = append(rest, args[i+1:]...)
			break
		}
		// A negative number is an argument, not a flag.
		if len(arg) < 2 || arg[0] != '-' || (arg[1] >= '0' && arg[1] <= '9') {
			rest = append(rest, arg)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
		if name == "help" || name == "h" {
			return nil, &HelpError{Text: s.Help()}
		}
		x := s.byFlag[name]
		if x == nil {
			return nil, fmt.Errorf("unknown flag --%s%s", name, s.suggest(name))
		}
		if !hasValue {
			if x.isBool {
				value = "on"
			} else if i+1 < len(args) {
				i++
				value = args[i]
			} else {
				return nil, fmt.Errorf("flag --%s needs a value (%s)", name, x.Kind)
			}
		}
		if _, twice := values[x]; twice {
			return nil, fmt.Errorf("flag --%s is given twice", name)
		}
		values[x] = value
		x.source = "flag --" + name
	}
	for _, x := range s.settings {
		if err := s.fromEnv(x, values, env); err != nil {
			return nil, err
		}
	}
	if s.RunEnv {
		if err := s.fromRunEnv(values, env); err != nil {
			return nil, err
		}
	}
	for _, x := range s.settings {
		if err := x.apply(values); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// fromEnv takes the value of x from its variable or its file, unless a flag gave it.
func (s *Set) fromEnv(x *Setting, values map[*Setting]string, env Lookup) error {
	if _, ok := values[x]; ok || x.Name == "" {
		return nil
	}
	value, ok := env(x.Name)
	if x.secret {
		if path, fileOK := env(x.Name + "_FILE"); fileOK && path != "" {
			if ok && value != "" {
				return fmt.Errorf("%s and %s_FILE are both set: give one", x.Name, x.Name)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("cannot read %s_FILE: %w", x.Name, err)
			}
			values[x] = strings.TrimRight(string(b), "\r\n")
			x.source = x.Name + "_FILE"
			return nil
		}
	}
	// An empty variable is the same as none, so that a shell script can blank it.
	if ok && value != "" {
		values[x] = value
		x.source = x.Name
	}
	return nil
}

func (s *Set) fromRunEnv(values map[*Setting]string, env Lookup) error {
	dir := DefaultDataDir
	if x := s.byFlag[FlagName("RELAY_DATA_DIR")]; x != nil && values[x] != "" {
		dir = values[x]
	} else if v, ok := env("RELAY_DATA_DIR"); ok && v != "" {
		dir = v
	}
	kept, err := ReadRunEnv(dir)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, x := range s.settings {
		if _, ok := values[x]; ok || x.Name == "" {
			continue
		}
		if v, ok := kept[x.Name]; ok {
			values[x] = v
			x.source = x.Name + " in " + RunEnvPath(dir)
		}
	}
	return nil
}

func (x *Setting) label() string {
	if x.Name != "" {
		return x.Name
	}
	return "--" + x.Flag
}

func (x *Setting) apply(values map[*Setting]string) error {
	value, ok := values[x]
	x.given = ok
	if !ok {
		value = x.Default
	}
	if value == "" && x.required {
		hint := ""
		if x.secret && x.Name != "" {
			hint = " (or " + x.Name + "_FILE)"
		}
		return fmt.Errorf("%s%s is required: %s", x.label(), hint, x.Doc)
	}
	if err := x.set(value); err != nil {
		if x.secret || !ok {
			return fmt.Errorf("%s is not valid: %w", x.label(), err)
		}
		from := ""
		if x.source != x.label() {
			from = " (from " + x.source + ")"
		}
		return fmt.Errorf("%s is not valid: %q%s: %w", x.label(), value, from, err)
	}
	return nil
}

// suggest returns ", did you mean --x?" for the flag nearest to name.
func (s *Set) suggest(name string) string {
	best, bestDistance := "", 3
	for flag := range s.byFlag {
		if d := distance(name, flag); d < bestDistance || (d == bestDistance && flag < best) {
			best, bestDistance = flag, d
		}
	}
	if best == "" {
		return "; --help lists them"
	}
	return ", did you mean --" + best + "?"
}

// distance is the number of single-letter edits between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

// Help returns the help text: every setting with its flag, default and meaning.
func (s *Set) Help() string {
	var b strings.Builder
	b.WriteString(s.usage + "\n")
	var flags, settings []*Setting
	for _, x := range s.settings {
		if x.Name == "" {
			flags = append(flags, x)
		} else {
			settings = append(settings, x)
		}
	}
	write := func(title string, list []*Setting) {
		if len(list) == 0 {
			return
		}
		b.WriteString("\n" + title + "\n")
		for _, x := range list {
			b.WriteString("  --" + x.Flag)
			if !x.isBool {
				b.WriteString(" <" + x.Kind + ">")
			}
			if x.Name != "" {
				b.WriteString("  (" + x.Name + ")")
			}
			b.WriteString("\n        " + x.Doc)
			switch {
			case x.required:
				b.WriteString(" (required)")
			case x.Default != "":
				b.WriteString(" (default " + x.Default + ")")
			}
			b.WriteString("\n")
		}
	}
	write("Flags:", flags)
	write("Settings, each a flag and an environment variable (secrets also as NAME_FILE=/path):", settings)
	return b.String()
}

// UnknownEnv returns the variables of environ (as os.Environ gives it) that begin
// with RELAY_ and belong to no setting of any process: most often a typing error.
func UnknownEnv(environ []string) []string {
	known := map[string]bool{}
	for _, set := range []*Set{proxySet(new(Proxy)), adminSet(new(Admin))} {
		for _, x := range set.settings {
			known[x.Name] = true
			if x.secret {
				known[x.Name+"_FILE"] = true
			}
		}
	}
	for name := range runEnvOnly {
		known[name] = true
	}
	var unknown []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, envPrefix) && !known[name] {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	return unknown
}
